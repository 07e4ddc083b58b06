"""``tomolearn evaluate``: its table on the screen and in files, its picture, its errors."""

import csv
import json

import matplotlib.image
import pytest
from small_task import only_tasks, small_task
from typer.testing import CliRunner

from tomolearn._core.checkpoints.files import find_files
from tomolearn.catalogue.names import split_names
from tomolearn.cli import app
from tomolearn.data import store_pairs
from tomolearn.evaluation import compare
from tomolearn.models import LearnedPrimalDual
from tomolearn.training import save

TASK = small_task()


@pytest.fixture(autouse=True)
def only_the_small_task(monkeypatch):
    only_tasks(monkeypatch, TASK, small_task(name="smaller"))


def run(*arguments, task="small"):
    # wide enough for one line per row, whoever runs the tests
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["evaluate", "--task", task, *arguments])


def test_default_methods_are_the_baselines_and_the_weights_of_the_task(monkeypatch, tmp_path):
    model = LearnedPrimalDual(iterations=1, n_primal=2, n_dual=2, channels=4)
    save(model, tmp_path / "mine", task="small")
    save(model, tmp_path / "other", task="ellipses")
    files = {"lpd-small": find_files(tmp_path / "mine"), "other": find_files(tmp_path / "other")}
    for user in ("_core.checkpoints.files", "training.weights", "catalogue.names"):
        monkeypatch.setattr(f"tomolearn.{user}.shipped_files", lambda: files)
    result = run()
    assert result.exit_code == 0, result.output
    rows = [line.split("│")[1].strip() for line in result.stdout.splitlines() if "±" in line]
    assert rows == ["fbp", "tv", "lpd-small"]
    assert f"{model.n_parameters:,}" in result.stdout
    # the split has four pairs, fewer than the usual ten
    assert "over 4 pairs of the test split of small" in result.stdout


@pytest.mark.parametrize("option", ["--images", "--seeds"])
def test_table_is_that_of_the_comparison(option):
    result = run("--methods", "fbp,tv", option, "2")
    assert result.exit_code == 0, result.output
    for row in compare(TASK, ["fbp", "tv"], images=2).rows:
        line = next(line for line in result.stdout.splitlines() if f" {row.method} " in line)
        assert f"{row.metrics['psnr'].mean:.2f} ± {row.metrics['psnr'].std:.2f}" in line
        assert f"{row.metrics['ssim_range_1'].mean:.3f} ±" in line


