"""Plug-and-play reconstruction: a denoiser in the place of a proximal map or a gradient step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.methods.method import check_written_prior, setting
from tomolearn.methods.stopping import Control, Iterate, IterativeMethod, controlled

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from tomolearn.operators import LinearOperator
    from tomolearn.priors import Denoiser

_ALGORITHMS = ("auto", "gradient-step", "pgd", "admm", "hqs")


@dataclass(frozen=True)
class PlugAndPlay(IterativeMethod):
    """Plug-and-play, a denoiser in a prior's place; see `pnp`.

    `prior` is a denoiser, or name or path of the weights of one. A method with the denoiser
    itself cannot be written down.

    Examples
    --------
    >>> method = PlugAndPlay("gsd-ellipses", sigma=0.05, weight=60.0)
    >>> x = method(y, A, callback=History())  # whose objectives never rise
    """

    name: ClassVar[str] = "pnp"
    remedy: ClassVar[str] = "choose a larger weight, a smaller sigma, or a gradient-step denoiser"

    prior: str | Denoiser = setting(  # noqa: RUF009 - it returns a field
        help="name or path of the weights of a denoiser"
    )
    _: KW_ONLY
    algorithm: str = setting("auto", help="what it is plugged into", choices=_ALGORITHMS)
    sigma: float = setting(help="noise level that is removed, in the image's unit", above=0)
    weight: float = setting(help="weight of the denoiser's prior", above=0)
    image_scale: float = setting(
        1.0, help="what image values are multiplied by to be those of the training", above=0
    )
    sigma_start: float | None = setting(
        None, help="first noise level of hqs; default: the training's largest", above=0
    )
    inner_iterations: int = setting(
        20, help="largest number of conjugate gradients per iteration", minimum=1
    )
    inner_tolerance: float = setting(
        1e-3, help="relative gradient at which they end", above=0, below=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.prior, str):
            from tomolearn.priors import Denoiser

            if not isinstance(self.prior, Denoiser):
                raise TomolearnTypeError(
                    "prior: expected a Denoiser, or the name or path of the weights of one, got "
                    f"{type(self.prior).__name__}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return name and settings, ready for JSON."""
        check_written_prior(self.prior)
        return super().to_dict()

    def prepare(self) -> None:
        """Load the denoiser."""
        self._denoiser()

    def denoiser(self, unit: float = 1.0) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the denoiser at the noise level, which is in this unit."""
        from tomolearn.methods.variational.plug_and_play_steps import ScaledDenoiser

        found, level = self._denoiser(), self.sigma * unit

        def denoise(images: torch.Tensor) -> torch.Tensor:
            import torch

            with torch.no_grad():
                return ScaledDenoiser(found, self.image_scale / unit, images)(images, level)

        return denoise

    def _denoiser(self) -> Denoiser:
        """Return the denoiser."""
        if not isinstance(self.prior, str):
            return self.prior
        from tomolearn.methods.variational.plug_and_play_steps import load_denoiser

        return load_denoiser(self.prior)

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the iterates."""
        from tomolearn.methods.variational import plug_and_play_steps as steps
        from tomolearn.priors.gradient_step import GradientStepDenoiser

        denoiser = self._denoiser()
        algorithm = self.algorithm
        is_step = isinstance(denoiser, GradientStepDenoiser)
        if algorithm == "auto":
            algorithm = "gradient-step" if is_step else "admm"
        if algorithm == "gradient-step" and not is_step:
            raise TomolearnError(
                "algorithm: expected pgd, admm or hqs with a denoiser that is no gradient step, "
                f"got gradient-step with {type(denoiser).__name__}"
            )
        if denoiser.ndim > len(operator.domain_shape):
            raise TomolearnError(
                f"prior: expected one of at most {len(operator.domain_shape)} spatial axes, "
                f"those of the operator's images, got one of {denoiser.ndim}"
            )
        steps.warn_if_unproved(denoiser, algorithm, operator)
        problem = steps.Problem(
            sinogram,
            operator,
            steps.ScaledDenoiser(denoiser, self.image_scale, sinogram),
            self.sigma,
            self.weight,
            self.inner_iterations,
            self.inner_tolerance,
            weights,
        )
        if algorithm == "gradient-step":
            return problem.gradient_step(image)
        if algorithm == "pgd":
            return problem.proximal_gradient(image)
        if algorithm == "admm":
            return problem.alternating_directions(image)
        return problem.half_quadratic(image, self.iterations, self.sigma_start)


