"""Comparisons: the right methods, on the same pairs, with the numbers that they deserve."""

import json
import warnings

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from small_task import small_task

import tomolearn as tl
from tomolearn.catalogue import TrainedElsewhereWarning
from tomolearn.data import store_pairs
from tomolearn.evaluation import compare
from tomolearn.methods import SIRT, photon_tv_weight
from tomolearn.metrics import CONVENTIONS
from tomolearn.models import LearnedPrimalDual
from tomolearn.simulation import Acquisition, PhotonNoise
from tomolearn.training import save

TASK = small_task()
OTHER_GRID = tl.Grid((16, 16), 2.0)


def back_projection(sinogram, operator):
    return operator.T(sinogram) / 200


def network(path, **card):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LearnedPrimalDual(iterations=1, n_primal=2, n_dual=2, channels=4)
    save(model, path, **card)
    return model


def averages(values):
    return [np.mean(values), np.std(values)]


def test_metrics_are_those_of_the_baselines_on_the_tasks_pairs():
    comparison = compare(TASK, ["tv", "fbp"], images=3)
    assert [row.method for row in comparison.rows] == ["tv", "fbp"]
    assert comparison.n == 3
    A = tl.RayTransform(TASK.grid, TASK.scan)
    calls = {
        "fbp": lambda y: tl.fbp(y, A, filter="hann"),
        "tv": lambda y: tl.total_variation(y, A, weight=0.1, iterations=20),
    }
    pairs = [TASK.pairs("test")[index] for index in range(3)]
    for row in comparison.rows:
        images = [calls[row.method](y)[0].double().numpy() for y, _ in pairs]
        truths = [x[0].double().numpy() for _, x in pairs]
        by_range = {
            (metric, data_range): [
                metric(x, image, data_range=np.ptp(x) if data_range == "reference" else data_range)
                for x, image in zip(truths, images, strict=True)
            ]
            for metric in (peak_signal_noise_ratio, structural_similarity)
            for data_range in (1.0, 2.0, "reference")
        }
        expected = [
            (row.metrics["psnr"], by_range[peak_signal_noise_ratio, "reference"]),
            (row.metrics["ssim"], by_range[structural_similarity, 2.0]),
            (row.metrics["psnr_range_1"], by_range[peak_signal_noise_ratio, 1.0]),
            (row.metrics["ssim_range_1"], by_range[structural_similarity, 1.0]),
        ]
        for summary, values in expected:
            # the images are float32, and a batch may be summed in another order than an image
            assert summary.values.tolist() == pytest.approx(values, rel=1e-5)
            assert [summary.mean, summary.std] == pytest.approx(averages(values), rel=1e-3)
        assert row.metrics["regressed_snr"].n == 3
        np.testing.assert_allclose(row.example.numpy(), images[0], atol=1e-5)
    torch.testing.assert_close(comparison.truth, pairs[0][1][0])


def test_each_pair_comes_alone_and_the_first_twice():
    seen = []

    def method(sinogram, operator):
        assert operator is TASK.operator()
        seen.append(sinogram)
        return back_projection(sinogram, operator)

    told = []
    row = compare(TASK, {"mine": method}, images=3, progress=lambda *now: told.append(now)).rows[0]
    assert [tuple(sinogram.shape) for sinogram in seen] == [(1, 1, 12, 25)] * 4
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])
    assert told == [("mine", 1), ("mine", 2), ("mine", 3)]
    assert len(row.seconds) == 3


def test_all_methods_see_the_same_pairs_in_every_comparison():
    seen = {"a": [], "b": [], "c": []}

    def recorder(name):
        return lambda y, A: seen[name].append(y) or back_projection(y, A)

    compare(TASK, {name: recorder(name) for name in "ab"}, images=2)
    compare(TASK, {"c": recorder("c")}, images=2, seed=5)
    assert all(torch.equal(*pair) for pair in zip(seen["a"], seen["b"], strict=True))
    assert not torch.equal(seen["a"][0], seen["c"][0])


