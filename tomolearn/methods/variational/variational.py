"""Variational reconstruction: a data term, a prior, and an algorithm."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, Unpack

from tomolearn._core.checks import check_flag, check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn.methods.method import setting
from tomolearn.methods.stopping import Control, Iterate, IterativeMethod, controlled
from tomolearn.methods.variational.tables import ALGORITHMS, DATA_TERMS, suitable_algorithm

if TYPE_CHECKING:
    import torch

    from tomolearn.methods.variational.inputs import PerImage
    from tomolearn.methods.variational.problem import Problem
    from tomolearn.operators import LinearOperator
    from tomolearn.priors import Regulariser

R = TypeVar("R", bound="Regulariser")


@dataclass(frozen=True)
class Variational(IterativeMethod):
    """Variational reconstruction: a data term and a prior; see `variational`.

    `prior` is a regulariser, or text from which `tomolearn.priors.named_regulariser` makes one. A
    method is written down with the text; one with a regulariser that no text stands for, as it has
    weights that lie in no file, cannot be.
    """

    name: ClassVar[str] = "variational"
    remedy: ClassVar[str] = (
        "check that the operator's adjoint is its transpose, and the prior's gradient or proximal "
        "map that of its value"
    )

    prior: str | Regulariser = setting(  # noqa: RUF009 - it returns a field
        help="prior by name, with arguments in parentheses, or weights of one"
    )
    _: KW_ONLY
    weight: float = setting(help="weight of the prior beside half the squared misfit", minimum=0)
    algorithm: str = setting("auto", help="algorithm; auto: what the prior has suffices for")
    data: str = setting("least-squares", help="data term", choices=tuple(DATA_TERMS))
    iterations: int = setting(500, help="largest number of iterations", minimum=1)
    minimum: float | None = setting(None, help="smallest value of the image")
    maximum: float | None = setting(None, help="largest value of the image")
    image_scale: float = setting(
        1.0, help="what image values are multiplied by for the prior", above=0
    )
    photons: float | None = setting(
        None, help="photons per detector element without an object, for Poisson data", above=0
    )
    attenuation: float = setting(
        1.0, help="what one unit of the image stands for, in 1/mm, for Poisson data", above=0
    )
    background: float = setting(0.0, help="counts expected of no object, in emission", minimum=0)
    per_image: PerImage | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.prior, str):
            from tomolearn.priors.naming import name_of
            from tomolearn.priors.prior import Regulariser

            if not isinstance(self.prior, Regulariser):
                raise TomolearnTypeError(
                    "prior: expected a Regulariser, or the name of one, got "
                    f"{type(self.prior).__name__}"
                )
            # values of equal settings are equal, however the prior was given
            if (text := name_of(self.prior)) is not None:
                object.__setattr__(self, "prior", text)
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise TomolearnError(
                f"maximum: expected at least the minimum {self.minimum:g}, got {self.maximum:g}"
            )
        if ":" not in self.algorithm:
            check_known("algorithm", self.algorithm, ("auto", *ALGORITHMS))

    def informed(self, noise: Any) -> Self:
        """Return the method with the photons of the noise, where its data term asks for them."""
        photons = getattr(noise, "photons", None)
        if self.data != "poisson-transmission" or self.photons is not None or photons is None:
            return self
        return dataclasses.replace(self, photons=photons, attenuation=noise.attenuation)

    def prepare(self) -> None:
        """Load the prior."""
        self._regulariser(2, None)

    def to_dict(self) -> dict[str, Any]:
        """Return name and settings, ready for JSON.

        Raises
        ------
        ValueError
            If no text stands for the prior.
        """
        if not isinstance(self.prior, str):
            raise TomolearnError(
                "prior: expected a name, or a regulariser without weights, in a method that is "
                f"written down, got {type(self.prior).__name__}; save it by tomolearn.save and "
                "give the path"
            )
        return super().to_dict()

    def iterate(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        image: torch.Tensor,
        weights: torch.Tensor | None = None,
    ) -> Iterator[Iterate]:
        """Yield the iterates."""
        problem = self.problem(sinogram, operator, weights=weights)
        return suitable_algorithm(self.algorithm, problem).iterates(problem, image)

    def problem(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        *,
        weights: torch.Tensor | None = None,
        frozen: bool = True,
    ) -> Problem:
        """Return the problem that is solved, for sinograms (batch, *operator.range_shape).

        `weights` (batch or 1, *operator.range_shape) are those of the measured values. `frozen`:
        with a copy of a prior that has weights, in the sinograms' precision and on their device;
        otherwise with the prior itself.
        """
        import torch

        from tomolearn.methods.variational.constraints import Constraint
        from tomolearn.methods.variational.data_terms import DataTerm
        from tomolearn.methods.variational.inputs import PerImage
        from tomolearn.methods.variational.problem import Problem
        from tomolearn.operators.base import spatial_part

        per = self.per_image or PerImage()
        grid = getattr(spatial_part(operator), "grid", None)
        spacing = None if grid is None or len(set(grid.spacing)) == 1 else grid.spacing
        ndim = len(operator.domain_shape)
        prior = self._regulariser(ndim, spacing)
        if prior.ndim > ndim:
            raise TomolearnError(
                f"prior: expected one of at most {ndim} axes, as the operator's images "
                f"{operator.domain_shape} have, got {prior.ndim}"
            )
        if frozen:
            prior = frozen_copy(prior, sinogram)
        data: type[DataTerm] = resolve_name(DATA_TERMS[self.data])
        weight = torch.full((len(sinogram),), self.weight, dtype=torch.float64)
        weight = weight.to(sinogram.device) if per.weight is None else per.weight
        return Problem(
            operator,
            data(sinogram, weights, self),
            prior if bool((weight > 0).any()) else None,
            weight,
            Constraint(self.minimum, self.maximum, per.support),
        )

    def __call__(
        self,
        sinogram: torch.Tensor,
        operator: LinearOperator,
        *,
        weight: torch.Tensor | None = None,
        support: torch.Tensor | None = None,
        differentiable: bool = False,
        **control: Unpack[Control],
    ) -> torch.Tensor:
        """Reconstruct; see `variational` and `IterativeMethod.__call__`."""
        from tomolearn.methods.checks import check_linear_operator, weighted_data
        from tomolearn.methods.iteration import run
        from tomolearn.methods.variational.implicit import connected
        from tomolearn.methods.variational.inputs import checked_inputs

        if control.get("padding"):
            for name, given in (
                ("support", support is not None),
                ("differentiable", differentiable),
            ):
                if given:
                    raise TomolearnError(
                        f"padding: expected 0 with {name}, got {control['padding']}; enlarge the "
                        "grid instead, and cut the image"
                    )
        method, checked = self, None
        if (weights := control.get("weights")) is not None:
            check_linear_operator("operator", operator)
            sinogram, checked = weighted_data(sinogram, operator, weights)
        if not (weight is None and support is None):
            per_image = checked_inputs(sinogram, operator, weight, support)
            method = dataclasses.replace(self, per_image=per_image)
        image = run(method, sinogram, operator, **control)
        if not check_flag("differentiable", differentiable):
            return image
        return connected(method, image, sinogram, operator, weight, checked)

    def _regulariser(self, ndim: int, spacing: tuple[float, ...] | None) -> Regulariser:
        from tomolearn.priors.naming import named_regulariser
        from tomolearn.priors.scaled import scaled

        prior = self.prior
        if isinstance(prior, str):
            geometry = {} if spacing is None else {"spacing": spacing}
            prior = named_regulariser(prior, ndim=ndim, **geometry)
        return scaled(prior, self.image_scale)


def frozen_copy(prior: R, like: torch.Tensor) -> R:
    """Return a prior in evaluation mode, in another tensor's precision and on its device."""
    from tomolearn.priors.prior import Regulariser

    numbers = [*prior.parameters(), *prior.buffers()]
    if not numbers:
        return prior
    found = copy.deepcopy(prior).to(like.device, like.dtype).eval().requires_grad_(False)
    for module in found.modules():
        if isinstance(module, Regulariser):
            module.settle()
    return found


