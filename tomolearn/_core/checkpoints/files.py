"""Checkpoint files: names, search, integrity, writing."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

from tomolearn._core.checkpoints.cards import parse_card
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.files import complete_files
from tomolearn._core.memory import check_fits
from tomolearn._core.reading import read_bytes

WEIGHTS, CARD = ".safetensors", ".json"
# As torch.save writes them: a zip archive, or in older versions a bare pickle.
_PICKLES = (b"PK\x03\x04", *(bytes((0x80, protocol)) for protocol in range(2, 6)))

_HEAD = 9  # bytes that tell a pickle


class CheckpointFiles(NamedTuple):
    """The two files of a network, on the disk or within the package."""

    name: str
    weights: Traversable
    card: Traversable


def _files(folder: Traversable, name: str) -> CheckpointFiles:
    return CheckpointFiles(name, folder / f"{name}{WEIGHTS}", folder / f"{name}{CARD}")


def split_path(path: str | os.PathLike[str]) -> tuple[Path, str]:
    """Return the folder of a path and its name without our suffixes; others belong to the name."""
    if not isinstance(path, (str, os.PathLike)) or isinstance(os.fspath(path), bytes):
        raise TomolearnTypeError(f"path: expected a str or a path, got {type(path).__name__}")
    name = Path(path).name.removesuffix(WEIGHTS).removesuffix(CARD)
    if not name or name == "..":
        raise TomolearnError(f"path: expected the name of a file, got {os.fspath(path)!r}")
    return Path(path).parent, name


def shipped_files() -> dict[str, CheckpointFiles]:
    """Return the files of the weights that come with the package, by name."""
    folder = resources.files("tomolearn") / "weights"
    if not folder.is_dir():
        return {}
    files = (file.name for file in folder.iterdir())
    names = sorted(file.removesuffix(CARD) for file in files if file.endswith(CARD))
    return {name: _files(folder, name) for name in names}


def find_files(name_or_path: str | os.PathLike[str]) -> CheckpointFiles:
    """Return the files that a user means; at least one of them is there."""
    names = shipped_files()
    if isinstance(name_or_path, str) and name_or_path in names:
        return names[name_or_path]
    folder, name = split_path(name_or_path)
    files = _files(folder, name)
    if files.weights.is_file() or files.card.is_file():
        return files
    given = Path(name_or_path)
    if given.is_file():
        with given.open("rb") as stream:
            _refuse_pickle(str(given), stream.read(_HEAD))
        raise TomolearnError(
            f"{given}: expected a name that ends in {WEIGHTS} or {CARD}, got {given.suffix!r}"
        )
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise FileNotFoundError(
        f"{os.fspath(name_or_path)}: expected the name of weights that come with tomolearn "
        f"({', '.join(names) or 'there are none yet'}) or a file, but no file {given}, "
        f"{files.card} or {files.weights} exists{hint}"
    )


def read_card_file(files: CheckpointFiles) -> dict[str, Any]:
    """Return the card."""
    if files.card.is_file():
        return parse_card(str(files.card), read_bytes(files.card))
    with files.weights.open("rb") as stream:
        _refuse_pickle(str(files.weights), stream.read(_HEAD))
    raise FileNotFoundError(
        f"{files.card}: no such file; {files.weights.name} needs it, since the network and its "
        "arguments stand there. tomolearn.save writes both; weights from elsewhere have to be put "
        "into a network first"
    )


def read_weights_file(file: Traversable) -> bytes:
    """Return the content of a file of weights."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; the weights belong next to the JSON")
    if isinstance(file, Path):
        check_fits(str(file), 2 * file.stat().st_size)
    return file.read_bytes()


def _refuse_pickle(where: str, content: bytes) -> None:
    # The header of a safetensors file, 8 bytes in, may have a length that looks like a pickle.
    if content.startswith(_PICKLES) and content[8:9] != b"{":
        raise TomolearnError(
            f"{where}: expected a safetensors file, got a pickle, as torch.save and Lightning "
            "write it; a pickle can run any code and is not read"
        )


def check_content(files: CheckpointFiles, card: Mapping[str, Any], content: bytes) -> None:
    """Check that the weights are those that the card speaks of."""
    _refuse_pickle(str(files.weights), content)
    digest = hashlib.sha256(content).hexdigest()
    if digest == card["sha256"] and len(content) == card["bytes"]:
        return
    other = _owner(files, digest)
    if other is not None:
        hint = f"these are the weights of {other}"
    elif len(content) < card["bytes"]:
        hint = "the file is cut off, or of another network"
    else:
        hint = "one of the two files was changed or replaced after they were saved"
    raise TomolearnError(
        f"{files.weights}: expected {card['bytes']} bytes with SHA-256 {card['sha256'][:12]}..., "
        f"as {files.card.name} says, got {len(content)} bytes with {digest[:12]}...; {hint}"
    )


def _owner(files: CheckpointFiles, digest: str) -> str | None:
    """Return the card that weights with this SHA-256 belong to, in the same folder or shipped."""
    if not isinstance(files.card, Path):
        return None
    nearby = (file for file in files.card.parent.iterdir() if file.suffix == CARD)
    for file in (*sorted(nearby), *(others.card for others in shipped_files().values())):
        try:
            if parse_card(str(file), read_bytes(file))["sha256"] == digest:
                return file.name
        except (OSError, ValueError):  # some other JSON
            continue
    return None


def write_together(files: dict[Path, bytes]) -> None:
    """Write files that get their names, in the order given, when all are complete on the disk."""
    with complete_files(*files) as streams:
        for stream, content in zip(streams, files.values(), strict=True):
            stream.write(content)