def test_time_is_the_median_without_the_first_call(monkeypatch):
    durations = iter([9.0, 0.02, 0.03, 0.5])
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)

    def method(sinogram, operator):
        nonlocal now
        now += next(durations)
        return back_projection(sinogram, operator)

    row = compare(TASK, {"slow": method}, images=3).rows[0]
    assert row.seconds == pytest.approx((0.02, 0.03, 0.5))
    assert row.milliseconds == pytest.approx(30)


def test_by_default_all_pairs_of_the_split_are_used():
    assert compare(TASK, ["fbp"]).n == 4
    assert compare(TASK, ["fbp"], split="train", images=2).n == 2


def test_weights_are_loaded_from_a_file(tmp_path):
    path = tmp_path / "mine.safetensors"
    model = network(path, task="small", grid=TASK.grid, scan=TASK.scan)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = compare(TASK, [str(path)], images=1).rows[0]
    assert row.n_parameters == sum(weights.numel() for weights in model.parameters())
    with torch.no_grad():
        expected = model(TASK.pairs("test")[0][0], TASK.operator())
    torch.testing.assert_close(row.example, expected[0])


def test_weights_of_the_package_go_by_name():
    rows = compare("ellipses", {"LPD": "lpd-ellipses", "classical": "fbp"}, images=1).rows
    assert [row.method for row in rows] == ["LPD", "classical"]
    assert rows[0].n_parameters == tl.load("lpd-ellipses").n_parameters
    assert rows[0].metrics["psnr"].mean > rows[1].metrics["psnr"].mean + 10


def test_every_method_with_settings_of_task_user_and_its_own(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def back(y, A, *, scale: float = 1.0):\n    return A.T(y) / 200 * scale\n")
    specs = ["tv", "tv(weight=0.5)", "sirt", "sirt(iterations=3)", f"{file}:back(scale=2)"]
    values = {"value": SIRT(iterations=3), "function": back_projection}
    rows = compare(TASK, {spec: spec for spec in specs} | values, images=1).rows
    y, A = TASK.pairs("test")[0][0][None], TASK.operator()
    expected = [
        tl.total_variation(y, A, weight=0.1, iterations=20),
        tl.total_variation(y, A, weight=0.5, iterations=20),
        tl.sirt(y, A),
        tl.sirt(y, A, iterations=3),
        2 * back_projection(y, A),
        tl.sirt(y, A, iterations=3),
        back_projection(y, A),
    ]
    for row, image in zip(rows, expected, strict=True):
        torch.testing.assert_close(row.example, image[0, 0], rtol=1e-4, atol=1e-5)


def test_methods_learn_the_noise_of_the_task():
    acquisition = Acquisition(TASK.acquisition.scan, PhotonNoise(1e4, attenuation=0.02))
    task = small_task(acquisition=acquisition, baselines={})
    y, A = task.pairs("test")[0][0][None], task.operator()
    row = compare(task, ["tv"], images=1).rows[0]
    # line integrals are 0.02 times the sinogram, and the weight is that of these
    weight = float(photon_tv_weight(0.02 * y, A, photons=1e4)) / 0.02
    expected = tl.total_variation(y, A, weight=weight)[0, 0]
    torch.testing.assert_close(row.example, expected, rtol=1e-3, atol=1e-4)


def test_what_a_method_does_to_its_data_reaches_no_other():
    def spoils(sinogram, operator):
        image = back_projection(sinogram, operator)
        sinogram.zero_()
        return image

    rows = compare(TASK, {"spoils": spoils, "honest": back_projection}, images=2).rows
    assert torch.equal(rows[0].example, rows[1].example)
    assert rows[0].metrics["psnr"].values.tolist() == rows[1].metrics["psnr"].values.tolist()


def test_metrics_of_users(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def bias(image, truth):\n    return (image - truth).mean()\n"
    )
    spec = f"{tmp_path / 'mine.py'}:bias"
    rows = compare(TASK, ["fbp"], metrics=["rmse", spec], images=2).rows
    found = rows[0].metrics
    assert list(found)[-2:] == ["rmse", spec]
    for index in range(2):
        y, x = TASK.pairs("test")[index]
        error = tl.fbp(y, TASK.operator(), filter="hann") - x
        assert found[spec].values[index] == pytest.approx(error.mean().item(), abs=1e-6)
        assert found["rmse"].values[index] == pytest.approx(error.square().mean().sqrt().item())
    own = compare(TASK, ["fbp"], metrics={"zero": lambda image, truth: 0}, images=1).rows[0]
    assert own.metrics["zero"].mean == 0
    for metrics, message in (
        (["rmsee"], "metric: expected one of rmse.* did you mean rmse"),
        (["psnr"], "metrics: expected others than the standard ones, got 'psnr'"),
        ("rmse", "metrics: expected a list of names or a mapping"),
        ({"x": 1}, r"x: expected a function f\(image, truth\) -> float, got 1"),
        ({"x": lambda image, truth: "bad"}, "x: expected a number, got 'bad'"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(TASK, ["fbp"], metrics=metrics, images=1)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"task": "ellipses", "grid": OTHER_GRID}, "trained for the task ellipses, not small"),
        ({"task": "small", "grid": OTHER_GRID}, r"trained for Grid\(.*2.0.* not Grid\(.*1.0"),
        ({"scan": tl.ParallelBeam.covering(TASK.grid, 13)}, "n_angles=13.*, not .*n_angles=12"),
    ],
)
def test_weights_of_another_task_or_scan_are_warned_about(card, message, tmp_path):
    network(tmp_path / "other", **card)
    with pytest.warns(TrainedElsewhereWarning, match=f"other.json: .*{message}") as caught:
        compare(TASK, [str(tmp_path / "other.json")], images=1)
    assert len(caught) == 1


