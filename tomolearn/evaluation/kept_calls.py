"""Calls of methods on the disk, for a run that goes on where another was stopped."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tomolearn._core.errors import DivergenceError
from tomolearn._core.files import write_bytes
from tomolearn._core.reading import parse_json, read_json
from tomolearn.methods import Method


@dataclass(frozen=True, eq=False)
class Call:
    """What one call of a method came to.

    Parameters
    ----------
    image : torch.Tensor or Exception
        The image, or why there is none.
    seconds : float, optional
        How long it took, if it was timed.
    peak : int, optional
        Bytes that it held at most, if they were measured.
    """

    image: torch.Tensor | Exception
    seconds: float | None = None
    peak: int | None = None


class KeptCalls:
    """A folder with a file for each call, by method and sinogram; the operator is always the same.

    Of failures only divergence is kept: what else went wrong may be mended before the next run.
    Functions and networks cannot be told from others, and are not kept.

    Parameters
    ----------
    folder : path-like
        Where they are; it is made when something is kept.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = Path(folder)

    @property
    def begun(self) -> bool:
        """Whether another run has kept some."""
        return self._folder.exists()

    def read(self, method: Any, sinogram: torch.Tensor) -> Call | None:
        """Return what is known of a call, its image on the CPU; None if nothing is."""
        path = self._path(method, sinogram)
        if path is None or not path.exists():
            return None
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            told = parse_json(path, file.metadata()["call"])
            error = told.pop("error")
            image = file.get_tensor("image") if error is None else DivergenceError(error)
        return Call(image, **told)

    def write(self, method: Any, sinogram: torch.Tensor, call: Call) -> None:
        """Keep a call."""
        path, image = self._path(method, sinogram), call.image
        diverged = type(image) is DivergenceError
        if path is None or not (diverged or isinstance(image, torch.Tensor)):
            return
        from safetensors.torch import save

        tensors = {}
        if isinstance(image, torch.Tensor):
            tensors["image"] = image.detach().cpu().contiguous()
        told: dict[str, Any] = {"error": str(image) if diverged else None}
        told |= {"seconds": call.seconds, "peak": call.peak}
        self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes(path, save(tensors, {"call": json.dumps(told)}))

    def read_numbers(self, name: str) -> Any:
        """Return numbers that were kept under a name; None if there are none."""
        path = self._folder / f"{name}.json"
        return read_json(path) if path.exists() else None

    def write_numbers(self, name: str, numbers: Any) -> None:
        """Keep numbers of a run, ready for JSON, under a name."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self._folder / f"{name}.json", json.dumps(numbers).encode())

    def _path(self, method: Any, sinogram: torch.Tensor) -> Path | None:
        if not isinstance(method, Method):
            return None
        digest = hashlib.sha256(json.dumps(method.to_dict(), sort_keys=True, default=str).encode())
        values = sinogram.detach().cpu().contiguous()
        digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.numpy().tobytes())
        return self._folder / f"{digest.hexdigest()[:32]}.safetensors"
