"""The viewer: what it shows, to whom, and that a browser draws it."""

import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from batch_trees import SHAPE, body, write_series
from PIL import Image

from tomolearn import TomolearnError
from tomolearn.batch import SUMMARY, BatchSettings, batch_method, run_batch
from tomolearn.data.volumes import write_volume
from tomolearn.dicom import Deidentification, find_series
from tomolearn.geometry import Grid
from tomolearn.simulation import Acquisition, CoveringScan
from tomolearn.viewer import Comparison, ViewerServer, array_stack, open_comparisons

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FEW = BatchSettings(batch_method("fbp"), Acquisition(CoveringScan("parallel", 30)))


def get(url: str, **headers: str) -> tuple[int, str, bytes]:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=60)
    connection.request("GET", parts._replace(scheme="", netloc="").geturl(), headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.getheader("Content-Type", ""), answer.read()


def grey(url: str) -> np.ndarray:
    status, kind, content = get(url)
    assert (status, kind) == (200, "image/png"), content
    return np.asarray(Image.open(io.BytesIO(content)))


def state(page: bytes) -> dict[str, Any]:
    """Return what the script of a page knows."""
    (found,) = re.findall(r"^const S = (.*);$", page.decode(), re.MULTILINE)
    return json.loads(found)


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    write_series(tmp_path / "in", "a", 3)
    write_series(tmp_path / "in" / "deep", "b", 1)
    run_batch(tmp_path / "in", tmp_path / "out", FEW, workers=0)
    return tmp_path / "out"


@pytest.fixture
def pair() -> Iterator[str]:
    ramp = np.arange(24.0).reshape(2, 3, 4)
    stacks = (array_stack("first", ramp), array_stack("second", ramp + 1))
    with ViewerServer([Comparison("0", "a </script> b", stacks)]) as server:
        yield server.url


def test_slices_in_a_window(pair: str) -> None:
    shown = grey(f"{pair}slice/0/0/1?low=12&high=23")
    expected = np.rint((np.arange(12.0).reshape(3, 4) / 11) * 255)
    np.testing.assert_array_equal(shown, expected)
    # the third pane is the difference, 1 everywhere
    assert (grey(f"{pair}slice/0/2/0?low=0&high=2") == 128).all()
    assert (grey(f"{pair}slice/0/0/0?low=100&high=101") == 0).all()


def test_what_is_no_number_is_black() -> None:
    values = np.full((2, 2), np.nan)
    values[0, 0] = 5
    with ViewerServer([Comparison("0", "x", (array_stack("x", values),))]) as server:
        np.testing.assert_array_equal(
            grey(f"{server.url}slice/0/0/0?low=0&high=5"), [[255, 0], [0, 0]]
        )


@pytest.mark.parametrize(
    "address",
    ["slice/0/0/2?low=0&high=1", "slice/0/3/0?low=0&high=1", "slice/0/-1/0?low=0&high=1",
     "slice/1/0/0?low=0&high=1", "slice/0/0/0", "slice/0/0/x?low=0&high=1", "slice/0",
     "slice/0/0/0?low=2&high=1", "slice/0/0/0?low=nan&high=1", "nothing", "../etc/passwd",
     "view/3"],
)  # fmt: skip
def test_addresses_of_nothing(address: str, pair: str) -> None:
    assert get(pair + address)[0] in (400, 404)


def test_nobody_sees_it_without_the_token_or_by_another_name(pair: str) -> None:
    parts = urlsplit(pair)
    for url in (f"http://{parts.netloc}/", f"http://{parts.netloc}/guess/", pair[:-2] + "/"):
        assert get(url)[0] == 403
    assert get(pair, Host="attacker.example:80")[0] == 403
    assert get(pair, Host=f"localhost:{parts.port}")[0] == 200


def test_names_cannot_end_the_script(pair: str) -> None:
    page = get(pair)[2]
    assert state(page)["name"] == "a </script> b"
    assert page.count(b"</script>") == 1
    assert b"<title>a &lt;/script&gt; b</title>" in page


def test_results_are_shown_beside_their_sources(batch: Path) -> None:
    found = open_comparisons([batch])
    assert sorted((one.name, len(one.panes), one.note) for one in found) == [
        ("patient-a series a", 3, ""), ("patient-b series b", 3, ""),
    ]  # fmt: skip
    with ViewerServer(found, report=batch / SUMMARY) as server:
        summary = get(server.url)[2].decode()
        for one in found:
            # the summary's own link leads to the slices
            assert f'href="{one.key}/"' in summary
            known = state(get(f"{server.url}{one.key}/")[2])
            assert [pane["name"] for pane in known["panes"]] == [
                "source", "result", "result - source",
            ]  # fmt: skip
            assert known["panes"][0]["aspect"] == pytest.approx(10 / 9)
            height = known["slices"] - 1
            shown = grey(f"{server.url}slice/{one.key}/0/{height}?low=-1000&high=600")
            expected = np.clip((np.round(body(height)) + 1000) / 1600, 0, 1) * 255
            np.testing.assert_allclose(shown, expected, atol=1)
        (thumbnail, *_) = re.findall(r'img src="([^"]+)"', summary)
        assert get(server.url + thumbnail)[1] == "image/png"
        assert get(f"{server.url}ledger.jsonl")[0] == 404


def test_a_source_that_is_gone_or_removed_is_said(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    key = Deidentification("a secret that is long enough")
    run_batch(tmp_path / "in", tmp_path / "out", FEW, workers=0, deidentification=key)
    (one,) = open_comparisons([tmp_path / "out"])
    assert len(one.panes) == 3
    shutil.rmtree(tmp_path / "in")
    (one,) = open_comparisons([tmp_path / "out"])
    assert len(one.panes) == 1
    assert one.note == f"The source is not at {tmp_path / 'in'} any more."


def test_kinds_of_files(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    np.save(tmp_path / "a.npy", volume)
    np.savez(tmp_path / "b.npz", volume)
    write_volume(tmp_path / "c.nii", volume, Grid((4, 5, 6), (1.0, 2.0, 1.0)))
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(tmp_path / "d.png")
    write_series(tmp_path / "e", "a", 2)
    shapes = {
        name: open_comparisons([tmp_path / name])[0].stacks[0].shape
        for name in ("a.npy", "b.npz", "c.nii", "d.png", "e", "e/a-000.dcm")
    }
    assert shapes == {
        "a.npy": (4, 5, 6), "b.npz": (4, 5, 6), "c.nii": (4, 5, 6), "d.png": (1, 5, 6),
        "e": (2, *SHAPE), "e/a-000.dcm": (1, *SHAPE),
    }  # fmt: skip
    (one,) = open_comparisons([tmp_path / "c.nii", tmp_path / "a.npy"])
    np.testing.assert_allclose(one.panes[2].read(2), 0, atol=1e-6)
    assert one.stacks[0].aspect == 2


def test_what_cannot_be_shown_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    np.save(tmp_path / "b.npy", np.zeros((4, 4)))
    np.save(tmp_path / "c.npy", np.zeros((3, 4), complex))
    (tmp_path / "d").mkdir()
    with pytest.raises(TomolearnError, match="expected images of one shape, got a"):
        open_comparisons([tmp_path / "a.npy", tmp_path / "b.npy"])
    with pytest.raises(TomolearnError, match="expected an image of real numbers"):
        open_comparisons([tmp_path / "c.npy"])
    with pytest.raises(TomolearnError, match="or the results of a batch, got none"):
        open_comparisons([tmp_path / "d"])
    with pytest.raises(TomolearnError, match="comparisons: expected at least one"):
        ViewerServer([])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_all_panes(batch: Path) -> None:
    """Its script runs: every picture of the middle slice is loaded, at the width of a phone too."""
    (one,) = (one for one in open_comparisons([batch]) if one.name.endswith("a"))
    with ViewerServer([one], report=batch / SUMMARY) as server:
        for width in (1280, 390):
            done = subprocess.run(
                [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
                 f"--window-size={width},800", "--virtual-time-budget=8000",
                 f"{server.url}view/{one.key}"],
                capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
            assert done.stdout.count('data-loaded="1"') == 3
            assert ">2 / 3</output>" in done.stdout


def test_series_in_a_folder_are_listed(tmp_path: Path) -> None:
    write_series(tmp_path, "a", 2)
    write_series(tmp_path, "b", 1)
    with ViewerServer(open_comparisons([tmp_path])) as server:
        page = get(server.url)[2].decode()
        links = re.findall(r'href="([^"]+)"', page)
        assert [state(get(server.url + one)[2])["slices"] for one in links] == [2, 1]
    assert len(find_series(tmp_path).series) == 2
