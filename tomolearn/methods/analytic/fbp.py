"""Filtered back-projection for parallel, fan and cone beams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tomolearn._core.memory import Arrays
from tomolearn.methods.analytic.memory import arrays_held
from tomolearn.methods.method import Method, setting

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class FBP(Method):
    """Filtered back-projection, for cone beams FDK; see `fbp`."""

    name: ClassVar[str] = "fbp"

    filter: str = setting(
        "ram-lak",
        help="window on the ramp filter",
        choices=("ram-lak", "shepp-logan", "cosine", "hamming", "hann"),
    )
    frequency_scaling: float = setting(
        1.0, help="cut-off as a part of Nyquist's frequency", above=0, maximum=1
    )
    oversampling: int | None = setting(
        None, help="values per bin between which is interpolated; default 2, 1 for cones", minimum=1
    )

    truncation: str = setting(
        "zero",
        help="what lies beside a detector that the object is wider than",
        choices=("zero", "extend"),
    )

    @property
    def memory(self) -> Arrays:  # type: ignore[override]
        """What it holds at its peak: the padded projections and their spectra; see `Method`."""
        return arrays_held(self.oversampling or 1)

    @property
    def side_by_side(self) -> bool:
        """Whether an image of a batch does not depend on the others: it does not."""
        return True

    def weighting(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the keyword of the call, a mask; see `Method.weighting`."""
        return {"mask": weights > 0}

    def __call__(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        *,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Reconstruct; see `fbp`."""
        return reconstructed(
            sinogram,
            operator,
            self.filter,
            self.frequency_scaling,
            self.oversampling,
            self.truncation,
            mask,
        )


def _check(
    filter: str, frequency_scaling: float, oversampling: int | None, truncation: str
) -> bool:
    FBP(
        filter=filter,
        frequency_scaling=frequency_scaling,
        oversampling=oversampling,
        truncation=truncation,
    )
    return True


# torch.compiler.assume_constant_result without torch: compiled code cannot make dataclasses
_check._dynamo_marked_constant = True  # type: ignore[attr-defined]


def reconstructed(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    filter: str,
    frequency_scaling: float,
    oversampling: int | None,
    truncation: str = FBP.truncation,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the image, for settings that are checked."""
    from tomolearn.methods.analytic.filtered_backprojection import filtered_backprojection
    from tomolearn.methods.checks import check_ray_transform, check_sinogram

    operator = check_ray_transform(operator)
    if mask is not None:
        from tomolearn.methods.analytic.dead_bins import interpolate_dead_bins

        sinogram = interpolate_dead_bins(sinogram, mask, operator)
    sinogram = check_sinogram(sinogram, operator)
    oversampling = oversampling or (2 if operator.scan.ndim == 2 else 1)
    if sinogram.numel() == 0:
        leading = sinogram.shape[: sinogram.ndim - len(operator.range_shape)]
        return sinogram.new_zeros((*leading, *operator.domain_shape))
    return filtered_backprojection(
        sinogram, operator, filter, frequency_scaling, oversampling, truncation
    )


def fbp(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    filter: str = FBP.filter,
    frequency_scaling: float = FBP.frequency_scaling,
    oversampling: int | None = FBP.oversampling,
    truncation: str = FBP.truncation,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Reconstruct by filtered back-projection.

    The result is in the image's unit, 1/mm for line integrals of attenuation, whatever scan and
    grid are; there is no factor to be guessed. It is linear and differentiable in `sinogram`.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless.
    operator : RayTransform
        The scanner. Only its `grid`, `scan` and `backproject` are used.
    filter : {"ram-lak", "shepp-logan", "cosine", "hamming", "hann"}
        Window on the ramp filter; Ram-Lak is the ramp alone.
    frequency_scaling : float
        Cut-off of the window as a part of Nyquist's frequency of the detector, in (0, 1].
        Frequencies above it are removed.
    oversampling : int, optional
        Number of values per bin to which filtered projections are refined, without changing their
        band, before they are linearly interpolated. 1 is the textbook's: the interpolation blurs
        image and noise. Default: 2 in the plane, 1 for cone beams.
    truncation : {"zero", "extend"}
        What lies beside the detector's last bins for the filter. Zero is right where air is seen at
        both ends; where the object is wider than the detector it makes a bright rim. "extend"
        continues the last values, falling to zero over half the detector's width as a squared
        cosine does [5]_. The rim is gone then, but image values are known up to some per cent only.
    mask : torch.Tensor of bool, optional
        Which values were measured, shape (*operator.range_shape) or that of `sinogram`. Others, in
        which anything may stand, are interpolated linearly along the last detector axis between
        their neighbours, at the detector's ends continued. Iterative methods need no values in
        their place: see their `weights`.

    Returns
    -------
    torch.Tensor, shape (..., *operator.domain_shape)
        In the sinogram's precision (half precision: float32).

    Raises
    ------
    TypeError, ValueError
        If an argument is not of the kind named above or has values that are not finite, a cone-beam
        scan is a helix, or a detector that is moved aside does not go all around, or has less than
        two bins on its shorter side, or a view has no bin that was measured.

    Warns
    -----
    CoverageWarning
        If views of a fan or cone beam do not see all lines through the circle that fits into the
        grid: what they do not see is missing in the image. If more than four neighbouring bins are
        interpolated.

    Notes
    -----
    Parallel and fan beams follow Kak and Slaney [1]_, chapter 3: the filter is the transform of
    the band-limited kernel, applied to zero-padded projections; fan beams are filtered on the
    detector scaled down to the rotation axis (flat) or in equal angles (curved). Cone beams on a
    circle are reconstructed by the algorithm of Feldkamp, Davis and Kress [3]_, exact in the plane
    of the source only.

    Views count by the part of the circle that they stand for, and lines by how often they were
    measured (`geometry.redundancy`), so that half and full turns, short scans (Parker's weights
    [2]_), detectors moved aside (Wang's [4]_) and lists of angles in any order and spacing come out
    right. Lines in gaps of up to 15 degrees that were not measured otherwise are taken from the
    views at their edges; wider wedges stay empty.

    Oblong pixels get the mean of values at the middles of about square parts.

    References
    ----------
    .. [1] A. C. Kak, M. Slaney, Principles of Computerized Tomographic Imaging (1988),
       doi 10.1137/1.9780898719277.
    .. [2] D. L. Parker, Med. Phys. 9 (1982), doi 10.1118/1.595078.
    .. [3] L. A. Feldkamp, L. C. Davis, J. W. Kress, Practical cone-beam algorithm, J. Opt. Soc.
       Am. A 1 (1984), doi 10.1364/JOSAA.1.000612.
    .. [4] G. Wang, Med. Phys. 29 (2002), doi 10.1118/1.1489043.
    .. [5] B. Ohnesorge et al., Med. Phys. 27 (2000), doi 10.1118/1.598855.

    Examples
    --------
    >>> grid = Grid(shape=(64, 64), spacing=1.0)
    >>> A = RayTransform(grid, ParallelBeam.covering(grid, 100))
    >>> fbp(A(torch.ones(1, 1, 64, 64)), A, filter="hann").shape
    torch.Size([1, 1, 64, 64])
    """
    import torch

    if torch.compiler.is_compiling():
        _check(filter, frequency_scaling, oversampling, truncation)
        return reconstructed(
            sinogram, operator, filter, frequency_scaling, oversampling, truncation, mask
        )
    method = FBP(
        filter=filter,
        frequency_scaling=frequency_scaling,
        oversampling=oversampling,
        truncation=truncation,
    )
    return method(sinogram, operator, mask=mask)