@controlled
def variational(
    sinogram: torch.Tensor,
    operator: LinearOperator,
    *,
    prior: str | Regulariser,
    weight: float | torch.Tensor,
    algorithm: str = Variational.algorithm,
    data: str = Variational.data,
    iterations: int = Variational.iterations,
    minimum: float | None = Variational.minimum,
    maximum: float | None = Variational.maximum,
    image_scale: float = Variational.image_scale,
    photons: float | None = Variational.photons,
    attenuation: float = Variational.attenuation,
    background: float = Variational.background,
    support: torch.Tensor | None = None,
    differentiable: bool = False,
    **control: Unpack[Control],
) -> torch.Tensor:
    """Reconstruct as the minimiser of a data term and a prior.

    Minimises ``||A x - y||_W^2 / 2 + weight * R(x)`` (a half, unlike `total_variation`, whose
    weight is twice this one's) over the images within the bounds, or with a likelihood of photons
    in place of the squares. The objective is reported too.

    Parameters
    ----------
    sinogram : torch.Tensor, shape (..., *operator.range_shape)
        Line integrals, dimensionless; counts for ``data="poisson-emission"``.
    operator : LinearOperator
        The ray transform, or any other linear operator with an exact adjoint.
    prior : str or Regulariser
        R, or its name: ``"tgv"``, ``"huber-tv(delta=0.01)"``, the name or path of weights. One of
        fewer axes than the images is summed over the others, as over the slices of a volume.
    weight : float or torch.Tensor, shape (...)
        Weight of the prior, not negative, for all images or for each.
    algorithm : str
        ``"auto"`` takes the first of the table that the prior has enough for.
    data : {"least-squares", "poisson-transmission", "poisson-emission"}
        Data term.
    iterations : int
        Largest number of iterations.
    minimum : float, optional
        Smallest value of the image.
    maximum : float, optional
        Largest value of the image.
    image_scale : float
        What image values are multiplied by for the prior: R(s x) / s^2.
    photons : float
        Photons per detector element without an object, for ``data="poisson-transmission"``.
    attenuation : float
        What one unit of the image stands for, in 1/mm, there.
    background : float
        For ``data="poisson-emission"``: counts that are expected of no object.
    support : torch.Tensor of bool, optional
        Where images may be other than zero, shape (*operator.domain_shape) or one for each image.
    differentiable : bool
        Whether the image depends differentiably on `sinogram`, a tensor `weight` and the weights of
        the prior, by the implicit function theorem, see `numerics.implicit_minimiser`: for smooth
        priors, and as exact as the minimum was reached. A problem that is not certified to be
        strongly convex is warned of; one that is not convex at the minimum is an error there.

    References
    ----------
    .. [1] O. Scherzer et al., Variational Methods in Imaging (2009),
       doi 10.1007/978-0-387-69277-7
    """
    import torch

    each = weight if isinstance(weight, torch.Tensor) else None
    method = Variational(
        prior,
        weight=0.0 if isinstance(weight, torch.Tensor) else weight,
        algorithm=algorithm,
        data=data,
        iterations=iterations,
        minimum=minimum,
        maximum=maximum,
        image_scale=image_scale,
        photons=photons,
        attenuation=attenuation,
        background=background,
    )
    return method(
        sinogram,
        operator,
        weight=each,
        support=support,
        differentiable=differentiable,
        **control,
    )
