"""Noise power, edge MTF and contrast to noise of a method, by scans of a disc with inserts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from data_sim import Ellipses, rasterise
from tomolearn._core.errors import TomolearnError
from tomolearn.evaluation.image_quality import contrast_to_noise, edge_mtf, noise_power_spectrum
from tomolearn.evaluation.workers import Workers
from tomolearn.operators import LinearOperator
from tomolearn.tasks import Task

# Lengths are parts of the shorter side of the image.
_BODY, _RING = 0.42, 0.24
_EDGE, _REACH = 0.085, 0.07  # the insert whose edge is measured, and how far around it
_INSERT = 0.05
_ROI = 0.24  # side of the square in the middle, for the noise
_EDGE_CONTRAST = 0.5
_CONTRASTS = (0.2, 0.1, -0.2)
_OVERSAMPLING = 4


@dataclass(frozen=True, eq=False)
class QualityPhantom:
    """A uniform disc with inserts in a ring, scanned as a task scans.

    Parameters
    ----------
    task : Task
        A task in the plane, whose grid, scan and noise are taken.
    level : float
        Image value of the disc; the insert whose edge is measured has 1.5 times as much, those
        for the contrast 1.2, 1.1 and 0.8 times.

    Raises
    ------
    ValueError
        If the task is one of volumes or has no scan.
    """

    task: Task
    level: float

    def __post_init__(self) -> None:
        if self.task.grid.ndim != 2 or self.task.scan is None:
            raise TomolearnError(
                f"task: expected one in the plane with a scan, got {self.task.name}"
            )

    @property
    def _side(self) -> float:
        return float(min(self.task.grid.size))

    def _places(self) -> list[tuple[float, float]]:
        turns = (2 * math.pi * k / (1 + len(_CONTRASTS)) for k in range(1 + len(_CONTRASTS)))
        return [(_RING * math.cos(t), _RING * math.sin(t)) for t in turns]

    def image(self) -> torch.Tensor:
        """Return the phantom, shape (rows, columns), on the grid that the task draws on."""
        grid = self.task.acquisition.drawing_grid(self.task.grid)
        radii = [_BODY, _EDGE, *[_INSERT] * len(_CONTRASTS)]
        values = [1.0, _EDGE_CONTRAST, *_CONTRASTS]
        half = np.array(grid.size) / (2 * self._side)
        ellipses = Ellipses(
            self.level * np.array(values),
            np.array(radii)[:, None] / half,
            np.array([(0.0, 0.0), *self._places()]) / half,
            np.zeros(len(radii)),
        )
        return torch.from_numpy(rasterise(ellipses, grid.shape, oversampling=_OVERSAMPLING))

    def scans(self, count: int, *, seed: int = 0) -> list[torch.Tensor]:
        """Return sinograms with independent noise, shape (1, 1, ...); without noise, one."""
        acquisition, image = self.task.acquisition, self.image()[None, None]
        n = 1 if acquisition.noise is None else count
        streams = np.random.default_rng(seed).spawn(n)
        return [acquisition.measure(image, self.task.grid, rng) for rng in streams]

    def measure(
        self,
        method: Callable[[torch.Tensor, LinearOperator], torch.Tensor],
        *,
        scans: int,
        seed: int = 0,
        workers: Workers | None = None,
    ) -> dict[str, Any]:
        """Reconstruct scans with independent noise, and return what is measured, ready for JSON.

        The noise power spectrum is that of the middle of the disc, in units of the images; without
        noise there is none, and one scan. `workers` reconstruct scans side by side.
        """
        operator, sinograms = self.task.operator(), self.scans(scans, seed=seed)
        with torch.no_grad():
            found = (workers or Workers()).reconstruct(method, operator, sinograms)
        for one in found:
            if isinstance(one, Exception):
                raise one
        images = torch.stack([one[0, 0] for one in found if isinstance(one, torch.Tensor)])
        judged = self._judged(images, self.task.acquisition.noise)
        return {"scans": len(sinograms), "level": self.level, **judged}

    def _judged(self, images: torch.Tensor, noise: Any) -> dict[str, Any]:
        grid, side = self.task.grid, self._side
        x, y = (
            ((np.arange(count) - (count - 1) / 2) * step / side)
            for count, step in zip(grid.shape, grid.spacing, strict=True)
        )
        edge, *others = self._places()
        rows, columns = (np.flatnonzero(np.abs(one) <= _ROI / 2) for one in (x, y))
        roi = images[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        mtf = edge_mtf(
            images,
            grid.spacing,
            center=(edge[0] * side, edge[1] * side),
            radius=_EDGE * side,
            reach=_REACH * side,
        )
        ratios = {}
        for contrast, (x0, y0) in zip(_CONTRASTS, others, strict=True):
            distance = torch.from_numpy(np.hypot(x[:, None] - x0, y[None] - y0))
            inside = distance <= 0.7 * _INSERT
            around = (distance >= 1.3 * _INSERT) & (distance <= 1.9 * _INSERT)
            ratios[f"{100 * contrast:+.0f} %"] = contrast_to_noise(images, inside, around)
        return {
            "nps": None if noise is None else noise_power_spectrum(roi, grid.spacing).to_dict(),
            "mtf": mtf.to_dict(),
            "cnr": ratios,
        }
