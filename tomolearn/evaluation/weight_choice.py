"""Choice of a prior's weight without a truth: left-out views, discrepancy principle."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.catalogue import get_method
from tomolearn.methods import METHODS, Method
from tomolearn.methods.checks import check_linear_operator, check_sinogram, weighted_data
from tomolearn.methods.variational.noise_levels import column_norm, photon_noise_level
from tomolearn.operators import Diagonal, LinearOperator, RayTransform

RULES = ("left-out-views", "discrepancy")

_FACTOR = 4.0  # between the weights that are tried first
_MOST_STEPS = 10  # of this factor
_GOLDEN = (math.sqrt(5) - 1) / 2
_CLOSE = 0.005  # relative, of the misfit that is asked for


@dataclass(frozen=True)
class WeightChoice:
    """A weight that was chosen from data, and what was tried.

    Parameters
    ----------
    weight : float
        The weight.
    rule : str
        "left-out-views" or "discrepancy".
    weights, errors : tuple of float
        The curve: weights that were tried, ascending, and what the rule looks at: the root mean
        square of the residuals in left-out bins, or in all bins.
    target : float or None
        What the errors are to be, by the discrepancy principle.
    """

    weight: float
    rule: str
    weights: tuple[float, ...]
    errors: tuple[float, ...]
    target: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return dataclasses.asdict(self)


def choose_weight(
    method: str | Method,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    weights: torch.Tensor | None = None,
    rule: str = "left-out-views",
    noise_level: float | None = None,
    photons: float | None = None,
    electronic_std: float = 0.0,
    tau: float = 1.0,
    parts: int = 5,
    accuracy: float = 1.15,
) -> WeightChoice:
    """Choose the weight of a method's prior from the data alone, without a true image.

    ``"left-out-views"``
        Each `parts`-th view is left out, the image is reconstructed from the others, and the weight
        is the one with which it predicts the views left out best [1]_: up to a constant, the noise,
        its error in them is that of the image as these views see it. It is found by golden section
        of ``log(weight)``, and is divided by the root of the part of the views that was used, since
        back-projected noise grows with the root of their number. Nothing of the noise has to be
        known but that it is independent between views.
    ``"discrepancy"``
        The residual has the size of the noise [2]_: ``||A x - y|| = tau * noise_level *
        sqrt(bins)``. It grows with the weight, whose logarithm is found by regula falsi. An image
        that fits the noise as well has a smaller residual, so that this rule chooses weights that
        are too large: on the same scans it lost 0.5 to 2.3 dB.

    Reconstructions begin with the one of the nearest weight. All images of a batch have one weight.

    Parameters
    ----------
    method : str or Method
        A method with a setting ``weight``: tv, tikhonov, variational, a trained prior. Its own
        weight, if it has one, is where the search begins.
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : LinearOperator
        The scanner; a `RayTransform` where views are left out.
    weights : torch.Tensor, optional
        What each measured value counts, as for the method; residuals are weighted like this, too.
    rule : {"left-out-views", "discrepancy"}
        Rule.
    noise_level, photons, electronic_std : float
        Standard deviation of the noise in a bin, or photons per detector element without an object
        and electronic noise in photons, for images in 1/mm. The discrepancy principle needs one of
        the two; with weights the noise level, that in a bin of weight one: 1 if weights are
        inverse variances, as of measured counts.
    tau : float
        Factor of the noise in the discrepancy principle.
    parts : int
        One view of so many is left out, at least 2.
    accuracy : float
        Factor by which the weight of left-out views may be off, above 1.

    Returns
    -------
    WeightChoice
        With the weight and the curve.

    Raises
    ------
    TypeError, ValueError
        If an argument will not do, the method has no weight, the operator no views, or no weight
        within a factor of a million of the first fulfils the rule.

    References
    ----------
    .. [1] J. Batson, L. Royer, "Noise2Self: blind denoising by self-supervision", ICML 2019,
       arXiv:1901.11365
    .. [2] V. A. Morozov, "On the solution of functional equations by the method of regularization",
       Soviet Math. Dokl. 7 (1966)

    Examples
    --------
    >>> choice = choose_weight("tv", y, A)
    >>> x = tl.total_variation(y, A, weight=choice.weight)
    """
    check_choice("rule", rule, RULES)
    chosen = _checked_method(method)
    check_linear_operator("operator", operator)
    if weights is not None:
        if photons is not None:
            raise TomolearnError(
                "photons: expected noise_level with weights, the noise in a bin of weight one, got "
                "photons"
            )
        sinogram, _ = weighted_data(sinogram, operator, weights)
        weights = weights.detach().to(sinogram)
    sinogram = check_sinogram(sinogram, operator).detach()
    if sinogram.numel() == 0:
        raise TomolearnError("sinogram: expected at least one image, got an empty batch")
    check_float("tau", tau, positive=True)
    if check_float("accuracy", accuracy, positive=True) <= 1:
        raise TomolearnError(f"accuracy: expected a factor above 1, got {accuracy:g}")
    noise = _noise(sinogram, operator, noise_level, photons, electronic_std)
    start = _first_weight(chosen, sinogram, operator, weights, noise)
    if rule == "left-out-views":
        return _by_left_out_views(
            chosen, sinogram, operator, weights, start, parts, math.log(accuracy)
        )
    if noise is None:
        raise TomolearnError("noise_level: expected it or photons with discrepancy, got neither")
    return _by_discrepancy(chosen, sinogram, operator, weights, start, tau * noise)


def _by_left_out_views(
    method: Method,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    weights: torch.Tensor | None,
    start: float,
    parts: int,
    accuracy: float,
) -> WeightChoice:
    if not isinstance(operator, RayTransform):
        raise TomolearnTypeError(
            "operator: expected a RayTransform, whose views can be left out, got "
            f"{type(operator).__name__}; rule='discrepancy' takes any"
        )
    count = operator.scan.n_angles
    if check_int("parts", parts, minimum=2) > count:
        raise TomolearnError(f"parts: expected at most the {count} views, got {parts}")
    out = np.arange(count) % parts == parts // 2
    (kept, data, counted), (left, unseen, others) = (
        (
            RayTransform.derived(
                operator.grid, operator.scan.subset(views), operator.backend, operator.rays_per_bin
            ),
            _of_views(sinogram, operator, views),
            None if weights is None else _of_views(weights, operator, views),
        )
        for views in (~out, out)
    )
    curve = _Curve(method, data, kept, counted, lambda image: _rms(left(image) - unseen, others))
    middle = math.log(start)
    low, high = middle - math.log(_FACTOR), middle + math.log(_FACTOR)
    for _ in range(_MOST_STEPS):
        if curve(middle) > curve(low):
            low, middle, high = 2 * low - middle, low, middle
        elif curve(middle) > curve(high):
            low, middle, high = middle, high, 2 * high - middle
        else:
            break
    else:
        toward = "smaller" if middle < math.log(start) else "larger"
        raise TomolearnError(
            "rule: expected a weight that predicts the left-out views best, but they are "
            f"predicted the better the {toward} it is, from {start:.3g} to {math.exp(middle):.3g}; "
            "choose another rule, or look whether sinogram and scan belong together"
        )
    while high - low > 2 * accuracy:
        # the middle lies where the golden section wants it from the second step on
        right = high - middle >= middle - low
        tried = middle + (1 - _GOLDEN) * (high - middle if right else low - middle)
        better = curve(tried) < curve(middle)
        if right:
            low, middle, high = (middle, tried, high) if better else (low, middle, tried)
        else:
            low, middle, high = (low, tried, middle) if better else (tried, middle, high)
    factor = math.sqrt(1 - float(out.mean()))
    return curve.choice(math.exp(middle) / factor, "left-out-views", factor)


def _of_views(values: torch.Tensor, operator: RayTransform, views: np.ndarray) -> torch.Tensor:
    """Return the values of some views of sinograms, or of weights."""
    axis = values.ndim - len(operator.range_shape)
    return values.index_select(axis, torch.from_numpy(views.nonzero()[0]).to(values.device))


def _by_discrepancy(
    method: Method,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    weights: torch.Tensor | None,
    start: float,
    target: float,
) -> WeightChoice:
    curve = _Curve(
        method, sinogram, operator, weights, lambda image: _rms(operator(image) - sinogram, weights)
    )
    step = math.log(_FACTOR)
    known = math.log(start)
    up = curve(known) < target
    for _ in range(_MOST_STEPS):
        tried = known + step if up else known - step
        if (curve(tried) < target) != up:
            break
        known = tried
    else:
        size = "small" if up else "large"
        remedy = (
            "no image would have one as large: the noise is less"
            if up
            else "the noise is more, tau larger, or more iterations are needed"
        )
        raise TomolearnError(
            f"noise_level: expected one that a residual can have, got {target:.3g}, and residuals "
            f"as {size} as {curve(known):.3g} in a bin with the weight {math.exp(known):.3g}; "
            f"{remedy}"
        )
    low, high = sorted((known, tried))
    below, above = (math.log(max(curve(t), 1e-300) / target) for t in (low, high))
    while high - low > _CLOSE:
        # Illinois' rule: an end that stays counts half
        middle = low + (high - low) * below / (below - above)
        middle = min(max(middle, low + 0.05 * (high - low)), high - 0.05 * (high - low))
        found = math.log(max(curve(middle), 1e-300) / target)
        if abs(found) <= _CLOSE:
            return curve.choice(math.exp(middle), "discrepancy", target=target)
        if found < 0:
            low, below, above = middle, found, above / 2
        else:
            high, above, below = middle, found, below / 2
    return curve.choice(math.exp((low + high) / 2), "discrepancy", target=target)


class _Curve:
    """Errors by the logarithm of the weight; each reconstruction begins with the nearest one."""

    def __init__(
        self,
        method: Method,
        data: torch.Tensor,
        operator: LinearOperator,
        weights: torch.Tensor | None,
        error: Callable[[torch.Tensor], float],
    ) -> None:
        self._method, self._data, self._operator, self._error = method, data, operator, error
        self._weighting = {} if weights is None else method.weighting(weights)
        self._errors: dict[float, float] = {}
        self._images: dict[float, torch.Tensor] = {}

    def __call__(self, logarithm: float) -> float:
        if logarithm not in self._errors:
            method: Any = dataclasses.replace(self._method, weight=math.exp(logarithm))  # type: ignore[call-arg]
            near = min(self._images, key=lambda t: abs(t - logarithm), default=None)
            start = None if near is None else self._images[near]
            image = method(self._data, self._operator, x0=start, **self._weighting)
            self._images[logarithm] = image
            self._errors[logarithm] = self._error(image)
        return self._errors[logarithm]

    def choice(
        self, weight: float, rule: str, factor: float = 1.0, target: float | None = None
    ) -> WeightChoice:
        """Return a weight with the curve, whose weights are divided by a factor."""
        logarithms = sorted(self._errors)
        return WeightChoice(
            weight,
            rule,
            tuple(math.exp(t) / factor for t in logarithms),
            tuple(self._errors[t] for t in logarithms),
            target,
        )


def _checked_method(method: Any) -> Method:
    chosen = get_method(method) if isinstance(method, str) else method
    if not isinstance(chosen, Method):
        raise TomolearnTypeError(
            f"method: expected a Method or the name of one, got {type(method).__name__}"
        )
    if "weight" not in [one.name for one in chosen.settings()]:
        known = [
            name for name, kind in METHODS.items() if "weight" in {s.name for s in kind.settings()}
        ]
        raise TomolearnError(
            f"method: expected one with a weight, such as {', '.join(known)} or a trained prior, "
            f"got {chosen.name}"
        )
    return chosen


def _noise(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    noise_level: float | None,
    photons: float | None,
    electronic_std: float,
) -> float | None:
    """Return the root mean square of the noise in a bin, None if it is not known."""
    if noise_level is not None and photons is not None:
        raise TomolearnError("noise_level: expected it or photons, got both")
    if noise_level is not None:
        return check_float("noise_level", noise_level, positive=True)
    if photons is None:
        return None
    levels = photon_noise_level(
        sinogram,
        photons=check_float("photons", photons, positive=True),
        electronic_std=check_float("electronic_std", electronic_std, nonnegative=True),
        ndim=len(operator.range_shape),
    )
    return math.sqrt(float(levels.square().mean()))


def _first_weight(
    method: Any,
    sinogram: torch.Tensor,
    operator: LinearOperator,
    weights: torch.Tensor | None,
    noise: float | None,
) -> float:
    """Return the method's weight, or the size of the noise in a pixel, back-projected."""
    if method.weight:
        return float(method.weight)
    if noise is None:
        # second differences of neighbouring bins are noise for the most part
        squares = sinogram.double().diff(n=2, dim=-1).square()
        if weights is not None:
            squares = squares * weights.unfold(-1, 3, 1).amin(-1)  # none of a dead bin
        if squares.numel():
            noise = math.sqrt(float(squares.mean()) / 6)
    if weights is not None:
        mean = weights.reshape(-1, *operator.range_shape).mean(0)
        operator = Diagonal(mean.sqrt()) @ operator
    weight = (noise or 0.0) * column_norm(operator)
    if not weight > 0:
        raise TomolearnError(
            "sinogram: expected one with noise, from which a first weight could be taken, got "
            "none; give the method a weight to begin with"
        )
    return weight


def _rms(residual: torch.Tensor, weights: torch.Tensor | None = None) -> float:
    """Return the root mean square of residuals, times the roots of their weights if they count."""
    if weights is None:
        return math.sqrt(float(residual.square().mean(dtype=torch.float64)))
    weights = weights.expand_as(residual)
    total = float((weights * residual.square()).sum(dtype=torch.float64))
    return math.sqrt(total / max(int((weights > 0).sum()), 1))
