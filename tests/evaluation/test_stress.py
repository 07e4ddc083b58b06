"""Perturbations against singular values, conditions against what they change, and the report."""

import json

import numpy as np
import pytest
import torch
from small_task import only_tasks, small_task
from typer.testing import CliRunner

import tomolearn as tl
from tomolearn.catalogue import get_method
from tomolearn.cli import app
from tomolearn.evaluation import stress, worst_perturbation
from tomolearn.evaluation.conditions import CONDITIONS, with_detail
from tomolearn.evaluation.stress import ALL, iterated_longer
from tomolearn.simulation import GaussianNoise

GRID = tl.Grid((32, 32))
TASK = small_task(
    grid=GRID,
    acquisition=tl.Acquisition(tl.ParallelBeam.covering(GRID, 12), GaussianNoise(0.05)),
)


@pytest.fixture
def linear(rng):
    """An operator, a linear method as a matrix, and data with an image that is exact."""
    operator = tl.RayTransform(tl.Grid((8, 8)), tl.ParallelBeam.covering(tl.Grid((8, 8)), 6))
    matrix = torch.randn(64, operator(torch.zeros(8, 8)).numel(), generator=rng)
    sinogram = operator(torch.rand(1, 1, 8, 8, generator=rng))

    def method(y, operator):
        return (y.flatten(-2) @ matrix.T).reshape(*y.shape[:-2], 8, 8)

    return operator, matrix, sinogram, method


def test_worst_perturbation_of_a_linear_method_is_its_first_singular_vector(linear):
    operator, matrix, sinogram, method = linear
    truth = method(sinogram, operator)
    found = worst_perturbation(method, sinogram, operator, truth, radius=0.1, steps=60)
    assert found.followed
    assert found.direction.norm().item() == pytest.approx(0.1, rel=1e-5)
    largest = torch.linalg.matrix_norm(matrix, 2).item()
    change = (found.image - truth.reshape(8, 8)).norm().item()
    assert 0.97 * 0.1 * largest <= change <= 0.1 * largest * (1 + 1e-5)
    # of random directions the mean square is that of the singular values
    usual = 0.1 * matrix.norm().item() / matrix.shape[1] ** 0.5
    assert found.factor == pytest.approx(change / usual, rel=0.2)


def test_without_gradients_it_is_worse_than_random_too(linear):
    operator, _, sinogram, method = linear
    truth = method(sinogram, operator)
    found = worst_perturbation(
        lambda y, A: method(y.detach(), A), sinogram, operator, truth, radius=0.1, steps=3
    )
    assert not found.followed
    assert found.factor > 1.2
    assert found.direction.norm().item() == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sinogram": torch.ones(2, 6, 13)}, "sinogram: expected one, got"),
        ({"sinogram": torch.zeros(6, 13)}, "sinogram: expected one that is not zero"),
        ({"truth": torch.zeros(4, 4)}, "truth: expected an image of shape"),
        ({"radius": 0.0}, "radius: expected a positive number"),
    ],
)
def test_wrong_perturbations_are_told(linear, change, message):
    operator, _, sinogram, method = linear
    given = {"sinogram": sinogram, "truth": torch.zeros(8, 8), "radius": 0.1} | change
    with pytest.raises(ValueError, match=message):
        worst_perturbation(method, operator=operator, **given)


def measured(name):
    task = CONDITIONS[name].change(TASK)
    return task, *task.pairs("test")[0]


