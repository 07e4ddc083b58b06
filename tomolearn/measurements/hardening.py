"""Beam hardening corrected by the object's own path lengths.

A reconstruction is segmented, its materials are projected to path lengths, a curve of the measured
line integrals over these is fitted, and inverted: what comes out is proportional to the length.
Neither spectrum nor attenuation has to be known.

The curve is that of two energies (E. Van de Casteele et al., "An energy-based beam hardening model
in tomography", Phys. Med. Biol. 47 (2002), doi:10.1088/0031-9155/47/23/305): increasing, concave
and linear in the long run whatever its parameters, unlike a polynomial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tomolearn._core.checks import check_floats, check_int
from tomolearn._core.errors import ConvergenceWarning, TomolearnError, TomolearnTypeError
from tomolearn._core.telling import warn_user

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator

_Array = NDArray[np.float64]
# So many values determine a handful of parameters; more of them only take time.
_MOST_FITTED = 50_000
_NEWTON_STEPS = 100
# Attenuation of a thin layer over the mean: what the curve says beyond is made up.
_STEEPEST = 4.0


@dataclass(frozen=True)
class HardeningCurve:
    """Line integrals of polychromatic rays over path lengths, as of two energies.

    With lengths ``l`` of the materials it is ``b l + log((1 + s) / (1 + s exp(-d l)))``: of
    photons of which ``1 / (1 + s)`` are attenuated by ``b`` and the others by ``b + d``.

    Parameters
    ----------
    hard, difference : tuple of float
        Attenuation of each material at the higher energy, ``b``, and how much more it is at the
        lower one, ``d``, both in 1/mm.
    soft_share : float
        Photons of the lower energy over those of the higher, ``s``.
    """

    hard: tuple[float, ...]
    difference: tuple[float, ...]
    soft_share: float

    @property
    def attenuation(self) -> tuple[float, ...]:
        """Attenuation in 1/mm of a thin layer of each material, by which rays are corrected."""
        part = self.soft_share / (1 + self.soft_share)
        return tuple(b + part * d for b, d in zip(self.hard, self.difference, strict=True))

    def __call__(self, lengths: _Array) -> _Array:
        """Return line integrals of rays through lengths in mm, array (..., materials)."""
        values: _Array = lengths @ np.array(self.hard) + np.log1p(self.soft_share)
        soft = self.soft_share * np.exp(-(lengths @ np.array(self.difference)))
        return values - np.log1p(soft)

    def corrected(self, line_integrals: _Array, shares: _Array) -> _Array:
        """Return what the line integrals would be if attenuation were that of thin layers.

        Parameters
        ----------
        line_integrals : numpy.ndarray
        shares : numpy.ndarray, shape (*line_integrals.shape, materials)
            Share of each material in the length of the ray; a ray has the length that explains its
            line integral. What is not positive stays.
        """
        hard, difference = shares @ np.array(self.hard), shares @ np.array(self.difference)
        thin = shares @ np.array(self.attenuation)
        y = np.maximum(line_integrals, 0)
        # from below, the tangents of a concave curve lead to its root without overshooting
        length = y / thin
        for _ in range(_NEWTON_STEPS):
            soft = self.soft_share * np.exp(-difference * length)
            value = hard * length + np.log1p(self.soft_share) - np.log1p(soft)
            step = (y - value) / (hard + difference * soft / (1 + soft))
            length = length + step
            if np.abs(step * thin).max(initial=0) < 1e-10:
                break
        else:
            raise TomolearnError(
                f"line_integrals: expected some that the curve reaches, got up to {y.max():.4g}, "
                f"where its slope has fallen to {min(self.hard):.3g}/mm"
            )
        return np.where(line_integrals > 0, length * thin, line_integrals)


@dataclass(frozen=True, eq=False)
class HardeningCorrection:
    """Line integrals without beam hardening, and how they were found.

    Attributes
    ----------
    line_integrals : torch.Tensor
        Proportional to path lengths, of the shape of those measured.
    curve : HardeningCurve
        What was fitted and inverted.
    thresholds : tuple of float
        Between background and materials, in the image that was last segmented.
    residual, linear_residual : float
        Root mean square of what the curve leaves of the measured line integrals, and of what
        straight lines would leave.
    """

    line_integrals: torch.Tensor
    curve: HardeningCurve
    thresholds: tuple[float, ...]
    residual: float
    linear_residual: float


def correct_hardening(
    line_integrals: torch.Tensor,
    operator: LinearOperator,
    *,
    materials: int = 1,
    weights: torch.Tensor | None = None,
    image: torch.Tensor | None = None,
    reconstruct: Callable[[torch.Tensor, LinearOperator], torch.Tensor] | None = None,
    thresholds: tuple[float, ...] | None = None,
    passes: int = 2,
) -> HardeningCorrection:
    """Correct beam hardening by path lengths of a segmented reconstruction.

    Parameters
    ----------
    line_integrals : torch.Tensor, shape (*operator.range_shape)
        Of polychromatic rays. The correction is a constant to torch: it follows no gradient.
    operator : LinearOperator
        Ray transform from the image's grid to the scan.
    materials : {1, 2}
        Number of materials beside the background; of two the brighter is the last.
    weights : torch.Tensor, optional
        One per value, not negative; where it is zero the value is neither fitted nor changed.
    image : torch.Tensor, shape (*operator.domain_shape), optional
        Reconstruction to segment first. Default: that of `reconstruct`.
    reconstruct : callable, optional
        Called as ``reconstruct(line_integrals, operator)``. Default: filtered back-projection.
    thresholds : tuple of float, optional
        One per material, increasing, in 1/mm. Default: Otsu's of each image.
    passes : int
        How often image, lengths and curve are made; each pass begins with what the last corrected.

    Returns
    -------
    HardeningCorrection

    Raises
    ------
    TypeError, ValueError
        If an argument is not of its kind, the image has nothing to segment, or no ray passes a
        material.

    Warns
    -----
    ConvergenceWarning
        If the curve could not be fitted, or lengths do not explain the line integrals.

    Examples
    --------
    >>> found = tl.measurements.correct_hardening(y, A)
    >>> x = tl.total_variation(found.line_integrals, A, weight=0.2)
    """
    import torch

    from tomolearn.methods import fbp
    from tomolearn.methods.checks import check_finite, check_linear_operator

    check_linear_operator("operator", operator)
    _check_shape("line_integrals", line_integrals, operator.range_shape)
    check_int("materials", materials, minimum=1, maximum=2)
    check_int("passes", passes, minimum=1)
    if thresholds is not None:
        thresholds = check_floats("thresholds", thresholds, length=materials)
    live = torch.ones_like(line_integrals, dtype=torch.bool)
    if weights is not None:
        _check_shape("weights", weights, operator.range_shape)
        check_finite("weights", weights)
        if bool((weights < 0).any()):
            raise TomolearnError(f"weights: expected none below 0, got {float(weights.min()):.4g}")
        live = weights > 0
    y = torch.where(live, line_integrals.detach(), torch.zeros_like(line_integrals))
    check_finite("line_integrals", y)
    if image is not None:
        _check_shape("image", image, operator.domain_shape)
    corrected = y
    for _ in range(passes):
        if image is None:
            image = (reconstruct or fbp)(corrected, operator)
        segments, levels = segmented(image, materials, thresholds)
        lengths = operator(segments.to(y)).movedim(0, -1).double().cpu().numpy()
        measured = y.double().cpu().numpy()
        curve, residual, linear = _fitted(measured, lengths, live.cpu().numpy(), weights)
        values = curve.corrected(measured, _shares(lengths))
        corrected = torch.where(live, torch.from_numpy(values).to(y), line_integrals.detach())
        image = None
    return HardeningCorrection(corrected, curve, levels, residual, linear)


def _check_shape(name: str, tensor: Any, shape: tuple[int, ...]) -> None:
    import torch

    if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
        kind = tensor.dtype if isinstance(tensor, torch.Tensor) else type(tensor).__name__
        raise TomolearnTypeError(f"{name}: expected a torch.Tensor of real numbers, got {kind}")
    if tuple(tensor.shape) != shape:
        raise TomolearnError(f"{name}: expected shape {shape}, got {tuple(tensor.shape)}")


def segmented(
    image: torch.Tensor, materials: int, thresholds: tuple[float, ...] | None = None
) -> tuple[torch.Tensor, tuple[float, ...]]:
    """Return where each material is, by thresholds.

    Parameters
    ----------
    image : torch.Tensor, shape (*grid.shape)
    materials : int
        Number of classes beside the background.
    thresholds : tuple of float, optional
        One per material. Default: those of Otsu (doi:10.1109/TSMC.1979.4310076), for several
        classes.

    Returns
    -------
    torch.Tensor of bool, shape (materials, *grid.shape); tuple of float

    Raises
    ------
    ValueError
        If the image has fewer values than classes, or a material is nowhere.
    """
    import torch
    from skimage.filters import threshold_multiotsu

    values = image.detach().double().cpu().numpy()
    if thresholds is None:
        try:
            thresholds = tuple(threshold_multiotsu(values, materials + 1).tolist())
        except ValueError as error:
            raise TomolearnError(
                f"image: expected at least {materials + 1} levels to segment, got fewer"
            ) from error
    classes = np.digitize(values, thresholds)
    segments = torch.from_numpy(np.stack([classes == k + 1 for k in range(materials)]))
    for level, segment in zip(thresholds, segments, strict=True):
        if not segment.any():
            raise TomolearnError(
                f"thresholds: expected values between them, got none next above {level:.4g} in "
                f"an image of {values.min():.4g} to {values.max():.4g}"
            )
    return segments, thresholds


def _shares(lengths: _Array) -> _Array:
    """Return the share of each material in a ray; beside the object all is the first one."""
    total = lengths.sum(-1, keepdims=True)
    first = np.eye(lengths.shape[-1])[0]
    shares: _Array = np.where(total > 0, lengths / np.where(total > 0, total, 1), first)
    return shares


def _fitted(
    measured: _Array, lengths: _Array, live: NDArray[np.bool_], weights: torch.Tensor | None
) -> tuple[HardeningCurve, float, float]:
    """Return the curve of least squares, its residual and that of straight lines."""
    from scipy.optimize import least_squares, nnls

    seen = live & (lengths.sum(-1) > 0)
    if not seen.any():
        raise TomolearnError("image: expected a material in some measured ray, got none")
    y, rays = measured[seen], lengths[seen]
    roots = np.ones_like(y) if weights is None else np.sqrt(weights.cpu().numpy()[seen])
    roots = roots / np.sqrt((roots**2).mean())
    step = -(-len(y) // _MOST_FITTED)
    y, rays, roots = y[::step], rays[::step], roots[::step]
    slopes, _ = nnls(rays * roots[:, None], y * roots)
    if not (slopes > 0).all():
        raise TomolearnError(
            "line_integrals: expected them to grow with the length in every material, got slopes "
            f"{', '.join(f'{s:.3g}' for s in slopes)}/mm"
        )
    materials = len(slopes)

    def curve(parameters: _Array) -> HardeningCurve:
        hard, difference = parameters[:-1].reshape(2, materials)
        return HardeningCurve(
            tuple((hard * slopes).tolist()),
            tuple((difference * slopes).tolist()),
            float(parameters[-1]),
        )

    # in units of the slopes; half of the photons soft and half hard to begin with
    start = np.array([0.5] * materials + [1.0] * materials + [1.0])
    least = np.array([1e-3] * materials + [0.0] * materials + [0.0])
    found = least_squares(
        lambda p: (curve(p)(rays) - y) * roots, start, bounds=(least, 100.0), x_scale=start
    )
    if not found.success:
        warn_user(f"hardening: the curve was not fitted: {found.message}", ConvergenceWarning)
    steepest = float(np.max(np.array(curve(found.x).attenuation) / slopes))
    if steepest > _STEEPEST:
        warn_user(
            f"hardening: a thin layer would attenuate {steepest:.3g} times as much as a thick one, "
            f"more than {_STEEPEST:g} of any tube: the lengths do not explain the line integrals; "
            "are there more materials, scatter, or another threshold?",
            ConvergenceWarning,
        )
    rms = np.sqrt(np.mean(found.fun**2))
    linear = np.sqrt(np.mean(((rays @ slopes - y) * roots) ** 2))
    return curve(found.x), float(rms), float(linear)
