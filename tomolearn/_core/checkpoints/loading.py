"""Modules rebuilt from their checkpoints."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch.nn.modules.module import register_module_parameter_registration_hook

from tomolearn._core.checkpoints.cards import is_foreign
from tomolearn._core.checkpoints.files import (
    CheckpointFiles,
    check_content,
    find_files,
    read_card_file,
    read_weights_file,
)
from tomolearn._core.checks import check_known
from tomolearn._core.errors import TomolearnError
from tomolearn._core.modules import Configured, built
from tomolearn._core.tables import Table
from tomolearn._core.tensors import check_device

# So many are named where there may be many.
_FEW = 3


class Kind(NamedTuple):
    """Base class of what a kind of checkpoints holds, and the table of its classes."""

    base: type[Configured]
    table: Table[Any]


def load_module(
    name_or_path: str | os.PathLike[str],
    kinds: Mapping[str, Kind],
    *,
    device: torch.device | str | None,
    model: str | type[Configured] | None,
) -> tuple[str, Configured]:
    """Return the name of weights and their module, of one of the kinds, in evaluation mode.

    Parameters, and what is raised, are those of `tomolearn.load`.
    """
    place = check_device("device", "cpu" if device is None else device)
    files = find_files(name_or_path)
    card = read_card_file(files)
    content = read_weights_file(files.weights)
    check_content(files, card, content)
    try:
        tensors = safetensors.torch.load(content)
    # KeyError: a type of numbers that torch does not know
    except (SafetensorError, KeyError) as error:
        raise TomolearnError(
            f"{files.weights}: expected a complete safetensors file, got an error: {error}"
        ) from error
    found = _build(files, card, kinds, model, tensors)
    _fill(files, found, tensors)
    if found.n_parameters != card["parameters"]:
        raise TomolearnError(
            f"{files.card}: parameters: expected {found.n_parameters}, what the network has, "
            f"got {card['parameters']}"
        )
    found.card = card
    return files.name, found.to(place).eval()


def _build(
    files: CheckpointFiles,
    card: Mapping[str, Any],
    kinds: Mapping[str, Kind],
    model: str | type[Configured] | None,
    tensors: Mapping[str, torch.Tensor],
) -> Configured:
    """Make the network with weights that do not matter, and without a trace in random numbers.

    Before that, it is made without any, to see that it is the one of the tensors: a card may ask
    for more memory than there is.
    """
    if card["kind"] not in kinds:
        raise TomolearnError(
            f"{files.card}: expected a {' or a '.join(kinds)}, got a {card['kind']}; "
            f'tomolearn.load(..., kind="{card["kind"]}") loads it'
        )
    base, table = kinds[card["kind"]]
    spec: str = card["model"]
    if model is None and is_foreign(spec):
        raise TomolearnError(
            f"{files.card}: model: expected a name of the table {table.group}, got {spec!r}, which "
            "is code of someone's and not run because a file says so; if you trust it, pass the "
            f'class or where it stands: tomolearn.load(..., model="{spec}")'
        )
    try:
        if model is None:
            found = table[check_known("model", spec, tuple(table))]
        else:
            found = table.find(model) if isinstance(model, str) else model
        if not (isinstance(found, type) and issubclass(found, base)):
            raise TomolearnError(f"model: expected a subclass of {base.__name__}, got {found!r}")
        with torch.random.fork_rng(devices=[]), _no_more_weights_than(4 * len(tensors) + 100):
            try:
                with torch.device("meta"):
                    abstract = built(spec, found, card["arguments"])
            except RuntimeError:  # someone's, which needs values to be made
                pass
            else:
                _check_tensors(files, abstract, tensors)
            with torch.device("cpu"):
                return built(spec, found, card["arguments"])
    except _OtherTensors:
        raise
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise TomolearnError(f"{files.card}: {error}") from error


class _OtherTensors(TomolearnError):
    """Tensors of another network than the card's."""


@contextmanager
def _no_more_weights_than(limit: int) -> Iterator[None]:
    """Let this thread make no more parameters than that: a card may ask for blocks without end."""
    thread, made = threading.get_ident(), itertools.count(1)

    def count(module: torch.nn.Module, name: str, parameter: torch.nn.Parameter) -> None:
        if threading.get_ident() == thread and next(made) > limit:
            raise TomolearnError(f"arguments: expected at most {limit} parameters, got more")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _check_tensors(
    files: CheckpointFiles, model: Configured, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Check that the tensors are those that a network has."""
    own = model.state_dict(keep_vars=True)
    missing = [name for name in own if name not in tensors]
    unexpected = [name for name in tensors if name not in own]
    common = [name for name in own if name in tensors]
    shapes = [
        f"{name}: {tuple(own[name].shape)} expected, {tuple(tensors[name].shape)} came"
        for name in common
        if own[name].shape != tensors[name].shape
    ]
    kinds = [
        f"{name}: {own[name].dtype} expected, {tensors[name].dtype} came"
        for name in common
        if _kind(own[name]) != _kind(tensors[name])
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    problems["of another kind of number"] = kinds
    found = [f"{len(names)} {what} ({few(names)})" for what, names in problems.items() if names]
    if found:
        raise _OtherTensors(
            f"{files.weights}: expected the {len(own)} tensors of the network that "
            f"{files.card.name} describes, got {'; '.join(found)}"
        )


def _fill(files: CheckpointFiles, model: Configured, tensors: Mapping[str, torch.Tensor]) -> None:
    """Copy the tensors into a network, which gets their precision and keeps its memory format."""
    _check_tensors(files, model, tensors)
    own = model.state_dict(keep_vars=True)
    check_finite(str(files.weights), tensors)
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.data = tensor.data.to(tensors[name].dtype)
    model.load_state_dict(dict(tensors))


def check_finite(where: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Check that all weights are finite."""
    # torch cannot ask this of the 8-bit formats
    bad = [
        name
        for name, tensor in tensors.items()
        if not (tensor.float() if tensor.itemsize == 1 else tensor).isfinite().all()
    ]
    if bad:
        raise TomolearnError(
            f"{where}: expected finite weights, got nan or inf in {len(bad)} of {len(tensors)} "
            f"tensors ({few(bad)})"
        )


def _kind(tensor: torch.Tensor) -> str:
    if tensor.is_floating_point():
        return "floating"
    return "complex" if tensor.is_complex() else str(tensor.dtype)


def few(names: Iterable[str]) -> str:
    """Return the first few of many names, and how many more there are."""
    listed = list(names)
    rest = len(listed) - _FEW
    return ", ".join(listed[:_FEW]) + (f" and {rest} more" if rest > 0 else "")
