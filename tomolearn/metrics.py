"""Image metrics: PSNR and SSIM with an explicit data range, regressed SNR, segmentation.

The same images score 3 dB or 0.17 SSIM better or worse under another convention, so a number is
comparable with a published one only under the convention of that publication: see `CONVENTIONS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from tomolearn._core.checks import check_choice, check_float, check_floats, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tables import Table
from tomolearn._core.tensors import check_real_tensor

DataRange = float | str

# Part of the largest value below which contrast is rounding in float32.
_ROUNDING = 1e-6

# Of images whose pixels are the last axis.
_NAMED_RANGES: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {
        "reference": lambda reference: reference.amax(-1) - reference.amin(-1),
        "reference-max": lambda reference: reference.amax(-1),
    }
)


def _checked_range(name: str, data_range: DataRange) -> DataRange:
    if isinstance(data_range, str):
        return check_choice(name, data_range, tuple(_NAMED_RANGES))
    return check_float(name, data_range, positive=True)


def psnr(
    image: torch.Tensor, reference: torch.Tensor, *, data_range: DataRange, ndim: int = 2
) -> torch.Tensor:
    """Return the peak signal-to-noise ratio of each image in dB.

    10 log10(L^2 / mean squared error), L being the data range.

    Parameters
    ----------
    image, reference : torch.Tensor, shape (..., *spatial axes)
        Images and what they should be, of any floating type, on one device.
    data_range : float or {"reference", "reference-max"}
        L: a positive number, or maximum minus minimum, or maximum, of each reference.
    ndim : int
        Number of spatial axes: 2 for images (..., rows, columns), 3 for volumes (..., slices, rows,
        columns), each of which is one image.

    Returns
    -------
    torch.Tensor of float64, shape (...)
        One value per image, on the images' device, without gradient; infinite where image and
        reference are equal.

    Raises
    ------
    TypeError, ValueError
        If an image is not a real floating-point tensor, or ``data_range`` no number; if shapes or
        devices differ, a value is not finite, or a data range is unknown or not positive.
    """
    x, y = _checked_images(image, reference, smallest=1, ndim=ndim)
    x, y = x.flatten(-ndim), y.flatten(-ndim)
    peak = _peak(data_range, y)
    error = (x - y).square().mean(-1)
    return 20 * torch.log10(peak) - 10 * torch.log10(error)


def ssim(
    image: torch.Tensor,
    reference: torch.Tensor,
    *,
    data_range: DataRange,
    window: int | str = 7,
    ndim: int = 2,
) -> torch.Tensor:
    """Return the mean structural similarity of each image [1]_.

    scikit-image computes it, in float64 on the CPU, with K1 = 0.01, K2 = 0.03, averaged over the
    windows that lie inside the image: by default of uniform windows with sample covariances, or of
    the publication's Gaussian ones.

    Parameters
    ----------
    image, reference : torch.Tensor, shape (..., *spatial axes)
        Images and what they should be, of any floating type, on one device. Images on an
        accelerator are copied to the host.
    data_range : float or {"reference", "reference-max"}
        L in the constants (K1 L)^2 and (K2 L)^2: a positive number, or maximum minus minimum, or
        maximum, of each reference.
    window : int or "gaussian"
        Side of the window in pixels, odd and at least 3; a square, of volumes a cube. "gaussian":
        11 pixels wide, with a standard deviation of 1.5 and covariances divided by n.
    ndim : int
        Number of spatial axes, as for `psnr`.

    Returns
    -------
    torch.Tensor of float64, shape (...)
        One value per image, on the images' device, without gradient.

    Raises
    ------
    TypeError, ValueError
        If an image is not a real floating-point tensor, ``data_range`` no number or ``window`` no
        integer; if shapes or devices differ, a value is not finite, a data range is unknown or not
        positive, ``window`` is even, below 3 or an unknown name, or the images are smaller than it.

    References
    ----------
    .. [1] Z. Wang, A. C. Bovik, H. R. Sheikh, E. P. Simoncelli, "Image quality assessment: from
       error visibility to structural similarity", IEEE Trans. Image Process. 13 (2004),
       doi:10.1109/TIP.2003.819861
    """
    side, how = _window(window)
    x, y = _checked_images(image, reference, smallest=side, ndim=ndim)
    peaks = _peak(data_range, y.flatten(-ndim))

    from skimage.metrics import structural_similarity

    spatial = x.shape[-ndim:]
    values = [
        structural_similarity(one, other, win_size=side, data_range=peak, **how)
        for one, other, peak in zip(
            x.reshape(-1, *spatial).cpu().numpy(),
            y.reshape(-1, *spatial).cpu().numpy(),
            peaks.reshape(-1).tolist(),
            strict=True,
        )
    ]
    return torch.tensor(values, dtype=torch.float64, device=image.device).reshape(peaks.shape)


def _window(window: int | str) -> tuple[int, dict[str, Any]]:
    """Return the side of a window and the further arguments of scikit-image."""
    if isinstance(window, str):
        check_choice("window", window, ("gaussian",))
        return 11, {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    side = check_int("window", window, minimum=3)
    if side % 2 == 0:
        raise TomolearnError(f"window: expected an odd number of pixels, got {side}")
    return side, {}


def regressed_snr(image: torch.Tensor, reference: torch.Tensor, *, ndim: int = 2) -> torch.Tensor:
    """Return the signal-to-noise ratio in dB of each image after its best affine fit [1]_.

    The maximum over a and b of 20 log10(||y|| / ||a x + b - y||) with the image x and the reference
    y. Unlike PSNR it refers to no data range, and forgives a wrong scale and a wrong offset.

    Parameters
    ----------
    image, reference : torch.Tensor, shape (..., *spatial axes)
        Images and what they should be, of any floating type, on one device.
    ndim : int
        Number of spatial axes, as for `psnr`.

    Returns
    -------
    torch.Tensor of float64, shape (...)
        One value per image, on the images' device, without gradient. It changes when a constant
        is added to the reference. Infinite, or limited by rounding, for a perfect fit.

    Raises
    ------
    TypeError, ValueError
        If an image is not a real floating-point tensor; if shapes or devices differ, a value is not
        finite, or a reference is zero.

    References
    ----------
    .. [1] K. H. Jin, M. T. McCann, E. Froustey, M. Unser, "Deep convolutional neural network for
       inverse problems in imaging", IEEE Trans. Image Process. 26 (2017),
       doi:10.1109/TIP.2017.2713099
    """
    x, y = _checked_images(image, reference, smallest=1, ndim=ndim)
    x, y = x.flatten(-ndim), y.flatten(-ndim)
    signal = y.square().sum(-1)
    if not bool((signal > 0).all()):
        raise TomolearnError("reference: expected no image of zeros only, got one")
    x, y = (values - values.mean(-1, keepdim=True) for values in (x, y))
    energy = x.square().sum(-1, keepdim=True)
    # A constant image tells nothing about the reference: its best fit is the reference's mean.
    slope = torch.where(energy > 0, (x * y).sum(-1, keepdim=True) / energy, 0.0)
    error = (slope * x - y).square().sum(-1)
    return 10 * (torch.log10(signal) - torch.log10(error))


@dataclass(frozen=True)
class MetricConvention:
    """How a publication computes PSNR and SSIM.

    Parameters
    ----------
    name : str
        What it is called in tables.
    psnr_range, ssim_range : float or {"reference", "reference-max"}
        Data ranges, see `psnr` and `ssim`.
    clip : (float, float), optional
        Interval that image and reference are clipped to beforehand.
    absolute : bool
        Whether image and reference are replaced by their absolute values beforehand.

    Raises
    ------
    TypeError, ValueError
        If a range is neither a positive number nor a known name, or ``clip`` not an increasing
        pair.
    """

    name: str
    psnr_range: DataRange
    ssim_range: DataRange
    clip: tuple[float, float] | None = None
    absolute: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise TomolearnTypeError(f"name: expected a string, got {self.name!r}")
        for field in ("psnr_range", "ssim_range"):
            object.__setattr__(self, field, _checked_range(field, getattr(self, field)))
        if self.clip is not None:
            low, high = check_floats("clip", self.clip, length=2)
            if low >= high:
                raise TomolearnError(f"clip: expected an increasing pair, got {self.clip}")
            object.__setattr__(self, "clip", (low, high))


Metric = Callable[[torch.Tensor, torch.Tensor], float]
"""``f(image, truth) -> float``, both of shape (rows, columns), or (slices, rows, columns)."""


def rmse(image: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the root-mean-square error, in the image's unit."""
    return float((image - truth).double().square().mean().sqrt())


