"""Contenders of a comparison: none of them spoils another, itself, or what the caller had."""

import random

import numpy as np
import pytest
import torch
from small_task import small_task

import tomolearn as tl
from tomolearn import SkippedImagesWarning
from tomolearn.evaluation import compare
from tomolearn.models import FBPUNet
from tomolearn.models.equivariant import EquivariantProximal, equivariance_errors, get_group

TASK = small_task()


def fbp(sinogram, operator):
    return tl.fbp(sinogram, operator, filter="hann")


def psnr(rows, name="honest"):
    (row,) = [row for row in rows if row.method == name]
    return row.metrics["psnr"].values.tolist()


def scales(sinogram, operator):
    sinogram *= 25
    return fbp(sinogram, operator) / 25


def clamps(sinogram, operator):
    sinogram.clamp_(max=0.1).sub_(3)
    return fbp(sinogram, operator)


def draws(sinogram, operator):
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    torch.manual_seed(0)
    return fbp(sinogram, operator) + torch.rand(1).item()


class SetsGradients:
    def __call__(self, sinogram, operator):
        torch.set_grad_enabled(False)
        return fbp(sinogram, operator)


@pytest.mark.parametrize("contender", [scales, clamps, draws, SetsGradients()])
@pytest.mark.parametrize("first", [True, False])
def test_no_contender_changes_what_others_reach(contender, first):
    def honest(sinogram, operator):
        assert torch.is_grad_enabled()
        noise = torch.rand(1).item() + np.random.rand() + random.random()  # noqa: NPY002
        return fbp(sinogram, operator) + 0.01 * noise

    generators = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    alone = compare(TASK, {"honest": honest}, images=3).rows
    methods = {"honest": honest, "contender": contender}
    if first:
        methods = dict(reversed(methods.items()))
    assert psnr(compare(TASK, methods, images=3).rows) == psnr(alone)
    # nor does a comparison change what its caller draws
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert np.array_equal(np.random.get_state()[1], generators[1])  # noqa: NPY002
    assert random.getstate() == generators[2]
    assert torch.is_grad_enabled()


def test_a_method_that_writes_into_its_data_is_judged_on_the_data():
    rows = compare(TASK, {"honest": fbp, "scales": scales}, images=3).rows
    assert psnr(rows, "scales") == pytest.approx(psnr(rows), abs=1e-3)


def test_an_image_is_that_of_its_own_call():
    buffer = torch.empty(1, 1, 16, 16)

    def reuses_its_memory(sinogram, operator):
        return buffer.copy_(fbp(sinogram, operator))

    rows = compare(TASK, {"honest": fbp, "reuses": reuses_its_memory}, images=3).rows
    assert torch.equal(rows[0].example, rows[1].example)


def _batch_norm():
    torch.manual_seed(0)
    model = FBPUNet(channels=(4, 4), normalisation="batch")
    model.train()
    for k, module in enumerate(model.modules()):
        module.training = k % 3 != 0  # as where some layers are frozen
    return model


def test_networks_are_judged_in_evaluation_mode_and_left_as_they_were():
    model = _batch_norm()
    reference = _batch_norm().eval()
    sinogram = TASK.pairs("test")[0][0][None]
    with torch.no_grad():
        expected = reference(sinogram, TASK.operator())
    modes = [module.training for module in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    row = compare(TASK, {"net": model}, images=2).rows[0]
    torch.testing.assert_close(row.example, expected[0, 0])
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert all(weights.grad is None and weights.requires_grad for weights in model.parameters())


def test_networks_are_left_as_they_were_after_an_error_too():
    model = _batch_norm()
    modes = [module.training for module in model.modules()]

    def fails(sinogram, operator):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        compare(TASK, {"net": model, "fails": fails}, images=1)
    assert [module.training for module in model.modules()] == modes


def test_buffers_that_a_network_changes_when_it_is_used_are_put_back():
    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("last", torch.zeros(1))

        def forward(self, sinogram, operator):
            self.calls += 1
            self.last = sinogram.mean().reshape(1)
            return fbp(sinogram, operator)

    model = Counts()
    last = model.last
    compare(TASK, {"net": model}, images=2)
    assert float(model.calls) == 0
    assert model.last is last


def test_equivariance_errors_leave_the_network_as_it_was():
    model = EquivariantProximal(group="C4", channels=16, iterations=1)
    network = torch.nn.Sequential(*model.proximals[0].children())
    network.append(torch.nn.BatchNorm2d(6))
    network.train()
    before = network[-1].running_mean.clone()
    equivariance_errors(network, get_group("C4"), torch.randn(1, 7, 16, 16))
    assert network.training
    assert torch.equal(network[-1].running_mean, before)


def nan_at(call):
    calls = iter(range(100))

    def method(sinogram, operator):
        return fbp(sinogram, operator) * (float("nan") if next(calls) == call else 1)

    return method


@pytest.mark.parametrize("pair", [0, 1, 3])
def test_one_image_that_is_not_finite_costs_itself(pair):
    methods = {"honest": fbp, "mine": nan_at(pair + 1)}  # after the call that does not count
    with pytest.warns(SkippedImagesWarning, match=rf"mine: no image of 1 of 4 pairs: {pair} \("):
        comparison = compare(TASK, methods)
    honest, mine = comparison.rows
    assert (comparison.n, honest.n, mine.n) == (4, 4, 3)
    assert list(mine.failures) == [pair]
    assert "expected finite image values, got 256 others" in mine.failures[pair]
    # values stay side by side, and averages are over what is there
    expected = [value for index, value in enumerate(psnr([honest])) if index != pair]
    assert mine.metrics["psnr"].mean == pytest.approx(np.mean(expected))
    assert mine.metrics["psnr"].std == pytest.approx(np.std(expected))
    assert np.isnan(psnr([mine], "mine")[pair])
    assert (mine.example is None) == (pair == 0)
    assert comparison.draw(zoom=(2, 6, 3, 8)).axes


def test_a_method_that_fails_late_costs_its_image_and_one_that_fails_at_once_is_told():
    calls = iter(range(100))

    def late(sinogram, operator):
        if next(calls) == 3:
            raise RuntimeError("out of luck\nand memory")
        return fbp(sinogram, operator)

    with pytest.warns(SkippedImagesWarning, match=r"late: .* 2 \(out of luck and memory\)"):
        rows = compare(TASK, {"late": late, "honest": fbp}).rows
    assert [row.n for row in rows] == [3, 4]


def test_a_method_without_any_image_leaves_the_others_their_rows():
    methods = {"never": lambda y, A: fbp(y, A) / 0, "honest": fbp}
    with pytest.warns(SkippedImagesWarning, match="never: no image of 4 of 4 pairs"):
        never, honest = compare(TASK, methods).rows
    assert (never.n, honest.n) == (0, 4)
    assert np.isnan(never.metrics["psnr"].mean)
