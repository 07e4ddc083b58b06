"""Convolutions and activations that commute with the elements of a group."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn.functional import conv2d, conv3d, pad

from tomolearn._core.checks import check_choice, check_float, check_int
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tensors import channels_last
from tomolearn.models.equivariant.filters import check_kernel_size, filter_basis
from tomolearn.models.equivariant.groups import REPRESENTATIONS, Group


class GroupConv2d(nn.Module):
    """Convolution that commutes with a group, between fields of two representations.

    A field of the trivial representation is one channel, an image. A field of the regular
    representation has one channel per element of the group, next to each other: channel
    ``field * order + element``. Written for ordinary convolutions, the filter W of learned weights
    w is, with the filters moved by M_g as `filter_action` describes::

        trivial to regular (lifting):     W[o, g; i]    = M_g w[o, i]
        regular to regular:               W[o, g; i, h] = M_g w[o, i, g^-1 h]
        regular to trivial (projection):  W[o; i, h]    = M_h w[o, i]

    These are all filters that commute with the group, so that no freedom is lost.

    Parameters
    ----------
    group : Group
        The group; with "C1" it is the ordinary convolution.
    n_in, n_out : int
        Number of fields.
    kernel_size : int
        Rows and columns of the filters, an odd number.
    input, output : {"regular", "trivial"}
        Representations, of which at least one is regular.
    bias : bool
        Whether each field of the output has a bias; it is the same in all its channels.
    gain : float
        Factor of the initial weights.

    Attributes
    ----------
    weight : torch.nn.Parameter, shape (n_out, n_in, order, filters) or (n_out, n_in, filters)
        What is learned: factors of the filters of `filter_basis`.
    bias : torch.nn.Parameter, shape (n_out,), or None
        Biases.

    Notes
    -----
    The image is continued beyond its border by its outermost pixels, which commutes with the
    group as well. Initial weights are uniform; their variance is Glorot's for the ordinary
    convolution. That has as many channels as the fields have together, and takes nearly all of
    the time.

    References
    ----------
    .. [1] T. S. Cohen, M. Welling, "Group Equivariant Convolutional Networks", ICML 2016,
       arXiv:1602.07576
    .. [2] M. Weiler, G. Cesa, "General E(2)-Equivariant Steerable CNNs", NeurIPS 2019,
       arXiv:1911.08251

    Examples
    --------
    >>> from tomolearn.models.equivariant import get_group
    >>> group = get_group("C4")
    >>> lifting = GroupConv2d(group, 1, 8, 3, input="trivial")
    >>> fields = lifting(images)  # (batch, 32, rows, columns)
    """

    expansion: torch.Tensor

    def __init__(
        self,
        group: Group,
        n_in: int,
        n_out: int,
        kernel_size: int,
        *,
        input: str = "regular",
        output: str = "regular",
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(group, Group):
            raise TomolearnTypeError(
                f"group: expected a Group, see get_group, got {type(group).__name__}"
            )
        self.group = group
        self.n_in = check_int("n_in", n_in, minimum=1)
        self.n_out = check_int("n_out", n_out, minimum=1)
        self.kernel_size = check_kernel_size(kernel_size)
        self.input = check_choice("input", input, REPRESENTATIONS)
        self.output = check_choice("output", output, REPRESENTATIONS)
        if input == output == "trivial":
            raise TomolearnError(
                "input, output: expected 'regular' for at least one of them, got 'trivial' twice"
            )
        order = group.order
        self.in_channels = n_in * (order if input == "regular" else 1)
        self.out_channels = n_out * (order if output == "regular" else 1)
        expansion = _expansion(group, kernel_size, input, output)
        # computed from the arguments, hence not saved with the weights
        self.register_buffer("expansion", expansion, persistent=False)
        filters = len(expansion) // (order if input == output else 1)
        kinds = (order, filters) if input == output else (filters,)
        self.weight = nn.Parameter(torch.empty(n_out, n_in, *kinds))
        self.bias = nn.Parameter(torch.zeros(n_out)) if bias else None
        self.reset_parameters(gain)

    def reset_parameters(self, gain: float = 1.0) -> None:
        """Draw new weights after Glorot and Bengio, times `gain`, and set the biases to zero."""
        gain = check_float("gain", gain, nonnegative=True)
        variance = 2 / ((self.in_channels + self.out_channels) * self.kernel_size**2)
        # mean square of an entry of the ordinary filters, for weights of variance one
        spread = float(self.expansion.square().sum(0).mean())
        bound = gain * math.sqrt(3 * variance / spread)
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def kernel(self) -> torch.Tensor:
        """Return the ordinary filters (channels out, channels in, rows, columns)."""
        size, order = self.kernel_size, self.group.order
        # one small product; mixed precision would gain nothing and round the filters twice
        with torch.autocast(self.weight.device.type, enabled=False):
            moved = self.weight.flatten(2) @ self.expansion.to(self.weight.dtype)
        to = order if self.output == "regular" else 1
        kernel = moved.view(self.n_out, self.n_in, to, -1, size, size).transpose(1, 2)
        kernel = kernel.reshape(self.out_channels, self.in_channels, size, size)
        return channels_last(kernel)

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """Map fields (batch, channels, rows, columns) to such of the same rows and columns."""
        if fields.ndim != 4 or fields.shape[1] != self.in_channels:
            raise TomolearnError(
                f"fields: expected shape (batch, {self.in_channels}, rows, columns), "
                f"got {tuple(fields.shape)}"
            )
        larger = _continued(fields, self.kernel_size // 2)
        bias: torch.Tensor | None = self.bias
        if bias is not None and self.output == "regular":
            bias = bias.repeat_interleave(self.group.order)
        return conv2d(larger, self.kernel(), bias)

    def extra_repr(self) -> str:
        """Describe the layer."""
        return (
            f"{self.group.name}, {self.n_in} {self.input} -> {self.n_out} {self.output}, "
            f"kernel_size={self.kernel_size}, bias={self.bias is not None}"
        )


class GroupConv3d(GroupConv2d):
    """Convolution in space that commutes with turns and flips about the rotation axis.

    The axis is that of the slices. The elements of the group move the rows and columns of each
    plane of the filter and leave the planes in their order: each plane is a filter of
    `GroupConv2d`, with weights of its own. A scan in space has no other rotations.

    Parameters
    ----------
    group, n_in, n_out, kernel_size, input, output, bias, gain
        As for `GroupConv2d`; the filter has as many planes as rows and columns.

    Attributes
    ----------
    weight : torch.nn.Parameter, shape (n_out, n_in * kernel_size, ...)
        As in `GroupConv2d`, the planes of a field next to each other.
    """

    def __init__(
        self,
        group: Group,
        n_in: int,
        n_out: int,
        kernel_size: int,
        *,
        input: str = "regular",
        output: str = "regular",
        bias: bool = True,
        gain: float = 1.0,
    ) -> None:
        n_in = check_int("n_in", n_in, minimum=1)
        depth = check_kernel_size(kernel_size)
        super().__init__(
            group,
            n_in * depth,
            n_out,
            kernel_size,
            input=input,
            output=output,
            bias=bias,
            gain=gain,
        )
        self.n_in, self.in_channels = n_in, self.in_channels // depth
        self.reset_parameters(gain)

    def reset_parameters(self, gain: float = 1.0) -> None:
        """Draw new weights after Glorot and Bengio, times `gain`, and set the biases to zero."""
        super().reset_parameters(gain / math.sqrt(self.kernel_size))

    def kernel(self) -> torch.Tensor:
        """Return the ordinary filters (channels out, channels in, planes, rows, columns)."""
        size, order = self.kernel_size, self.group.order
        with torch.autocast(self.weight.device.type, enabled=False):
            moved = self.weight.flatten(2) @ self.expansion.to(self.weight.dtype)
        to = order if self.output == "regular" else 1
        kernel = moved.view(self.n_out, self.n_in, size, to, -1, size, size)
        kernel = kernel.permute(0, 3, 1, 4, 2, 5, 6)
        return kernel.reshape(self.out_channels, self.in_channels, size, size, size).contiguous(
            memory_format=torch.channels_last_3d
        )

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """Map fields (batch, channels, slices, rows, columns) to such of the same shape."""
        if fields.ndim != 5 or fields.shape[1] != self.in_channels:
            raise TomolearnError(
                f"fields: expected shape (batch, {self.in_channels}, slices, rows, columns), "
                f"got {tuple(fields.shape)}"
            )
        larger = _continued(fields, self.kernel_size // 2)
        bias: torch.Tensor | None = self.bias
        if bias is not None and self.output == "regular":
            bias = bias.repeat_interleave(self.group.order)
        return conv3d(larger, self.kernel(), bias)


class NormActivation(nn.Module):
    """Activation that shrinks each field by its own norm: ``z sigmoid(|z| + b)``.

    The norm ``|z|`` is the root of the mean square over the channels of the field at each pixel.
    No element changes it, as the elements permute these channels, so that the activation is
    equivariant for regular and trivial fields, and would be for every field on which the group
    acts by orthogonal matrices. Activations of single channels such as `torch.nn.LeakyReLU` are
    equivariant only where the group permutes channels: for regular and trivial fields too, which
    are all that this package has.

    Parameters
    ----------
    group : Group
        The group.
    fields : int
        Number of regular fields.

    Attributes
    ----------
    bias : torch.nn.Parameter, shape (fields,)
        Biases b, zero at first.
    """

    def __init__(self, group: Group, fields: int) -> None:
        super().__init__()
        self.group = group
        self.fields = check_int("fields", fields, minimum=1)
        self.bias = nn.Parameter(torch.zeros(fields))

    def forward(self, fields: torch.Tensor) -> torch.Tensor:
        """Map fields (batch, fields * order, rows, columns), or of volumes, to such."""
        channels = self.fields * self.group.order
        if fields.ndim not in (4, 5) or fields.shape[1] != channels:
            raise TomolearnError(
                f"fields: expected shape (batch, {channels}, rows, columns), "
                f"got {tuple(fields.shape)}"
            )
        single = fields.unflatten(1, (self.fields, self.group.order))
        # the root has no slope at zero
        norm = (single.square().mean(2, keepdim=True) + 1e-12).sqrt()
        bias = self.bias.to(norm.dtype).view(-1, *(1,) * (norm.ndim - 2))
        gate = (norm + bias).sigmoid()
        return (single * gate).flatten(1, 2)


def _continued(fields: torch.Tensor, reach: int) -> torch.Tensor:
    """Continue fields beyond their border by their outermost pixels."""
    if reach == 0:
        return fields
    if torch.compiler.is_compiling():
        # The compiler (of torch 2.13) mistakes the strides of the gradient of `pad` below.
        for dim in range(2, fields.ndim):
            first, last = fields.narrow(dim, 0, 1), fields.narrow(dim, -1, 1)
            fields = torch.cat([first] * reach + [fields] + [last] * reach, dim)
        return fields
    # mixed precision would do this in single precision, which is slow
    with torch.autocast(fields.device.type, enabled=False):
        return pad(fields, (reach,) * (2 * fields.ndim - 4), mode="replicate")


def _expansion(group: Group, size: int, input: str, output: str) -> torch.Tensor:
    """Return the matrix from the weights of two fields to their ordinary filters, in float32."""
    basis = torch.from_numpy(filter_basis(group, size))  # (element, pixel, filter)
    if input != output:
        return basis.flatten(0, 1).T.float().contiguous()
    order, pixels, filters = basis.shape
    table, inverses = group.table, group.inverses
    matrix = basis.new_zeros(order, filters, order, order, pixels)
    for g in range(order):
        for h in range(order):
            matrix[table[inverses[g]][h], :, g, h] = basis[g].T
    return matrix.flatten(2).flatten(0, 1).float()
