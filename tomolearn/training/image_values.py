"""The range of image values that weights were trained on, and whether it is that of new images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils.data import Dataset

from tomolearn._core.checkpoints.cards import plain_values
from tomolearn._core.errors import TrainedElsewhereWarning
from tomolearn.data import NoduleCrops, Pair, ThoraxPatches, n_pairs
from tomolearn.data.images import ImageFolder
from tomolearn.models.provenance import Provenance
from tomolearn.simulation import PhotonNoise
from tomolearn.tasks import TASKS, Task
from tomolearn.training.config import TrainingConfig
from tomolearn.training.weights import read_card

_ENOUGH = 8  # images
_ALIKE = 2.0  # factor between the largest values of two sets of images


class OtherValuesWarning(TrainedElsewhereWarning):
    """Images have other values than those that initial weights were trained on."""


def values_of_images(task: Task, pairs: Dataset[Pair], scale: float = 1.0) -> dict[str, Any]:
    """Return what a card says of image values, as far as it is known.

    ``image_range``: smallest and largest, multiplied by the network's `scale`; ``image_scale``:
    what values in files were multiplied by; ``value_per_attenuation``: what 1/mm has become;
    ``noise``: as its ``to_dict()`` has it.
    """
    source, noise = task.splits["train"].source, task.acquisition.noise
    found: dict[str, Any] = {
        "image_range": [scale * value for value in _range(pairs)],
        "noise": {} if noise is None else plain_values("noise", noise.to_dict()),
    }
    if isinstance(source, ImageFolder):
        found["image_scale"] = 1.0 if source.scale is None else source.scale
        if source.is_dicom:
            found["value_per_attenuation"] = found["image_scale"]
    if isinstance(source, (NoduleCrops, ThoraxPatches)):
        found["value_per_attenuation"] = source.value_per_attenuation
    if isinstance(noise, PhotonNoise):
        found["value_per_attenuation"] = 1 / noise.attenuation
    return found


def warn_of_initial_weights(config: TrainingConfig, task: Task, pairs: Dataset[Pair]) -> None:
    """Compare task and image values with those that the initial weights were trained on."""
    if config.initial_weights is None:
        return
    name, card = read_card(config.initial_weights)
    noise = task.acquisition.noise
    found = Provenance.of_card(name, card).differences(
        grid=task.grid,
        scan=task.scan if config.objective == "supervised" else None,
        noise={} if noise is None else plain_values("noise", noise.to_dict()),
    )
    values = _other_values(card, pairs)
    if values is None and not found:
        return
    elsewhere = [f"trained for {'; for '.join(found)}; they are trained on from there"]
    texts = ([] if values is None else [values]) + (elsewhere if found else [])
    category = TrainedElsewhereWarning if values is None else OtherValuesWarning
    warnings.warn(f"{name}: {'; '.join(texts)}", category, stacklevel=3)


def _other_values(card: Mapping[str, Any], pairs: Dataset[Pair]) -> str | None:
    known = _trained_on(card)
    if known is None:
        return None
    scale = float(card["image_scale"])
    before, now = known[1], _range(pairs)[1] * scale
    if before > 0 and now > 0 and 1 / _ALIKE <= now / before <= _ALIKE:
        return None
    hint = f"; an image scale {before / now:.3g} times as large has them alike" if now > 0 else ""
    return (
        f"trained on images with values up to {before:.4g}, these have values up to {now:.4g}{hint}"
    )


def _trained_on(card: Mapping[str, Any]) -> tuple[float, float] | None:
    found = card["training"].get("image_range")
    if found is not None:
        return float(found[0]), float(found[1])
    # cards of version 0.1 name the task only
    if card["task"] not in TASKS or TASKS[card["task"]].splits["train"].source is None:
        return None
    return _range(TASKS[card["task"]].pairs("train", size=_ENOUGH))


def _range(pairs: Dataset[Pair]) -> tuple[float, float]:
    n = min(n_pairs(pairs) or _ENOUGH, _ENOUGH)
    images = torch.stack([pairs[index][1] for index in range(n)])
    return float(images.min()), float(images.max())