def test_only_networks_run_without_gradient():
    enabled = {}

    class Network(torch.nn.Module):
        def forward(self, sinogram, operator):
            enabled["network"] = torch.is_grad_enabled()
            return back_projection(sinogram, operator)

    def function(sinogram, operator):
        enabled["function"] = torch.is_grad_enabled()
        return back_projection(sinogram, operator).requires_grad_()

    rows = compare(TASK, {"network": Network(), "function": function}, images=1).rows
    assert enabled == {"network": False, "function": True}
    assert not any(row.example.requires_grad for row in rows)


def test_result_is_ready_for_json():
    truth = TASK.pairs("test")[0][1]
    found = compare(TASK, {"oracle": lambda y, A: truth[None]}, images=2).to_dict()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert found["pairs"] == 2
    # an image without error has no finite PSNR
    assert found["rows"][0]["metrics"]["psnr"]["values"] == [None, None]
    assert found["rows"][0]["metrics"]["ssim"]["values"] == [1.0, 1.0]


def test_figure_shows_truth_and_methods_on_one_scale():
    comparison = compare(TASK, {"back": back_projection, "FBP": "fbp"}, images=2)
    figure = comparison.draw(zoom=(2, 6, 3, 8))
    top, details = [axis for axis in figure.axes if axis.images][:3], figure.axes[3:6]
    assert [axis.get_title() for axis in top] == ["ground truth", "back", "FBP"]
    first = [f"{row.metrics['psnr'].values[0].item():.2f} dB" for row in comparison.rows]
    assert [axis.get_xlabel() for axis in top] == ["", *first]
    arrays = [comparison.truth, *(row.example for row in comparison.rows)]
    for axis, detail, array in zip(top, details, arrays, strict=True):
        np.testing.assert_array_equal(axis.images[0].get_array(), array.numpy())
        np.testing.assert_array_equal(detail.images[0].get_array(), array.numpy()[2:6, 3:8])
        truth = comparison.truth
        for shown in (axis, detail):
            assert shown.images[0].get_clim() == (float(truth.min()), float(truth.max()))
    narrow = comparison.draw(window=(0.1, 0.4))
    assert {axis.images[0].get_clim() for axis in narrow.axes[:6]} == {(0.1, 0.4)}


