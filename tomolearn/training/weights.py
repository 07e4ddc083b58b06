"""Saving and loading of networks and priors: safetensors and JSON, nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, overload

import safetensors.torch
import torch

from tomolearn._core.checkpoints.cards import FORMAT, KINDS, VERSION, plain_values
from tomolearn._core.checkpoints.files import (
    CARD,
    WEIGHTS,
    find_files,
    read_card_file,
    shipped_files,
    split_path,
    write_together,
)
from tomolearn._core.checkpoints.loading import Kind, check_finite, few, load_module
from tomolearn._core.checks import check_choice, check_float
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.modules import Configured
from tomolearn._core.version import __version__
from tomolearn.geometry import Grid, Scan
from tomolearn.models import MODELS, ReconstructionModel
from tomolearn.priors import Denoiser, Regulariser
from tomolearn.priors.loading import PRIOR_KINDS

_FOREIGN = (".bin", ".ckpt", ".npz", ".onnx", ".pkl", ".pt", ".pth")
_KINDS = {"model": Kind(ReconstructionModel, MODELS), **PRIOR_KINDS}


def save(
    model: ReconstructionModel | Denoiser | Regulariser,
    path: str | os.PathLike[str],
    *,
    task: str | None = None,
    grid: Grid | None = None,
    scan: Scan | None = None,
    image_scale: float | None = None,
    metrics: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a network, denoiser or regulariser as ``NAME.safetensors`` and ``NAME.json``.

    The model stays as it is: its mode, its device, its gradients. Both files are complete on the
    disk before either gets its name, and the JSON, which has the SHA-256 of the weights, comes
    last: what an interruption leaves behind is either the old pair or refused by `load`.

    Parameters
    ----------
    model : ReconstructionModel, Denoiser or Regulariser
        Of any floating-point precision, on any device. If its class has no name in
        `tomolearn.models.MODELS` or `tomolearn.priors.PRIORS`, the JSON says in which file or
        module it stands, and `load` has to be given the class.
    path : str or path
        NAME, with or without one of the two suffixes. Its folder has to exist.
    task : str, optional
        Name of the task that the network was trained for.
    grid, scan : Grid and Scan, optional
        What it was trained on.
    image_scale : float, optional
        What image values are multiplied by for the network: the loaded one does so itself. Default:
        the network's own ``image_scale``. Give the number if you called it as
        ``model(number * y, A) / number``.
    metrics : mapping, optional
        What it reached, for example ``{"psnr": 35.2, "convention": "..."}``; values that JSON
        knows, nested as one likes. `tomolearn models` lists the value of ``psnr``.
    training : mapping, optional
        How it was trained: ``data``, ``steps``, ``seed``, ``hardware``, ``hours`` and ``command``,
        and whatever else matters. ``image_range``, smallest and largest image value, and ``noise``,
        its ``to_dict()``, are compared with what the weights are used on.
    about : mapping, optional
        What a user should know: ``description`` (one line), ``use``, ``limits`` (for example the
        range of image values) and ``licence``.
    overwrite : bool
        Whether existing files of these names are replaced.

    Returns
    -------
    pathlib.Path
        The JSON file.

    Raises
    ------
    TypeError, ValueError
        If an argument is of another kind, or a mapping has a value that JSON does not know; if the
        model's class was defined where nobody finds it again, it has weights that are not finite or
        lie on the device "meta", or `path` ends like a file of another format.
    FileExistsError
        If one of the files exists and `overwrite` is not set.
    FileNotFoundError
        If their folder does not exist.
    OSError
        If the files cannot be written.
    """
    kind = next((name for name, (base, _) in _KINDS.items() if isinstance(model, base)), None)
    if kind is None:
        raise TomolearnTypeError(
            "model: expected a ReconstructionModel, a Denoiser or a Regulariser, "
            f"got {type(model).__name__}"
        )
    _check_kind("task", task, str)
    _check_kind("grid", grid, Grid)
    _check_kind("scan", scan, Scan)
    scale = getattr(model, "image_scale", 1.0) if image_scale is None else image_scale
    scale = check_float("image_scale", scale, positive=True)
    notes = {"metrics": metrics, "training": training, "about": about}
    for name, mapping in notes.items():
        _check_kind(name, mapping, Mapping)
    folder, stem = split_path(path)
    if Path(stem).suffix in _FOREIGN:
        raise TomolearnError(
            f"path: expected a name without suffix, or with {WEIGHTS} or {CARD}, "
            f"got {os.fspath(path)!r}"
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"path: expected a file in a folder that exists, got {folder}")
    target, target_card = folder / f"{stem}{WEIGHTS}", folder / f"{stem}{CARD}"
    for file in (target, target_card):
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file}: exists already; overwrite=True replaces it")
    content = safetensors.torch.save(_tensors(model), {"format": "pt"})
    card = {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "model": _spec(kind, model),
        "arguments": plain_values("arguments", model.arguments),
        "parameters": model.n_parameters,
        "task": task,
        "grid": None if grid is None else grid.to_dict(),
        "scan": None if scan is None else scan.to_dict(),
        "image_scale": scale,
        **{name: plain_values(name, mapping or {}) for name, mapping in notes.items()},
        "versions": {
            "tomolearn": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "safetensors": metadata.version("safetensors"),
        },
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_together({target: content, target_card: text.encode()})
    return target_card


def annotate(
    path: str | os.PathLike[str],
    *,
    metrics: Mapping[str, Any] | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Add metrics, or what a user should know, to the card of saved weights, and return it.

    Both are as for `save`; they replace what the card has under the same key.
    """
    folder, stem = split_path(path)
    target = folder / f"{stem}{CARD}"
    card = read_card_file(find_files(target))
    for name, mapping in {"metrics": metrics, "about": about}.items():
        _check_kind(name, mapping, Mapping)
        card[name] |= plain_values(name, mapping or {})
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_together({target: text.encode()})
    return card


@overload
def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    kind: Literal["model"] = "model",
    model: str | type[ReconstructionModel] | None = None,
    image_scale: float = 1.0,
) -> ReconstructionModel: ...


@overload
def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    kind: Literal["denoiser"],
    model: str | type[Denoiser] | None = None,
) -> Denoiser: ...


@overload
def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    kind: Literal["regulariser"],
    model: str | type[Regulariser] | None = None,
) -> Regulariser: ...


def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: torch.device | str | None = None,
    kind: str = "model",
    model: str | type[Configured] | None = None,
    image_scale: float = 1.0,
) -> Configured:
    """Rebuild a network, denoiser or regulariser from its files.

    The files are data: no code from them runs, and torch's random numbers go on as if nothing had
    been loaded. A class of your own that is not installed with an entry point is not looked for
    where the JSON says; it is passed as `model`.

    Parameters
    ----------
    name_or_path : str or path
        The name of weights that come with the package, see `shipped`; or one of the two files that
        `save` wrote, or their common name without suffix. A name of the package wins over a file
        of that name; ``./NAME`` is always the file.
    device : torch.device or str, optional
        Where the weights are put, whatever device they were trained on. Default: the CPU.
    kind : {"model", "denoiser", "regulariser"}
        What the files are expected to have.
    model : type or str, optional
        The class, or where it stands, ``path/to/file.py:Net`` or ``module:Net``. Default: the one
        of the table `tomolearn.models.MODELS` or `tomolearn.priors.PRIORS` that the JSON names.
    image_scale : float
        Of a network: what image values, 1/mm for example, are multiplied by to be like those of its
        training. It becomes a part of the network, and is saved with it.

    Returns
    -------
    ReconstructionModel, Denoiser or Regulariser
        In evaluation mode and in the precision of the file. Its attribute ``card`` is what the
        JSON says, as a dictionary. An argument of the constructor that the JSON does not have,
        since it came later, has its default value.

    Raises
    ------
    FileNotFoundError
        If a file is missing, or there are neither weights nor a file of that name.
    ValueError
        If a file is damaged, of another format or another kind, the two do not belong together,
        the class or its arguments are unknown, a tensor is missing, unexpected, of another shape
        or not finite, or `device` is none of this machine.
    """
    check_choice("kind", kind, KINDS)
    check_float("image_scale", image_scale, positive=True)
    if kind != "model" and image_scale != 1:
        raise TomolearnError(f"image_scale: expected 1 for a {kind}, got {image_scale:g}")
    name, found = load_module(name_or_path, {kind: _KINDS[kind]}, device=device, model=model)
    if isinstance(found, ReconstructionModel):
        found.image_scale = float((found.card or {})["image_scale"]) * image_scale
        found.watched_as(name)
    return found


def shipped() -> dict[str, dict[str, Any]]:
    """Return the cards of the weights that come with the package, by name.

    Raises
    ------
    ValueError
        If one of them is damaged.
    """
    return {name: read_card_file(files) for name, files in shipped_files().items()}


def read_card(name_or_path: str | os.PathLike[str]) -> tuple[str, dict[str, Any]]:
    """Return name and card of weights, as for `load`, without reading the weights."""
    files = find_files(name_or_path)
    return files.name, read_card_file(files)


def _spec(kind: str, model: Configured) -> str:
    """Return the name of a class in its table, or where it stands: no folder of this machine."""
    spec = _KINDS[kind][1].spec_of(type(model))
    return spec if spec in _KINDS[kind][1] else spec.replace("\\", "/").rpartition("/")[2]


def _tensors(model: Configured) -> dict[str, torch.Tensor]:
    """Return copies of the weights on the CPU, each with memory of its own."""
    state = model.state_dict()
    abstract = [name for name, tensor in state.items() if tensor.is_meta]
    if abstract:
        raise TomolearnError(
            f"model: expected weights with values, got device meta ({few(abstract)})"
        )
    check_finite("model", state)
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in state.items()
    }


def _check_kind(name: str, value: Any, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise TomolearnTypeError(
            f"{name}: expected {kind.__name__} or None, got {type(value).__name__}"
        )
