"""Total-variation regularisation by the primal-dual method of Chambolle and Pock."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack

from tomolearn._core.errors import TomolearnError
from tomolearn._core.memory import Arrays
from tomolearn.methods.method import setting
from tomolearn.methods.stopping import Control, Iterate, IterativeMethod, controlled

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator


@dataclass(frozen=True, kw_only=True)
class TotalVariation(IterativeMethod):
    """Total-variation regularisation; see `total_variation`.

    Without a `weight` each sinogram gets one that suits its noise, see `photon_tv_weight`: the
    number of photons is set, or `informed` takes it from an acquisition. `start` is overruled by
    an `x0`; where there is no FBP of a scan, since its views are too few a part of the circle, the
    start is zero. `spacing` is no setting: a method that has one cannot be written down.
    """

    name: ClassVar[str] = "tv"
    memory: ClassVar[Arrays | None] = Arrays(15, 4)
    check_every: ClassVar[int] = 10  # the certificate costs as much as an iteration
    has_gap: ClassVar[bool] = True
    remedy: ClassVar[str] = (
        "check that the operator's adjoint is its transpose and its norm is right"
    )

    weight: float | None = setting(
        None, help="weight of the total variation, in mm; default: from the photons", minimum=0
    )
    iterations: int = setting(500, help="largest number of iterations", minimum=1)
    nonnegative: bool = setting(False, help="allow no negative values")
    start: str = setting("zero", help="what it starts from", choices=("zero", "fbp"))
    photons: float | None = setting(
        None, help="photons per detector element without an object, for the weight", above=0
    )
    electronic_std: float = setting(
        0.0, help="electronic noise in photons, for the weight", minimum=0
    )
    attenuation: float = setting(
        1.0, help="what one unit of the image stands for, in 1/mm, for the weight", above=0
    )
    spacing: float | tuple[float, ...] | None = None

    def informed(self, noise: Any) -> Self:
        """Return the method with the number of photons, unless it has weight or photons."""
        if self.weight is not None or self.photons is not None:
            return self
        photons = getattr(noise, "photons", None)
        if photons is None:
            self._given_weight()
        return dataclasses.replace(
            self,
            photons=photons,
            electronic_std=noise.electronic_std,
            attenuation=noise.attenuation,
        )

    def denoiser(self, unit: float = 1.0) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the model of Rudin, Osher and Fatemi, with the weight in this unit."""
        self._given_weight()
        method = dataclasses.replace(self, start="zero")

        def denoise(images: torch.Tensor) -> torch.Tensor:
            from tomolearn.operators import Identity

            noisy = images / unit
            return method(noisy, Identity(images.shape[2:]), x0=noisy) * unit

        return denoise

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the iterates."""
        from tomolearn.geometry.grid import check_spacing
        from tomolearn.methods.variational.primal_dual import iterates
        from tomolearn.operators.base import spatial_part
        from tomolearn.operators.differences import relative_scales

        spacing = self.spacing
        if spacing is None:
            grid = getattr(spatial_part(operator), "grid", None)
            spacing = 1.0 if grid is None else grid.spacing
        spacing = check_spacing("spacing", spacing, len(operator.domain_shape))
        weight = self._given_weight()
        scales = relative_scales(spacing)
        return iterates(sinogram, operator, image, weights, weight, self.nonnegative, scales)

    def __call__(
        self, sinogram: torch.Tensor, operator: LinearOperator, **control: Unpack[Control]
    ) -> torch.Tensor:
        """Reconstruct; see `IterativeMethod.__call__`."""
        from tomolearn.methods.iteration import run

        if self.start == "fbp" and control.get("x0") is None:
            control["x0"] = _smooth_fbp(sinogram, operator, control.get("weights"))
        if self.weight is None and self.photons is not None:
            return self._by_photons(sinogram, operator, control, self.photons)
        return run(self, sinogram, operator, **control)

    def _given_weight(self) -> float:
        if self.weight is None:
            raise TomolearnError(
                "weight: expected a number for tv without photon noise, from which it could be "
                "taken; got none"
            )
        return self.weight

    def _by_photons(
        self, sinogram: torch.Tensor, operator: LinearOperator, control: Control, photons: float
    ) -> torch.Tensor:
        """Reconstruct with the weight that suits the photons of each sinogram."""
        from tomolearn.methods.checks import check_ray_transform, check_sinogram, weighted_data
        from tomolearn.methods.variational.tv_weight import photon_tv_weight

        check_ray_transform(operator)
        if (weights := control.get("weights")) is not None:
            sinogram, _ = weighted_data(sinogram, operator, weights)
        sinogram = check_sinogram(sinogram, operator)
        weight = photon_tv_weight(
            self.attenuation * sinogram,
            operator,
            photons=photons,
            electronic_std=self.electronic_std,
        )
        return self.with_weight_of_each(sinogram, operator, weight / self.attenuation, **control)

    def with_weight_of_each(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        weight: torch.Tensor,
        **control: Unpack[Control],
    ) -> torch.Tensor:
        """Reconstruct with a weight of its own for each sinogram.

        Data and weight multiplied by one number give the minimiser multiplied by it, so that
        images with different weights become ones with weight 1.
        """
        from tomolearn.methods.checks import (
            check_linear_operator,
            check_sinogram,
            weighted_data,
        )

        for name in ("noise_level", "callback"):
            if control.get(name, getattr(self, name, None)) is not None:
                raise TomolearnError(f"{name}: expected none where each image has a weight")
        check_linear_operator("operator", operator)
        if (weights := control.get("weights")) is not None:
            sinogram, _ = weighted_data(sinogram, operator, weights)
        sinogram = check_sinogram(sinogram, operator)
        leading = tuple(sinogram.shape[: sinogram.ndim - len(operator.range_shape)])
        if tuple(weight.shape) != leading:
            raise TomolearnError(
                f"weight: expected a number, or a tensor of shape {leading} with one for each "
                f"sinogram, got shape {tuple(weight.shape)}"
            )
        weight = weight.detach().to(sinogram)
        if not bool((weight.isfinite() & (weight > 0)).all()):
            raise TomolearnError(
                f"weight: expected positive numbers where each image has a weight, got {weight}"
            )
        over_data, over_image = (
            weight.reshape(*weight.shape, *(1,) * len(shape))
            for shape in (operator.range_shape, operator.domain_shape)
        )
        if (x0 := control.get("x0")) is not None:
            control = {**control, "x0": x0 / over_image}
        unit = dataclasses.replace(self, weight=1.0)
        return unit(sinogram / over_data, operator, **control) * over_image


def _smooth_fbp(
    sinogram: torch.Tensor, operator: LinearOperator, weights: torch.Tensor | None
) -> torch.Tensor | None:
    """Return where TV starts: from zero, edges take some hundred iterations to get right."""
    from tomolearn.geometry.coverage import judge_lines
    from tomolearn.methods.analytic.dead_bins import interpolate_dead_bins
    from tomolearn.methods.analytic.fbp import fbp
    from tomolearn.methods.checks import check_ray_transform

    try:
        transform = check_ray_transform(operator)
        if judge_lines(transform.grid, transform.scan) is not None:  # its views are too few
            return None
        if weights is not None:
            sinogram = interpolate_dead_bins(sinogram, weights > 0, operator, warns=False)
        return fbp(sinogram, operator, filter="hann").clamp(min=0)
    except TomolearnError:  # of this scan there is none
        return None


@controlled
def total_variation(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    weight: float | torch.Tensor,
    spacing: float | Sequence[float] | None = None,
    iterations: int = TotalVariation.iterations,
    nonnegative: bool = TotalVariation.nonnegative,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct by total-variation regularisation.

    Minimises ``||A x - y||**2 + weight * TV(x)`` (no one half), where ``TV`` is the sum over the
    pixels of the length of the vector of differences to the next pixel along each axis, those
    across the border being zero. Where pixels are not square, differences are divided by the
    distance of the pixels, in units of the geometric mean of the distances along the axes. The
    primal-dual method [1]_ is over-relaxed [2]_.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless. Each image of a batch has its own step sizes.
    operator : LinearOperator
        The ray transform, or any other linear operator on images whose axes are all spatial.
    weight : float or torch.Tensor, shape (...)
        Weight of the total variation, not negative. With `A` in mm and images in 1/mm, its unit is
        mm: twice the sinogram needs twice the weight. A tensor, as of `photon_tv_weight`, has a
        positive one for each sinogram; there is no `noise_level` or `callback` then.
    spacing : float or sequence of float, optional
        Distance of neighbouring pixels, one number or one per axis. Default: that of the operator's
        grid; 1 for an operator that has none.
    iterations : int
        Largest number of iterations.
    nonnegative : bool
        Whether to minimise over images without negative values.

    Notes
    -----
    Stopping rules are looked at every 10 iterations; objective and gap are reported. What is looked
    at or reported costs one more projection and back-projection each time.

    With the dual variables ``p`` and ``q`` of data and gradient, the gap is ``objective + <p, y> +
    ||p||**2 / 4 + ||x|| ||r||`` where ``r = A.T p + D.T q`` (its negative part, if `nonnegative`)
    vanishes at the solution. The objective exceeds its minimum by no more than the gap, if the
    norm of the minimiser does not exceed that of ``x``.

    The steps satisfy ``s ||A||**2 t + u ||D||**2 t < 1``. They follow the data's scale, so that
    multiplying sinogram and weight by a number multiplies every iterate by it.

    References
    ----------
    .. [1] A. Chambolle, T. Pock, A first-order primal-dual algorithm for convex problems with
       applications to imaging, J. Math. Imaging Vis. 40 (2011), doi 10.1007/s10851-010-0251-1.
    .. [2] L. Condat, A primal-dual splitting method for convex optimization involving
       Lipschitzian, proximable and linear composite terms, J. Optim. Theory Appl. 158 (2013),
       doi 10.1007/s10957-012-0245-9.
    """
    import torch

    lengths = tuple(spacing) if isinstance(spacing, Sequence) else spacing
    method = TotalVariation(spacing=lengths, iterations=iterations, nonnegative=nonnegative)
    if isinstance(weight, torch.Tensor) and weight.ndim > 0:
        return method.with_weight_of_each(sinogram, operator, weight, **control)
    number = float(weight) if isinstance(weight, torch.Tensor) else weight
    return dataclasses.replace(method, weight=number)(sinogram, operator, **control)
