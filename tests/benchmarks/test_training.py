"""Speed and memory of training: that the right thing is measured; never how fast it is."""

import time
from dataclasses import replace

import pytest
import torch
from small_task import small_task

from tomolearn import ConeBeam, FanBeam, Grid, ParallelBeam, RayTransform
from tomolearn.benchmarks import training as training_speed
from tomolearn.benchmarks.rivals import odl_torch
from tomolearn.benchmarks.training import (
    Recipe,
    measure_training,
    measure_training_memory,
    measure_volume_memory,
    memory_of_steps,
)
from tomolearn.models import InvertiblePrimalDual, LearnedPrimalDual
from tomolearn.operators import OperatorLayer
from tomolearn.simulation import Acquisition
from tomolearn.tasks import get_task

# pixels and bins of other sizes than 1, whose weights ODL must not leave in the adjoint
GRID = Grid((24, 24), 0.7)
SCANS = {
    "parallel": ParallelBeam.covering(GRID, 20),
    "listed": ParallelBeam.covering(GRID, angles=[0.0, 0.1, 0.5, 1.4, 2.0]),
    "fan": FanBeam.covering(GRID, 20, source_to_isocenter=60.0, source_to_detector=90.0),
}
# ASTRA has positions in float32: at up to 200 pixels or bins they are wrong by 200 rounding units
# (6e-8), and so are the weights of single pixels, of the order of 1.
ROUNDING = 1.2e-5


