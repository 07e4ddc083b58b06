"""``tomolearn train --images``: own images without a line of Python, and fine-tuning on them."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from saved_networks import tiny
from typer.testing import CliRunner

import tomolearn as tl
from tomolearn.cli import app
from tomolearn.geometry import save_geometry

pytestmark = pytest.mark.filterwarnings("ignore:.*GPU.*", "ignore:.*isinstance.treespec.*")

GRID = tl.Grid((16, 16))
SETTINGS = """
steps = 2
batch_size = 1
validation_size = 2
accelerator = "cpu"
threads = 1
"""
NETWORK = """
[model_arguments]
iterations = 1
n_primal = 2
n_dual = 1
channels = 2
"""
LEARNED = ("learned-primal-dual", "--config", "small.toml")


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    before = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.toml").write_text(SETTINGS + NETWORK)
    (tmp_path / "any.toml").write_text(SETTINGS)
    save_geometry("scan.json", GRID, tl.ParallelBeam.covering(GRID, 12))
    (tmp_path / "images").mkdir()
    for k in range(10):
        image = np.random.default_rng(k).integers(0, 256, GRID.shape).astype(np.uint8)
        iio.imwrite(f"images/{k}.png", image)
    yield tmp_path
    torch.set_num_threads(before)


def run(command, *arguments):
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, [command, *map(str, arguments)])


def on_images(*arguments, scale=1 / 255):
    scaled = () if scale is None else ("--image-scale", scale)
    return run("train", "--images", "images", "--scan", "scan.json", *scaled, *arguments)


def test_train_resume_and_evaluate(folder):
    (folder / "images" / "notes.txt").write_text("no image")
    result = on_images(*LEARNED, "--noise", 0.05, "--out", "RUN")
    assert result.exit_code == 0, result.output
    assert "10 images in 10 files of images; split by file: 8 for train, 1 for val" in result.stderr
    assert "1 skipped: notes.txt (no image)" in result.stderr
    assert "test PSNR" in result.stdout
    card = json.loads((folder / "RUN" / "weights.json").read_text())
    assert card["task"] == "images"
    assert card["grid"] == GRID.to_dict()
    assert card["training"]["image_scale"] == 1 / 255
    low, high = card["training"]["image_range"]
    assert 0 <= low < 0.2 < 0.8 < high <= 1
    # one more image: the splits stay
    iio.imwrite("images/new.png", np.zeros(GRID.shape, np.uint8))
    (folder / "RUN").rename(folder / "moved")
    again = run("train", "--out", "moved", "--resume", "--steps", 3)
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("3 steps")
    table = run("evaluate", "--task", "moved", "--methods", "fbp,moved/weights.json")
    assert table.exit_code == 0, table.output
    assert "1 pair of the test split of images" in table.stdout
    assert "warning" not in table.stderr


def test_weights_are_tuned_with_their_network(folder):
    first = on_images(*LEARNED, "--out", "first", "--test", 0)
    assert first.exit_code == 0, first.output
    # the scale of the images comes with the weights
    rate = ("--set", "learning_rate=1e-12", "--test", 0)
    begin = ("--weights", "first/weights.json", "--config", "any.toml")
    result = on_images(*begin, *rate, "--out", "second", scale=None)
    assert result.exit_code == 0, result.output
    assert "image scale 0.00392157, that of first/weights.json" in result.stderr
    assert "warning" not in result.stderr
    before, after = (load_file(f"{name}/weights.safetensors") for name in ("first", "second"))
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in before)
    settings = json.loads((folder / "second" / "config.json").read_text())
    assert settings["model"] == "learned-primal-dual"
    assert settings["initial_weights"] == "first/weights.json"


@pytest.mark.filterwarnings("default::tomolearn.TrainedElsewhereWarning")
def test_other_values_than_those_of_the_weights_are_told():
    assert on_images(*LEARNED, "--out", "first", "--test", 0).exit_code == 0
    begin = ("--weights", "first/weights.json", "--config", "any.toml", "--test", 0)
    result = on_images(*begin, "--out", "second", scale=1 / 51)
    assert result.exit_code == 0, result.output
    assert "weights: trained on images with values up to" in result.stderr
    assert "an image scale 0.2" in result.stderr


@pytest.mark.filterwarnings("default::tomolearn.TrainedElsewhereWarning")
def test_values_are_those_of_the_task_if_an_old_card_has_no_more(folder):
    tl.save(tiny(), folder / "old", task="ellipses")
    begin = ("--weights", "old.json", "--config", "any.toml", "--test", 0)
    result = on_images(*begin, "--out", "a", scale=1.0)
    assert result.exit_code == 0, result.output
    assert "old: trained on images with values up to 1" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*LEARNED, "--images", "images"), "--task: expected --scan with --images, got None"),
        (
            (*LEARNED, "--images", "images", "--scan", "scan.json"),
            "--image-scale: expected a number that the uint8 values of",
        ),
        (
            (*LEARNED, "--images", "images", "--scan", "scan.json", "--task", "ellipses"),
            "--task: expected none beside --images, got ellipses",
        ),
        (
            (*LEARNED, "--task", "ellipses", "--noise", "0.1"),
            "--noise: expected with --images only",
        ),
        ((*LEARNED, "--images", "none", "--scan", "scan.json"), "none: there is no such folder"),
        ((*LEARNED, "--images", "images", "--scan", "no.json"), "no.json: No such file"),
        (("--weights", "no-weights", "--task", "ellipses"), "no-weights: expected the name of"),
    ],
)
def test_mistakes(folder, arguments, message):
    before = sorted(folder.iterdir())
    result = run("train", *arguments)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert sorted(folder.iterdir()) == before


def test_photons_of_pictures_need_their_attenuation():
    result = on_images(*LEARNED, "--photons", "1e4")
    assert result.exit_code == 2
    assert "--attenuation: expected what an image value of one stands for" in result.stderr
