"""Benchmarks: settings are searched on validation images, results kept, reports whole."""

import csv
import json
import math
import re
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from scipy.ndimage import gaussian_filter

import tomolearn as tl
from tomolearn._core.memory import peak_of
from tomolearn.catalogue import get_method
from tomolearn.data.phantoms import RandomEllipses, RandomThorax
from tomolearn.evaluation import BenchmarkSettings, run_benchmark
from tomolearn.evaluation.benchmarking.figures import draw_all
from tomolearn.evaluation.benchmarking.leaderboard import (
    entries,
    leaderboard,
    short_table,
    write_entry,
)
from tomolearn.evaluation.benchmarking.phantom import QualityPhantom
from tomolearn.evaluation.benchmarking.report import write_report
from tomolearn.evaluation.benchmarking.search import _climb, search
from tomolearn.evaluation.benchmarking.text import main_table, note, physics_table
from tomolearn.evaluation.methods import default_methods
from tomolearn.methods import CGLS, FBP, TotalVariation
from tomolearn.metrics import CONVENTIONS
from tomolearn.models import MODELS
from tomolearn.simulation import Acquisition, GaussianNoise
from tomolearn.tasks import CURVES, PUBLISHED, TASKS, Split, Task, get_task

GRID = tl.Grid((64, 64))
SOURCE = RandomEllipses("dival")
TASK = Task(
    name="small",
    description="small ellipses",
    reference="no publication",
    grid=GRID,
    acquisition=Acquisition(tl.ParallelBeam.covering(GRID, 24), GaussianNoise(0.05)),
    splits={
        "train": Split(SOURCE, seed=1),
        "validation": Split(SOURCE, seed=2, size=3),
        "test": Split(SOURCE, seed=3, size=4),
    },
    convention=CONVENTIONS["dival"],
    baselines={"fbp": FBP(), "tv": TotalVariation(weight=2.0, iterations=30)},
)
SETTINGS = BenchmarkSettings(images=3, search_images=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("benchmark")


@pytest.fixture(scope="module")
def results(folder):
    return run_benchmark(TASK, ["fbp", "tv"], cache=folder / "cache", settings=SETTINGS)


def test_settings_are_those_of_the_best_psnr_on_validation_images(results) -> None:
    for row in results.values["rows"]:
        tried = {json.dumps(one["settings"]): one["psnr"] for one in row["search"]["tried"]}
        assert tried[json.dumps(row["search"]["settings"])] == max(tried.values())
        assert {k: row["settings"][k] for k in row["search"]["settings"]} == row["search"][
            "settings"
        ]
    y, x = TASK.pairs("validation")[0]
    chosen = FBP(**results.values["rows"][0]["search"]["settings"])
    image = chosen(y[None], TASK.operator())
    psnr = tl.metrics.psnr(image[0], x, data_range="reference").item()
    assert psnr == pytest.approx(
        max(t["psnr"] for t in results.values["rows"][0]["search"]["tried"])
    )


def test_scores_are_those_of_compare(results) -> None:
    chosen = {row["method"]: get_method(**row["settings"]) for row in results.values["rows"]}
    compared = tl.evaluation.compare(TASK, chosen, images=3)
    for row, other in zip(results.values["rows"], compared.rows, strict=True):
        assert row["metrics"]["psnr"]["values"] == other.metrics["psnr"].values.tolist()
        metric = row["metrics"]["psnr"]
        assert metric["low"] < metric["mean"] < metric["high"]
    tv = results.values["rows"][1]
    assert tv["to_best"]["best"] == "tv"
    assert results.values["rows"][0]["to_best"]["high"] < 0


def test_images_that_are_not_timed_have_the_same_scores(results, tmp_path) -> None:
    settings = replace(SETTINGS, timed_images=1)
    values = run_benchmark(TASK, ["tv"], cache=tmp_path, settings=settings).values
    row, expected = values["rows"][0], results.values["rows"][1]
    assert (len(row["seconds"]), len(expected["seconds"])) == (1, 3)
    assert row["metrics"]["psnr"]["values"] == expected["metrics"]["psnr"]["values"]
    assert "of the first 1, one at a time" in note(values)
    assert "of the first" not in note(results.values)
    took = {"seconds": 119.6, "processor_seconds": 3.4}
    assert "took 2:00 minutes, 0:03 of" in note(values | {"took": took})
    assert "All of it took" not in note(values | {"took": None})


def test_results_are_kept_by_method_and_settings(folder, results) -> None:
    told = []

    def run(methods, settings=SETTINGS):
        told.clear()
        return run_benchmark(
            TASK,
            methods,
            cache=folder / "cache",
            settings=settings,
            told=lambda name, what: told.append((name, what)),
        )

    took = results.values["took"]
    assert 0 < took["processor_seconds"] < 10 * took["seconds"]
    again = run(["fbp", "tv"])
    assert again.values["took"] is None
    assert told == [("fbp", "is known"), ("tv", "is known")]
    assert again.values["rows"] == results.values["rows"]
    assert torch.equal(again.images["tv"], results.images["tv"])
    run(["fbp", "tv(iterations=20)"], replace(SETTINGS, physics=False, search_images=0))
    assert ("fbp", "is known") not in told
    # what was not complete is done again
    for path in folder.glob("cache/*.safetensors"):
        path.unlink()
    run(["fbp"], replace(SETTINGS, physics=False, search_images=0))
    assert ("fbp", "is known") not in told


@dataclass(frozen=True, kw_only=True)
class Stopped(TotalVariation):
    """Total variation that counts its calls, at one of which somebody stops the run."""

    name: ClassVar[str] = "stopped"
    calls: ClassVar[int] = 0
    last: ClassVar[int | None] = None

    def __call__(self, sinogram, operator, **control):
        kind = type(self)
        kind.calls += 1
        if kind.calls == kind.last:
            raise KeyboardInterrupt
        return super().__call__(sinogram, operator, **control)


def test_a_stopped_run_repeats_one_image(tmp_path) -> None:
    settings = replace(SETTINGS, images=4, timed_images=2)

    def run(name, last=None):
        Stopped.calls, Stopped.last = 0, last
        method = Stopped(weight=2.0, iterations=10)
        return run_benchmark(TASK, {"own": method}, cache=tmp_path / name, settings=settings)

    (row,) = run("whole").values["rows"]
    whole = Stopped.calls
    searched = len(row["search"]["tried"])
    untimed = searched + 2 + row["physics"]["scans"]
    # a call that warms up, two that are timed
    assert whole == untimed + 1 + 2
    untold = ("seconds", "milliseconds", "peak_mib")
    for last in (2, searched + 1, untimed, untimed + 1, untimed + 2, whole):
        with pytest.raises(KeyboardInterrupt):
            run(str(last), last)
        (again,) = run(str(last)).values["rows"]
        # before another timed call the method has to be warm
        warms = last > untimed + 1
        assert Stopped.calls == whole - (last - 1) + warms
        assert all(again[key] == value for key, value in row.items() if key not in untold)
        assert len(again["seconds"]) == 2
        # what is complete needs no single calls
        assert not any(path.is_dir() for path in (tmp_path / str(last)).iterdir())
    run("whole")
    assert Stopped.calls == 0


def test_a_users_file_is_known_by_its_text(folder, tmp_path) -> None:
    file = tmp_path / "own.py"
    file.write_text("def f(y, A):\n    return 0.01 * A.T(y)\n")
    told = []
    settings = replace(SETTINGS, physics=False, images=1)
    for text in ("", "", "\n# changed\n"):
        file.write_text(file.read_text() + text)
        run_benchmark(
            TASK,
            [f"{file}:f"],
            cache=tmp_path / "cache",
            settings=settings,
            told=lambda _, what: told.append(what),
        )
    assert told.count("is known") == 1


def test_searches_climb_to_the_top() -> None:
    operator = TASK.operator()
    pairs = [TASK.pairs("validation")[0]]
    found = search(TotalVariation(weight=200.0, iterations=30), pairs, operator, TASK.convention)
    weights = sorted((one["weight"], psnr) for one, psnr in found.tried)
    best = max(range(len(weights)), key=lambda n: weights[n][1])
    assert 0 < best < len(weights) - 1
    assert found.settings["weight"] < 50
    steps = search(CGLS(iterations=40), pairs, operator, TASK.convention)
    assert steps.settings["iterations"] < 40
    assert search(lambda y, A: y, pairs, operator, TASK.convention) is None
    with pytest.raises(ValueError, match="pairs: expected one at least"):
        search(FBP(), [], operator, TASK.convention)


@pytest.mark.parametrize("top", [-4.3, -0.45, -0.3, 0.0, 0.2, 0.4, 0.6, 2.6])
def test_climbing_finds_the_best_of_half_steps(top) -> None:
    tried = []

    def score(value):
        tried.append(math.log2(value))
        return -abs(math.log2(value) - top)

    _climb(score, 1.0, whole=False)
    best = max(tried, key=lambda one: -abs(one - top))
    # of all half steps, those that were not tried included
    assert best == pytest.approx(round(2 * top) / 2, abs=1e-3)
    assert len(tried) == len(set(tried))
    if abs(top) < 0.5:
        assert len(tried) == (4 if abs(top) > 0.25 else 5)


def test_settings_are_not_searched_on_what_is_judged() -> None:
    with pytest.raises(ValueError, match="split: expected another than validation"):
        BenchmarkSettings(split="validation")


def test_hounsfield_units_are_those_of_the_values(tmp_path) -> None:
    grid = tl.Grid((64, 64), 360 / 64)
    task = replace(
        TASK,
        grid=grid,
        acquisition=Acquisition(tl.ParallelBeam.covering(grid, 24), GaussianNoise(0.02)),
        splits={name: Split(RandomThorax("upright"), seed=4, size=2) for name in TASK.splits},
        hounsfield=4096.0,
    )
    settings = BenchmarkSettings(images=2, search_images=0)
    values = run_benchmark(task, ["fbp"], cache=tmp_path, settings=settings).values
    metrics = values["rows"][0]["metrics"]
    assert metrics["rmse_hu"]["mean"] == pytest.approx(4096 * metrics["rmse"]["mean"])
    assert values["rows"][0]["physics"]["level"] == pytest.approx(1000 / 4096)
    assert "RMSE in HU" in main_table(values)[0]
    assert "noise in HU" in physics_table(values)[0]


def test_phantom_measures_a_known_blur_and_noise(rng) -> None:
    grid = tl.Grid((128, 128), 2.0)
    task = replace(
        TASK,
        grid=grid,
        acquisition=Acquisition(tl.ParallelBeam.covering(grid, 10), GaussianNoise(0.01)),
    )
    phantom = QualityPhantom(task, level=0.4)
    sigma, noise = 1.3, 0.002
    blurred = torch.from_numpy(gaussian_filter(phantom.image().double().numpy(), sigma))

    def method(y, A):
        return (blurred + noise * torch.randn(128, 128, generator=rng))[None, None]

    found = phantom.measure(method, scans=12)
    # exp(-2 (pi f sigma)^2) is a half here; the pixel itself damps by 2 %
    f50 = 0.1874 / (sigma * 2.0)
    assert found["mtf"]["f50"] == pytest.approx(f50, rel=0.03)
    assert found["nps"]["std"] == pytest.approx(noise, rel=0.05)
    # the blur reaches a little into the ring around the insert
    assert found["cnr"]["-20 %"] == pytest.approx(-found["cnr"]["+20 %"], rel=0.1)
    assert found["cnr"]["+20 %"] > 1.5 * found["cnr"]["+10 %"] > 0


def test_volumes_have_no_phantom() -> None:
    with pytest.raises(ValueError, match="task: expected one in the plane with a scan"):
        QualityPhantom(get_task("cone-ellipsoids"), 1.0)


def test_memory_of_a_function_is_what_it_holds() -> None:
    found, peak = peak_of(lambda: torch.ones(30 * 2**20, dtype=torch.float32).sum().item())
    assert found == 30 * 2**20
    if peak is None:
        pytest.skip("this system does not tell")
    assert 100 * 2**20 < peak < 200 * 2**20


def test_reports_are_whole(results, tmp_path) -> None:
    paths = {path.name: path for path in write_report(results, tmp_path / "report")}
    assert {"report.html", "report.md", "results.csv", "results.json", "images.png"} <= set(paths)
    page = paths["report.html"].read_text()
    sources = re.findall(r'(?:src|href)="([^"]{1,40})', page)
    assert all(one.startswith(("data:image/png;base64,", "#")) for one in sources)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", page)) <= set(ids)
    assert json.loads(paths["results.json"].read_text()) == results.values
    mean = results.values["rows"][1]["metrics"]["psnr"]["mean"]
    for name in ("report.html", "report.md"):
        assert f"{mean:.2f} ±" in paths[name].read_text()
    text = paths["report.md"].read_text()
    for link in re.findall(r"\]\((figures/[^)]+)\)", text):
        assert (tmp_path / "report" / link).is_file()
    rows = list(csv.DictReader(paths["results.csv"].read_text().splitlines()))
    assert float(rows[1]["psnr_mean"]) == mean


def test_reports_of_volumes_show_the_middle_slice(results, tmp_path) -> None:
    rows = [row | {"physics": {"reason": "a volume"}} for row in results.values["rows"]]

    def volume(image):
        return torch.stack([0 * image, image, 0 * image])

    spatial = replace(
        results,
        values=results.values | {"rows": rows},
        images={name: volume(image) for name, image in results.images.items()},
        truth=volume(results.truth),
    )
    of_plane, of_space = (
        {path.name: path for path in write_report(one, tmp_path / name)}
        for name, one in (("plane", results), ("space", spatial))
    )
    cards = [
        re.findall(r'src="(data:image/png;base64,[^"]+)"', paths["report.html"].read_text())
        for paths in (of_plane, of_space)
    ]
    assert cards[0] == cards[1]
    assert "mtf.png" not in of_space


def test_leaderboards_have_what_was_measured(results, tmp_path) -> None:
    path = write_entry(results, tmp_path, "tomolearn benchmark small")
    assert path.name == "small.json"
    (entry,) = entries(tmp_path)
    assert entry["command"] == "tomolearn benchmark small"
    assert main_table(entry) == main_table(results.values)
    assert "trace" not in entry["rows"][0]
    text = leaderboard(tmp_path)
    assert "### small" in text
    assert "`tomolearn benchmark small`" in text
    lines = short_table(tmp_path, "small").splitlines()
    assert lines[0].startswith("| method | PSNR (L = max − min) in dB | 95 % |")
    assert lines[3].startswith(f"| tv | {entry['rows'][1]['metrics']['psnr']['mean']:.2f} ±")
    with pytest.raises(ValueError, match="task: expected one of the leaderboard"):
        short_table(tmp_path, "large")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"other\.json: expected results of `tomolearn benchmark`"):
        entries(tmp_path)