def small_lpd(**changes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LearnedPrimalDual(**{"iterations": 3, "channels": 8} | changes)


def close(found, expected, tolerance=ROUNDING):
    return float((found - expected).norm()) <= tolerance * float(expected.norm())


def gradient(function, x, along):
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad((function(x) * along).sum(), x)
    return found


@pytest.mark.parametrize("name", SCANS)
def test_odls_layer_and_its_gradients_are_those_of_plain_sums(name, rng):
    scan = SCANS[name]
    theirs, ours = odl_torch(GRID, scan), RayTransform(GRID, scan, backend="astra")
    x = torch.rand(2, 1, *GRID.shape, generator=rng)
    y = torch.rand(2, 1, *scan.shape, generator=rng)
    assert close(theirs(x), ours(x))
    assert close(theirs.T(y), ours.T(y))
    assert close(gradient(theirs, x, y), ours.T(y))
    assert close(gradient(theirs.T, y, x), ours(x))
    assert theirs.T.T is theirs
    assert theirs.norm() == pytest.approx(ours.norm(), rel=1e-4)


def test_odls_layer_computes_odls_gradients_and_not_ours(rng):
    theirs = odl_torch(GRID, SCANS["parallel"])
    y = theirs(torch.rand(1, 1, *GRID.shape, generator=rng).requires_grad_())
    assert type(y.grad_fn).__name__ == "OperatorFunctionBackward"
    x = theirs.T(y.detach().requires_grad_())
    assert any(
        type(node).__name__ == "OperatorFunctionBackward"
        for node in (x.grad_fn, *(parent for parent, _ in x.grad_fn.next_functions))
    )


def test_the_network_is_the_same_with_odls_layer():
    task = get_task("ellipses")
    model = small_lpd(iterations=10, channels=32)
    pairs = task.pairs("train", size=2)
    sinogram, image = torch.utils.data.default_collate([pairs[0], pairs[1]])
    found = []
    for operator in (task.operator(), odl_torch(task.grid, task.scan)):
        model.zero_grad()
        output = model(sinogram, operator)
        (output - image).square().mean().backward()
        found.append((output.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    (output, slope), (their_output, their_slope) = found
    # the untrained network's iterations are no contractions: each may enlarge the rounding
    assert close(their_output, output, 10 * ROUNDING)
    # and where an activation is about zero, rounding decides whether its gradient passes
    assert close(their_slope, slope, 100 * ROUNDING)


def test_all_recipes_and_operators_are_measured():
    recipes = {"plain": Recipe(), "half": Recipe(autocast=True)}
    timings = list(
        measure_training(task=small_task(), model=small_lpd(), batch=2, rounds=2, recipes=recipes)
    )
    steps = {t.contender: t for t in timings if t.what == "training step"}
    assert set(steps) == {f"{who}, {how}" for who in ("joseph", "odl torch") for how in recipes}
    for timing in steps.values():
        assert (timing.case, timing.batch, timing.unit) == ("small", 2, "ms")
        assert timing.value > 0
        assert timing.ratio == pytest.approx(steps["odl torch, plain"].value / timing.value)
    shares = {t.contender: t for t in timings if "share" in t.what}
    assert set(shares) == {"joseph, plain", "joseph, half"}
    assert all(0 < t.value < 100 and t.unit == "%" and t.ratio is None for t in shares.values())
    assert len(timings) == 6


def test_without_rivals_there_is_no_ratio():
    timings = list(
        measure_training(
            task=small_task(),
            model=small_lpd(),
            batch=1,
            rounds=1,
            rivals=False,
            recipes={"plain": Recipe()},
        )
    )
    assert [t.contender for t in timings] == ["joseph, plain"] * 2
    assert all(t.ratio is None for t in timings)


def test_a_step_trains_the_network_and_leaves_the_given_one_alone():
    task, given = small_task(), small_lpd()
    before = [weights.clone() for weights in given.parameters()]
    trainer = training_speed._Trainer(given, Recipe(), task.operator(), torch.device("cpu"))
    sinogram, image = (part[None] for part in task.pairs("train", size=1)[0])
    losses = [float(trainer.step(sinogram, image)) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(a, b) for a, b in zip(given.parameters(), before, strict=True))


def test_half_precision_is_that_of_the_convolutions():
    task, seen = small_task(), []
    trainer = training_speed._Trainer(
        small_lpd(), Recipe(autocast=True), task.operator(), torch.device("cpu")
    )
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda *given: seen.append(given[-1].dtype))
    trainer.step(*(part[None] for part in task.pairs("train", size=1)[0]))
    assert set(seen) == {torch.bfloat16}


def test_the_share_counts_every_projection_of_both_passes():
    pause = 0.005
    A = small_task().operator()

    def slow(function):
        def compute(values):
            time.sleep(pause)
            return function(values)

        return compute

    slow_A = OperatorLayer(
        slow(A._evaluate), slow(A._evaluate_adjoint), A.domain_shape, A.range_shape
    )
    slow_A._norm = A.norm(), 0.0
    watched = training_speed._Watched(slow_A)
    trainer = training_speed._Trainer(small_lpd(), Recipe(), watched, torch.device("cpu"))
    pair = [part[None] for part in small_task().pairs("train", size=1)[0]]
    trainer.step(*pair)
    # each iteration projects and back-projects, forward and backward; but the start, zero, is
    # given, and needs no gradient
    expected = 4 * 3 - 1
    assert watched.calls == expected
    assert watched.seconds >= expected * pause
    share = training_speed._share_of_rays(trainer, slow_A, *pair, rounds=2)
    assert 0.3 < share < 1


@pytest.mark.slow
def test_compiled_blocks_train():
    timings = list(
        measure_training(
            task=small_task(), model=small_lpd(iterations=1), batch=1, rounds=1, rivals=False
        )
    )
    steps = [t.contender for t in timings if t.what == "training step"]
    assert steps == ["joseph, float32", "joseph, bfloat16 compiled"]


def saved_bytes(model, operator):
    """Bytes of the tensors that automatic differentiation keeps for the backward pass."""
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # the tensor lives on: no reuse
        return tensor

    y = operator(torch.rand(1, 1, *operator.domain_shape))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(y, operator)
    return sum(size for size, _ in kept.values())


@pytest.mark.slow
def test_memory_is_that_of_the_activations_and_checkpoints_save_most_of_it():
    grid = Grid((160, 160))
    scan = ParallelBeam.covering(grid, 100)
    model = small_lpd(iterations=8, channels=32)
    expected = saved_bytes(model, RayTransform(grid, scan)) / 2**20
    # a process that has held more than its children must not lend them its maximum
    torch.ones(int(4 * expected * 2**20) // 4)
    full, time, saving, _ = measure_training_memory(grid=grid, scan=scan, model=model)
    assert (time.what, time.unit) == ("training step, processor time", "ms")
    assert time.value > 0
    assert (full.case, full.batch, full.unit) == ("parallel 160, 100 angles", 1, "MiB")
    # gradients of one block come on top, and what the allocator keeps
    assert 0.9 * expected < full.value < 1.6 * expected
    assert saving.value < 0.6 * full.value
    assert "one iteration" in saving.contender


@pytest.mark.slow
def test_memory_of_invertible_iterations_does_not_grow_with_them():
    grid = Grid((160, 160))
    models = {str(n): InvertiblePrimalDual(iterations=n, channels=16) for n in (4, 16)}
    scan = ParallelBeam.covering(grid, 100)
    few, many = memory_of_steps(grid, scan, models, 1, "cpu")
    assert many.value < 1.3 * few.value


@pytest.mark.slow
def test_memory_of_a_greedy_step_is_that_of_one_iteration():
    grid = Grid((160, 160))
    scan = ParallelBeam.covering(grid, 100)
    models = {"all": small_lpd(iterations=8, channels=32)}
    models["last"] = small_lpd(iterations=8, channels=32)
    models["last"].only_iteration = 7
    every, last = memory_of_steps(grid, scan, models, 1, "cpu")
    assert last.value < 0.5 * every.value


@pytest.mark.slow
def test_blocks_need_less_memory_than_the_whole():
    grid = Grid((48, 48, 48))
    scan = ConeBeam.covering(grid, 20, source_to_isocenter=150.0, source_to_detector=300.0)
    task = replace(get_task("cone-ellipsoids"), grid=grid, acquisition=Acquisition(scan))
    model = LearnedPrimalDual(iterations=1, channels=32, ndim=3)
    found = [t for t in measure_volume_memory(task=task, model=model) if t.unit == "MiB"]
    assert [t.what.split(",")[0] for t in found] == ["reconstruction"] * 2 + ["training step"] * 2
    assert {t.case for t in found} == {"cone 48, 20 angles"}
    for whole, divided in (found[:2], found[2:]):
        assert divided.value < 0.7 * whole.value


def test_the_memory_of_volumes_needs_a_scan():
    with pytest.raises(ValueError, match="task: expected one with a scan, got none"):
        list(measure_volume_memory(task=get_task("ellipses-64")))


def test_memory_needs_a_system_that_tells_it(monkeypatch, tmp_path):
    monkeypatch.setattr("tomolearn._core.memory._STATUS", tmp_path / "none")
    with pytest.raises(ValueError, match=r"memory: expected a system that tells VmHWM"):
        measure_training_memory()