def segment(image: torch.Tensor) -> torch.Tensor:
    """Return the pixels above Otsu's threshold, which parts the values into two classes [1]_.

    scikit-image computes it, in float64 on the CPU. Of a constant image no pixel is above.

    Parameters
    ----------
    image : torch.Tensor
        One image of any floating type and shape.

    Returns
    -------
    torch.Tensor of bool
        Of the image's shape, on its device.

    Raises
    ------
    TypeError, ValueError
        If the image is not a real floating-point tensor, is empty, or has a value that is not
        finite.

    References
    ----------
    .. [1] N. Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. Syst.
       Man Cybern. 9 (1979), doi:10.1109/TSMC.1979.4310076
    """
    check_real_tensor("image", image)
    if image.numel() == 0:
        raise TomolearnError(f"image: expected one pixel at least, got shape {tuple(image.shape)}")
    values = image.detach().to(torch.float64)
    n_bad = int((~torch.isfinite(values)).sum())
    if n_bad:
        raise TomolearnError(f"image: expected finite values, got {n_bad} others")

    from skimage.filters import threshold_otsu

    return values > float(threshold_otsu(values.cpu().numpy()))


def matthews_correlation(image: torch.Tensor, truth: torch.Tensor) -> float:
    """Return the Matthews correlation of the segmented image with the segmented truth [1]_.

    Both are parted by `segment`. It is 1 for equal segmentations, -1 for opposite ones, and 0 by
    convention where one of them has a single class. It is the score of the Helsinki tomography
    challenge 2022.

    Parameters
    ----------
    image, truth : torch.Tensor
        One image and what it should be, of any floating type, of one shape, on one device.

    Raises
    ------
    TypeError, ValueError
        As for `segment`, or if shapes or devices differ.

    References
    ----------
    .. [1] B. W. Matthews, "Comparison of the predicted and observed secondary structure of T4 phage
       lysozyme", Biochim. Biophys. Acta 405 (1975), doi:10.1016/0005-2795(75)90109-9
    """
    x, y = _checked_images(image, truth, smallest=1, ndim=1)
    found, expected = segment(x).double(), segment(y).double()
    found, expected = found - found.mean(), expected - expected.mean()
    energy = float(found.square().sum() * expected.square().sum())
    return float((found * expected).sum()) / math.sqrt(energy) if energy > 0 else 0.0