def test_functions_and_settings_and_metrics_of_a_user(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(
        "def back(y, A, *, scale: float = 1.0): return A.T(y) * scale\n"
        "def bias(image, truth): return (image - truth).mean()\n"
    )
    methods = f"sirt(iterations=3, relaxation=0.5),{mine}:back(scale=0.005)"
    table = tmp_path / "table.csv"
    result = run(
        "--methods", methods, "--metrics", f"rmse,{mine}:bias", "--images", "1", "--out", str(table)
    )
    assert result.exit_code == 0, result.output
    rows = [line.split("│")[1].strip() for line in result.stdout.splitlines() if "│" in line]
    # rich cuts what is too long for the screen
    assert rows[0] == "sirt(iterations=3, relaxation=0.5)"
    assert rows[1].startswith(str(mine)[:20])
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert [line["method"] for line in lines] == split_names("methods", methods)
    assert {"rmse_mean", f"{mine}:bias_mean"} <= set(lines[0])


def test_files_hold_the_same_numbers(tmp_path):
    files = {suffix: tmp_path / f"table{suffix}" for suffix in (".csv", ".json", ".md")}
    for file in files.values():
        result = run("--methods", "fbp", "--images", "2", "--seed", "7", "--out", str(file))
        assert result.exit_code == 0, result.output
        assert f"wrote {file}" in result.stderr
    row = compare(TASK, ["fbp"], images=2, seed=7).rows[0]
    found = json.loads(files[".json"].read_text())
    assert found["rows"][0]["metrics"]["psnr"]["values"] == row.metrics["psnr"].values.tolist()
    assert (found["task"], found["seed"], found["pairs"]) == ("small", 7, 2)
    assert found["versions"]["torch"]
    line = next(csv.DictReader(files[".csv"].open()))
    assert float(line["psnr_mean"]) == row.metrics["psnr"].mean
    assert f"| fbp | {row.metrics['psnr'].mean:.2f} ±" in files[".md"].read_text()
    assert sorted(tmp_path.iterdir()) == sorted(files.values())


@pytest.mark.filterwarnings("default::tomolearn.catalogue.TrainedElsewhereWarning")
def test_weights_of_a_file_are_warned_about_if_from_elsewhere(tmp_path):
    model = LearnedPrimalDual(iterations=1, n_primal=2, n_dual=2, channels=4)
    save(model, tmp_path / "mine", task="smaller")
    result = run("--methods", f"fbp, {tmp_path / 'mine.json'}", "--images", "1")
    assert result.exit_code == 0, result.output
    assert "mine.json: trained for the task smaller, not small" in result.stderr
    assert result.stderr.startswith("warning: ")


def test_picture_is_written(tmp_path):
    picture = tmp_path / "first.png"
    arguments = ("--methods", "fbp,tv", "--images", "1", "--figure", str(picture))
    result = run(*arguments, "--window", "0", "0.5", "--zoom", "2", "8", "2", "8")
    assert result.exit_code == 0, result.output
    height, width = matplotlib.image.imread(picture).shape[:2]
    assert width > height > 300
    again = run(*arguments)
    assert again.exit_code == 2
    assert "exists already; --force overwrites it" in again.stderr
    assert run(*arguments, "--force").exit_code == 0
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--methods", "fbb"), "--methods: expected one of fbp, tv"),
        (("--methods", "fbb"), "did you mean fbp?"),
        (("--methods", "fbp,,tv"), "--methods: expected names with commas between them"),
        (("--methods", "no/such.json"), "no/such"),
        (("--split", "tests"), "--split: expected one of train, test, got 'tests'"),
        (("--images", "5"), "size: expected at most the 4 pairs"),
        (("--device", "tpu"), "device: expected cpu, cuda or cuda:<number>, got 'tpu'"),
        (("--out", "table.txt"), "expected a name that ends in .csv, .json, .md, got '.txt'"),
        (("--figure", "x.pdf"), "expected a name that ends in .png"),
        (("--out", "no/such/folder/x.md"), "the folder no/such/folder does not exist"),
        (("--window", "0", "1"), "--window: expected with --figure only"),
        (("--zoom", "0", "1", "0", "1"), "--zoom: expected with --figure only"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_unknown_tasks_are_answered_with_the_nearest():
    result = run(task="smal")
    assert result.exit_code == 2
    assert "task: expected one of small, smaller, got 'smal'; did you mean small" in result.stderr


def test_a_wrong_detail_leaves_no_file(tmp_path):
    out, figure = tmp_path / "x.csv", tmp_path / "x.png"
    arguments = ("--methods", "fbp", "--images", "1", "--out", str(out), "--figure", str(figure))
    result = run(*arguments, "--zoom", "0", "99", "0", "4")
    assert result.exit_code == 2
    assert "zoom: expected rows and columns" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_of_a_path(tmp_path):
    path = tmp_path / "pairs.h5"
    store_pairs(TASK.pairs("test", seed=9), path, 3, attributes={"split": "test"})
    result = run("--methods", "fbp", "--data", str(path))
    assert result.exit_code == 0, result.output
    assert "over 3 pairs of the test split of small" in result.stdout
    row = compare(TASK, ["fbp"], images=3, seed=9).rows[0]
    assert f"{row.metrics['psnr'].mean:.2f} ± {row.metrics['psnr'].std:.2f}" in result.stdout
    missing = run("--methods", "fbp", "--data", str(tmp_path / "no.h5"))
    assert (missing.exit_code, "no.h5: there is no such file" in missing.stderr) == (2, True)


def test_convergence_and_stability_of_the_first_pair(tmp_path):
    picture, table = tmp_path / "curves.png", tmp_path / "table.json"
    options = ("--images", "1", "--stability", "--convergence", str(picture), "--out", str(table))
    result = run("--methods", "fbp,tv(iterations=10)", *options)
    assert result.exit_code == 0, result.output
    assert picture.read_bytes()[:4] == b"\x89PNG"
    constants = json.loads(table.read_text())["lipschitz_lower_bounds"]
    assert list(constants) == ["fbp", "tv(iterations=10)"]
    assert all(value > 0 for value in constants.values())
    assert "lower bound" in result.stdout
    result = run("--methods", "fbp", "--convergence", str(tmp_path / "other.png"))
    assert result.exit_code == 2
    assert "--convergence: expected a method that iterates, got fbp" in result.output
