"""The DICOM node: complete series are reconstructed and sent, and nothing that came is lost."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest
from batch_trees import slice_dataset, write_series
from dicom_files import write
from network import archive, connected, store

from tomolearn import TomolearnError
from tomolearn.batch import BatchSettings, Node, batch_method
from tomolearn.dicom import Peer, find_series
from tomolearn.simulation import Acquisition, CoveringScan

FEW = BatchSettings(batch_method("fbp"), Acquisition(CoveringScan("parallel", 20)))


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A node without workers, its clock, and what it has told."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder, self.clock, self.told = folder, Clock(), list[str]()
        self.node = Node(
            folder,
            FEW,
            port=0,
            workers=0,
            tell=self.told.append,
            clock=self.clock,
            **settings,
        )

    def steps(self) -> None:
        """Let time pass until nothing is left to do, or nothing can be done."""
        for _ in range(4):
            self.clock.now += 1000
            # the other side has hung up, but the thread that notices may not have run
            time.sleep(0.1)
            self.node.step()


def made(folder: Path) -> list[tuple[str, int]]:
    """Return description and number of slices of the results."""
    return [(one.description, len(one)) for one in find_series(folder / "results").series]


def test_a_complete_series_is_reconstructed_and_sent(tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", "a", 3)
    with archive() as (port, kept):
        bench = Bench(tmp_path / "node", target=Peer("ARCHIVE", "127.0.0.1", port))
        with bench.node as node:
            assert store(node.port, files) == [0] * 3
            bench.steps()
            assert node.is_idle
    assert len(kept) == 3
    (path, *_) = sorted(tmp_path.glob("node/results/*/*/*.dcm"))
    sent = kept[pydicom.dcmread(path).SOPInstanceUID]
    assert sent.PatientID == "patient-a"
    assert (sent.PixelData, sent.ImageType[0]) == (pydicom.dcmread(path).PixelData, "DERIVED")
    assert any("3 slices sent to ARCHIVE@127.0.0.1" in line for line in bench.told)


def test_a_series_is_complete_when_its_sender_has_hung_up_and_all_is_quiet(
    tmp_path: Path,
) -> None:
    files = write_series(tmp_path / "in", "a", 2)
    bench = Bench(tmp_path / "node", quiet_period=10)
    with bench.node as node:
        with connected(node.port) as association:
            association.send_c_store(files[0])
            bench.clock.now += 1000
            assert not node.step()
            association.send_c_store(files[1])
        time.sleep(0.3)
        bench.clock.now += 9
        assert not node.step()
        bench.clock.now += 2
        assert node.step()
    assert [n for _, n in made(tmp_path / "node")] == [2]


def test_images_that_come_late_make_the_series_anew(tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", "a", 3)
    bench = Bench(tmp_path / "node")
    with bench.node as node:
        for part in (files[:2], files[2:]):
            store(node.port, part)
            bench.steps()
        assert node.is_idle
    assert [n for _, n in made(tmp_path / "node")] == [3]


def test_what_was_left_to_do_is_done_after_a_restart(tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", "a", 2)
    closed = _free_port()
    target = Peer("ARCHIVE", "127.0.0.1", closed)
    first = Bench(tmp_path / "node", target=target)
    with first.node as node:
        store(node.port, files)
    assert not (tmp_path / "node" / "results").exists()
    second = Bench(tmp_path / "node", target=target)
    with second.node as node:
        assert "1 series and 0 results are waiting" in second.told[0]
        second.steps()
        assert not node.is_idle
    assert [n for _, n in made(tmp_path / "node")] == [2]
    assert any("not sent, again in 10 s" in line for line in second.told)
    assert any("not sent, again in 20 s" in line for line in second.told)
    with archive() as (port, kept):
        third = Bench(tmp_path / "node", target=Peer("ARCHIVE", "127.0.0.1", port))
        with third.node as node:
            assert "0 series and 1 results are waiting" in third.told[0]
            third.steps()
            assert node.is_idle
        assert len(kept) == 2


def test_a_series_without_a_slice_is_told_and_does_not_stop_the_others(tmp_path: Path) -> None:
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    path = write(tmp_path / "scout.dcm", slice_dataset("s", 0, **scout))
    files = write_series(tmp_path / "in", "a", 1)
    bench = Bench(tmp_path / "node")
    with bench.node as node:
        assert store(node.port, [path, *files]) == [0, 0]
        bench.steps()
        assert node.is_idle
    assert [n for _, n in made(tmp_path / "node")] == [1]
    assert any("no CT series: {'localizer': 1}" in line for line in bench.told)


def test_a_batch_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write_series(tmp_path / "in", "a", 1)
    bench = Bench(tmp_path / "node")
    with bench.node as node:
        store(node.port, files)
        with monkeypatch.context() as patched:
            patched.setattr("tomolearn.batch.node.run_batch", _full)
            bench.steps()
        assert not node.is_idle
        bench.steps()
        assert node.is_idle
    assert any("not reconstructed, again in 10 s" in line for line in bench.told)


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def test_one_node_works_in_a_folder(tmp_path: Path) -> None:
    first, second = Bench(tmp_path / "node"), Bench(tmp_path / "node")
    with first.node, pytest.raises(BlockingIOError, match="another run is at work"):
        second.node.__enter__()


@pytest.mark.parametrize("text", ["", "{}", '{"path": "../x"}', '{"path": 3}'])
def test_notes_that_are_none_are_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "todo").mkdir()
    (tmp_path / "todo" / "x.json").write_text(text)
    with pytest.raises(TomolearnError, match=r"x\.json: expected"):
        Bench(tmp_path).node.__enter__()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(until: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise TimeoutError(until)
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_command_survives_a_kill(tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", "a", 2)
    folder, port = tmp_path / "node", _free_port()
    command = [sys.executable, "-m", "tomolearn", "node", str(folder), "--port", str(port)]
    command += ["--views", "20", "--scan", "parallel", "--workers", "0", "--quiet-period"]
    log = tmp_path / "node.log"
    running = subprocess.Popen([*command, "1000", "--log", str(log)])
    try:
        _wait(lambda: log.exists() and "listens at port" in log.read_text())
        assert store(port, files) == [0, 0]
    finally:
        running.kill()
        running.wait()
    running = subprocess.Popen([*command, "0", "--log", str(log)])
    try:
        _wait(lambda: "2 of 2 slices" in log.read_text())
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 143
    finally:
        running.kill()
    assert [n for _, n in made(folder)] == [2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Orthanc") is None, reason="needs Orthanc")
def test_with_an_archive_of_others(tmp_path: Path) -> None:
    """Orthanc stores what we send, and sends to us what it stores."""
    files = write_series(tmp_path / "in", "a", 2)
    port, web = _free_port(), _free_port()
    bench = Bench(tmp_path / "node", target=Peer("ORTHANC", "127.0.0.1", port))
    with bench.node as node:
        settings = {
            "Name": "test", "StorageDirectory": str(tmp_path / "db"),
            "IndexDirectory": str(tmp_path / "db"), "DicomAet": "ORTHANC", "DicomPort": port,
            "HttpPort": web, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "DicomModalities": {"us": ["TOMOLEARN", "127.0.0.1", node.port]}, "Plugins": [],
        }  # fmt: skip
        (tmp_path / "orthanc.json").write_text(json.dumps(settings))
        archive_of_others = subprocess.Popen(
            ["Orthanc", str(tmp_path / "orthanc.json")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        try:
            _wait(lambda: _answers(port))
            assert store(port, files, aet="ORTHANC") == [0, 0]
            study = json.loads(_http(web, "GET", "/studies"))[0]
            _http(web, "POST", "/modalities/us/store", study)
            bench.steps()
            assert node.is_idle
            kept = [
                json.loads(_http(web, "GET", f"/series/{one}"))
                for one in json.loads(_http(web, "GET", "/series"))
            ]
        finally:
            archive_of_others.terminate()
            archive_of_others.wait(30)
    descriptions = {
        one["MainDicomTags"]["SeriesDescription"]: len(one["Instances"]) for one in kept
    }
    assert descriptions["series a"] == 2
    (other,) = descriptions.keys() - {"series a"}
    assert other.startswith("FBP, parallel")
    assert descriptions[other] == 2


def _answers(port: int) -> bool:
    with socket.socket() as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


def _http(port: int, method: str, path: str, body: str = "") -> bytes:
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content!r}")
    return content