def dice(found: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return Dice's coefficient 2 |F and L| / (|F| + |L|) of two regions.

    Parameters
    ----------
    found, labels : torch.Tensor, shape (..., rows, columns)
        Probabilities and labels; what is above a half is in the region.

    Returns
    -------
    torch.Tensor, shape (...)
        One number per image, 1 where both regions are empty.

    Raises
    ------
    TypeError, ValueError
        If they are no real tensors of at least two axes, or of different shapes.
    """
    for name, value in (("found", found), ("labels", labels)):
        if check_real_tensor(name, value).ndim < 2:
            raise TomolearnError(f"{name}: expected rows and columns, got {tuple(value.shape)}")
    if found.shape != labels.shape:
        raise TomolearnError(
            f"labels: expected the shape of found, {tuple(found.shape)}, got {tuple(labels.shape)}"
        )
    one, other = found > 0.5, labels > 0.5
    both = (one & other).flatten(-2).sum(-1)
    total = one.flatten(-2).sum(-1) + other.flatten(-2).sum(-1)
    return torch.where(total > 0, 2 * both / total.clamp_min(1), torch.ones_like(both))


def _metric(where: str, value: Any) -> Metric:
    if not callable(value):
        raise TomolearnTypeError(
            f"{where}: expected a function f(image, truth) -> float, got {value!r}"
        )
    metric: Metric = value
    return metric


METRICS: Table[Metric] = Table(
    "metric",
    {
        "rmse": "tomolearn.metrics:rmse",
        "matthews": "tomolearn.metrics:matthews_correlation",
    },
    group="tomolearn.metrics",
    check=_metric,
)
"""Metrics besides PSNR and SSIM, to which other packages add."""

CONVENTIONS: Mapping[str, MetricConvention] = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            MetricConvention("range-1", psnr_range=1.0, ssim_range=1.0),
            MetricConvention("adler", psnr_range=1.0, ssim_range=2.0),
            MetricConvention("dival", psnr_range="reference", ssim_range="reference"),
            MetricConvention("lodopab", psnr_range="reference", ssim_range="reference"),
            MetricConvention("lodopab-fr", psnr_range=1.0, ssim_range=1.0),
            MetricConvention("maximum", psnr_range="reference-max", ssim_range="reference-max"),
            MetricConvention("celledoni", psnr_range="reference-max", ssim_range=2.0),
            MetricConvention(
                "celledoni-code", psnr_range="reference-max", ssim_range=2.0, absolute=True
            ),
            MetricConvention("lunz", psnr_range=1.0, ssim_range=1.0, clip=(0.0, 1.0)),
        )
    }
)
"""Conventions by name:

- "range-1": data range 1 for both metrics.
- "adler": Adler and Öktem, "Learned Primal-Dual Reconstruction", ellipses and Shepp-Logan
  (arXiv:1707.06474). Their script left the range of SSIM to scikit-image, which then took 2 for
  floating-point images, whatever they held.
- "dival": the ellipses benchmark of the DIVal library.
- "lodopab", "lodopab-fr": LoDoPaB-CT (doi:10.1038/s41597-021-00893-z), and its variant with a
  fixed range.
- "celledoni": Celledoni et al., "Equivariant neural networks for inverse problems"
  (arXiv:2102.11504); SSIM as in "adler".
- "celledoni-code": the same as their script has it, of absolute values. It forgives a
  reconstruction what it has below zero: 0.1 to 0.2 dB for FBP.
- "lunz": Lunz, Öktem, Schönlieb, "Adversarial Regularizers in Inverse Problems"
  (arXiv:1805.11572).
"""


def without_metrics(reference: torch.Tensor, convention: MetricConvention) -> list[str | None]:
    """Return why each image (..., rows, columns) has no metrics as a reference, None if it has.

    It has none if it has values that are not finite, is zero everywhere, or, where the convention
    takes a data range from the reference, has no contrast beyond rounding.
    """
    return [_without(one, convention) for one in reference.reshape(-1, *reference.shape[-2:])]


def _without(reference: torch.Tensor, convention: MetricConvention) -> str | None:
    if not bool(torch.isfinite(reference).all()):
        return "with values that are not finite"
    values = reference.detach().to(torch.float64).flatten()
    largest = float(values.abs().max())
    if largest == 0:
        return "zero everywhere"
    if convention.clip is not None:
        values = values.clamp(*convention.clip)
    if convention.absolute:
        values = values.abs()
    for name in {convention.psnr_range, convention.ssim_range} & set(_NAMED_RANGES):
        if float(_NAMED_RANGES[str(name)](values)) <= _ROUNDING * largest:
            return "without contrast"
    return None


@dataclass(frozen=True, eq=False)
class Summary:
    """Values of one metric over a set of images.

    Averages are over the finite values. Of an image without any error PSNR and the regressed SNR
    are infinite: one such image would leave nothing of the others in a mean, so these images are
    counted (`n_exact`) and not averaged, unless all are such.

    Parameters
    ----------
    values : torch.Tensor of float64
        One value per image; not a number where there is none.
    """

    values: torch.Tensor

    @property
    def n(self) -> int:
        """Number of images that have a value, the infinite ones included."""
        return self.values.numel() - int(self.values.isnan().sum())

    @property
    def n_exact(self) -> int:
        """Number of images without error, whose value is infinite."""
        return int(self.values.isposinf().sum())

    @property
    def mean(self) -> float:
        """Mean over the images; infinite if all are exact, not a number if there are none."""
        finite = self._finite
        if finite.numel() == 0:
            return math.inf if self.n_exact else math.nan
        return finite.mean().item()

    @property
    def std(self) -> float:
        """Standard deviation over the images, with n in the denominator; 0 for one image."""
        finite = self._finite
        if finite.numel() == 0:
            return 0.0 if self.n_exact else math.nan
        return finite.std(correction=0).item()

    @property
    def _finite(self) -> torch.Tensor:
        return self.values[self.values.isfinite()]

    def __str__(self) -> str:
        exact = f", {self.n_exact} exact" if self.n_exact else ""
        return f"{self.mean:.4g} ± {self.std:.2g} (n = {self.n}{exact})"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """PSNR and SSIM of a set of images under one convention, as `evaluate` returns them.

    Parameters
    ----------
    convention : MetricConvention
        What the numbers refer to.
    psnr : Summary
        In dB.
    ssim : Summary
        Mean structural similarities.
    """

    convention: MetricConvention
    psnr: Summary
    ssim: Summary

    def to_dict(self) -> dict[str, Any]:
        """Return name and averages, ready for JSON."""
        return {
            "convention": self.convention.name,
            "n": self.psnr.n,
            "psnr_mean": self.psnr.mean,
            "psnr_std": self.psnr.std,
            "ssim_mean": self.ssim.mean,
            "ssim_std": self.ssim.std,
        }


def evaluate(
    image: torch.Tensor,
    reference: torch.Tensor,
    convention: str | MetricConvention,
    *,
    window: int | str = 7,
    ndim: int = 2,
) -> Evaluation:
    """Measure images against their references under a convention.

    Parameters
    ----------
    image, reference : torch.Tensor, shape (..., *spatial axes)
        Images and what they should be, of any floating type, on one device.
    convention : str or MetricConvention
        One of `CONVENTIONS` by name, or one of your own.
    window : int or "gaussian"
        Of the SSIM, see `ssim`.
    ndim : int
        Number of spatial axes, as for `psnr`.

    Returns
    -------
    Evaluation
        Values per image, shape (...), with mean, standard deviation and number.

    Raises
    ------
    TypeError, ValueError
        If an image is not a real floating-point tensor or ``convention`` of another type; if the
        convention is unknown, there are no images, or as for `psnr` and `ssim`.
    """
    if isinstance(convention, str):
        convention = CONVENTIONS[check_choice("convention", convention, tuple(CONVENTIONS))]
    elif not isinstance(convention, MetricConvention):
        raise TomolearnTypeError(
            f"convention: expected a name or a MetricConvention, got {type(convention).__name__}"
        )
    x, y = _checked_images(image, reference, smallest=1, ndim=ndim)
    if x.numel() == 0:
        raise TomolearnError(f"image: expected at least one image, got shape {tuple(x.shape)}")
    if convention.clip is not None:
        x, y = x.clamp(*convention.clip), y.clamp(*convention.clip)
    if convention.absolute:
        x, y = x.abs(), y.abs()
    return Evaluation(
        convention,
        Summary(psnr(x, y, data_range=convention.psnr_range, ndim=ndim)),
        Summary(ssim(x, y, data_range=convention.ssim_range, window=window, ndim=ndim)),
    )


def _checked_images(
    image: torch.Tensor, reference: torch.Tensor, *, smallest: int, ndim: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both as float64 without graph, after all checks that do not need the data range."""
    check_int("ndim", ndim, minimum=1)
    check_real_tensor("image", image)
    check_real_tensor("reference", reference)
    if image.shape != reference.shape:
        raise TomolearnError(
            f"image: expected the shape of the reference, {tuple(reference.shape)}, "
            f"got {tuple(image.shape)}"
        )
    if image.device != reference.device:
        raise TomolearnError(
            f"image: expected the device of the reference, {reference.device}, got {image.device}"
        )
    if image.ndim < ndim or min(image.shape[-ndim:]) < smallest:
        raise TomolearnError(
            f"image: expected {ndim} spatial axes of at least {smallest} pixels each, "
            f"got shape {tuple(image.shape)}"
        )
    for name, tensor in (("image", image), ("reference", reference)):
        n_bad = int((~torch.isfinite(tensor)).sum())
        if n_bad:
            raise TomolearnError(f"{name}: expected finite values, got {n_bad} others")
    return image.detach().to(torch.float64), reference.detach().to(torch.float64)


def _peak(data_range: DataRange, reference: torch.Tensor) -> torch.Tensor:
    """Return the data range of each image (..., pixels) as a tensor."""
    data_range = _checked_range("data_range", data_range)
    if not isinstance(data_range, str):
        return reference.new_full(reference.shape[:-1], data_range)
    peak = _NAMED_RANGES[data_range](reference)
    if not bool((peak > 0).all()):
        raise TomolearnError(
            f"data_range: expected a positive {data_range!r} range of every image, "
            f"got {peak.min().item():g}"
        )
    return peak
