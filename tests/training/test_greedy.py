"""Training one iteration after the other: against shorter networks, memory, whole runs."""

import pytest
import torch
from networks import small_network
from small_task import only_tasks, small_task

from tomolearn import Grid, ParallelBeam, RayTransform, TomolearnError
from tomolearn.data import RandomEllipses
from tomolearn.models import LearnedGradient, LearnedPrimalDual
from tomolearn.priors import TotalVariation
from tomolearn.tasks import Split
from tomolearn.training.config import TrainingConfig
from tomolearn.training.objectives import Greedy
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")
GRID = Grid((12, 12))
A = RayTransform(GRID, ParallelBeam.covering(GRID, 7))
N = 3  # iterations
GREEDY = Greedy()
UNROLLED = (
    "learned-primal",
    "learned-primal-dual",
    "stochastic-primal-dual",
    "equivariant-proximal",
)


@pytest.fixture
def batch(rng):
    x = torch.rand(2, 1, 12, 12, generator=rng)
    return A(x), x


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def loss(model, batch, progress):
    with GREEDY.stage(model, progress):
        return GREEDY.loss(model, batch, A, None)


@pytest.mark.parametrize(("progress", "k"), [(0.0, 1), (0.3, 1), (0.4, 2), (0.99, 3), (1.0, 3)])
def test_a_stage_sees_the_network_of_so_many_iterations(progress, k, batch):
    model = small_network("learned-primal-dual").eval()
    arguments = {**model.arguments, "iterations": k}
    short = LearnedPrimalDual(**arguments).eval()
    short.load_state_dict(model.state_dict(), strict=False)
    expected = (short(batch[0], A) - batch[1]).square().mean()
    torch.testing.assert_close(loss(model, batch, progress), expected)
    # and the whole network outside of it
    whole = model(batch[0], A)
    assert model.only_iteration is None
    assert k == N or not torch.equal(whole, short(batch[0], A))


@pytest.mark.parametrize("case", UNROLLED)
def test_only_one_iteration_learns(case, batch):
    model = small_network(case)
    n = model.own_weights
    for k in range(n):
        model.zero_grad()
        loss(model, batch, (k + 0.5) / n).backward()
        learned = {
            int(name.split(".")[1]) for name, w in model.named_parameters() if w.grad is not None
        }
        assert learned == {k}


def test_a_step_keeps_the_activations_of_one_iteration(batch):
    model = small_network("learned-primal-dual")

    def kept(progress):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: sizes.append(t.numel()) or t, lambda t: t
        ):
            if progress is None:
                model(batch[0], A)
            else:
                loss(model, batch, progress)
        return sum(sizes)

    assert max(kept(p) for p in (0.1, 0.5, 0.9)) < 1.2 * kept(None) / N


def test_progress_in_a_stage():
    model = small_network("learned-primal-dual")
    found = [GREEDY.progress_in_stage(model, p) for p in (0.0, 1 / 6, 1 / 3, 0.5, 5 / 6, 1.0)]
    assert found == pytest.approx([0.0, 0.5, 0.0, 0.5, 0.5, 1.0])


SMALL = {
    "model": "learned-primal-dual",
    "model_arguments": {"iterations": 2, "n_primal": 2, "n_dual": 1, "channels": 4},
    "task": "small",
    "objective": "greedy",
    "keep": "last",
    "steps": 6,
    "batch_size": 2,
    "validation_every": 3,
    "validation_size": 2,
    "ema_decay": None,
    "checkpoint_minutes": 1e-6,
    "accelerator": "cpu",
    "threads": 1,
}


@pytest.fixture
def task(monkeypatch):
    splits = {
        name: Split(RandomEllipses(), seed=k, size=None if name == "train" else 4)
        for k, name in enumerate(("train", "validation", "test"))
    }
    only_tasks(monkeypatch, small_task(splits=splits))


@pytest.mark.usefixtures("task", "threads")
def test_a_run_trains_one_iteration_after_the_other(tmp_path, monkeypatch):
    before = []
    original = Greedy.loss

    def watched(self, network, *others):
        if network.training:
            before.append({k: w.detach().clone() for k, w in network.state_dict().items()})
        return original(self, network, *others)

    monkeypatch.setattr(Greedy, "loss", watched)
    result = train(TrainingConfig(**SMALL), tmp_path / "run")
    after = [*before[1:], result.model.state_dict()]
    for step, (old, new) in enumerate(zip(before, after, strict=True)):
        changed = {name.split(".")[1] for name in old if not torch.equal(old[name], new[name])}
        assert changed == {str(step // 3)}


@pytest.mark.usefixtures("task", "threads")
def test_an_interrupted_run_goes_on_in_its_stage(tmp_path, monkeypatch):
    whole = train(TrainingConfig(**SMALL), tmp_path / "whole").model.state_dict()
    original = Greedy.loss
    steps = []

    def stopped(self, network, *others):
        if network.training:
            steps.append(network.only_iteration)
            if len(steps) == 5:
                raise KeyboardInterrupt
        return original(self, network, *others)

    monkeypatch.setattr(Greedy, "loss", stopped)
    with pytest.raises(SystemExit):
        train(TrainingConfig(**SMALL), tmp_path / "parts")
    found = train(TrainingConfig(**SMALL), tmp_path / "parts", resume=True).model.state_dict()
    assert steps == [0, 0, 0, 1, 1, 1, 1]
    assert all(torch.equal(found[name], whole[name]) for name in whole)


@pytest.mark.usefixtures("task")
def test_what_cannot_be_trained_so_is_refused():
    with pytest.raises(ValueError, match="keep: expected last, since greedy trains one part of"):
        TrainingConfig(**SMALL | {"keep": "best"})
    with pytest.raises(TomolearnError, match=r"model: expected an unrolled network whose iterati"):
        Greedy().check(LearnedGradient(iterations=1))
    with pytest.raises(TomolearnError, match="model: expected a network that reconstructs, got T"):
        Greedy().check(TotalVariation())
