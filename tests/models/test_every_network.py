"""What holds for every network, whatever it computes."""

import copy
import json

import pytest
import torch
from builders import dense_operator
from networks import NEEDS_RAYS, OF_ONE_SHAPE, SMALL, small_network, solved_exactly, with_tolerance

from data_sim import shepp_logan
from tomolearn import FanBeam, Grid, ParallelBeam, RayTransform
from tomolearn.models import MODELS, build_model
from tomolearn.models.blocks import Update

GRID = Grid((12, 12))
RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 7))
OBLONG = Grid((9, 13), 0.8)
FAN = RayTransform(
    OBLONG, FanBeam.covering(OBLONG, 9, source_to_isocenter=40.0, source_to_detector=70.0)
)
each_case = pytest.mark.parametrize("case", SMALL)
FLOAT32 = 2.0**-24


def sinograms(rng, *leading, operator=RAYS, dtype=torch.float32):
    return operator(torch.rand(*leading, *operator.domain_shape, generator=rng, dtype=dtype))


def relative(result, expected):
    return float((result - expected).norm().detach() / expected.norm().detach())


def gradients(model, sinogram, operator=RAYS):
    model.zero_grad()
    model(sinogram, operator).square().mean().backward()
    # no image depends on what segments it
    every = model.named_parameters()
    return {name: w.grad for name, w in every if not name.startswith("segmenter.")}


def test_the_list_has_every_network():
    assert {name for name, _ in SMALL.values()} == set(MODELS)


@each_case
def test_leading_dimensions_are_a_batch(case, rng):
    # The solver stops each entry by itself: where rounding makes it stop an iteration earlier, the
    # image differs by about the tolerance over one minus the rate, for 1e-5 by up to 8e-5.
    model = with_tolerance(small_network(case).eval(), 1e-6)
    y = sinograms(rng, 2, 3)
    together = model(y, RAYS)
    assert together.shape == (2, 3, 12, 12)
    assert together.dtype == torch.float32
    for i in range(2):
        for j in range(3):
            alone = model(y[i, j], RAYS)
            assert alone.shape == (12, 12)
            # for other batch sizes, convolutions may sum in another order
            assert relative(alone, together[i, j]) < 1000 * FLOAT32
    assert model(y[:0], RAYS).shape == (0, 3, 12, 12)


@each_case
def test_same_weights_on_another_scan(case, rng):
    model = small_network(case).eval()
    model(sinograms(rng, 1), RAYS)
    if case in OF_ONE_SHAPE:
        with pytest.raises(ValueError, match=r"operator: expected .* its weights serve no other"):
            model(sinograms(rng, 2, 1, operator=FAN), FAN)
        return
    image = model(sinograms(rng, 2, 1, operator=FAN), FAN)
    assert image.shape == (2, 1, 9, 13)
    assert torch.isfinite(image).all()


