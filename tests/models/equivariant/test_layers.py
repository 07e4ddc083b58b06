"""Layers that commute with a group, against loops over its elements and under each of them."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from tomolearn.models.equivariant import (
    GROUPS,
    GroupConv2d,
    NormActivation,
    filter_action,
    filter_basis,
    get_group,
)
from tomolearn.models.equivariant.equivariant_proximal import ProximalBlock, ResidualBlock

DOUBLE = torch.float64
KINDS = [("trivial", "regular"), ("regular", "regular"), ("regular", "trivial")]
each_group = pytest.mark.parametrize("group", [get_group(name) for name in GROUPS], ids=GROUPS)
each_kind = pytest.mark.parametrize(("input", "output"), KINDS)


def randomised(layer, rng, dtype=DOUBLE):
    layer = layer.to(dtype)
    with torch.no_grad():
        for weights in layer.parameters():
            weights += 0.3 * torch.randn(weights.shape, generator=rng, dtype=dtype)
    return layer


def channels(group, fields, representation):
    return fields * (group.order if representation == "regular" else 1)


def worst_error(layer, group, input, output, fields):
    """Largest relative error under the elements that map pixels to pixels."""
    with torch.no_grad():
        still = layer(fields)
        errors = []
        for e in range(group.order):
            if group.is_exact(e):
                expected = group.act(e, still, output)
                result = layer(group.act(e, fields, input))
                assert result.shape == expected.shape
                errors.append(float((result - expected).norm() / expected.norm()))
    return max(errors)


def layers_of(group, size):
    """Yield name, layer, representations and number of fields of the input."""
    for input, output in KINDS:
        yield (
            f"{input} to {output}",
            GroupConv2d(group, 2, 3, size, input=input, output=output),
            input,
            output,
            2,
        )
    for activation in (nn.LeakyReLU(0.01), NormActivation(group, 2)):
        yield type(activation).__name__, activation, "regular", "regular", 2
        yield (
            "residual",
            ResidualBlock(GroupConv2d(group, 2, 2, size), activation),
            "regular",
            "regular",
            2,
        )
    for activation in ("leaky-relu", "norm"):
        block = ProximalBlock(group, 4, 3, 2, kernel_size=size, activation=activation)
        yield f"block, {activation}", block, "trivial", "trivial", 4


@each_group
@pytest.mark.parametrize("size", [1, 3, 5])
@pytest.mark.parametrize("shape", [(7, 7), (6, 6), (5, 8)])
def test_every_layer_commutes_with_the_group(group, size, shape, rng):
    for name, layer, input, output, n in layers_of(group, size):
        fields = torch.randn(2, channels(group, n, input), *shape, generator=rng)
        # a hundred products and a few layers; rounding units are 6e-8 and 1e-16
        for dtype, tolerance in ((torch.float32, 1e-5), (DOUBLE, 1e-12)):
            error = worst_error(
                randomised(layer, rng, dtype), group, input, output, fields.to(dtype)
            )
            assert error < tolerance, name


@pytest.mark.parametrize("name", ["C4", "D4", "C8"])
def test_ordinary_layers_do_not(name, rng):
    # or the test above could not fail
    group = get_group(name)
    layer = nn.Conv2d(
        2 * group.order, 3 * group.order, 3, padding=1, padding_mode="replicate"
    ).double()
    fields = torch.randn(2, 2 * group.order, 7, 7, generator=rng, dtype=DOUBLE)
    assert worst_error(layer, group, "regular", "regular", fields) > 0.1
    # nor do those that do, if the channels of a field are not moved along
    layer = randomised(GroupConv2d(group, 2, 3, 3), rng)
    assert worst_error(layer, group, "regular", "trivial", fields) > 0.1


@each_group
@each_kind
def test_convolution_is_the_sum_over_the_group(group, input, output, rng):
    layer = randomised(GroupConv2d(group, 2, 3, 3, input=input, output=output), rng)
    basis = filter_basis(group, 3)[0]
    filters = (layer.weight.detach().numpy() @ basis.T).reshape(*layer.weight.shape[:-1], 9)
    moves, table, inverses = filter_action(group, 3), group.table, group.inverses
    to = range(group.order) if output == "regular" else (None,)
    of = range(group.order) if input == "regular" else (None,)
    image = torch.randn(1, 2 * len(of), 5, 6, generator=rng, dtype=DOUBLE)
    padded = np.pad(image[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    expected = np.zeros((3 * len(to), 5, 6))
    for o, (a, g), i, (b, h) in itertools.product(range(3), enumerate(to), range(2), enumerate(of)):
        if g is None:
            moved = moves[h] @ filters[o, i]
        elif h is None:
            moved = moves[g] @ filters[o, i]
        else:
            moved = moves[g] @ filters[o, i, table[inverses[g]][h]]
        for r, c in itertools.product(range(3), range(3)):
            pixels = padded[i * len(of) + b, r : r + 5, c : c + 6]
            expected[o * len(to) + a] += moved[3 * r + c] * pixels
    expected += layer.bias.detach().numpy().repeat(len(to))[:, None, None]
    # the layer keeps its basis in single precision
    np.testing.assert_allclose(
        layer(image)[0].detach(), expected, atol=1e-12 if group.exact else 1e-5
    )


@each_kind
@pytest.mark.parametrize("size", [1, 3, 5])
def test_trivial_group_is_the_ordinary_convolution(input, output, size, rng):
    layer = randomised(GroupConv2d(get_group("C1"), 4, 6, size, input=input, output=output), rng)
    ordinary = nn.Conv2d(4, 6, size, padding=size // 2, padding_mode="replicate").double()
    assert sum(p.numel() for p in layer.parameters()) == sum(
        p.numel() for p in ordinary.parameters()
    )
    with torch.no_grad():
        ordinary.weight.copy_(layer.weight.view_as(ordinary.weight))
        ordinary.bias.copy_(layer.bias)
    assert torch.equal(layer.kernel(), ordinary.weight)
    fields = torch.randn(2, 4, 6, 5, generator=rng, dtype=DOUBLE)
    torch.testing.assert_close(layer(fields), ordinary(fields), rtol=1e-13, atol=1e-13)


@each_group
@each_kind
@pytest.mark.parametrize("size", [3, 5])
def test_initial_weights_have_glorots_variance(group, input, output, size):
    torch.manual_seed(0)
    layer = GroupConv2d(group, 16, 24, size, input=input, output=output)
    kernel = layer.kernel().detach()
    variance = 2 / ((layer.in_channels + layer.out_channels) * size**2)
    # of some thousand independent numbers
    assert float(kernel.square().mean()) == pytest.approx(variance, rel=0.1)
    assert not layer.bias.any()
    layer.reset_parameters(0.5)
    kernel = layer.kernel().detach()
    assert float(kernel.square().mean()) == pytest.approx(variance / 4, rel=0.1)


@pytest.mark.parametrize("name", ["C1", "C4", "D4"])
def test_no_freedom_is_lost(name):
    # filters that commute with the group, counted as the kernel of the conditions
    group = get_group(name)
    moves, n = filter_action(group, 3), group.order
    for input, output in KINDS:
        layer = GroupConv2d(group, 1, 1, 3, input=input, output=output)
        to, of = (n if output == "regular" else 1), (n if input == "regular" else 1)
        conditions = []
        for e in range(n):
            rows = np.eye(n)[:, list(group.table[group.inverses[e]])].T if to > 1 else np.eye(1)
            columns = np.eye(n)[:, list(group.table[group.inverses[e]])].T if of > 1 else np.eye(1)
            action = np.kron(np.kron(rows, columns), moves[e])
            conditions.append(action - np.eye(len(action)))
        rank = np.linalg.matrix_rank(np.concatenate(conditions))
        assert to * of * 9 - rank == layer.weight.numel()


@each_group
def test_norm_activation_is_the_formula(group, rng):
    layer = randomised(NormActivation(group, 3), rng)
    fields = torch.randn(2, 3 * group.order, 4, 5, generator=rng, dtype=DOUBLE)
    expected = fields.clone()
    for f in range(3):
        part = expected[:, f * group.order : (f + 1) * group.order]
        norm = part.square().mean(1, keepdim=True).sqrt()
        part /= 1 + torch.exp(-norm - layer.bias[f].detach())
    # the root has 1e-12 added to its argument
    torch.testing.assert_close(layer(fields), expected, rtol=1e-9, atol=1e-9)
    # differentiable at zero
    zero = torch.zeros_like(fields, requires_grad=True)
    layer(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


@pytest.mark.parametrize("name", ["C4", "C8"])
def test_gradients(name, rng):
    layer = randomised(GroupConv2d(get_group(name), 1, 2, 3), rng)
    fields = torch.randn(
        1, layer.in_channels, 3, 4, generator=rng, dtype=DOUBLE, requires_grad=True
    )
    assert torch.autograd.gradcheck(layer, (fields,))
    loss = layer(fields).square().sum()
    loss.backward()
    direction = torch.randn(layer.weight.shape, generator=rng, dtype=DOUBLE)
    step, values = 1e-5, []
    with torch.no_grad():
        for sign in (1, -2):
            layer.weight += sign * step * direction
            values.append(float(layer(fields).square().sum()))
    slope = float((layer.weight.grad * direction).sum())
    # central differences of a quadratic function are exact
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-7)


def test_mixed_precision_rounds_once(rng):
    layer = GroupConv2d(get_group("C8"), 2, 2, 3)
    fields = torch.randn(1, 16, 8, 8, generator=rng)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.kernel().dtype == torch.float32
        mixed = layer(fields)
    assert mixed.dtype == torch.bfloat16
    exact = layer(fields)
    assert (mixed - exact).norm() < 2**-7 * exact.norm()


@pytest.mark.parametrize("size", [3, 5])
def test_compiled_padding_is_the_same(size, rng, monkeypatch):
    layer = randomised(GroupConv2d(get_group("C4"), 1, 2, size), rng)
    fields = torch.randn(2, 4, 3, 6, generator=rng, dtype=DOUBLE)
    expected = layer(fields)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(layer(fields), expected, rtol=1e-13, atol=1e-13)


def test_only_weights_are_saved():
    layer = GroupConv2d(get_group("D4"), 2, 3, 5)
    assert {name: tuple(w.shape) for name, w in layer.state_dict().items()} == {
        "weight": (3, 2, 8, 25),
        "bias": (3,),
    }
    assert GroupConv2d(get_group("D4"), 2, 3, 5, bias=False).bias is None
    assert "D4, 2 regular -> 3 regular, kernel_size=5" in repr(layer)


C4 = get_group("C4")


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("C4", 1, 1, 3), {}, TypeError, "group: expected a Group, see get_group, got str"),
        ((C4, 0, 1, 3), {}, ValueError, "n_in: expected an integer >= 1"),
        ((C4, 1, 1.0, 3), {}, TypeError, "n_out: expected an integer"),
        ((C4, 1, 1, 4), {}, ValueError, "kernel_size: expected an odd number, got 4"),
        ((C4, 1, 1, 3), {"input": "vector"}, ValueError, "input: expected one of trivial, regular"),
        ((C4, 1, 1, 3), {"output": 4}, ValueError, "output: expected one of trivial, regular"),
        (
            (C4, 1, 1, 3),
            {"input": "trivial", "output": "trivial"},
            ValueError,
            "expected 'regular' for at least one of them",
        ),
        ((C4, 1, 1, 3), {"gain": -1.0}, ValueError, "gain: expected a non-negative number"),
    ],
)
def test_refused_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        GroupConv2d(*arguments, **options)


@pytest.mark.parametrize("layer", [GroupConv2d(C4, 2, 3, 3), NormActivation(C4, 2)])
@pytest.mark.parametrize("shape", [(1, 6, 5, 5), (8, 5, 5)])
def test_refused_fields(layer, shape):
    with pytest.raises(
        ValueError, match=r"fields: expected shape \(batch, 8, rows, columns\), got"
    ):
        layer(torch.zeros(shape))
