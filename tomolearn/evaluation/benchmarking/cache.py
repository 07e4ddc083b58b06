"""Results of methods on the disk, by a digest of what they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from tomolearn._core.files import complete_files
from tomolearn._core.reading import parse_json
from tomolearn._core.version import __version__
from tomolearn.evaluation.kept_calls import KeptCalls
from tomolearn.methods import Method


def fingerprint(path: Path) -> list[list[Any]]:
    """Return names, sizes and times of the files that data lie in, in the order of their names."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = []
    for one in files:
        if one.is_file():
            status = one.stat()
            found.append([one.relative_to(path).as_posix(), status.st_size, status.st_mtime_ns])
    return found


class Cache:
    """A folder of results, each with a digest for its name, and of calls on the way to them.

    Parameters
    ----------
    folder : path-like
        Where they are; it is made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)

    def digest(self, what: Any, name: str, method: Any) -> str | None:
        """Return the digest of a method's result; None if nothing tells what the method is.

        What weights have in them is in their methods' dictionaries, the text of a user's file is
        read.
        """
        if not isinstance(method, Method):
            return None
        known: dict[str, Any] = {"version": __version__, "what": what, "name": name}
        known["method"] = method.to_dict()
        file = Path(method.name.rpartition(":")[0])
        if file.suffix == ".py" and file.is_file():
            known["file"] = hashlib.sha256(file.read_bytes()).hexdigest()
        text = json.dumps(known, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def read(self, digest: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
        """Return a row and its images, None if there are none."""
        numbers, images = self._paths(digest)
        if not numbers.exists() or not images.exists():
            return None
        from safetensors.torch import load_file

        row = parse_json(str(numbers), numbers.read_bytes())
        return row, load_file(images)

    def calls(self, digest: str) -> KeptCalls:
        """Return the calls that a run has made which did not come to the row."""
        return KeptCalls(self._folder / digest)

    def write(self, digest: str, row: dict[str, Any], images: dict[str, torch.Tensor]) -> None:
        """Keep a row and its images; the calls on the way to them are removed."""
        from safetensors.torch import save

        text = json.dumps(row, indent=1, ensure_ascii=False).encode()
        contiguous = {name: image.contiguous() for name, image in images.items()}
        numbers, pictures = self._paths(digest)
        with complete_files(pictures, numbers) as (of_images, of_numbers):
            of_images.write(save(contiguous))
            of_numbers.write(text)
        shutil.rmtree(self._folder / digest, ignore_errors=True)

    def _paths(self, digest: str) -> tuple[Path, Path]:
        return self._folder / f"{digest}.json", self._folder / f"{digest}.safetensors"