@each_case
def test_unit_of_length_does_not_matter(case, rng):
    # Twice all lengths double the line integrals of the same image.
    model = small_network(case).double().eval()
    double = Grid((12, 12), 2.0)
    larger = RayTransform(double, ParallelBeam.covering(double, 7))
    x = torch.rand(2, 1, 12, 12, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(larger(x), 2 * RAYS(x))
    # norms are known to 1e-6
    assert relative(model(larger(x), larger), model(RAYS(x), RAYS)) < 1e-4


@each_case
def test_gradient_reaches_every_weight(case, rng):
    found = gradients(small_network(case), sinograms(rng, 12, 1))
    assert [name for name, g in found.items() if g is None or not g.any()] == []


@each_case
def test_gradients_are_those_of_finite_differences(case, rng):
    model = solved_exactly(small_network(case).double())
    with torch.no_grad():
        for weights in model.parameters():  # away from kinks, at which some of them start
            weights += 0.1 * torch.randn(weights.shape, generator=rng, dtype=torch.float64)
    y = sinograms(rng, 2, 1, dtype=torch.float64)
    found = gradients(model, y)
    step = 1e-6
    draw = {
        name: torch.randn(w.shape, generator=rng, dtype=torch.float64)
        for name, w in model.named_parameters()
    }

    def loss(sign):
        moved = solved_exactly(small_network(case).double())
        moved.load_state_dict(model.state_dict())
        with torch.no_grad():
            for name, weights in moved.named_parameters():
                weights += sign * step * draw[name]
            return float(moved(y, RAYS).square().mean())

    slope = sum(float((found[name] * draw[name]).sum()) for name in found)
    # error: the third derivative times step**2, rounding / step; kinks crossed on the way
    assert (loss(1) - loss(-1)) / (2 * step) == pytest.approx(slope, rel=1e-4)


# one of each kind, and those whose derivatives are had in another way
TWICE = [case for case in SMALL if "_" not in case or case.startswith("de-")]


@pytest.mark.parametrize("of", ["sinogram", "weights", "both"])
@pytest.mark.parametrize("case", TWICE)
def test_second_derivatives_are_right_or_refused(case, of, rng):
    model = solved_exactly(small_network(case).double().eval())
    y = sinograms(rng, 1, 1, dtype=torch.float64)
    weights = {
        name: w.detach() + 0.1 * torch.randn(w.shape, generator=rng, dtype=torch.float64)
        for name, w in model.named_parameters()
    }
    at = {**({"y": y} if of != "weights" else {}), **(weights if of != "sinogram" else {})}
    along = {k: torch.randn(v.shape, generator=rng, dtype=torch.float64) for k, v in at.items()}
    penalised = {"y": y} if of == "both" else at  # a gradient penalty, as one trains with

    def slope(sign, graph=False):
        values = {k: (v + sign * along[k]).requires_grad_() for k, v in at.items()}
        image = torch.func.functional_call(
            model,
            {**weights, **{k: v for k, v in values.items() if k != "y"}},
            (values.get("y", y), RAYS),
        )
        first = torch.autograd.grad(
            image.square().sum(), [values[k] for k in penalised], create_graph=graph
        )
        penalty = sum((g * along[k]).sum() for g, k in zip(first, penalised, strict=True))
        return penalty, list(values.values())

    penalty, leaves = slope(0, graph=True)
    if model_is_refused(case, of):
        for leaf in leaves:
            with pytest.raises(ValueError, match="differentiated"):
                torch.autograd.grad(penalty, leaf, retain_graph=True)
        with pytest.raises(ValueError, match="differentiated"):
            penalty.backward()
        return
    penalty.backward()
    found = sum(float((v.grad * along[k]).sum()) for k, v in zip(at, leaves, strict=True))
    step = 1e-7  # so short that it hardly meets a kink
    expected = float(slope(step)[0] - slope(-step)[0]) / (2 * step)
    assert found == pytest.approx(expected, rel=1e-4)


def model_is_refused(case, of):
    if case.startswith("invertible"):
        return True
    if not case.startswith("de-"):
        return False
    return not case.endswith("unrolled") or of == "weights"


@each_case
def test_forgetting_activations_changes_nothing(case, rng):
    model = small_network(case)
    y = sinograms(rng, 3, 1)
    kept = gradients(model, y)
    image = model(y, RAYS)
    model.checkpoint_activations = True
    assert torch.equal(model(y, RAYS), image)
    for name, gradient in gradients(model, y).items():
        assert torch.equal(gradient, kept[name]), name


# those with iterations whose activations are kept
UNROLLED = [
    case
    for case in SMALL
    if not case.startswith(("fbp-", "limited-", "iradonmap", "automap", "de-", "invertible"))
    or case == "de-gradient_unrolled"
]


@pytest.mark.parametrize("case", UNROLLED)
def test_forgetting_activations_saves_them(case, rng):
    model, y = small_network(case), sinograms(rng, 3, 1)

    def kept():
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        ):
            model(y, RAYS)
        return sum(sizes)

    everything = kept()
    model.checkpoint_activations = True
    assert kept() < everything / 3


