"""What weights were trained on, compared with what they are used on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tomolearn._core.errors import TomolearnError, TrainedElsewhereWarning
from tomolearn.geometry import Grid, Scan
from tomolearn.geometry.serialization import geometry_from_dict
from tomolearn.methods.analytic.filtered_backprojection import filtered_backprojection
from tomolearn.methods.checks import levels_alike
from tomolearn.operators import LinearOperator, RayTransform

# ||A x - y|| / ||y|| is one for an image of zeros, and about the noise for a right one.
_CONTRADICTION = 10.0
_ENOUGH = 8  # images
_CLOSE = 1e-6


@dataclass(frozen=True)
class Provenance:
    """What a card says that weights were trained on, as far as it does.

    Parameters
    ----------
    name : str
        What the weights are called.
    task : str, optional
        Name of the task.
    grid, scan, noise : mapping, optional
        As their ``to_dict`` has them; no noise is an empty mapping.
    level : float, optional
        Largest absolute image value.
    views : (int, int), optional
        The fewest and the most views, where scans of many numbers of them were trained on.
    """

    name: str
    task: str | None = None
    grid: dict[str, Any] | None = None
    scan: dict[str, Any] | None = None
    noise: Mapping[str, Any] | None = None
    level: float | None = None
    views: tuple[int, int] | None = None

    @classmethod
    def of_card(cls, name: str, card: Mapping[str, Any]) -> Provenance:
        """Return what a card says; no grid and no scan of weights that are for any."""
        training, level = card["training"], None
        if training.get("image_range") is not None:
            level = max(abs(float(value)) for value in training["image_range"])
        views = training.get("views")
        is_any = training.get("any_scan", False)
        grid, scan = (None, None) if is_any else (card["grid"], card["scan"])
        return cls(
            *(name, card["task"], grid, scan, training.get("noise"), level),
            views=None if views is None else (int(views[0]), int(views[1])),
        )

    def differences(
        self,
        *,
        task: str | None = None,
        grid: Grid | None = None,
        scan: Scan | None = None,
        noise: Mapping[str, Any] | None = None,
        level: float | None = None,
        scale: float = 1.0,
    ) -> list[str]:
        """Return in words what is other than in training; what is not given is not compared.

        Parameters
        ----------
        task, grid, scan, noise
            What the weights are used on.
        level : float
            Largest absolute value of the images, about.
        scale : float
            What they are multiplied by for the network.
        """
        found = []
        if None not in (task, self.task) and task != self.task:
            found.append(f"the task {self.task}, not {task}")
        if grid is not None and self.grid is not None and not _same_grid(self.grid, grid):
            found.append(f"{geometry_from_dict(self.grid)}, not {grid}")
        if scan is not None and self.scan is not None and not self._has_scan(self.scan, scan):
            several = "" if self.views is None else " with {} to {} views".format(*self.views)
            found.append(f"{geometry_from_dict(self.scan)}{several}, not {scan}")
        if noise is not None and self.noise is not None and not _same_noise(self.noise, noise):
            found.append(f"{_noise(self.noise)}, not {_noise(noise)}")
        if level is not None and self.level and not levels_alike(self.level, level * scale):
            now = f"values up to about {level * scale:.2g}"
            remedy = f" (image_scale={self.level / level:.2g} has them alike)" if level > 0 else ""
            found.append(f"images with values up to {self.level:.2g}, not {now}{remedy}")
        return found

    def _has_scan(self, trained: dict[str, Any], scan: Scan) -> bool:
        n = scan.shape[0]
        if self.views is not None and self.views[0] <= n <= self.views[1]:
            return _same_scan({**trained, "n_angles": n}, scan)
        return _same_scan(trained, scan)

    def warn(self, differences: list[str], *, stacklevel: int) -> None:
        """Warn of differences, if there are any, in one message."""
        if differences:
            warnings.warn(
                f"{self.name}: trained for {'; for '.join(differences)}. Images may be much worse "
                "than those of the training; compare with another method, or train on this",
                TrainedElsewhereWarning,
                stacklevel=stacklevel + 1,
            )


@dataclass(frozen=True)
class Use:
    """What a network is used on, beside the operator and the data that it is called with."""

    task: str | None = None
    noise: Mapping[str, Any] | None = None
    level: float | None = None


@dataclass(eq=False)
class Watch:
    """Comparison of weights with what they are called with, told once per scanner.

    `told` has grid and scan that were compared, and the largest value of the data by then.
    """

    provenance: Provenance
    use: Use = field(default_factory=Use)
    told: list[tuple[Any, Any, float]] = field(default_factory=list)

    def compare(
        self, sinogram: torch.Tensor, operator: LinearOperator, scale: float, *, stacklevel: int
    ) -> None:
        """Warn if this is another scanner, or range of values, than that of the training."""
        grid, scan = getattr(operator, "grid", None), getattr(operator, "scan", None)
        peak = float(sinogram.abs().amax())
        for known_grid, known_scan, known_peak in self.told:
            if (known_grid, known_scan) == (grid, scan) and levels_alike(known_peak, peak):
                return
        again = any((grid, scan) == (one, other) for one, other, _ in self.told)
        self.told.append((grid, scan, peak))
        level = self.use.level
        if level is None and self.provenance.level is not None:
            flat = sinogram.reshape(-1, *operator.range_shape)
            level = image_level(flat[:_ENOUGH], operator)
        if again:  # it is the data that are others
            found = self.provenance.differences(level=level, scale=scale)
        else:
            found = self.provenance.differences(
                task=self.use.task,
                grid=grid if isinstance(grid, Grid) else None,
                scan=scan if isinstance(scan, Scan) else None,
                noise=self.use.noise,
                level=level,
                scale=scale,
            )
        self.provenance.warn(found, stacklevel=stacklevel + 1)

    def contradiction(
        self, image: torch.Tensor, sinogram: torch.Tensor, operator: LinearOperator
    ) -> str | None:
        """Return in words that an image has nothing to do with its data, None if it may have.

        It is looked at where the scan of the training is known; others are nobody's promise.
        """
        if self.provenance.scan is None:
            return None
        with torch.no_grad():
            projected, data = operator(image.detach()), sinogram.detach().to(image.dtype)
            axes = tuple(range(-len(operator.range_shape), 0))
            misfit = torch.linalg.vector_norm(projected - data, dim=axes)
            size = torch.linalg.vector_norm(data, dim=axes)
            # written so that a misfit that is not a number counts
            wrong = ~(misfit <= _CONTRADICTION * size) & (size > 0)
            if not bool(wrong.any()):
                return None
            ratio = float((misfit / size)[wrong].nan_to_num(math.inf).max())
        return (
            f"{self.provenance.name}: the image contradicts its data, {ratio:.3g} times as much as "
            f"an image of zeros would (values of {float(image.amin()):.3g} to "
            f"{float(image.amax()):.3g}): the network is far from what it was trained for"
        )


def image_level(sinogram: torch.Tensor, operator: LinearOperator) -> float:
    """Return about what the largest absolute value of the image behind a sinogram is.

    That of its smooth filtered back-projection, where there is one; otherwise of its
    back-projection, divided by that of an image of ones: the mean over the rays of a pixel.
    """
    with torch.no_grad():
        sinogram = sinogram.detach()
        if isinstance(operator, RayTransform):
            try:
                return float(
                    filtered_backprojection(sinogram, operator, "hann", 1.0, 1).abs().amax()
                )
            except TomolearnError:  # no filtered back-projection of this scan
                pass
        ones = sinogram.new_ones(operator.domain_shape)
        weights = operator.T(operator(ones))
        mean = operator.T(sinogram) / weights.clamp_min(1e-3 * weights.amax())
        return float(mean.abs().amax())


def _close(one: Any, other: Any) -> bool:
    """Compare what JSON knows, numbers up to rounding."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)
    return bool(one == other)


