"""Trainings that version 0.1 began are continued, step for step as it would have done itself.

The archive has the folders of two runs of version 0.1 that ended after three steps, and the
weights that the same version made of them in two more: ``--resume --steps 5``.
"""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from tomolearn.cli import app
from tomolearn.training.log import read_log

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

ARCHIVE = Path(__file__).resolve().parents[1] / "data_of_0_1" / "interrupted_trainings.zip"
# what version 0.1 logged of its own continuation, and its last validation in dB
LOSSES = {
    "reconstruction": ([0.015949618, 0.059101608], 12.900418),
    "denoising": ([0.008268125, 0.020004200], 14.960134),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_run_goes_on_where_it_was(tmp_path, name):
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    run = tmp_path / name
    result = CliRunner().invoke(
        app, ["train", "--out", str(run), "--resume", "--steps", "5", "--test", "0"]
    )
    assert result.exit_code == 0, result.output
    losses, psnr = LOSSES[name]
    logged = read_log(run)
    assert sorted(logged) == list(range(5))
    # float32, summed in another order by another number of threads
    assert [logged[3], logged[4]] == pytest.approx(losses, rel=1e-4)
    assert f"validation PSNR {psnr:.2f} dB" in result.stdout
    expected = load_file(run / "expected.safetensors")
    for key, found in load_file(run / "weights.safetensors").items():
        assert found.numpy() == pytest.approx(expected[key].numpy(), abs=1e-5), key
    # from now on it is a run of today
    settings = json.loads((run / "config.json").read_text())
    assert "noise_levels" not in settings
    assert settings["objective"] == {"reconstruction": "supervised"}.get(name, name)


def test_what_cannot_go_on_is_told(tmp_path):
    with ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path)
    path = tmp_path / "reconstruction" / "config.json"
    settings = json.loads(path.read_text()) | {"task": "ellipses-of-mine"}
    path.write_text(json.dumps(settings))
    result = CliRunner().invoke(app, ["train", "--out", str(path.parent), "--resume"])
    assert result.exit_code == 2
    assert "--task: expected one of ellipses, " in result.stderr
