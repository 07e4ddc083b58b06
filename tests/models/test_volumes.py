"""Networks of volumes, and those of the plane that are their special case."""

import numpy as np
import pytest
import torch
from builders import DenseOperator
from networks import NEEDS_RAYS, SMALL, drawn, small_network

from tomolearn import ConeBeam, Grid, LinearOperator, ParallelBeam, RayTransform
from tomolearn.methods import fbp
from tomolearn.models import build_model
from tomolearn.models.blocks import Update
from tomolearn.models.equivariant import GroupConv3d, get_group

GRID = Grid((9, 10))
RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 7))
VOLUME = Grid((5, 8, 8), 1.5)
SPATIAL = [
    "fbp-unet",
    "fbp-unet_batch",
    "fbp-unet_group",
    "fbp-unet_strided",
    "fbp-unet_two_heads",
    "fbp-unet_one_scale",
    "equivariant-proximal",
    "equivariant-proximal_ordinary",
    "equivariant-proximal_flips",
    "equivariant-proximal_eighths",
    "equivariant-proximal_norm",
    "learned-gradient",
    "stochastic-primal-dual",
    "learned-primal",
    "learned-primal-dual",
    "fbp-primal-dual",
    "invertible-primal-dual",
    "learned-pdhg",
    "learned-proximal",
]
UNROLLED = [case for case in SPATIAL if not case.startswith(("fbp-unet", "equivariant"))]
ANY_OPERATOR = [case for case in UNROLLED if case not in NEEDS_RAYS]
_MATRIX = np.random.default_rng(0).standard_normal((84, 120))
DENSE = DenseOperator(_MATRIX, (5, 4, 6), (3, 4, 7))


class OneSlice(LinearOperator):
    """An operator of the plane, on volumes of one slice."""

    def __init__(self, operator):
        super().__init__((1, *operator.domain_shape), (1, *operator.range_shape))
        self.plane = operator

    def _evaluate(self, x):
        return self.plane(x)

    def _evaluate_adjoint(self, y):
        return self.plane.T(y)


def of_space(case):
    name, arguments = SMALL[case]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return drawn(build_model(name, {**arguments, "ndim": 3}))


def test_the_list_has_every_network_of_space():
    assert {case for case in SMALL if "ndim" in small_network(case).arguments} == set(SPATIAL)


@pytest.mark.parametrize("case", ANY_OPERATOR)
def test_one_slice_is_the_plane(case, rng):
    # of a filter in space, only the middle slice meets the slice that there is
    plane, space = small_network(case).eval(), of_space(case).eval()
    weights = {name: w[:, :, 1] if w.ndim == 5 else w for name, w in space.state_dict().items()}
    plane.load_state_dict(weights)
    y = RAYS(torch.rand(2, 1, 9, 10, generator=rng))
    expected = plane(y, RAYS).detach()
    found = space(y[:, :, None], OneSlice(RAYS))
    assert found.shape == (2, 1, 1, 9, 10)
    # the sums of a convolution have another order
    assert float((found[:, :, 0] - expected).norm().detach()) < 1e-4 * float(expected.norm())


@pytest.mark.parametrize("case", ANY_OPERATOR)
def test_gradient_reaches_every_weight_and_slice(case, rng):
    model = of_space(case)
    x = torch.rand(2, 3, *DENSE.domain_shape, generator=rng)
    y = DENSE(x).requires_grad_()
    image = model(y, DENSE)
    assert image.shape == x.shape
    image[..., 0, :, :].square().mean().backward()
    assert [name for name, w in model.named_parameters() if not w.grad.any()] == []
    assert all(bool(part.any()) for part in y.grad.unbind(-3))
    assert model(y[0, 0], DENSE).shape == DENSE.domain_shape


@pytest.mark.parametrize("case", SPATIAL)
def test_cone_beams(case, rng):
    model = of_space(case)
    cone = RayTransform(VOLUME, ConeBeam(9, (7, 13), (2.0, 2.0), 60.0, 100.0))
    y = cone(torch.rand(2, *VOLUME.shape, generator=rng))
    image = model(y, cone)
    assert image.shape == (2, 5, 8, 8)
    image.square().mean().backward()
    assert [name for name, w in model.named_parameters() if not w.grad.any()] == []


@pytest.mark.parametrize("case", UNROLLED)
@pytest.mark.parametrize("block_size", [2, 3, 7])
def test_blocks_with_margins_are_the_whole(case, block_size, rng):
    whole, divided = of_space(case).double(), of_space(case).double().divide_domain(block_size)
    cone = RayTransform(VOLUME, ConeBeam(9, (7, 13), (2.0, 2.0), 60.0, 100.0))
    y = cone(torch.rand(1, 1, *VOLUME.shape, generator=rng, dtype=torch.float64))
    with torch.no_grad():
        torch.testing.assert_close(divided(y, cone), whole(y, cone), rtol=0, atol=1e-12)
    for model in (whole, divided):
        model(y, cone).square().mean().backward()
    for (name, one), other in zip(whole.named_parameters(), divided.parameters(), strict=True):
        scale = float(one.grad.abs().max())
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-11 * scale, msg=name)


