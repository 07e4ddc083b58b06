"""Trained regularisers and denoisers as a method."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, Unpack, cast

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn.catalogue.from_weights import FromWeights
from tomolearn.methods.method import setting
from tomolearn.methods.stopping import Control, IterativeMethod

if TYPE_CHECKING:
    import torch

    from tomolearn.models.provenance import Provenance
    from tomolearn.operators import LinearOperator
    from tomolearn.priors import Denoiser, Regulariser

Noise = TypeVar("Noise", float, "torch.Tensor")
# Where nobody says when to stop; the comparative study arXiv:2510.01755 has this tolerance.
_ITERATIONS, _TOLERANCE = 500, 1e-4
_STARTS = ("zero", "fbp")
GENERATIVE = "generative"
"""What cards say of the algorithm of priors that `Generative` uses."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a trained prior was used when its weight was found: ``training["reconstruction"]``.

    Parameters
    ----------
    weight : float, optional
        w of ``||A x - y||^2 / 2 + w R(s x) / s^2``, for images in the unit of the training.
    scale : float
        s.
    noise : float, optional
        Standard deviation of the noise in a bin.
    backprojected_noise : float, optional
        Size of ``A.T noise`` in a pixel: standard deviation of the noise in a bin, times the root
        mean square of the norms of the columns of A.
    algorithm : str
        Algorithm of `Variational` or `PlugAndPlay`, or "generative", which is that of `Generative`.
    sigma : float, optional
        Noise level of a denoiser, in the unit of the training.
    iterations : int, optional
        Their number.
    start : {"zero", "fbp"}
        Where iterations begin that nobody gives a start: at no image, or at the filtered
        back-projection with a Hann window, where the descent is ended early.
    """

    weight: float | None = None
    scale: float = 1.0
    noise: float | None = None
    backprojected_noise: float | None = None
    algorithm: str = "auto"
    sigma: float | None = None
    iterations: int | None = None
    start: str = "zero"

    @property
    def is_density(self) -> bool:
        """Whether the regulariser is the logarithm of a density, whose weight is a variance."""
        return self.algorithm == GENERATIVE

    @property
    def knows_noise(self) -> bool:
        """Whether it is known for which noise the weight is."""
        return (self.noise if self.is_density else self.backprojected_noise) is not None

    @classmethod
    def of_card(cls, name: str, card: Mapping[str, Any]) -> Recipe:
        """Return what a card says; errors begin with the `name` of the weights."""
        said = card["training"].get("reconstruction") or {}
        where = f"{name}: reconstruction"
        if not isinstance(said, Mapping):
            raise TomolearnError(f"{where}: expected an object, got {said!r}")
        numbers = {
            one: check_float(f"{where}.{one}", said[one], positive=True)
            for one in ("weight", "scale", "noise", "backprojected_noise", "sigma")
            if said.get(one) is not None
        }
        algorithm = said.get("algorithm", cls.algorithm)
        if not isinstance(algorithm, str):
            raise TomolearnError(f"{where}.algorithm: expected a name, got {algorithm!r}")
        iterations = said.get("iterations")
        if iterations is not None:
            check_int(f"{where}.iterations", iterations, minimum=1)
        start = check_choice(f"{where}.start", said.get("start", cls.start), _STARTS)
        return cls(algorithm=algorithm, iterations=iterations, start=start, **numbers)


@dataclass(frozen=True, kw_only=True)
class TrainedPrior(FromWeights):
    """A trained regulariser or denoiser in the algorithm that suits it; see `FromWeights`.

    Of a regulariser R it is `Variational`, the minimiser of ``||A x - y||^2 / 2 + w R_s(x)`` with
    ``R_s(x) = R(s x) / s^2``; of a denoiser it is `PlugAndPlay`, of a variational autoencoder whose
    card says so `Generative`. Where the noise is known, from
    `noise_level`, `photons` or an acquisition (`informed`), the weight follows it.

    Parameters
    ----------
    weight : float, optional
        w. Default: that of the card, for the noise where it is known.
    weight_factor : float
        Factor of the weight of the card, which follows the noise as before.
    noise_level : float, optional
        Standard deviation of the noise in a bin, from which the weight is taken.
    photons, electronic_std : float
        Photons per detector element without an object, and electronic noise in photons, as another
        way to say what the noise is.
    sigma : float, optional
        Noise level of a denoiser, in the unit of its training. Default: that of the card.
    algorithm : str, optional
        See `Variational` and `PlugAndPlay`. Default: that of the card.
    iterations, tolerance
        See `Stopping`. Default: the iterations of the card; where it does not say how many, at most
        500 until the image changes by 1e-4 of itself.
    nonnegative : bool
        Whether to minimise over images without negative values.

    Notes
    -----
    The card knows the weight ``w'`` that was found for images ``x'`` in the unit of the training,
    beside a transform ``A'`` and noise of standard deviation ``σ'`` in a bin. Let images in use be
    multiplied by c (`image_scale`, and the card's own) to be like those: ``x' = c x``.

    *Units.* Data of ``c x`` are ``c y``, and ``||A c x - c y||^2 / 2 + w R(s c x) / s^2`` is,
    divided by ``c^2``, the problem of x with the scale ``s c`` and the same w. So images are scaled
    for the prior alone; the weight has the unit of ``A^2``.

    *Noise.* At the true image the slope of the data term is minus the back-projected noise, which
    in a pixel has the size ``c σ a``, where a is the root mean square of the norms of A's columns
    (white noise; for bins that differ, σ is the root mean square). The prior can hold out against
    it if its own slope, w times one that depends on the image only, is as large as in training:

        ``w = w' (c σ a) / (σ' a')``.

    Twice as many views have ``sqrt(2)`` times the weight, twice the noise has twice the weight, and
    pixels of p mm have ``p^2`` times that of pixels of length one, if their images and the relative
    noise of their line integrals are the same. It is the rule of `photon_tv_weight`, with a
    constant that was measured in training.

    *Densities.* The regulariser of "generative" is minus a logarithm of a density, and its weight
    that of the noise's variance: ``w = w' (c σ / σ')^2``, whatever the views.

    Without known noise the weight is that of the card as it stands, and differences of grid, scan
    and task to those of the training are warned of.
    """

    kinds: ClassVar[tuple[str, ...]] = ("regulariser", "denoiser")

    weight: float | None = setting(
        None, help="weight of the prior; default: that of the card, for the noise", minimum=0
    )
    weight_factor: float = setting(1.0, help="factor of the weight of the card", above=0)
    noise_level: float | None = setting(
        None, help="standard deviation of the noise in a bin, for the weight", above=0
    )
    photons: float | None = setting(
        None, help="photons per detector element without an object, for the weight", above=0
    )
    electronic_std: float = setting(
        0.0, help="electronic noise in photons, for the weight", minimum=0
    )
    sigma: float | None = setting(
        None, help="noise level of a denoiser, in its training's unit; default: its card's", above=0
    )
    algorithm: str | None = setting(None, help="algorithm; default: that of the card")
    iterations: int | None = setting(
        None, help="largest number of iterations; default: that of the card, or 500", minimum=1
    )
    tolerance: float | None = setting(
        None, help="stop at this relative change of the image", above=0
    )
    nonnegative: bool = setting(False, help="allow no negative values")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nonnegative and self.card["kind"] == "denoiser":
            raise TomolearnError(
                f"nonnegative: expected false with {self.weights}, a denoiser, got true"
            )
        if self.noise_level is not None and self.photons is not None:
            raise TomolearnError("noise_level: expected it or photons, got both")
        if self.weight is not None and self.weight_factor != 1:
            raise TomolearnError("weight_factor: expected it or a weight, got both")

    @property
    def recipe(self) -> Recipe:
        """How the prior was used when its weight was found."""
        return Recipe.of_card(self.weights, self.card)

    @property
    def side_by_side(self) -> bool:
        """Whether an image of a batch does not depend on the others: no rule waits for all."""
        return self._stopping(self.recipe)["tolerance"] is None

    def informed(self, noise: Any) -> Self:
        """Return the method with the noise of an acquisition, which its weight follows."""
        known = super().informed(noise)
        self._needs_weight()
        return known

    def prior(self, device: torch.device | str = "cpu") -> Regulariser | Denoiser:
        """Return the prior, in evaluation mode; the same at every call."""
        return cast("Regulariser | Denoiser", self._module(device))

    def weight_of(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Return the weight of each image, of float64 and shape (...), by the rule in the notes."""
        import torch

        leading = sinogram.shape[: sinogram.ndim - len(operator.range_shape)]
        noise = self._noise(sinogram, operator) if self.weight is None else None
        if noise is None:
            return torch.full(leading, self._needs_weight(), dtype=torch.float64)
        if self.recipe.is_density:
            return self._weight_of_density(noise)
        from tomolearn.methods.variational.noise_levels import column_norm

        trained = cast("float", self.recipe.backprojected_noise)
        factor = self._scale * column_norm(operator) / trained
        return self._needs_weight() * factor * noise

    def _weight_of_density(self, noise: Noise) -> Noise:
        """Return the weight that a logarithm of a density has beside noise of this deviation."""
        return self._needs_weight() * (self._scale * noise / cast("float", self.recipe.noise)) ** 2

    def method(self, weight: float) -> IterativeMethod:
        """Return the method that reconstructs with a weight, `Variational` or `PlugAndPlay`."""
        recipe, prior = self.recipe, self.prior()
        algorithm = recipe.algorithm if self.algorithm is None else self.algorithm
        stopping = self._stopping(recipe)
        scale = self._scale * recipe.scale
        from tomolearn.priors import Regulariser

        if algorithm == GENERATIVE:
            return self._generative(prior, weight, stopping, scale)
        if isinstance(prior, Regulariser):
            from tomolearn.methods import Variational

            return Variational(
                prior,
                weight=weight,
                algorithm=algorithm,
                minimum=0.0 if self.nonnegative else None,
                image_scale=scale,
                **stopping,
            )
        from tomolearn.methods import PlugAndPlay

        sigma = recipe.sigma if self.sigma is None else self.sigma
        if sigma is None:
            raise TomolearnError(
                f"sigma: expected a noise level with {self.weights}, whose card has none, got none"
            )
        return PlugAndPlay(
            prior,
            sigma=sigma / self._scale,
            weight=weight,
            algorithm=algorithm,
            image_scale=scale,
            **stopping,
        )

    def _generative(
        self, prior: Any, weight: float, stopping: dict[str, Any], scale: float
    ) -> IterativeMethod:
        from tomolearn.methods import Generative

        if self.nonnegative:
            raise TomolearnError(
                f"nonnegative: expected false with {self.weights} and algorithm {GENERATIVE}, "
                "which has no bounds, got true"
            )
        return Generative(prior, weight=weight, image_scale=scale, **stopping)

    def weighting(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the keyword of the call; see `Method.weighting`."""
        return {"weights": weights}

    def __call__(
        self, sinogram: torch.Tensor, operator: LinearOperator, **control: Unpack[Control]
    ) -> torch.Tensor:
        """Reconstruct; see `IterativeMethod.__call__`. `noise_level` of `control` stops."""
        import torch

        from tomolearn.methods.checks import check_linear_operator, check_sinogram, weighted_data

        check_linear_operator("operator", operator)
        if (weights := control.get("weights")) is not None:
            sinogram, weights = weighted_data(sinogram, operator, weights)
        sinogram = check_sinogram(sinogram, operator)
        if control.get("x0") is None and self.recipe.start == "fbp":
            from tomolearn.methods import fbp

            control["x0"] = fbp(sinogram, operator, filter="hann")
        each = self.weight_of(sinogram, operator)
        if sinogram.numel():
            self._watch().compare(sinogram, operator, self._scale, stacklevel=2)
        if each.numel() == 0 or bool((each == each.flatten()[0]).all()):
            weight = float(each.flatten()[0]) if each.numel() else self._needs_weight()
            return self.method(weight)(sinogram, operator, **control)
        if control.get("callback") is not None:
            raise TomolearnError("callback: expected none where each image has a weight")
        # one after the other: each has its own number of iterations
        flat = sinogram.reshape(-1, *operator.range_shape)
        starts = _starts(control.get("x0"), len(flat), operator.domain_shape)
        found = []
        counted = [None] * len(flat) if weights is None else weights.expand_as(flat)
        for y, w, weight, start in zip(flat, counted, each.flatten(), starts, strict=True):
            control["x0"], control["weights"] = start, w
            found.append(self.method(float(weight))(y, operator, **control))
        shape = (*each.shape, *operator.domain_shape)
        return torch.stack(found).reshape(shape)

    def denoiser(self, unit: float = 1.0) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the prior's denoiser for noise of `noise_level` units, or `sigma`.

        Of a regulariser it is the minimiser of ``||x - image||^2 / 2 + w R_s(x)``, with the weight
        `weight`, or that of the noise by the same rule, in which the operator is the identity.
        """
        recipe, scale = self.recipe, self._scale
        is_regulariser = self.card["kind"] == "regulariser"
        level = None if self.noise_level is None else self.noise_level * unit
        if is_regulariser:
            weight = self.weight
            if weight is None and level is not None and recipe.knows_noise:
                if recipe.is_density:
                    weight = self._weight_of_density(level)
                else:
                    trained = cast("float", recipe.backprojected_noise)
                    weight = self._needs_weight() * scale * level / trained
            if weight is None:
                raise TomolearnError(
                    f"noise_level: expected that of the images with {self.weights} in the image "
                    "domain (in HU for CT), or a weight; got neither"
                )
            method = dataclasses.replace(self, weight=weight).method(weight)
        else:
            sigma = level * scale if level is not None and self.sigma is None else self.sigma
            blind = getattr(self.prior(), "blind", False)
            if sigma is None and not blind:
                raise TomolearnError(
                    f"noise_level: expected that of the images with {self.weights} in the image "
                    "domain (in HU for CT), or sigma; got neither"
                )
        if self.use is not None:
            provenance = self._provenance()
            provenance.warn(provenance.differences(level=self.use.level, scale=scale), stacklevel=2)

        def denoise(images: torch.Tensor) -> torch.Tensor:
            import torch

            if is_regulariser:
                from tomolearn.operators import Identity

                return method(images, Identity(images.shape[2:]), x0=images)
            factor = scale * recipe.scale
            with torch.no_grad():
                level = None if sigma is None else sigma * recipe.scale
                cleaned: torch.Tensor = self.prior(images.device)(images * factor, level)
            return cleaned / factor

        return denoise

    def _stopping(self, recipe: Recipe) -> dict[str, Any]:
        iterations = recipe.iterations if self.iterations is None else self.iterations
        if iterations is not None or self.tolerance is not None:
            return {"iterations": iterations or _ITERATIONS, "tolerance": self.tolerance}
        return {"iterations": _ITERATIONS, "tolerance": _TOLERANCE}

    @property
    def _scale(self) -> float:
        return self.image_scale * float(self.card["image_scale"])

    def _needs_weight(self) -> float:
        if self.weight is not None:
            return self.weight
        weight = self.recipe.weight
        if weight is None:
            raise TomolearnError(
                f"weight: expected a number with {self.weights}, whose card has none, got none"
            )
        return weight * self.weight_factor

    def _noise(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor | None:
        """Return the standard deviation in a bin of each sinogram, None where it is not known."""
        import torch

        from tomolearn.simulation import PhotonNoise
        from tomolearn.simulation.noise import noise_from_dict

        told = self.noise_level is not None or self.photons is not None
        if not self.recipe.knows_noise:
            if told:
                name = "noise_level" if self.photons is None else "photons"
                raise TomolearnError(
                    f"{name}: expected none with {self.weights}, whose card does not know for "
                    "which noise its weight is; give a weight"
                )
            return None
        flat = sinogram.detach().reshape(-1, *operator.range_shape)
        leading = sinogram.shape[: sinogram.ndim - len(operator.range_shape)]
        if self.noise_level is not None:
            return torch.full(leading, self.noise_level, dtype=torch.float64)
        if self.photons is not None:
            noise: Any = PhotonNoise(self.photons, electronic_std=self.electronic_std)
        elif self.use is not None and self.use.noise:
            noise = noise_from_dict(self.use.noise)
        else:
            return None
        levels = [noise.level(y.cpu().numpy()) for y in flat]
        return torch.tensor(levels, dtype=torch.float64).reshape(leading)

    def _provenance(self) -> Provenance:
        """Return what matters of the training: with a weight for this noise only the images."""
        provenance = super()._provenance()
        told = self.weight is not None or self.noise_level is not None or self.photons is not None
        known = self.use is not None and bool(self.use.noise)
        if told or (known and self.recipe.backprojected_noise is not None):
            return dataclasses.replace(provenance, task=None, grid=None, scan=None, noise=None)
        return provenance


def _starts(x0: Any, count: int, shape: tuple[int, ...]) -> list[Any]:
    """Return the start of each image."""
    if x0 is None:
        return [None] * count
    if tuple(x0.shape) == shape:
        return [x0] * count
    return list(x0.reshape(-1, *shape))