def test_published_curves_stand_beside_what_was_measured(results) -> None:
    curves = [one.to_dict() for one in CURVES["lodopab-200"]]
    tv = results.values["rows"][1] | {"parameters": 5}
    values = results.values | {"rows": [results.values["rows"][0], tv], "curves": curves}
    assert "curves" not in draw_all(results.values)
    (axis,) = draw_all(values)["curves"][1].axes
    lines = {line.get_label(): line for line in axis.lines}
    assert list(lines) == [
        "Learned primal-dual, LoDoPaB, published",
        "U-Net, LoDoPaB, published",
        "Learned primal-dual, LoDoPaB-200, published",
        "tv, measured",
    ]
    # github.com/oterobaguer/dip-ct-benchmark
    published = lines["Learned primal-dual, LoDoPaB-200, published"]
    assert list(published.get_xdata()) == [0.01, 0.1, 1, 10, 100]
    assert list(published.get_ydata()) == [29.65, 32.48, 33.21, 33.53, 33.64]
    assert set(lines["tv, measured"].get_ydata()) == {tv["metrics"]["psnr"]["mean"]}
    assert "oterobaguer/dip-ct-benchmark" in axis.get_title(loc="left")


def test_failures_are_told(results) -> None:
    row = results.values["rows"][0] | {"failures": {"1": "it diverged"}}
    assert "fbp has no image of 1: 1 (it diverged)" in note(results.values | {"rows": [row]})


def test_priors_of_the_same_images_are_tried() -> None:
    names = default_methods(get_task("ellipses"), priors=True)
    assert {"fbp", "tv", "lpd-ellipses", "wcrr-ellipses"} <= set(names)
    assert "crr-chest" not in names
    assert "wcrr-ellipses" not in default_methods(get_task("ellipses"))


def test_published_rows_are_of_known_tasks_and_networks() -> None:
    assert set(PUBLISHED) | set(CURVES) <= set(TASKS)
    named = {one.name for rows in PUBLISHED.values() for one in rows} - {None, "fbp", "tv"}
    assert named <= set(MODELS)
    by_name = {one.name: one for one in PUBLISHED["ellipses"]}
    assert by_name["learned-primal-dual"].psnr == 38.28
    assert all(len(one.amounts) == len(one.psnr) for rows in CURVES.values() for one in rows)
