"""Cost of deep-equilibrium training: that the right thing is measured; never how fast it is."""

import pytest
import torch
from small_task import small_task

from tomolearn.benchmarks.equilibrium import (
    BACKWARD,
    measure_backward,
    measure_equilibrium_memory,
)
from tomolearn.models.equilibrium import DEGradient
from tomolearn.tasks import get_task


def small_network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DEGradient(depth=2, channels=4, backward_tolerance=1e-3)


def test_every_mode_is_measured_and_the_network_left_alone():
    model = small_network()
    timings = list(measure_backward(model, task=small_task(), rounds=1))
    for what in ("backward pass", "forward and backward pass"):
        found = {t.contender: t for t in timings if t.what == what}
        assert list(found) == list(BACKWARD)
        assert found["implicit, anderson"].ratio == 1.0
        assert all(t.value > 0 and t.unit == "ms" for t in found.values())
    iterations = {t.contender for t in timings if t.what == "backward pass, iterations"}
    assert iterations == {"implicit, anderson", "implicit, gmres"}
    assert all(weights.grad is None for weights in model.parameters())
    assert model.backward.mode == "implicit"


def test_passes_are_timed_apart(monkeypatch):
    # a clock that ticks once per look: three looks per step, two intervals
    ticks = iter(range(10_000))
    monkeypatch.setattr("tomolearn.benchmarks.equilibrium.now", lambda device: float(next(ticks)))
    timings = list(measure_backward(small_network(), task=small_task(), rounds=2))
    values = {t.what: t.value for t in timings if t.contender == "jfb"}
    assert values == {"backward pass": 1e3, "forward and backward pass": 2e3}


@pytest.mark.slow
def test_memory_grows_with_unrolled_iterations_only(monkeypatch):
    network = {"depth": 3, "channels": 16}
    monkeypatch.setattr("tomolearn.benchmarks.equilibrium._NETWORK", network)
    task = get_task("ellipses")
    found = {
        t.contender: t.value for t in measure_equilibrium_memory(task=task, iterations=(10, 40))
    }
    growth = {
        mode: found[f"{mode}, 40 iterations"] - found[f"{mode}, 10 iterations"]
        for mode in ("implicit", "unrolled")
    }
    assert growth["unrolled"] > 2 * found["unrolled, 10 iterations"]
    # the allocator keeps some of what is freed
    assert growth["implicit"] < 0.5 * growth["unrolled"]
