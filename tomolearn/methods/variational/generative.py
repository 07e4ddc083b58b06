"""Reconstruction with a generative regulariser: images near the range of a decoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Unpack

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.methods.method import check_written_prior, setting
from tomolearn.methods.stopping import Control, Iterate, IterativeMethod, controlled

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator
    from tomolearn.priors import VariationalAutoencoder

CONSTRAINTS = ("relaxed", "hard", "sparse")


@dataclass(frozen=True)
class Generative(IterativeMethod):
    """Generative regularisation, images near the range of a decoder; see `generative`.

    `prior` is a variational autoencoder, or name or path of the weights of one. A method with the
    autoencoder itself cannot be written down.
    """

    name: ClassVar[str] = "generative"
    remedy: ClassVar[str] = "check that the operator's adjoint is its transpose"

    prior: str | VariationalAutoencoder = setting(  # noqa: RUF009 - it returns a field
        help="name or path of the weights of a variational autoencoder"
    )
    _: KW_ONLY
    weight: float = setting(help="weight of the prior, the variance of the noise", above=0)
    constraint: str = setting(
        "relaxed", help="how images may differ from the decoder's", choices=CONSTRAINTS
    )
    sparsity: float | None = setting(
        None, help="weight of the deviations' one-norm, for sparse", above=0
    )
    iterations: int = setting(30, help="largest number of iterations", minimum=1)
    image_scale: float = setting(
        1.0, help="what image values are multiplied by to be those of the training", above=0
    )
    latent_steps: int = setting(5, help="gradient steps of the latent image", minimum=1)
    inner_iterations: int = setting(
        20, help="largest number of steps of the image per iteration", minimum=1
    )
    inner_tolerance: float = setting(
        1e-3, help="relative residual at which they end", above=0, below=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.sparsity is None) == (self.constraint == "sparse"):
            expected = "a positive number" if self.sparsity is None else "none"
            raise TomolearnError(
                f"sparsity: expected {expected} with constraint {self.constraint}, got "
                f"{self.sparsity}"
            )
        if not isinstance(self.prior, str):
            _checked(self.prior)

    def to_dict(self) -> dict[str, Any]:
        """Return name and settings, ready for JSON."""
        check_written_prior(self.prior)
        return super().to_dict()

    def prepare(self) -> None:
        """Load the autoencoder."""
        self._autoencoder()

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the iterates."""
        from tomolearn.methods.variational.generative_steps import SPLITTINGS
        from tomolearn.methods.variational.variational import frozen_copy

        prior = self._autoencoder()
        if len(operator.domain_shape) != prior.ndim:
            raise TomolearnError(
                f"prior: expected one of {len(operator.domain_shape)} spatial axes, those of the "
                f"operator's images, got one of {prior.ndim}"
            )
        problem = SPLITTINGS[self.constraint](
            sinogram, operator, frozen_copy(prior, sinogram), self, weights
        )
        return problem.iterates(image)

    def _autoencoder(self) -> VariationalAutoencoder:
        """Return the autoencoder."""
        if not isinstance(self.prior, str):
            return self.prior
        from tomolearn.priors import load

        return _checked(load(self.prior))


def _checked(prior: Any) -> VariationalAutoencoder:
    from tomolearn.priors import VariationalAutoencoder

    if not isinstance(prior, VariationalAutoencoder):
        raise TomolearnTypeError(
            "prior: expected a VariationalAutoencoder, or the name or path of the weights of one, "
            f"got {type(prior).__name__}"
        )
    return prior


@controlled
def generative(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    prior: str | VariationalAutoencoder,
    weight: float,
    constraint: str = Generative.constraint,
    sparsity: float | None = Generative.sparsity,
    iterations: int = Generative.iterations,
    image_scale: float = Generative.image_scale,
    latent_steps: int = Generative.latent_steps,
    inner_iterations: int = Generative.inner_iterations,
    inner_tolerance: float = Generative.inner_tolerance,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct with a generative regulariser: an image and what the decoder makes it of.

    With the decoder's mean G(z) and covariance Sigma(z) it minimises over images x and latent
    images z [1]_, [2]_

    - "relaxed": ``||A x - y||^2 / 2 + weight * (||x - G(z)||^2_{Sigma(z)^-1} / 2 + log det
      Sigma(z) / 2 + ||z||^2 / 2)``, in turn over x, by conjugate gradients with the operator, and
      over z, by gradient steps, preconditioned by the encoder's variances;
    - "hard": ``||A G(z) - y||^2 / 2 + weight * ||z||^2 / 2``, with x = G(z);
    - "sparse": ``||A x - y||^2 / 2 + weight * (sparsity * ||x - G(z)||_1 + ||z||^2 / 2)``, in turn
      over x - G(z), by accelerated shrinkage, and over z.

    It begins with the encoder's z of the start. The objective never rises; it is not convex, and
    what is found depends on the start.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless. The images of a batch are computed side by side.
    operator : LinearOperator
        The ray transform, or any other linear operator with an exact adjoint.
    prior : str or VariationalAutoencoder
        Autoencoder, or name or path of the weights of one.
    weight : float
        Weight of the prior. The image is the most probable one, with z, if it is the variance of
        the noise in a bin, or one and ``weights`` are the inverses of the variances.
    constraint : {"relaxed", "hard", "sparse"}
        How images may differ from the decoder's.
    sparsity : float, optional
        Weight of the deviations' one-norm, one over their typical size; for "sparse" only.
    iterations : int
        Largest number of iterations.
    image_scale : float
        What image values are multiplied by to be those of the training: the prior is R(s x) / s^2.
    latent_steps : int
        Gradient steps of z in an iteration.
    inner_iterations : int
        Largest number of conjugate gradients, or of steps of shrinkage, in an iteration.
    inner_tolerance : float
        Relative residual at which conjugate gradients end.

    References
    ----------
    .. [1] M. Duff, N. Campbell, M. Ehrhardt, "Regularising inverse problems with generative
       machine learning models", J. Math. Imaging Vis. 66 (2024), arXiv:2107.11191
    .. [2] M. Duff, I. Simpson, M. Ehrhardt, N. Campbell, "VAEs with structured image covariance
       applied to compressed sensing MRI", Phys. Med. Biol. 68 (2023), arXiv:2210.14586
    """
    method = Generative(
        prior,
        weight=weight,
        constraint=constraint,
        sparsity=sparsity,
        iterations=iterations,
        image_scale=image_scale,
        latent_steps=latent_steps,
        inner_iterations=inner_iterations,
        inner_tolerance=inner_tolerance,
    )
    return method(sinogram, operator, **control)
