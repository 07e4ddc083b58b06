"""Calibration of a method that samples, on a task, and what the commands write of it."""

import json

import numpy as np
import pytest
from small_task import only_tasks, small_task
from typer.testing import CliRunner

from tomolearn.catalogue import Ensemble
from tomolearn.cli import app
from tomolearn.data import RandomEllipses, RandomThorax
from tomolearn.evaluation import calibrate_uncertainty
from tomolearn.geometry import Grid, ParallelBeam, save_geometry
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import Split

MEMBERS = "[fbp(filter=hann),tv(weight=0.1, iterations=20)]"
TASK = small_task(
    splits={
        "validation": Split(RandomEllipses(), seed=1, size=60),
        "test": Split(RandomEllipses(), seed=2, size=10),
    }
)


@pytest.fixture(scope="module")
def found():
    return calibrate_uncertainty(Ensemble(members=MEMBERS), TASK, images=40)


def test_held_out_images_are_covered_and_half_the_dose_less(found):
    at_90 = {name: one.levels[4] for name, one in found.reports.items()}
    assert set(at_90) == {"held out", "half the dose", "test split"}
    assert found.reports["test split"].n == 10
    # 40 images, whose parts covered have a standard deviation of a few per cent
    assert at_90["held out"].coverage == pytest.approx(0.9, abs=0.03)
    assert at_90["half the dose"].coverage < at_90["held out"].coverage
    assert at_90["held out"].raw_coverage != at_90["held out"].coverage
    assert found.calibration.n == 40


def test_levels_that_are_too_high_for_so_few_images_are_left_out():
    few = calibrate_uncertainty(Ensemble(members=MEMBERS), TASK, images=4, level=0.8)
    assert [at.level for at in few.reports["held out"].levels] == [0.5, 0.6, 0.7, 0.8]
    with pytest.raises(ValueError, match=r"at least 9 calibration images .* got 4"):
        calibrate_uncertainty(Ensemble(members=MEMBERS), TASK, images=4)


def test_methods_that_do_not_sample_are_refused():
    with pytest.raises(ValueError, match=r"method: expected one that samples.*, got fbp"):
        calibrate_uncertainty("fbp", TASK)


def test_regions_are_those_of_the_drawn_chests():
    chests = {
        "validation": Split(RandomThorax(), seed=1, size=90),
        "test": Split(RandomThorax(), seed=2, size=20),
    }
    grid = Grid((24, 24), 15.0)
    task = small_task(
        splits=chests,
        grid=grid,
        acquisition=Acquisition(ParallelBeam.covering(grid, 12), GaussianNoise(0.02)),
    )
    method = Ensemble(members="[fbp(filter=hann),fbp]")
    found = calibrate_uncertainty(method, task, images=20)
    (at_90,) = (one for one in found.reports["held out"].levels if one.level == 0.9)
    assert [one.label for one in at_90.regions][:4] == [0, 1, 2, 3]
    by_organ = calibrate_uncertainty(method, task, images=20, regions="labels")
    # air, wall, mediastinum and lungs, nodules included
    assert by_organ.calibration.factors.shape == (4,)
    (at_90,) = (one for one in by_organ.reports["held out"].levels if one.level == 0.9)
    # 20 images, of which each has its own part covered
    assert all(one.coverage == pytest.approx(0.9, abs=0.1) for one in at_90.regions[:4])
    pairs = task.pairs("validation")
    truth, labels = pairs[3][1], pairs.regions(3)
    assert labels.shape == truth.shape
    assert float(truth[labels == 0].median()) == pytest.approx(24 / 4096)
    with pytest.raises(ValueError, match=r"regions: expected a task of images whose regions are"):
        calibrate_uncertainty(Ensemble(members=MEMBERS), TASK, images=10, regions="labels")
    with pytest.raises(ValueError, match="such as those of RandomThorax, got random ellipses"):
        TASK.pairs("test").regions(0)


def test_half_widths_on_the_command_line_are_calibrated_scores(monkeypatch, tmp_path):
    only_tasks(monkeypatch, TASK)
    runner = CliRunner(env={"COLUMNS": "200"})
    method = f"ensemble(members={MEMBERS})"
    made = tmp_path / "made.json"
    arguments = ["uncertainty", "--task", "small", "--method", method, "--images", "12"]
    result = runner.invoke(
        app, [*arguments, "--out", str(made), "--figure", str(tmp_path / "curve.png")]
    )
    assert result.exit_code == 0, result.output
    assert "held out" in result.stdout
    assert (tmp_path / "curve.png").stat().st_size > 0
    factor = json.loads(made.read_text())["calibration"]["factors"]

    save_geometry(tmp_path / "scan.json", TASK.grid, TASK.scan)
    sinogram = TASK.pairs("test")[0][0]
    np.save(tmp_path / "y.npy", sinogram.numpy())
    common = ["reconstruct", str(tmp_path / "y.npy"), "--scan", str(tmp_path / "scan.json")]
    files = ["--out", str(tmp_path / "x.npy"), "--uncertainty", str(tmp_path / "u.npy"), "--force"]
    ensemble = ["--method", "ensemble", "--members", MEMBERS]
    result = runner.invoke(app, [*common, *files, *ensemble, "--calibration", str(made)])
    assert result.exit_code == 0, result.output
    assert "half-widths for the level 0.9, calibrated on small" in result.stdout
    posterior = Ensemble(members=MEMBERS).sample(sinogram, TASK.operator())
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), posterior.mean.numpy(), atol=1e-6)
    half_widths = factor * posterior.scores().numpy()
    np.testing.assert_allclose(np.load(tmp_path / "u.npy"), half_widths, rtol=1e-4)

    result = runner.invoke(app, [*common, *files, *ensemble])
    assert "not calibrated" in result.stdout
    deviation = posterior.standard_deviation.numpy()
    np.testing.assert_allclose(np.load(tmp_path / "u.npy"), deviation, rtol=1e-4, atol=1e-6)

    for wrong, message in (
        (["--method", "fbp"], "--uncertainty: expected a method that samples"),
        (
            ["--method", "ensemble", "--members", "[fbp,sirt]", "--calibration", str(made)],
            "expected the calibration of ensemble",
        ),
        (
            [*ensemble, "--calibration", str(tmp_path / "scan.json")],
            "expected what `tomolearn uncertainty --out` writes",
        ),
    ):
        result = runner.invoke(app, [*common, *files, *wrong])
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
