"""Training of regularisers on images alone."""

import numpy as np
import pytest
import torch

import tomolearn as tl
from tomolearn.data import ThoraxPatches
from tomolearn.priors import ConvexRidge
from tomolearn.simulation import Acquisition, Direct, GaussianNoise
from tomolearn.tasks import get_task
from tomolearn.training.config import with_overrides
from tomolearn.training.objectives import ScoreMatching
from tomolearn.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

OWN = """
from dataclasses import dataclass
from typing import ClassVar

from tomolearn.training.objectives import Objective


@dataclass(frozen=True)
class Small(Objective):
    makes_images: ClassVar[bool] = False

    def loss(self, network, batch, operator, rng):
        return network.value(batch[1]).mean()
"""
SETTINGS = {
    "model": "convex-ridge",
    "model_arguments": {"channels": [4], "kernel_size": 3, "weight": 0.01},
    "task": "chest-patches",
    "objective": "score",
    "steps": 30,
    "batch_size": 2,
    "learning_rate": 0.05,
    "validation_size": 4,
    "validation_every": 30,
}


def test_score_matching_learns_to_denoise(tmp_path):
    result = train(with_overrides(SETTINGS, []), tmp_path / "run")
    task = get_task("chest-patches")
    noisy, image = next(iter(task.pairs("validation", size=1)))
    again = tl.load(tmp_path / "run" / "weights", kind="regulariser")
    error = (noisy - again.gradient(noisy) - image).square().mean().sqrt()
    assert error < 0.9 * (noisy - image).square().mean().sqrt()
    assert result.validation > -20 * np.log10(0.02)
    assert again.card["scan"] is None


def test_the_score_of_a_gaussian_is_found():
    # of images x ~ N(0, t^2) the noisy density is N(0, t^2 + s^2), R = s^2 |x|^2 / 2 (t^2 + s^2)
    class Quadratic(tl.priors.Regulariser):
        def __init__(self, factor):
            super().__init__({})
            self.factor = torch.nn.Parameter(torch.tensor(factor))

        def value(self, image):
            return self.factor * image.square().flatten(-2).sum(-1) / 2

        def gradient(self, image):
            return self.factor * image

    t, s = 0.3, 0.1
    images = t * torch.randn(64, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    objective = ScoreMatching((s, s))

    def loss(factor):
        rng = np.random.default_rng(0)
        return objective.loss(Quadratic(factor), (images, images), None, rng).item()

    best = s**2 / (t**2 + s**2)
    assert loss(best) < min(loss(0.9 * best), loss(1.1 * best))


def test_an_objective_without_images_is_judged_by_its_loss(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    own = {**SETTINGS, "objective": f"{tmp_path / 'own.py'}:Small", "steps": 3}
    with pytest.raises(ValueError, match=r"metric: expected objective, since .*makes no images"):
        with_overrides(own, [])
    result = train(with_overrides({**own, "metric": "objective"}, []), tmp_path / "run")
    assert result.validation > 0
    assert "validation_objective" in tl.load(result.weights, kind="regulariser").card["metrics"]


def test_objectives_refuse_what_they_cannot_train():
    with pytest.raises(ValueError, match=r"denoiser.*regulariser ConvexRidge; objective"):
        with_overrides({**SETTINGS, "objective": "denoising"}, [])
    with pytest.raises(ValueError, match="expected a regulariser, such as convex-ridge"):
        with_overrides(
            {**SETTINGS, "model": "learned-primal-dual", "model_arguments": {}, "task": "ellipses"},
            [],
        )


@pytest.mark.parametrize("levels", [(0.0, 0.1), (0.2, 0.1)])
def test_noise_levels(levels):
    with pytest.raises(ValueError, match="noise_levels: expected the smallest and the largest"):
        ScoreMatching(levels)


def test_patches_are_parts_of_slices():
    source = ThoraxPatches(slices=2, size=64)
    whole = source((64, 64), np.random.default_rng(0))
    part = source((16, 24), np.random.default_rng(1))
    assert whole.shape == (64, 64)
    assert part.shape == (16, 24)
    assert 0 <= part.min() <= part.max() <= 1
    with pytest.raises(ValueError, match="shape: expected two axes of at most 64 x 64 pixels"):
        source((65, 64), np.random.default_rng(0))
    with pytest.raises(ValueError, match="shape: expected two axes"):
        source((8, 8, 8), np.random.default_rng(0))


def test_an_acquisition_without_a_scanner(rng):
    grid = tl.Grid((5, 6))
    acquisition = Acquisition(Direct(), GaussianNoise(std=0.5))
    image = torch.rand(3, 5, 6, generator=rng)
    rngs = [np.random.default_rng(k) for k in range(3)]
    noisy = acquisition.measure(image, grid, rngs)
    assert noisy.shape == image.shape
    assert 0.3 < float((noisy - image).std()) < 0.7
    assert acquisition.scan_of(grid) is None
    assert Acquisition.from_dict(acquisition.to_dict()) == acquisition
    torch.testing.assert_close(acquisition.operator(grid)(image), image)


def test_ridge_is_a_model_by_class():
    assert with_overrides({**SETTINGS, "model": ConvexRidge}, []).model == "convex-ridge"


def test_the_unit_of_chest_images_is_known():
    from tomolearn.data.lodopab.recipe import MU_MAX_PER_M
    from tomolearn.training.image_values import values_of_images

    task = get_task("chest-patches")
    known = values_of_images(task, task.pairs("validation", size=1))
    assert known["value_per_attenuation"] == pytest.approx(1000 / MU_MAX_PER_M)
