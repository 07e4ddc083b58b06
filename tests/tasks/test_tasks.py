"""The tasks' definitions against the publications' numbers."""

import json
import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch

from data_sim import shepp_logan
from tomolearn import fbp
from tomolearn.geometry import geometry_from_dict
from tomolearn.metrics import psnr
from tomolearn.tasks import TASKS, get_task


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


def test_pairs_have_the_tasks_shapes(task):
    assert list(task.splits)[:3] == ["train", "validation", "test"]
    for split in task.splits:
        sinogram, image = task.pairs(split)[0]
        assert sinogram.shape == (1, *task.scan.shape)
        assert image.shape == (1, *task.grid.shape)
        assert task.operator().range_shape == task.scan.shape


def test_splits_have_no_pair_in_common(task):
    seeds = [task.splits[split].seed for split in ("train", "validation", "test")]
    assert len(set(seeds)) == 3
    first = [task.pairs(split)[0][1] for split in task.splits]
    for one, other in combinations(first, 2):
        assert not torch.equal(one, other)


def test_definition_fits_into_json(task):
    values = json.loads(json.dumps(task.to_dict()))
    assert values["name"] == task.name
    assert geometry_from_dict(values["scan"]) == task.scan
    assert geometry_from_dict(values["grid"]) == task.grid


def test_operator_is_made_once(task):
    assert task.operator() is task.operator()


def test_a_smaller_training_set_is_the_beginning_of_the_larger():
    task = TASKS["ellipses-dival"]
    small, large = task.pairs("train", size=32), task.pairs("train", size=320)
    assert (len(small), len(large), len(task.pairs("train"))) == (32, 320, 32_000)
    assert torch.equal(small[31][0], large[31][0])


def test_ellipses_is_the_set_up_of_adler_and_oktem():
    task = TASKS["ellipses"]
    assert task.grid.size == (128, 128)
    assert task.scan.shape == (30, 183)
    assert task.operator().norm() == pytest.approx(61.22, abs=0.02)
    sinogram, image = task.pairs("test")[0]
    assert torch.equal(image[0], torch.from_numpy(shepp_logan((128, 128), extent="centres")))
    clean = task.operator()(image)
    level = (sinogram - clean).std() / clean.abs().mean()
    assert level.item() == pytest.approx(0.05, rel=0.05)
    images = [task.pairs("train")[k][1] for k in range(40)]
    # Poisson(50) ellipses of value (U - 1/2) Exp(0.4): mean zero, so both signs occur
    assert min(i.min() for i in images) < -0.3
    assert max(i.max() for i in images) > 0.3


def test_dival_baseline_is_the_published_one():
    # FBP 24.18 dB on its first 100 test images, Hann 0.705 (dip-ct-benchmark); ours are other
    # draws of the same law
    task = TASKS["ellipses-dival"]
    assert task.noise.relative == 0.025
    values = []
    for sinogram, image in (task.pairs("test")[k] for k in range(60)):
        assert (image.min(), image.max()) == (0, 1)
        found = fbp(sinogram, task.operator(), oversampling=1, **task.baselines["fbp"])
        values.append(psnr(found, image, data_range="reference").item())
    spread = torch.tensor(values).std().item() / math.sqrt(len(values))
    assert sum(values) / len(values) == pytest.approx(24.18, abs=0.3 + 3 * spread)


@pytest.mark.parametrize(("name", "n"), [("lidc-style-50", 128), ("lidc-style-50-small", 64)])
def test_lidc_style_has_the_scan_and_the_noise_of_celledoni(name, n):
    task = TASKS[name]
    assert task.grid.size == pytest.approx((360, 360))
    assert task.simulation_grid.shape == (2 * n, 2 * n)
    assert task.scan.n_angles == 50
    assert task.convention.name == "celledoni"
    sizes = {split: part.size for split, part in task.splits.items()}
    assert sizes == {"train": 500, "validation": 50, "test": 100, "test-rotated": 100}
    sinogram, image = task.pairs("test")[1]
    assert 0 <= image.min() < 0.01 < 0.25 < image.max() <= 1
    # 10,000 photons, 81.36 / m: deviations of 1 / sqrt(counts) from attenuation times length
    clean, _ = replace(task, noise=None).pairs("test")[1]
    deviations = 0.08136 * (sinogram - clean) * (1e4 * torch.exp(-0.08136 * clean)).sqrt()
    n = deviations.numel()
    assert deviations.std().item() == pytest.approx(1, abs=5 / math.sqrt(2 * n) + 0.03)


def test_the_rotated_test_shows_the_same_patients():
    task = TASKS["lidc-style-50-small"]
    upright, turned = (task.pairs(split, size=8) for split in ("test", "test-rotated"))
    for k in range(8):
        first, second = upright[k][1], turned[k][1]
        assert (first - second).abs().mean() > 0.005
        assert second.sum().item() == pytest.approx(first.sum().item(), rel=2e-3)


def test_errors():
    with pytest.raises(ValueError, match="did you mean ellipses"):
        get_task("elipses")
    task = TASKS["ellipses-dival"]
    with pytest.raises(ValueError, match="split: expected one of train, validation, test, got"):
        task.pairs("training")
    with pytest.raises(ValueError, match="size: expected at most the 32000 pairs"):
        task.pairs("train", size=32_001)
    with pytest.raises(ValueError, match="size: expected an integer >= 1"):
        task.pairs("train", size=0)
