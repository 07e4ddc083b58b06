"""Equivariant learned proximal gradient method."""

from __future__ import annotations

import torch
from torch import nn

from tomolearn._core.checks import check_choice, check_int, check_iterations
from tomolearn._core.errors import TomolearnError
from tomolearn._core.modules import Compilable
from tomolearn._core.tensors import channels_last
from tomolearn.models.base import ReconstructionModel, Scaled
from tomolearn.models.blocks import check_ndim
from tomolearn.models.equivariant.filters import check_kernel_size
from tomolearn.models.equivariant.groups import Group, get_group
from tomolearn.models.equivariant.layers import GroupConv2d, GroupConv3d, NormActivation
from tomolearn.operators import LinearOperator

ACTIVATIONS = ("leaky-relu", "norm")
SMALL_GAIN = 0.1  # of convolutions whose output is added to something


class EquivariantProximal(ReconstructionModel):
    """Learned proximal gradient method with equivariant networks, of Celledoni et al. [1]_.

    The proximal gradient method, unrolled, with a network in place of the proximal operator that
    also sees, and hands on, a memory s::

        v = A^T (A x - y)
        x, s = (x - v, s) + R_k(x, v, s)

    with A and y divided by the norm of A. It starts at zero. Each step has its own network R_k of
    convolutions that commute with a group of rotations and reflections: a turned input gives the
    turned output, without having to be learned from turned images.

    Parameters
    ----------
    group : {"C4", "C1", "D4", "C8"}
        The group: quarter turns ("C4"), with flips ("D4"), turns by 45 degrees ("C8"), or the
        trivial one ("C1"), which makes R_k an ordinary network of the same width.
    channels : int
        Channels of the ordinary network that R_k amounts to, a multiple of the group's order.
    iterations : int
        Number of iterations, unrolled.
    memory : int
        Number of images that an iteration hands to the next besides the reconstruction.
    kernel_size : int
        Rows and columns of all filters, an odd number.
    residual_blocks : int
        Number of blocks ``z + activation(convolution(z))`` between the first and the last
        convolution.
    activation : {"leaky-relu", "norm"}
        After all convolutions but the last: with slope 0.01 below zero, or `NormActivation`.
    ndim : {2, 3}
        Number of spatial axes. In space the group turns volumes about the rotation axis, see
        `GroupConv3d`.

    Notes
    -----
    The proximal operator of J maps v to the x that minimises ``|x - v|^2 / 2 + J(x)``. Let J be
    invariant, J(g x) = J(x), under linear maps g that keep the norm, such as rotations. Then
    ``|g x - g v|^2 / 2 + J(g x)`` has the same values, so that the minimiser for g v is g x: the
    proximal operator is equivariant [1]_. Images have no preferred orientation, nor should their
    penalty, and what replaces its proximal operator is made equivariant here. The scanner is
    another matter: the reconstruction as a whole is equivariant only if the operator is.

    Channels make up ``channels / order`` regular fields, and the number of parameters is about
    that of the ordinary network divided by the order: with its default arguments it has 188,784,
    for "C1" 754,992. Speed is that of the ordinary network. Equivariance under quarter turns and
    flips is exact up to rounding, under turns by 45 degrees up to what filters of `kernel_size`
    pixels and interpolated images can do, see `filter_basis`.

    In the authors' code, R_k replaces (x, s) and is not added to (x - v, s), and so it has to learn
    to let them pass and to take the gradient step; here the proximal operators begin close to the
    identity, as the paper wants them, and the steps close to gradient descent. For this, the last
    convolution and those of the residual blocks start small, not at zero, where others would have
    no gradient.

    References
    ----------
    .. [1] E. Celledoni, M. J. Ehrhardt, C. Etmann, B. Owren, C.-B. Schönlieb, F. Sherry,
       "Equivariant neural networks for inverse problems", Inverse Problems 37 (2021),
       arXiv:2102.11504, doi 10.1088/1361-6420/ac104f
    """

    def __init__(
        self,
        *,
        group: str = "C4",
        channels: int = 96,
        iterations: int = 8,
        memory: int = 5,
        kernel_size: int = 3,
        residual_blocks: int = 1,
        activation: str = "leaky-relu",
        ndim: int = 2,
    ) -> None:
        symmetries = get_group(group)
        channels = check_int("channels", channels, minimum=1)
        if channels % symmetries.order:
            raise TomolearnError(
                f"channels: expected a multiple of {symmetries.order}, the order of {group}, "
                f"got {channels}"
            )
        iterations = check_iterations(iterations)
        memory = check_int("memory", memory, minimum=1)
        kernel_size = check_kernel_size(kernel_size)
        residual_blocks = check_int("residual_blocks", residual_blocks, minimum=0)
        check_choice("activation", activation, ACTIVATIONS)
        ndim = check_ndim(ndim)
        super().__init__(
            {
                "group": group,
                "channels": channels,
                "iterations": iterations,
                "memory": memory,
                "kernel_size": kernel_size,
                "residual_blocks": residual_blocks,
                "activation": activation,
                "ndim": ndim,
            }
        )
        self.group, self.memory, self.ndim = symmetries, memory, ndim
        self.own_weights = iterations
        self.proximals = nn.ModuleList(
            ProximalBlock(
                symmetries,
                memory + 2,
                memory + 1,
                channels // symmetries.order,
                kernel_size=kernel_size,
                residual_blocks=residual_blocks,
                activation=activation,
                ndim=ndim,
            )
            for _ in range(iterations)
        )

    def reconstruct(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Run the iterations from zero."""
        A = Scaled(operator)
        y = sinogram / A.norm
        x = y.new_zeros((y.shape[0], 1, *operator.domain_shape))
        s = x.new_zeros((x.shape[0], self.memory, *operator.domain_shape))
        for proximal in self.proximals:

            def step(
                x: torch.Tensor, s: torch.Tensor, proximal: nn.Module = proximal
            ) -> tuple[torch.Tensor, torch.Tensor]:
                gradient = A.adjoint(A(x) - y)
                change = proximal(x, gradient, s)
                return x - gradient + change[:, :1], s + change[:, 1:]

            x, s = self._iterate(step, x, s)
        return x


class ProximalBlock(Compilable):
    """Equivariant network from images to images: lifting, residual blocks, projection.

    Parameters
    ----------
    group : Group
        The group.
    n_in, n_out : int
        Images of all inputs together, and of the output.
    fields : int
        Regular fields in between.
    kernel_size, residual_blocks, activation, ndim
        As for `EquivariantProximal`.

    Notes
    -----
    The convolutions are run in the format "channels last", which is faster on CPUs and with mixed
    precision.
    """

    def __init__(
        self,
        group: Group,
        n_in: int,
        n_out: int,
        fields: int,
        *,
        kernel_size: int = 3,
        residual_blocks: int = 1,
        activation: str = "leaky-relu",
        ndim: int = 2,
    ) -> None:
        super().__init__()
        convolution = GroupConv2d if ndim == 2 else GroupConv3d

        def activate() -> nn.Module:
            return NormActivation(group, fields) if activation == "norm" else nn.LeakyReLU(0.01)

        self.layers = nn.Sequential(
            convolution(group, n_in, fields, kernel_size, input="trivial"),
            activate(),
            *(
                ResidualBlock(convolution(group, fields, fields, kernel_size), activate())
                for _ in range(residual_blocks)
            ),
            convolution(group, fields, n_out, kernel_size, output="trivial", gain=SMALL_GAIN),
        )

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the change, (batch, n_out, *spatial), in the precision of the first input."""
        joined = torch.cat(inputs, 1)
        if joined.ndim == 4:
            joined = channels_last(joined)
        elif not torch._C._are_functorch_transforms_active():  # which have no layout
            joined = joined.contiguous(memory_format=torch.channels_last_3d)
        return self.layers(joined).to(inputs[0].dtype)


class ResidualBlock(nn.Module):
    """``z + activation(convolution(z))``, whose convolution starts small."""

    def __init__(self, convolution: GroupConv2d, activation: nn.Module) -> None:
        super().__init__()
        convolution.reset_parameters(SMALL_GAIN)
        self.convolution, self.activation = convolution, activation

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """Map fields to such of the same representation."""
        return fields + self.activation(self.convolution(fields))
