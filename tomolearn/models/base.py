"""Base class of reconstruction networks: ``model(sinogram, operator) -> image``."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Self

import torch
from torch.utils.checkpoint import checkpoint

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError, TrainedElsewhereWarning
from tomolearn._core.modules import Configured
from tomolearn._core.tensors import is_transformed
from tomolearn.methods.checks import check_linear_operator, check_sinogram, positive_norm
from tomolearn.models.blocks import Update
from tomolearn.models.fixed_shapes import FixedShapes
from tomolearn.models.provenance import Provenance, Watch
from tomolearn.operators import LinearOperator
from tomolearn.priors import Denoiser

# Frames from a warning in `forward` to whoever called the network, torch's two in between.
_CALLER = 4


class ReconstructionModel(Configured, abc.ABC):
    """A network that maps a sinogram, and the operator that made it, to an image.

    The operator is an argument of the call and not a part of the network, so that a network can be
    trained for any scan of its dimension. Trained weights are for the scan, the noise and the range
    of image values that they were trained on: with fewer views or coarser bins they may return
    nonsense. Loaded weights know these and warn (`TrainedElsewhereWarning`), once per scanner.

    Networks see the operator divided by its norm and the sinogram divided by the same number, so
    that their step sizes fit every scan; this scaling is part of each model's definition and leaves
    the image's scale alone. Image values are multiplied by `image_scale` only.

    Parameters
    ----------
    arguments : mapping
        The constructor's arguments by name, so that ``type(model)(**model.arguments)`` makes the
        same network with fresh weights.

    Examples
    --------
    >>> model = LearnedPrimalDual(iterations=4)
    >>> A = RayTransform(grid, scan)
    >>> image = model(A(x), A)
    """

    ndim: int = 2
    """Number of spatial axes of images and of sinograms. Networks that are not of the plane only
    have it as an argument."""
    checkpoint_activations: bool = False
    """Whether training keeps the activations of one iteration at a time only, and computes those
    of the others again in the backward pass. It saves memory and does not change the result."""
    block_size: int | None = None
    """Length of the blocks by which convolutions are computed, see `divide_domain`."""
    image_scale: float = 1.0
    """What image values are multiplied by to be like those that the network is trained on: it gets
    the sinogram times this number, and its image is divided by it. It is saved with the weights."""
    diagnostics: Mapping[str, float] = MappingProxyType({})
    """Numbers about the last reconstruction, such as a solver's iterations; training logs them."""

    own_weights: int | None = None
    """The number of iterations that run one after the other, each with weights of its own; None
    where they share weights, or there are none. Such networks can be trained greedily."""
    only_iteration: int | None = None
    """Which iteration alone is trained: those before it run without gradients, those after it not
    at all. None: every iteration runs, and is trained."""
    heteroscedastic: bool = False
    """Whether a second head tells how large the error of each pixel may be; `moments` returns it.
    Networks that may have one have an argument of this name."""

    fixed_shapes: FixedShapes | None = None
    """The only shapes of image and sinogram that the weights are for, None if any will do."""

    _watch: Watch | None = None
    _started: int = 0  # iterations of this reconstruction so far, if one alone is trained

    def watched_as(self, name: str) -> None:
        """Compare, from now on, what the network is called with with its card."""
        self._watch = None if self.card is None else Watch(Provenance.of_card(name, self.card))

    def divide_domain(self, block_size: int | None) -> Self:
        """Compute convolutions block by block, so that their memory is that of one block.

        Images and weights stay those of the whole, but for rounding: each block is computed with a
        margin as wide as its convolutions reach. In training the activations of blocks are computed
        twice. What an iteration hands to the next is held as a whole.

        Parameters
        ----------
        block_size : int, optional
            Largest length of a block along each axis of image and sinogram, without its margin.
            None: no division.

        Returns
        -------
        ReconstructionModel
            Itself.

        Raises
        ------
        TypeError, ValueError
            If `block_size` is no positive integer, or the network is not made of convolutions of a
            fixed reach.
        """
        if block_size is not None:
            block_size = check_int("block_size", block_size, minimum=1)
        updates = [module for module in self.modules() if isinstance(module, Update)]
        if not updates:
            raise TomolearnError(
                "divide_domain: expected a network whose iterations are convolutions of a fixed "
                f"reach, such as LearnedPrimalDual or LearnedGradient, got {type(self).__name__}"
            )
        for update in updates:
            update.block_size = block_size
        self.block_size = block_size
        return self

    @abc.abstractmethod
    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Map checked sinograms (batch, 1, *range_shape) to images (batch, 1, *domain_shape)."""

    def reconstruct_moments(
        self, sinogram: torch.Tensor, operator: LinearOperator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Map as `reconstruct` does, and to standard deviations of the same shape."""
        raise TomolearnError(
            "model: expected a network with a head for standard deviations, such as "
            f"FBPUNet(heteroscedastic=True), got {type(self).__name__} without one"
        )

    def forward(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct.

        Parameters
        ----------
        sinogram : torch.Tensor, shape (..., *operator.range_shape)
            Line integrals, on the device of the model's weights. Computed in the precision of the
            weights.
        operator : LinearOperator
            The scanner, from images (rows, columns) to sinograms (angles, bins), or from volumes to
            stacks of projections if the network is one of space.

        Returns
        -------
        torch.Tensor, shape (..., *operator.domain_shape)
            In the precision of the weights.

        Raises
        ------
        TypeError, ValueError
            If `operator` is no linear operator or `sinogram` not a real floating-point tensor; if
            the operator is not one of the network's dimension, or is zero; if the sinogram is of
            another shape than the operator's, on another device than the weights, or has values
            that are not finite; if the weights are in half precision.

        Warns
        -----
        TrainedElsewhereWarning
            If the weights were loaded, and trained on another scan, grid or range of image values,
            once for each; or if the image contradicts its data.
        """
        watch = self._watch
        if watch is None or torch.compiler.is_compiling():
            return self.apply_to(sinogram, operator)
        flat = self._checked(sinogram, operator)
        if is_transformed(sinogram):  # no value is known
            return self.apply_to(sinogram, operator)
        if flat.shape[0]:
            watch.compare(flat, operator, self.image_scale, stacklevel=_CALLER)
        if self.training:  # what follows is about other weights than those of the card
            self._watch = None
        image = self.apply_to(sinogram, operator)
        found = None
        if flat.shape[0] and not self.training:
            found = watch.contradiction(image, sinogram, operator)
        if found is not None:
            warnings.warn(found, TrainedElsewhereWarning, stacklevel=_CALLER)
        return image

    def apply_to(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct as a call does, without comparing with what the weights were trained on."""
        return self._applied(lambda *given: (self.reconstruct(*given),), sinogram, operator, 1)[0]

    def moments(
        self, sinogram: torch.Tensor, operator: LinearOperator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Reconstruct as `apply_to` does, with standard deviations of the error of each pixel.

        Parameters
        ----------
        sinogram, operator
            As for a call.

        Returns
        -------
        image, deviation : torch.Tensor, shape (..., *operator.domain_shape)
            The image, and what its second head expects of its error: positive, in its unit.

        Raises
        ------
        TypeError, ValueError
            As for a call, or if the network has no such head.
        """
        image, deviation = self._applied(self.reconstruct_moments, sinogram, operator, 2)
        return image, deviation

    def _applied(
        self,
        reconstruct: Callable[[torch.Tensor, LinearOperator], tuple[torch.Tensor, ...]],
        sinogram: torch.Tensor,
        operator: LinearOperator,
        heads: int,
    ) -> tuple[torch.Tensor, ...]:
        """Return what is reconstructed of checked sinograms, in the unit of the images."""
        flat = self._checked(sinogram, operator)
        self._started = 0
        shape = (*sinogram.shape[: -self.ndim], *operator.domain_shape)
        if flat.shape[0] == 0:
            return tuple(flat.new_zeros(shape) for _ in range(heads))
        if self.image_scale == 1:
            return tuple(one.reshape(shape) for one in reconstruct(flat, operator))
        found = reconstruct(flat * self.image_scale, operator)
        return tuple((one / self.image_scale).reshape(shape) for one in found)

    def _checked(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Return the sinograms in the precision of the weights, (batch, 1, *range_shape)."""
        check_linear_operator("operator", operator)
        domain, range_ = operator.domain_shape, operator.range_shape
        if len(domain) != self.ndim or len(range_) != self.ndim:
            name = type(self).__name__
            remedy = f"{name} is a network of the plane only"
            if "ndim" in self.arguments:
                remedy = f"{name} has ndim={self.ndim}, which is for such images only"
            raise TomolearnError(
                f"operator: expected one from images to sinograms of {self.ndim} axes each, got "
                f"{domain} -> {range_}; {remedy}"
            )
        if self.fixed_shapes is not None:
            self.fixed_shapes.check(type(self).__name__, operator)
        sinogram = check_sinogram(sinogram, operator)
        weights = next(self.parameters())
        if weights.dtype not in (torch.float32, torch.float64):
            raise TomolearnError(
                "model: expected weights in float32 or float64, got "
                f"{weights.dtype}; for mixed precision call it within torch.autocast"
            )
        if sinogram.device != weights.device:
            raise TomolearnError(
                f"sinogram: expected it on the device of the weights, {weights.device}, "
                f"got {sinogram.device}"
            )
        return sinogram.to(weights.dtype).reshape(-1, 1, *range_)

    def denoiser(self) -> Denoiser:
        """Return the part of the network that works on images, with the same weights.

        Raises
        ------
        ValueError
            If the network has no such part.
        """
        raise TomolearnError(
            "model: expected a network with a denoiser, such as FBPUNet, DEGradient or DEProximal, "
            f"got {type(self).__name__}"
        )

    def _iterate(
        self, step: Callable[..., tuple[torch.Tensor, ...]], *state: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Run one iteration, whose activations are forgotten if so wanted."""
        if self.only_iteration is not None:
            number, self._started = self._started, self._started + 1
            if number > self.only_iteration:
                return state
            if number < self.only_iteration:
                with torch.no_grad():
                    return step(*state)
        if self.checkpoint_activations and torch.is_grad_enabled():
            return checkpoint(step, *state, use_reentrant=False)
        return step(*state)


class Scaled:
    """An operator and its adjoint, both divided by the operator's norm."""

    def __init__(self, operator: LinearOperator) -> None:
        self._operator = operator
        self.norm = positive_norm(operator)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Project."""
        return self._operator(image) / self.norm

    def adjoint(self, sinogram: torch.Tensor) -> torch.Tensor:
        """Apply the transpose."""
        return self._operator.T(sinogram) / self.norm
