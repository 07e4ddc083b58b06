"""Weights of others, in dictionaries of the right shapes, compute here what they compute there."""

import itertools
import math

import odl
import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d, interpolate, leaky_relu, prelu

import tomolearn as tl
from tomolearn.models import LearnedPrimalDual, LoDoPaBUNet
from tomolearn.priors import SplineRidge
from tomolearn.training import read_published

GRID = tl.Grid((16, 16), 2.0)
SCAN = tl.ParallelBeam.covering(GRID, 12)
A = tl.RayTransform(GRID, SCAN)


def random(rng, *shape):
    return 0.3 * torch.randn(shape, generator=rng)


def saved(tmp_path, state, wrapped=False):
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": state} if wrapped else state, path)
    return path


def primal_dual_state(rng, n=3, primal=3, dual=2, width=4):
    state = {}
    for k, (part, into, out) in itertools.product(
        range(n), (("primal", primal + 1, primal), ("dual", dual + 2, dual))
    ):
        name = f"{part}_blocks.{k}.block"
        for layer, (a, b) in enumerate(((into, width), (width, width), (width, out))):
            state[f"{name}.{2 * layer}.weight"] = random(rng, b, a, 3, 3)
            state[f"{name}.{2 * layer}.bias"] = random(rng, b)
            if layer < 2:
                state[f"{name}.{2 * layer + 1}.weight"] = random(rng, width)
    return state


def block(state, name, x):
    for layer in (0, 2):
        x = conv2d(x, state[f"{name}.{layer}.weight"], state[f"{name}.{layer}.bias"], padding=1)
        x = prelu(x, state[f"{name}.{layer + 1}.weight"])
    return conv2d(x, state[f"{name}.4.weight"], state[f"{name}.4.bias"], padding=1)


@pytest.mark.parametrize("start", [None, 0.7])
def test_primal_dual_of_dival_with_the_weighted_adjoint_of_odl(rng, tmp_path, start) -> None:
    state = primal_dual_state(rng)
    model = read_published(
        saved(tmp_path, state), "dival-lpd", grid=GRID, scan=SCAN, unit=1000.0, start=start
    )
    # in metres: images are divided by a thousand, the weights of inner products are ODL's
    space = odl.uniform_discr([-0.016] * 2, [0.016] * 2, GRID.shape)
    sinograms = odl.uniform_discr(
        [0, -SCAN.n_detectors * SCAN.detector_spacing / 2000],
        [math.pi, SCAN.n_detectors * SCAN.detector_spacing / 2000],
        SCAN.shape,
    )
    weight = sinograms.cell_volume / space.cell_volume
    norm = math.sqrt(weight) * A.norm() / 1000
    y = A(torch.rand(2, 1, 16, 16, generator=rng))

    def forward(x):
        return A(x) / 1000 / norm

    def adjoint(d):
        return weight * A.T(d) / 1000 / norm

    data = y / 1000 / norm
    primal = torch.zeros(2, 3, 16, 16)
    if start is not None:
        primal += tl.fbp(y, A, filter="hann", frequency_scaling=start)
    dual = torch.zeros(2, 2, *SCAN.shape)
    for k in range(3):
        joined = torch.cat([dual, forward(primal[:, 1:2]), data], 1)
        dual = dual + block(state, f"dual_blocks.{k}.block", joined)
        joined = torch.cat([primal, adjoint(dual[:, :1])], 1)
        primal = primal + block(state, f"primal_blocks.{k}.block", joined)
    # seven convolutions of float32 one after the other
    torch.testing.assert_close(model(y, A), primal[:, :1], rtol=1e-4, atol=1e-4)


def normalised(state, name, x):
    return nn.functional.batch_norm(
        x,
        state[f"{name}.running_mean"],
        state[f"{name}.running_var"],
        state[f"{name}.weight"],
        state[f"{name}.bias"],
    )


def unet_state(rng, widths=(3, 4, 5), skip=2):
    state = {}

    def convolution(name, a, b, size=3):
        state[f"{name}.weight"], state[f"{name}.bias"] = (
            random(rng, b, a, size, size),
            random(rng, b),
        )

    def norm(name, a):
        for part in ("weight", "bias", "running_mean"):
            state[f"{name}.{part}"] = random(rng, a)
        state[f"{name}.running_var"] = 1 + torch.rand(a, generator=rng)
        state[f"{name}.num_batches_tracked"] = torch.tensor(3)

    convolution("inc.conv.0", 1, widths[0])
    norm("inc.conv.1", widths[0])
    for k, (a, b) in enumerate(itertools.pairwise(widths)):
        convolution(f"down.{k}.conv.0", a, b)
        convolution(f"down.{k}.conv.3", b, b)
        norm(f"down.{k}.conv.1", b)
        norm(f"down.{k}.conv.4", b)
    for k, (b, a) in enumerate(itertools.pairwise(widths[::-1])):
        norm(f"up.{k}.conv.0", b + skip)
        convolution(f"up.{k}.conv.1", b + skip, a)
        norm(f"up.{k}.conv.2", a)
        convolution(f"up.{k}.conv.4", a, a)
        norm(f"up.{k}.conv.5", a)
        convolution(f"up.{k}.skip_conv.0", a, skip, 1)
        norm(f"up.{k}.skip_conv.1", skip)
    convolution("outc.conv", widths[0], 1, 1)
    return state