@controlled
def pnp(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    prior: str | Denoiser,
    sigma: float,
    weight: float,
    algorithm: str = PlugAndPlay.algorithm,
    iterations: int = PlugAndPlay.iterations,
    image_scale: float = PlugAndPlay.image_scale,
    sigma_start: float | None = PlugAndPlay.sigma_start,
    inner_iterations: int = PlugAndPlay.inner_iterations,
    inner_tolerance: float = PlugAndPlay.inner_tolerance,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct by plug-and-play: a denoiser takes a prior's place in an algorithm.

    If the denoiser D is the proximal map of a function g, or the step ``x - grad g(x)``, at the
    noise level `sigma`, this minimises ``||A x - y||^2 / 2 + weight * g(x)`` (with one half).
    Otherwise nothing is minimised, and a fixed point is looked for.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless. The images of a batch are computed side by side.
    operator : LinearOperator
        The ray transform, or any other linear operator with an exact adjoint.
    prior : str or Denoiser
        Name or path of a denoiser's weights, or the denoiser itself. It is copied where data are
        in another precision or on another device.
    sigma : float
        Noise level that the denoiser removes, in the image's unit.
    weight : float
        Weight of g: of the size of the variance of the noise in a bin divided by ``sigma^2``.
    algorithm : {"auto", "gradient-step", "pgd", "admm", "hqs"}
        See the notes; "auto" is "gradient-step" for a gradient-step denoiser, "admm" for others.
    iterations : int
        Largest number of iterations.
    image_scale : float
        What image values are multiplied by to be those that the denoiser was trained for.
    sigma_start : float, optional
        First noise level of "hqs". Default: the largest that the denoiser was trained for.
    inner_iterations : int
        Largest number of conjugate gradients in a proximal map of the misfit.
    inner_tolerance : float
        Size of its gradient at which they end, relative to that at their start.

    Notes
    -----
    ``"gradient-step"`` is for a `GradientStepDenoiser` alone [1]_: proximal gradient descent ``x =
    prox_{t f}(x - t * weight * grad g(x))`` on the misfit f and the potential g of the denoiser,
    with a step t of each image that is made shorter until the objective falls enough. The objective
    never rises, whatever the network, and is reported.

    ``"pgd"``, proximal gradient descent: ``x = D(x - A.T(A x - y) / weight)``. Its step is the
    inverse of the weight, which has to be above ``norm(A)^2 / 2``.

    ``"admm"``, alternating directions of the multipliers [2]_: ``x = prox_{f / weight}(z - u), z =
    D(x + u), u = u + x - z``; z is returned.

    ``"hqs"``, half-quadratic splitting [3]_: ``x = prox_{f / weight_k}(z), z = D_k(x)``; noise
    levels fall in a geometric sequence from `sigma_start` to `sigma` in all `iterations`, of which
    [3]_ has 8 to 40, and ``weight_k = weight * sigma^2 / sigma_k^2``; z is returned.

    Proximal maps of the misfit are computed by conjugate gradients from the last image on.

    Convergence is known of gradient-step denoisers in their own algorithm, of the proximal maps of
    convex regularisers in the others, and of denoisers with a certified Lipschitz constant below
    one in "pgd" and "hqs", which are contractions then. Of everything else a
    `UnknownConvergenceWarning` tells: it may converge under conditions of the data term as well
    [4]_, which few views do not meet.

    References
    ----------
    .. [1] S. Hurault, A. Leclaire, N. Papadakis, "Gradient step denoiser for convergent
       plug-and-play", ICLR 2022, arXiv:2110.03220
    .. [2] S. V. Venkatakrishnan, C. A. Bouman, B. Wohlberg, "Plug-and-play priors for model based
       reconstruction", GlobalSIP 2013, doi 10.1109/GlobalSIP.2013.6737048
    .. [3] K. Zhang et al., "Plug-and-play image restoration with deep denoiser prior", IEEE Trans.
       Pattern Anal. Mach. Intell. 44 (2022), arXiv:2008.13751
    .. [4] E. K. Ryu et al., "Plug-and-play methods provably converge with properly trained
       denoisers", ICML 2019, arXiv:1905.05406
    """
    method = PlugAndPlay(
        prior,
        sigma=sigma,
        weight=weight,
        algorithm=algorithm,
        iterations=iterations,
        image_scale=image_scale,
        sigma_start=sigma_start,
        inner_iterations=inner_iterations,
        inner_tolerance=inner_tolerance,
    )
    return method(sinogram, operator, **control)
