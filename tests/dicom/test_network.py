"""C-STORE and C-ECHO with another implementation's entity on the other side."""

import time
from pathlib import Path

import pydicom
import pytest
from batch_trees import slice_dataset, uid, write_series
from dicom_files import write
from network import archive, connected, store

from tomolearn import TomolearnError
from tomolearn.dicom import Peer, Receiver, find_series, send_files


def received(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_images_lie_on_the_disk_as_they_came(tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", "a", 2) + write_series(tmp_path / "in", "b", 1)
    told: list[Path] = []
    with Receiver(tmp_path / "out", aet="TOMOLEARN", port=0, arrived=told.append) as receiver:
        assert store(receiver.port, files) == [0, 0, 0]
    folders = [tmp_path / "out" / uid("study", one) / uid(one) for one in "aab"]
    assert told == folders
    assert len(received(tmp_path / "out")) == 3
    for path, folder in zip(files, folders, strict=True):
        sent = pydicom.dcmread(path)
        assert pydicom.dcmread(folder / f"{sent.SOPInstanceUID}.dcm") == sent
    kept, found = (find_series(tmp_path / one).series for one in ("in", "out"))
    assert [(one.uid, len(one)) for one in kept] == [(one.uid, len(one)) for one in found]


def test_an_association_is_open_until_it_is_released(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path / "in", "a", 1)
    folder = tmp_path / "out" / uid("study", "a") / uid("a")
    with Receiver(tmp_path / "out", aet="TOMOLEARN", port=0) as receiver:
        with connected(receiver.port) as association:
            assert association.send_c_echo().Status == 0
            assert not receiver.is_receiving(folder)
            association.send_c_store(path)
            assert receiver.is_receiving(folder)
        for _ in range(100):
            if not receiver.is_receiving(folder):
                break
            time.sleep(0.05)
        assert not receiver.is_receiving(folder)


def test_an_image_sent_twice_is_kept_once_and_another_one_with_its_name_too(
    tmp_path: Path,
) -> None:
    (first,) = write_series(tmp_path / "in", "a", 1)
    other = write(tmp_path / "other.dcm", slice_dataset("a", 0, SliceThickness=3))
    with Receiver(tmp_path / "out", aet="TOMOLEARN", port=0) as receiver:
        assert store(receiver.port, [first, first, other, other]) == [0] * 4
    assert len(received(tmp_path / "out")) == 2


def test_identifiers_that_are_paths_are_refused(tmp_path: Path) -> None:
    told: list[str] = []
    path = write(tmp_path / "a.dcm", slice_dataset("a", 0, StudyInstanceUID="../../x"))
    with Receiver(tmp_path / "out", aet="TOMOLEARN", port=0, tell=told.append) as receiver:
        assert store(receiver.port, [path]) == [0xC000]
    assert not received(tmp_path / "out")
    (line,) = told
    assert "SCANNER was refused: StudyInstanceUID (0020,000D): expected an identifier" in line


def test_a_full_disk_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (path,) = write_series(tmp_path / "in", "a", 1)
    monkeypatch.setattr("tomolearn.dicom.network.write_bytes", full)
    told: list[str] = []
    with Receiver(tmp_path / "out", aet="TOMOLEARN", port=0, tell=told.append) as receiver:
        assert store(receiver.port, [path]) == [0xA700]
    assert not received(tmp_path / "out")
    assert "was not stored: [Errno 28] No space left" in told[0]


@pytest.mark.parametrize("titles", [{"aet": "SOMEBODY"}, {"own": "STRANGER"}])
def test_strangers_are_refused(titles: dict[str, str], tmp_path: Path) -> None:
    settings = {"aet": "TOMOLEARN", "port": 0, "accept": ["SCANNER"]}
    with (
        Receiver(tmp_path / "out", **settings) as receiver,
        connected(receiver.port, **titles) as association,
    ):
        assert association.is_rejected


def test_what_is_sent_arrives(tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", "a", 3)
    with archive() as (port, kept):
        send_files(files, Peer("ARCHIVE", "127.0.0.1", port), aet="TOMOLEARN")
    assert [kept[uid("a", index)] for index in range(3)] == [pydicom.dcmread(one) for one in files]


def test_what_is_not_stored_is_an_error(tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", "a", 1)
    message = r"a-000\.dcm was not stored: status 0xa700"
    with archive(status=0xA700) as (port, _), pytest.raises(ConnectionError, match=message):
        send_files(files, Peer("ARCHIVE", "127.0.0.1", port), aet="TOMOLEARN")
    with pytest.raises(ConnectionError, match="could not be reached"):
        send_files(files, Peer("ARCHIVE", "127.0.0.1", port), aet="TOMOLEARN")
    with archive(status=0xB000) as (port, _):  # a warning: it is stored
        send_files(files, Peer("ARCHIVE", "127.0.0.1", port), aet="TOMOLEARN")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ARCHIVE", "--send-to: expected AET@HOST:PORT, got 'ARCHIVE'"),
        ("A@host:0", "port: expected an integer >= 1"),
        ("A@host:70000", "port: expected an integer <= 65535"),
        ("A TITLE TOO LONG FOR DICOM@host:104", "aet: expected 1 to 16 ASCII characters"),
    ],
)
def test_peers_that_are_none(text: str, message: str) -> None:
    with pytest.raises(TomolearnError, match=message):
        Peer.parse("--send-to", text)


def test_a_peer_by_its_address() -> None:
    assert Peer.parse("x", "PACS@[::1]:104") == Peer("PACS", "::1", 104)
    assert str(Peer("PACS", "host", 104)) == "PACS@host:104"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with Receiver(tmp_path / "a", aet="A", port=0) as first:
        second = Receiver(tmp_path / "b", aet="B", port=first.port)
        with pytest.raises(OSError, match=f"port {first.port} of 127.0.0.1"):
            second.__enter__()
