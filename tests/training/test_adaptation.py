"""Adaptation on small scanners: what must fall, what must stay, and every mistake."""

import math

import pytest
import torch

import tomolearn as tl
from tomolearn.models import LearnedGradient, ReconstructionModel
from tomolearn.training import adapt, reuse_and_regularise

GRID = tl.Grid((16, 16))
SCAN = tl.ParallelBeam.covering(GRID, 20)
OPERATOR = tl.RayTransform(GRID, SCAN)


class Scaled(ReconstructionModel):
    """The least-squares image of few steps, times a learned number: its best is known."""

    def __init__(self, *, factor: float = 1.0) -> None:
        super().__init__({"factor": factor})
        self.factor = torch.nn.Parameter(torch.tensor(float(factor)))

    def reconstruct(self, sinogram, operator):
        return self.factor * tl.cgls(sinogram.detach(), operator, iterations=6)


@pytest.fixture
def images(rng):
    low = torch.rand(6, 1, 4, 4, generator=rng)
    return torch.nn.functional.interpolate(low, size=(16, 16), mode="bicubic")


def best_factor(y, operator):
    projected = operator(tl.cgls(y, operator, iterations=6))
    return float((projected * y).sum() / projected.square().sum())


def test_the_misfits_minimiser_is_found(images):
    y = OPERATOR(images)
    model = Scaled(factor=0.8)
    found = adapt(model, y, OPERATOR, strength=0.0, learning_rate=0.02, steps=80, check_every=40)
    assert not found.kept_old
    assert found.after < found.before
    assert found.model.factor.item() == pytest.approx(best_factor(y, OPERATOR), abs=0.02)
    assert model.factor.item() == pytest.approx(0.8)  # the network itself is left alone
    assert found.model.training is model.training


def test_strength_holds_the_weights(images):
    y = OPERATOR(images)
    model = Scaled(factor=0.8)
    found = adapt(model, y, OPERATOR, strength=1.0, learning_rate=0.02, steps=80, check_every=40)
    # argmin of (1 - f g)^2 / ... + (f - 0.8)^2 / 0.64, by the misfit as a parabola of f
    projected = OPERATOR(tl.cgls(y, OPERATOR, iterations=6))
    a = float(projected.square().sum() / y.square().sum())
    b = float((projected * y).sum() / y.square().sum())
    wanted = (b + 0.8 / 0.64) / (a + 1 / 0.64)
    assert found.model.factor.item() == pytest.approx(wanted, abs=0.02)


def test_a_rising_left_out_error_keeps_the_old_weights(images):
    y = OPERATOR(images)
    model = Scaled(factor=best_factor(y, OPERATOR))
    with pytest.warns(tl.ConvergenceWarning, match="the old weights are kept"):
        found = adapt(model, y, OPERATOR, learning_rate=5.0, steps=4, check_every=1)
    assert found.kept_old
    assert found.after == found.before
    assert found.model.factor.item() == model.factor.item()


def test_the_detectors_offset_is_found_with_the_weights(images):
    moved = tl.ParallelBeam(
        n_angles=20,
        n_detectors=SCAN.n_detectors,
        detector_spacing=SCAN.detector_spacing,
        detector_offset=2 * SCAN.detector_spacing,
    )
    y = tl.RayTransform(GRID, moved)(images)
    found = adapt(
        Scaled(factor=0.9), y, OPERATOR, free=("detector_offset",), learning_rate=0.01, steps=10
    )
    assert found.values["detector_offset"] / SCAN.detector_spacing == pytest.approx(2, abs=0.1)
    assert found.operator.scan.detector_offset == found.values["detector_offset"]


def test_views_left_out_are_a_loss_of_networks(images, rng):
    y = OPERATOR(images) + 0.1 * torch.randn(6, 1, *OPERATOR.range_shape, generator=rng)
    torch.manual_seed(0)
    model = LearnedGradient(iterations=3, memory=2, channels=4)
    found = adapt(model, y, OPERATOR, loss="left-out-views", learning_rate=1e-2, steps=20)
    again = adapt(model, y, OPERATOR, loss="left-out-views", learning_rate=1e-2, steps=20)
    assert found.after < found.before
    assert found.misfits == again.misfits
    assert len(found.misfits) == 20


def test_reuse_and_regularise_with_a_perfect_network_solves_for_the_image(images):
    class Truth(ReconstructionModel):
        """The inverse of the training's scanner, which knows no noise."""

        def __init__(self) -> None:
            super().__init__({})
            self.unused = torch.nn.Parameter(torch.zeros(()))

        def reconstruct(self, sinogram, operator):
            return tl.cgls(sinogram, operator, iterations=60)

    few = tl.RayTransform(GRID, SCAN.subset(slice(None, None, 2)))
    y = few(images)
    found = reuse_and_regularise(Truth(), y, few, OPERATOR, weight=1e-3, iterations=3)
    misfit = (few(found) - y).norm() / y.norm()
    assert misfit < 1e-2
    # z = x makes the last image that of the data and z together: nearer than the data's alone
    alone = tl.tikhonov(y, few, weight=1e-3 * float(few.norm()) ** 2, iterations=20)
    assert (found - images).norm() < (alone - images).norm()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "mse"}, "loss: expected one of residual, left-out-views"),
        ({"strength": -1.0}, "strength: expected"),
        ({"learning_rate": 0.0}, "learning_rate: expected a positive number"),
        ({"parts": 21}, "parts: expected at most the 20 views, got 21"),
        ({"free": ("start_angle",)}, "free: expected parameters that data can tell"),
        ({"free": ("shifts",)}, "free: expected some of detector_offset, .* calibrate them first"),
        ({"sinograms": torch.zeros(2, *OPERATOR.range_shape)}, "sinograms: expected one at least"),
        ({"model": "lpd"}, "model: expected a ReconstructionModel, got str"),
        ({"operator": tl.FiniteDifferences((16, 16))}, "operator: expected a RayTransform"),
    ],
)
def test_mistakes_are_told(images, change, message):
    fields = {"model": Scaled(), "sinograms": OPERATOR(images), "operator": OPERATOR} | change
    with pytest.raises(ValueError, match=message):
        adapt(fields.pop("model"), fields.pop("sinograms"), fields.pop("operator"), **fields)


def test_misfits_that_are_not_finite_are_told(images):
    with pytest.raises(tl.DivergenceError, match="adapt: expected finite misfits, got nan at step"):
        adapt(Scaled(factor=math.nan), OPERATOR(images), OPERATOR, steps=2)