def test_own_task_by_name_is_one_of_the_package():
    comparison = compare("ellipses", ["fbp"], images=1)
    assert comparison.task is tl.tasks.get_task("ellipses")
    assert comparison.task.convention is CONVENTIONS["adler"]
    # 19.69 dB by an independent reconstruction, over noise seeds
    assert comparison.rows[0].metrics["psnr"].mean == pytest.approx(19.7, abs=0.15)


ERRORS = [
    ({"task": "elipses"}, ValueError, "task: expected one of .* did you mean ellipses"),
    ({"task": 1}, TypeError, "task: expected a name or a Task, got int"),
    ({"methods": []}, ValueError, "methods: expected at least one, got none"),
    ({"methods": "fbp"}, TypeError, "methods: expected a list of names or a mapping .* got 'fbp'"),
    ({"methods": ["fbb"]}, ValueError, "method: expected one of fbp, tv.* did you mean fbp"),
    ({"methods": ["fbp", "fbp"]}, ValueError, "methods: expected each once, got 'fbp' again"),
    ({"methods": [back_projection]}, TypeError, "methods: .* a function goes into a mapping"),
    ({"methods": {"x": 1}}, TypeError, "methods: expected a name, a path or a function as 'x'"),
    ({"methods": {"ground truth": "fbp"}}, ValueError, "methods: expected a name other than"),
    ({"methods": ["./no.json"]}, FileNotFoundError, r"no\.json"),
    ({"split": "tests"}, ValueError, "split: expected one of train, test, got 'tests'"),
    ({"split": "train"}, ValueError, "images: expected a number, since the train split has no end"),
    ({"images": 5}, ValueError, "size: expected at most the 4 pairs"),
    ({"images": 0}, ValueError, "size: expected an integer >= 1"),
    ({"device": "tpu"}, ValueError, "device: expected cpu, cuda or cuda:<number>, got 'tpu'"),
    ({"device": "cuda:99"}, ValueError, "device: expected one that torch sees, .* got 'cuda:99'"),
    ({"device": 1}, TypeError, "device: expected a str or torch.device, got int"),
    (
        {"methods": ["tv"], "task": small_task(baselines={})},
        ValueError,
        "weight: expected a number",
    ),
    ({"methods": {"x": lambda y, A: None}}, TypeError, "x: expected an image as a torch.Tensor"),
    (
        {"methods": {"x": lambda y, A: y}},
        ValueError,
        r"x: expected an image of shape \(1, 1, 16, 16\), got \(1, 1, 12, 25\)",
    ),
    (
        {"methods": {"x": lambda y, A: A.T(y) / 0}},
        ValueError,
        "x: expected finite image values, got 256 others",
    ),
]


@pytest.mark.parametrize(("changes", "error", "message"), ERRORS)
def test_mistakes_are_told(changes, error, message):
    arguments = {"task": TASK, "methods": ["fbp"]} | changes
    with pytest.raises(error, match=message):
        compare(**arguments)


def test_pairs_of_a_path(tmp_path):
    path = tmp_path / "pairs.h5"
    store_pairs(TASK.pairs("test", seed=9), path, 3, attributes={"split": "test"})
    found = compare(TASK, ["fbp"], data=path)
    expected = compare(TASK, ["fbp"], images=3, seed=9)
    assert (found.n, found.data, expected.data) == (3, "pairs.h5", None)
    psnr = [comparison.rows[0].metrics["psnr"].values for comparison in (found, expected)]
    torch.testing.assert_close(*psnr)
    assert found.to_dict()["data"] == "pairs.h5"
    # all of a split without end, if it is stored
    store_pairs(TASK.pairs("train"), path, 2, attributes={"split": "train"})
    assert compare(TASK, ["fbp"], split="train", data=path).n == 2
    with pytest.raises(ValueError, match="size: expected at most the 2 pairs"):
        compare(TASK, ["fbp"], split="train", data=path, images=3)
