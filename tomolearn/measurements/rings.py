"""Ring artefacts: an offset of each detector bin in the data model, and algotom's filters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tomolearn._core.checks import check_choice, check_count, check_float
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.optional import optional_import
from tomolearn._core.tensors import check_real_tensor, check_trailing_shape
from tomolearn.operators import LinearOperator

# Vo, Atwood, Drakopoulos, "Superior techniques for eliminating ring artifacts in X-ray
# micro-tomography", Optics Express 26 (2018), doi:10.1364/OE.26.028396, and what algotom has else
_ALGOTOM = {
    "all": "remove_all_stripe",
    "large": "remove_large_stripe",
    "dead": "remove_dead_stripe",
    "sorting": "remove_stripe_based_sorting",
    "filtering": "remove_stripe_based_filtering",
    "fitting": "remove_stripe_based_fitting",
    "wavelets": "remove_stripe_based_wavelet_fft",
    "regularization": "remove_stripe_based_regularization",
}


class RingOffsets(LinearOperator):
    """Least squares with an unknown offset of each detector bin, which would be a ring.

    Data are ``A(x) + offset[bin] + noise``. With offsets that are normal and independent of the
    noise, the best offsets for an image are linear in its residual; put in, they leave a
    quadratic data term ``|R (A x - y)|**2``, in which this operator is ``R``, the root of the
    inverse covariance of noise and offsets together. So any method for a linear operator estimates
    the offsets along with the image: it gets ``R @ A`` and ``R(y)``, and no other weights.

    Offsets of neighbouring bins have little to do with each other, unlike the mean of the views:
    only what changes within about `smooth` bins is looked for. Otherwise a round object about the
    axis would be taken for rings as well. A prior such as total variation tells the two apart;
    without one, conjugate gradients need about four times as many iterations as for ``A``.

    Parameters
    ----------
    scan_shape : tuple of int
        Shape of the sinogram, (angles, detectors).
    size : float
        Standard deviation of an offset, over that of a value of weight 1.
    smooth : float
        Standard deviation in bins of the Gaussian that smooths what is no ring.
    weights : torch.Tensor, shape (angles, detectors), optional
        Inverse variance of each value, zero for a dead bin. Default: one.

    Raises
    ------
    TypeError, ValueError
        If the sinogram is not one of the plane, a number is not positive, or the weights have
        another shape, are negative or not finite.

    Examples
    --------
    >>> R = RingOffsets(A.range_shape, size=2.0, weights=w)
    >>> x = tl.total_variation(R(y), R @ A, weight=0.02)
    >>> rings = R.offsets(y - A(x))
    """

    def __init__(
        self,
        scan_shape: tuple[int, int],
        size: float = 1.0,
        *,
        smooth: float = 5.0,
        weights: torch.Tensor | None = None,
    ) -> None:
        if len(scan_shape) != 2:
            raise TomolearnError(
                f"scan_shape: expected (angles, detectors), got {tuple(scan_shape)}; the rows of a "
                "parallel beam are such scans each"
            )
        shape = tuple(check_count("scan_shape", n) for n in scan_shape)
        super().__init__(shape, shape)
        if weights is None:
            weights = torch.ones(shape, dtype=torch.float64)
        check_trailing_shape("weights", check_real_tensor("weights", weights), shape)
        weights = weights.detach().double().cpu()
        if weights.shape != shape or not bool((weights.isfinite() & (weights >= 0)).all()):
            raise TomolearnError(
                f"weights: expected shape {shape}, finite and not negative, got "
                f"{tuple(weights.shape)} with {float(weights.min()):.4g} to "
                f"{float(weights.max()):.4g}"
            )
        covariance = _offset_covariance(
            shape[1],
            check_float("size", size, positive=True),
            check_float("smooth", smooth, positive=True),
        )
        sums = weights.sum(0)
        roots = sums.sqrt()
        self._roots = weights.sqrt()
        self._units = torch.where(roots > 0, self._roots / roots.clamp(min=1e-300), 0.0)
        self._covariance = covariance
        # of I + U (S^1/2 C S^1/2) U^T, with orthonormal U, the inverse root differs from I by this
        values, vectors = torch.linalg.eigh(roots[:, None] * covariance * roots)
        shrunk = 1 - (1 + values.clamp(min=0)).rsqrt()
        self._shrinking = (vectors * shrunk) @ vectors.T

    def _evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self._without_rings(x * self._roots.to(x))

    def _evaluate_adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self._without_rings(y) * self._roots.to(y)

    def _without_rings(self, values: torch.Tensor) -> torch.Tensor:
        units = self._units.to(values)
        means = (units * values).sum(-2)
        return values - units * (means @ self._shrinking.to(values)).unsqueeze(-2)

    def offsets(self, residual: torch.Tensor) -> torch.Tensor:
        """Return the most likely offset of each bin, given what an image leaves of the data.

        Parameters
        ----------
        residual : torch.Tensor, shape (..., angles, detectors)
            ``y - A(x)``.

        Returns
        -------
        torch.Tensor, shape (..., detectors)
        """
        common = self.adjoint(self(residual)).sum(-2)
        return common @ self._covariance.to(common)


def _offset_covariance(n_bins: int, size: float, smooth: float) -> torch.Tensor:
    """Return the covariance of white offsets less what a Gaussian leaves of them."""
    from scipy.ndimage import gaussian_filter1d

    rough = np.eye(n_bins) - gaussian_filter1d(np.eye(n_bins), smooth, axis=0, mode="reflect")
    return torch.from_numpy(size**2 * rough @ rough.T)


def remove_stripes(line_integrals: Any, method: str = "all", **settings: Any) -> Any:
    """Sinogram without stripes, which would be rings, by a filter of algotom.

    The package is of the extra ``tomolearn[measured]``. Filters know neither image nor noise;
    `RingOffsets` estimates offsets along with the image.

    Parameters
    ----------
    line_integrals : numpy.ndarray or torch.Tensor, shape (angles, [rows,] detectors)
        Finite everywhere.
    method : {"all", "large", "dead", "sorting", "filtering", "fitting", "wavelets", \
"regularization"}
        Which of algotom's ``remove_..._stripe`` and ``remove_stripe_based_...``.
    **settings
        Of that function, such as ``snr`` and ``la_size``.

    Returns
    -------
    numpy.ndarray or torch.Tensor
        As given; no gradient goes through.

    Raises
    ------
    ImportError
        If algotom is not there.
    TypeError, ValueError
        If the filter, its settings or the array will not do.
    """
    name = _ALGOTOM[check_choice("method", method, tuple(_ALGOTOM))]
    is_tensor = isinstance(line_integrals, torch.Tensor)
    if not is_tensor and not isinstance(line_integrals, np.ndarray):
        raise TomolearnTypeError(
            "line_integrals: expected a numpy.ndarray or torch.Tensor, got "
            f"{type(line_integrals).__name__}"
        )
    array = line_integrals.detach().cpu().numpy() if is_tensor else line_integrals
    if array.ndim not in (2, 3) or not np.isfinite(array).all():
        raise TomolearnError(
            "line_integrals: expected finite values, shape (angles, detectors) or (angles, rows, "
            f"detectors), got shape {array.shape}"
        )
    removal = optional_import(
        "algotom.prep.removal",
        purpose="stripe filters",
        install="pip install 'tomolearn[measured]'",
    )
    function = getattr(removal, name)
    sinograms = array[:, None] if array.ndim == 2 else array
    try:
        rows = [function(sinograms[:, k], **settings) for k in range(sinograms.shape[1])]
    except (TypeError, ValueError) as error:  # algotom looks at names of settings itself
        raise TomolearnTypeError(
            f"settings: expected those of algotom.prep.removal.{name}, got "
            f"{', '.join(settings)}: {error}"
        ) from error
    cleaned = np.stack(rows, axis=1).reshape(array.shape).astype(array.dtype)
    return torch.from_numpy(cleaned).to(line_integrals) if is_tensor else cleaned
