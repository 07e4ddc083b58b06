"""Equivariance errors of networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.modules import judged
from tomolearn._core.tensors import check_real_tensor, norm
from tomolearn.models.equivariant.groups import Group
from tomolearn.models.equivariant.layers import GroupConv2d


def equivariance_errors(
    network: nn.Module, group: Group, images: torch.Tensor
) -> dict[str, tuple[float, ...]]:
    """Compare what each layer of a network returns for an image with what it does for it moved.

    Parameters
    ----------
    network : torch.nn.Module
        Maps images to fields or images and has `GroupConv2d` layers; other layers must keep the
        representation. Of an `EquivariantProximal`, one of its `proximals`.
    group : Group
        The elements to try; layers whose fields are regular must be of this group.
    images : torch.Tensor, shape (batch, channels, rows, columns)
        Input, in the precision of the weights. For turns other than quarter turns it should be
        square and smooth, as it is interpolated by splines of fifth order.

    Returns
    -------
    dict of str to tuple of float
        By the names of the layers, in the order in which they are run, "output" for the network
        itself: for each element g, ``|L(g x) - g L(x)| / |g L(x)|``, where L is the network up
        to and including the layer. Where images are interpolated, the norms are those of the disc
        that has half the diameter of the image.

    Raises
    ------
    TypeError, ValueError
        If `network` is no module, `group` no group or `images` no real tensor; if the images are
        not of four dimensions, or a layer is of another group.

    Examples
    --------
    >>> from tomolearn.models.equivariant import get_group
    >>> model = EquivariantProximal(group="C4", channels=16)
    >>> images = torch.randn(1, 7, 32, 32)
    >>> errors = equivariance_errors(model.proximals[0], get_group("C4"), images)
    >>> max(map(max, errors.values()))  # about 1e-6
    """
    if not isinstance(network, nn.Module):
        raise TomolearnTypeError(
            f"network: expected a torch.nn.Module, got {type(network).__name__}"
        )
    if not isinstance(group, Group):
        raise TomolearnTypeError(
            f"group: expected a Group, see get_group, got {type(group).__name__}"
        )
    if check_real_tensor("images", images).ndim != 4:
        raise TomolearnError(
            f"images: expected shape (batch, channels, rows, columns), got {tuple(images.shape)}"
        )
    for name, layer in network.named_modules():
        if isinstance(layer, GroupConv2d) and layer.group != group:
            raise TomolearnError(
                f"group: expected {layer.group.name}, that of layer {name!r}, got {group.name}"
            )
    still = _outputs(network, images)
    errors: dict[str, list[float]] = {name: [] for name in still}
    for element in range(group.order):
        outputs = _outputs(network, _moved(group, element, images, "trivial"))
        for name, (result, representation) in outputs.items():
            expected = _moved(group, element, still[name][0], representation)
            if not group.is_exact(element):
                inside = _disc(*expected.shape[-2:]).to(expected.device)
                result, expected = result[..., inside], expected[..., inside]
            difference, size = norm((result - expected)[None]), norm(expected[None])
            errors[name].append(float(difference / size))
    return {name: tuple(values) for name, values in errors.items()}


def _outputs(network: nn.Module, images: torch.Tensor) -> dict[str, tuple[torch.Tensor, str]]:
    """Return the output of each layer, with its representation."""
    outputs: dict[str, tuple[torch.Tensor, str]] = {}
    representation = "trivial"
    hooks = []
    for name, layer in network.named_modules():
        if isinstance(layer, (nn.Sequential, nn.ModuleList)) and name:
            continue  # the last of its layers has the same output

        def record(
            layer: nn.Module, _: object, output: torch.Tensor, name: str = name or "output"
        ) -> None:
            nonlocal representation
            if isinstance(layer, GroupConv2d):
                representation = layer.output
            outputs[name] = output, representation

        hooks.append(layer.register_forward_hook(record))
    try:
        with torch.no_grad(), judged(network):
            network(images.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return outputs


def _moved(group: Group, element: int, images: torch.Tensor, representation: str) -> torch.Tensor:
    if group.is_exact(element):
        return group.act(element, images, representation)
    from scipy import ndimage

    turned = ndimage.rotate(
        images.double().cpu().numpy(),
        group.angle(element),
        axes=(-1, -2),
        reshape=False,
        order=5,
        mode="nearest",
    )
    moved = torch.from_numpy(turned).to(images)
    return group.permute(element, moved) if representation == "regular" else moved


def _disc(rows: int, columns: int) -> torch.Tensor:
    row, column = np.ogrid[:rows, :columns]
    squared = (row - (rows - 1) / 2) ** 2 + (column - (columns - 1) / 2) ** 2
    return torch.from_numpy(squared <= (min(rows, columns) / 4) ** 2)