def test_unet_of_dival(rng, tmp_path) -> None:
    state = unet_state(rng)
    path = saved(tmp_path, {f"module.{name}": one for name, one in state.items()})
    model = read_published(path, "dival-unet", frequency_scaling=0.6)
    grid = tl.Grid((18, 18), 2.0)  # 18, 9, 5: what is doubled is cut
    operator = tl.RayTransform(grid, tl.ParallelBeam.covering(grid, 12))
    y = operator(torch.rand(1, 1, 18, 18, generator=rng))

    def step(name, norm, x, stride=1, padding=1):
        w, b = state[f"{name}.weight"], state[f"{name}.bias"]
        return leaky_relu(normalised(state, norm, conv2d(x, w, b, stride, padding)), 0.2)

    image = tl.fbp(y, operator, filter="hann", frequency_scaling=0.6)
    xs = [step("inc.conv.0", "inc.conv.1", image)]
    for k in range(2):
        x = step(f"down.{k}.conv.0", f"down.{k}.conv.1", xs[-1], 2)
        xs.append(step(f"down.{k}.conv.3", f"down.{k}.conv.4", x))
    x = xs.pop()
    for k, n in enumerate((9, 18)):
        x = interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        cut = (x.shape[-1] - n) // 2
        x = x[..., cut : cut + n, cut : cut + n]
        across = step(f"up.{k}.skip_conv.0", f"up.{k}.skip_conv.1", xs.pop(), padding=0)
        x = normalised(state, f"up.{k}.conv.0", torch.cat([x, across], 1))
        x = step(f"up.{k}.conv.1", f"up.{k}.conv.2", x)
        x = step(f"up.{k}.conv.4", f"up.{k}.conv.5", x)
    expected = conv2d(x, state["outc.conv.weight"], state["outc.conv.bias"])
    torch.testing.assert_close(model(y, operator), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weakly", [False, True])
@pytest.mark.parametrize("fitted", [False, True])
def test_ridges_of_the_comparative_study(rng, tmp_path, weakly, fitted) -> None:
    widths = (1, 2, 3)
    filters = [random(rng, b, a, 3, 3) for a, b in itertools.pairwise(widths)]
    state = {
        "filters.0.parametrizations.weight.original": filters[0],
        "filters.1.weight": filters[1],
        "scaling": 1 + random(rng, 1, 3, 1, 1),
        "beta": torch.tensor(1.5),
    }
    alpha, scale = (0.4, 0.3) if fitted else (0.0, 0.0)
    stored = state
    if fitted:
        stored = {f"regularizer.{name}": one for name, one in state.items()}
        stored |= {"alpha": torch.tensor(alpha), "scale": torch.tensor(scale)}
    prior = read_published(
        saved(tmp_path, stored), "learned-regularizers", weakly_convex=weakly
    ).double()

    first = filters[0].double()
    kernels = [first - first.mean((1, 2, 3), keepdim=True), filters[1].double()]

    def filtered(x):
        for kernel in kernels:
            x = conv2d(x, kernel, padding=1)
        return x

    impulse = torch.zeros(1, 1, 256, 256, dtype=torch.float64)
    impulse[0, 0, 128, 128] = 1
    norm = torch.fft.fft2(filtered(impulse)).abs().square().sum(1).max().sqrt()
    s, beta = state["scaling"].double().exp(), 1.5

    def potential(u):
        return torch.where(u.abs() <= 1, u**2 / 2, u.abs() - 0.5)

    # the object keeps away from the border, where the two differ
    image = torch.zeros(1, 1, 30, 30, dtype=torch.float64)
    image[..., 8:22, 8:22] = torch.rand(14, 14, generator=rng)
    image.requires_grad_()
    u = s * filtered(math.exp(scale) * image) / norm
    value = potential(math.exp(beta) * u) * math.exp(-beta) - weakly * potential(u)
    value = math.exp(alpha - 2 * scale) * (value / s**2).sum()
    (gradient,) = torch.autograd.grad(value, image)
    # weights come from files in float32
    assert prior.value(image).item() == pytest.approx(value.item(), rel=1e-5)
    torch.testing.assert_close(prior.gradient(image), gradient, rtol=1e-4, atol=1e-6)


def test_ridges_with_splines(rng, tmp_path) -> None:
    widths, knots, span = (1, 2, 3), 9, 0.2
    filters = [random(rng, b, a, 3, 3) for a, b in itertools.pairwise(widths)]
    coefficients = random(rng, 3, knots)
    state = {
        f"conv_layer.conv_layers.{k}.parametrizations.weight.original": one
        for k, one in enumerate(filters)
    } | {
        "activation.coefficients_vect": coefficients.flatten(),
        "lmbd": torch.tensor(5.0),
        "mu": torch.tensor(1.0),
        "L": torch.tensor(1.0),
    }
    prior = read_published(saved(tmp_path, state, wrapped=True), "crr-nn", span=span).double()

    kernels = [one.double() - one.double().mean((1, 2, 3), keepdim=True) for one in filters]
    rises = coefficients.double().diff(dim=1).clamp(min=0)
    rises[:, 0] = rises[:, -1] = 0
    table = torch.cat([torch.zeros(3, 1, dtype=torch.float64), rises.cumsum(1)], 1)
    table = table - table[:, knots // 2, None]
    places = torch.linspace(-span, span, knots, dtype=torch.float64)

    def spline(t):
        """Sum over the knots of hat functions."""
        hats = 1 - (t.clamp(-span, span)[..., None] - places).abs() / (places[1] - places[0])
        return (hats.clamp(min=0) * table[:, None, None]).sum(-1)

    image = torch.rand(1, 1, 12, 11, generator=rng, dtype=torch.float64)
    responses = image
    for kernel in kernels:
        responses = conv2d(responses, kernel, padding=1)
    expected = spline(responses)
    for kernel in reversed(kernels):
        expected = conv_transpose2d(expected, kernel, padding=1)
    torch.testing.assert_close(prior.gradient(image), expected, rtol=1e-5, atol=1e-7)


def test_what_was_read_is_saved_and_used_by_its_path(rng, tmp_path) -> None:
    path = saved(tmp_path, primal_dual_state(rng))
    model = read_published(path, "dival-lpd", grid=GRID, scan=SCAN, start=0.5)
    card = tl.save(model, tmp_path / "published")
    y = A(torch.rand(1, 1, 16, 16, generator=rng))
    torch.testing.assert_close(tl.get_method(str(card))(y, A), model(y, A))


@pytest.mark.parametrize(
    ("layout", "state", "text"),
    [
        ("other", {}, "layout: expected one of dival-lpd, dival-unet"),
        ("dival-unet", {}, r"expected a tensor inc\.conv\.0\.weight of 4 axes"),
        ("learned-regularizers", {"beta": torch.zeros(2)}, r"expected a tensor filters\.0\.weight"),
        ("crr-nn", {"mu": torch.zeros(())}, r"expected a tensor conv_layer\.conv_layers\.0"),
        ("dival-lpd", {}, "scan: expected the grid and the parallel beam of the training"),
        ("dival-unet", [1, 2], "expected a dictionary of tensors"),
    ],
)
def test_files_of_other_layouts_are_errors(tmp_path, layout, state, text) -> None:
    with pytest.raises(ValueError, match=text):
        read_published(saved(tmp_path, state), layout)


def test_networks_with_other_layers_are_errors(rng, tmp_path) -> None:
    state = primal_dual_state(rng) | {"primal_blocks.0.block.6.weight": torch.zeros(3)}
    with pytest.raises(ValueError, match="expected the tensors of this layout"):
        read_published(saved(tmp_path, state), "dival-lpd", grid=GRID, scan=SCAN)
    path = tmp_path / "text.pt"
    path.write_text("no tensors")
    with pytest.raises(ValueError, match=r"expected a file of tensors that torch\.save wrote"):
        read_published(path, "dival-unet")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_published(tmp_path / "none.pt", "dival-unet")


def test_sizes_are_those_of_the_published_comparison() -> None:
    # doi:10.3390/jimaging7030044 prints 874,980 and, with the buffers of normalisations, 613,322
    model = LearnedPrimalDual(channels=64, start="fbp", frequency_scaling=0.7)
    assert model.n_parameters == 874_980
    assert sum(one.numel() for one in LoDoPaBUNet().state_dict().values()) == 613_322
    with pytest.raises(ValueError, match="start: expected one of zero, fbp, got 'ones'"):
        LearnedPrimalDual(start="ones")


def test_splines_have_a_knot_at_zero() -> None:
    with pytest.raises(ValueError, match="knots: expected an odd number, got 8"):
        SplineRidge(knots=8)
    with pytest.raises(ValueError, match="kernel_size: expected an odd number, got 4"):
        SplineRidge(kernel_size=4)
    with pytest.raises(ValueError, match="channels: expected at least one number, got none"):
        SplineRidge(channels=())