def test_blocks_do_not_keep_activations_of_the_whole(rng):
    kept = []
    inputs = torch.rand(1, 2, 16, 16, 16, generator=rng), torch.rand(1, 1, 16, 16, 16)
    for block_size in (None, 8):
        update = Update(3, 2, 32, ndim=3)
        update.block_size = block_size
        sizes = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, sizes=sizes: sizes.setdefault(x.untyped_storage().data_ptr(), x), lambda x: x
        ):
            change = update(*inputs)
        kept.append(sum(x.untyped_storage().nbytes() for x in sizes.values()))
        change.sum().backward()
    assert kept[1] < 0.1 * kept[0]


def test_networks_that_cannot_be_divided():
    with pytest.raises(ValueError, match=r"divide_domain: expected a network .* got FBPUNet"):
        of_space("fbp-unet").divide_domain(8)
    with pytest.raises(ValueError, match=r"block_size: expected .* got 0"):
        small_network("learned-primal").divide_domain(0)


def test_a_unet_sees_slice_by_slice(rng):
    space = of_space("fbp-unet_group").eval()
    cone = RayTransform(VOLUME, ConeBeam(9, (7, 13), (2.0, 2.0), 60.0, 100.0))
    y = cone(torch.rand(2, 1, *VOLUME.shape, generator=rng))
    first = fbp(y, cone, oversampling=1)
    expected = torch.stack([space.unet(first[:, :, k]) for k in range(5)], 2)
    torch.testing.assert_close(space(y, cone), expected)
    with torch.no_grad():
        torch.testing.assert_close(space(y, cone), expected)


@pytest.mark.parametrize("case", ["equivariant-proximal", "equivariant-proximal_norm"])
def test_volumes_are_turned_about_the_axis_as_their_views_are(case, rng):
    model = of_space(case).double().eval()
    volume = Grid((4, 8, 8), 1.5)
    cone = RayTransform(volume, ConeBeam(12, (7, 13), (2.0, 2.0), 60.0, 100.0))
    x = torch.rand(1, 1, *volume.shape, generator=rng, dtype=torch.float64)
    y, turned = cone(x), cone(x.rot90(1, (-2, -1)))
    # three of the twelve views are a quarter turn: the scanner has the symmetry
    shift = min((3, -3), key=lambda k: float((y.roll(k, 2) - turned).norm()))
    torch.testing.assert_close(y.roll(shift, 2), turned, rtol=0, atol=1e-9)
    expected = model(y, cone).rot90(1, (-2, -1))
    torch.testing.assert_close(model(turned, cone), expected, rtol=0, atol=1e-9)
    # and not about another axis
    other = model(cone(x.flip(-3)), cone)
    assert (other - model(y, cone).flip(-3)).abs().max() > 1e-6


@pytest.mark.parametrize("group", ["C4", "D4"])
def test_a_convolution_in_space_commutes_with_its_group(group, rng):
    symmetries = get_group(group)
    x = torch.rand(1, 2, 5, 6, 6, generator=rng, dtype=torch.float64)
    lifting = GroupConv3d(symmetries, 2, 3, 3, input="trivial").double()
    regular = GroupConv3d(symmetries, 3, 2, 3).double()
    for element in range(symmetries.order):
        fields = lifting(x)
        moved = lifting(symmetries.act(element, x))
        torch.testing.assert_close(moved, act_on_slices(symmetries, element, fields))
        expected = act_on_slices(symmetries, element, regular(fields))
        torch.testing.assert_close(regular(moved), expected)
    with pytest.raises(ValueError, match=r"fields: expected shape \(batch, 2, slices, rows, col"):
        lifting(x[:, :1])


def act_on_slices(group, element, fields):
    return group.act(element, fields.transpose(1, 2), "regular").transpose(1, 2)


def test_initial_filters_in_space_have_the_variance_of_glorot():
    layer = GroupConv3d(get_group("C4"), 24, 24, 3)
    expected = 2 / ((96 + 96) * 27)
    assert float(layer.kernel().detach().var()) == pytest.approx(expected, rel=0.1)


def test_from_filtered_back_projection_a_network_begins_there(rng):
    name, arguments = SMALL["fbp-primal-dual"]
    model = build_model(name, {**arguments, "ndim": 3})
    cone = RayTransform(VOLUME, ConeBeam(9, (7, 13), (2.0, 2.0), 60.0, 100.0))
    y = cone(torch.rand(VOLUME.shape, generator=rng))
    torch.testing.assert_close(model(y, cone), fbp(y, cone, filter="hann"))


def test_plane_and_space_do_not_mix():
    with pytest.raises(ValueError, match=r"of 3 axes each, .*; LearnedPDHG has ndim=3, which is"):
        of_space("learned-pdhg")(torch.zeros(RAYS.range_shape), RAYS)