def _same_grid(trained: dict[str, Any], grid: Grid) -> bool:
    return _close(trained, grid.to_dict())


def _same_scan(trained: dict[str, Any], scan: Scan) -> bool:
    if _close(trained, scan.to_dict()):
        return True
    known = geometry_from_dict(trained)
    if not isinstance(known, Scan) or known.shape != scan.shape or scan.ndim != 2:
        return False
    # angles that are listed, or views one by one, may be the same rays
    scale = _CLOSE * max(scan.bin_sizes) * max(scan.shape)
    pairs = zip(known.rays(), scan.rays(), strict=True)
    return all(np.allclose(one, other, atol=scale) for one, other in pairs)


def _same_noise(trained: Mapping[str, Any], noise: Mapping[str, Any]) -> bool:
    """Compare noise; where the training had a range of levels, its ends are listed."""

    def relevant(values: Mapping[str, Any]) -> dict[str, Any]:
        # what an image value stands for is a matter of the images' scale, which is compared apart
        unrelated = ("attenuation", "floor")
        return {key: value for key, value in values.items() if key not in unrelated}

    known, found = relevant(trained), relevant(noise)
    for name, values in known.items():
        if isinstance(values, (list, tuple)) and isinstance(found.get(name), (int, float)):
            low, high = values
            known[name] = min(max(found[name], low), high)
    return _close(known, found)


def _noise(noise: Mapping[str, Any]) -> str:
    if not noise:
        return "no noise"
    kind, *values = noise.items()
    listed = ", ".join(f"{name}={_level(value)}" for name, value in values if value is not None)
    return f"{kind[1]}({listed})"


def _level(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
