"""How well networks reconstruct and segment the images of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.modules import judged
from tomolearn.data import Pair, n_pairs
from tomolearn.metrics import dice, psnr
from tomolearn.models import TaskAdapted

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from tomolearn.tasks import Task


@dataclass(frozen=True)
class SegmentationScore:
    """Means over test images: PSNR in dB of the reconstructions, Dice's coefficient of the labels.

    `overlap` is Dice's coefficient of all images' pixels together, in which large regions count for
    more.
    """

    psnr: float
    dice: float
    overlap: float
    images: int


def segmentation_score(
    model: TaskAdapted,
    task: Task,
    *,
    split: str = "test",
    images: int | None = None,
    batch: int = 20,
) -> SegmentationScore:
    """Return how well a network reconstructs and segments the images of a task.

    Parameters
    ----------
    model : TaskAdapted
        The network, judged in evaluation mode.
    task : Task
        One whose images have labels, such as "chest-nodules".
    split, images, batch : str, int, int
        Which images; how many of them, by default all; and how many at a time.

    Raises
    ------
    TypeError, ValueError
        If the model does not segment, the task has no labels, or there are not so many images.
    """
    if not isinstance(model, TaskAdapted):
        raise TomolearnTypeError(f"model: expected a TaskAdapted, got {type(model).__name__}")
    check_int("batch", batch, minimum=1)
    pairs: Dataset[Pair] = task.pairs(split, size=images, labels=True)
    size, operator = n_pairs(pairs), task.operator()
    if size is None:
        raise TomolearnError(f"images: expected a number, since {split} has no end, got none")
    device = next(model.parameters()).device
    ratios, regions = [], []
    with judged(model), torch.no_grad():
        for first in range(0, size, batch):
            drawn = [pairs[k] for k in range(first, min(first + batch, size))]
            y, x, labels = (torch.stack(part).to(device) for part in zip(*drawn, strict=True))
            image, probability = model.segment(y, operator)
            ratios.append(psnr(image, x, data_range=task.convention.psnr_range).flatten())
            regions.append(torch.stack([probability, labels]).flatten(1, 2))
    found, truth = torch.cat(regions, 1)
    together = dice(found.reshape(1, -1), truth.reshape(1, -1))
    return SegmentationScore(
        psnr=float(torch.cat(ratios).mean()),
        dice=float(dice(found, truth).double().mean()),
        overlap=float(together),
        images=size,
    )