def test_conditions_change_what_they_say():
    plain, y, x = measured("as trained")
    few, _, _ = measured("views / 2")
    many, _, _ = measured("views x 2")
    assert [t.scan.n_angles for t in (few, plain, many)] == [6, 12, 24]
    np.testing.assert_allclose(few.scan.view_angles, plain.scan.view_angles[::2])
    # each pair of new views has the old one in its middle
    pairs = many.scan.view_angles.reshape(-1, 2)
    np.testing.assert_allclose(pairs.mean(1), plain.scan.view_angles)
    np.testing.assert_allclose(np.diff(many.scan.view_angles), np.pi / 24)
    for name in ("jitter", "offset"):
        moved, shifted, image = measured(name)
        assert moved.operator() is plain.operator()  # what methods are told
        assert torch.equal(image, x)
        assert not torch.allclose(shifted, y, atol=0.1)
    assert moved.scan.detector_offset == plain.scan.detector_offset + plain.scan.detector_spacing
    assert torch.equal(measured("turned")[2], x.rot90(1, (-2, -1)))


def test_detail_lies_in_the_middle_and_has_the_contrast_that_is_said():
    image = np.zeros((64, 64), np.float32)
    image[0, 0] = 1
    changed = with_detail(image) - image
    assert set(np.unique(changed).tolist()) == {0.0, np.float32(0.2).item()}
    rows, columns = np.nonzero(changed)
    assert abs(rows.mean() - 31.5) < 4
    assert abs(columns.mean() - 31.5) < 4
    with pytest.raises(ValueError, match="image: expected one of"):
        with_detail(np.zeros((8, 8), np.float32))


def test_longer_iterations_are_those_of_the_method(rng):
    y = TASK.pairs("test")[0][0][None]
    A = TASK.operator()
    longer = iterated_longer(get_method("sirt(iterations=3)"), 4)
    torch.testing.assert_close(longer(y, A), get_method("sirt(iterations=12)")(y, A))
    assert iterated_longer(get_method("fbp"), 4) is None
    assert iterated_longer(get_method("lpd-ellipses"), 4) is None  # weights of each iteration
    method = get_method("lgd-ellipses")
    with pytest.warns(tl.TrainedElsewhereWarning):
        image = method(y, A)
    network = method.network()
    torch.testing.assert_close(iterated_longer(method, 1)(y, A), image)
    network_longer = iterated_longer(method, 2)
    assert not torch.allclose(network_longer(y, A), image)
    assert network.iterations == 10


def test_report_on_the_command_line(monkeypatch, tmp_path):
    only_tasks(monkeypatch, TASK)
    runner = CliRunner(env={"COLUMNS": "200"})
    refusing = tmp_path / "mine.py"
    refusing.write_text(
        "import torch\n"
        "def of_twelve_views(y, A):\n"
        "    if y.shape[-2] != 12:\n"
        "        raise ValueError('no')\n"
        "    return A.T(y) / 1000\n"
        "def broken(y, A):\n"
        "    return A.T(y) * float('nan')\n"
    )
    mine = f"{refusing}:of_twelve_views"
    common = ["stress", f"fbp,{mine}", "--task", "small", "--images", "1", "--steps", "2"]
    files = ["--out", str(tmp_path / "x.json"), "--figure", str(tmp_path / "x.png")]
    result = runner.invoke(app, [*common, *files])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "x.json").read_text())
    assert list(found["psnr"]["fbp"]) == list(ALL)
    comparison = tl.evaluation.compare(TASK, ["fbp"], images=1)
    expected = comparison.rows[0].metrics["psnr"].mean
    plain = stress(TASK, {"fbp": get_method("fbp")}, images=1, steps=1).psnr["fbp"]["as trained"]
    assert found["psnr"]["fbp"]["as trained"] == pytest.approx(expected, abs=0.5)
    assert plain == pytest.approx(expected, abs=0.5)
    assert found["psnr"]["fbp"]["worst case"] < found["psnr"]["fbp"]["random"]
    assert found["worst_over_random"]["fbp"] > 1
    assert found["psnr"][mine]["views / 2"] is None
    assert "no" in found["failures"][mine]["views / 2"]
    assert (tmp_path / "x.png").stat().st_size > 0
    result = runner.invoke(app, ["stress", f"{refusing}:broken", "--task", "small"])
    assert result.exit_code == 2
    assert "expected finite image values" in result.output