@each_case
def test_arguments_rebuild_the_network(case, rng):
    model = small_network(case).eval()
    arguments = json.loads(json.dumps(dict(model.arguments)))
    assert arguments == dict(model.arguments)
    # what was asked for is in there, and all else that could have been
    assert arguments.items() >= SMALL[case][1].items()
    again = build_model(MODELS.spec_of(type(model)), arguments).eval()
    again.load_state_dict(model.state_dict())
    y = sinograms(rng, 2, 1)
    assert torch.equal(again(y, RAYS), model(y, RAYS))


@each_case
def test_defaults_can_be_rebuilt(case):
    name, _ = SMALL[case]
    model = build_model(name, {} if name != "fbp-unet" else {"channels": (4, 4)})
    rebuilt = type(model)(**model.arguments)
    assert rebuilt.arguments == model.arguments
    assert rebuilt.n_parameters == model.n_parameters


@each_case
def test_copies_are_independent(case, rng):
    model = small_network(case).eval()
    twin = copy.deepcopy(model)
    y = sinograms(rng, 2, 1)
    before = model(y, RAYS)
    assert torch.equal(twin(y, RAYS), before)
    with torch.no_grad():
        for weights in twin.parameters():
            weights.mul_(0.5)
    assert torch.equal(model(y, RAYS), before)
    assert not torch.equal(twin(y, RAYS), before)


@each_case
def test_entries_of_a_batch_do_not_meet(case, rng):
    model = with_tolerance(small_network(case).eval(), 1e-6)
    y = sinograms(rng, 4, 1)
    order = torch.tensor([2, 0, 3, 1])
    assert relative(model(y[order], RAYS), model(y, RAYS)[order]) < 1000 * FLOAT32


@each_case
def test_mixed_precision_agrees(case, rng):
    # what rounds in every evaluation converges no further
    model = with_tolerance(small_network(case).eval(), 3e-3)
    y = sinograms(rng, 2, 1)
    exact = model(y, RAYS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(y, RAYS)
    assert mixed.dtype == torch.float32
    # bfloat16 rounds by 2**-9, in a dozen layers
    assert 0 < relative(mixed, exact) < 0.05


def test_changes_of_the_state_have_its_precision():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Update(2, 1, 4)(torch.zeros(1, 2, 5, 5)).dtype == torch.float32


@each_case
def test_precision_is_that_of_the_weights(case, rng):
    model = small_network(case).eval()
    y = sinograms(rng, 1, 1)
    single = model(y, RAYS)
    double = model.double()(y, RAYS)
    assert double.dtype == torch.float64
    assert relative(single, double) < 2000 * FLOAT32


@each_case
def test_learns_four_images_by_heart(case):
    grid = Grid((24, 24))
    A = RayTransform(grid, ParallelBeam.covering(grid, 20))
    phantom = torch.from_numpy(shepp_logan((24, 24))).float()
    x = torch.stack([phantom, phantom.flip(0), phantom.T, phantom.flip(1).T])[:, None]
    y = A(x)
    model = small_network(case, of=A)
    # hyperbolic tangents of dense layers are saturated by longer steps
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3 if case == "automap" else 1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(y, A) - x).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3
    # and not only after a bad start: more than half of what there is to see is seen
    assert losses[-1] < 0.45 * float(x.var())


@pytest.mark.parametrize("case", NEEDS_RAYS)
def test_filtered_back_projection_needs_rays(case, rng):
    A = dense_operator().T @ dense_operator()  # (3, 2) -> (3, 2)
    with pytest.raises(TypeError, match="operator: expected a RayTransform, got ComposedOperator"):
        small_network(case, of=A)(torch.rand(1, 3, 2, generator=rng), A)


@pytest.mark.parametrize("case", sorted(set(SMALL) - set(NEEDS_RAYS)))
def test_any_linear_operator_will_do(case, rng):
    A = dense_operator().T @ dense_operator()
    model = small_network(case, of=A)
    y = torch.rand(2, 3, 2, generator=rng)
    image = model(y, A)
    assert image.shape == (2, 3, 2)
    # networks see A / ||A|| and y / ||A|| only; norms are known to 1e-6
    assert relative(model(8 * y, 8 * A), image) < 1e-4
