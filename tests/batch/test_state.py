"""Damaged state of a run: what cannot be read counts as not there, and results are the same."""

import json
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from batch_executors import FakeWorkers
from batch_settings import settings_of
from batch_trees import results, slice_dataset, write_series
from dicom_files import write

import tomolearn.batch
from tomolearn.batch import LEDGER, SUMMARY, THUMBNAILS, read_ledger
from tomolearn.batch.chunks import Chunk

SETTINGS = settings_of("fbp", views=8)
run_batch = partial(tomolearn.batch.run_batch, workers=0)


class Killed(BaseException):
    """Like SIGKILL: nobody expects it."""


class Dying(FakeWorkers):
    """Workers with which the whole run dies after some chunks."""

    def __init__(self, n_chunks: int) -> None:
        super().__init__()
        self._left = n_chunks

    def submit(self, chunk: Chunk) -> None:
        if not self._left:
            raise Killed
        self._left -= 1
        super().submit(chunk)


def cut(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

    return damage


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content) and None


def binary(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 8 + b"\n\0\0\n")


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": cut(0),
    **{f"cut at {share}": cut(share) for share in (0.1, 0.5, 0.9)},
    "binary": binary,
    "a folder": a_folder,
    **{
        name: text(name + "\n")
        for name in ("{}", "[1]", "null", "1", '"a"', "[" * 100_000, '{"slices": [], "lost": []}')
    },
    "a series": text('{"event": "series"}\n'),
    "strange events": text(
        '{"event": "series", "derived": [1]}\n{"event": "left out", "path": {}}\n'
        '{"event": "run", "version": 3, "source": []}\n{"event": "superseded", "derived": []}\n'
        '{"event": ["run"], "run": {}}\n'
    ),
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Input, and output of a run that was killed: one series is done, of another one a chunk is."""
    root = tmp_path_factory.mktemp("killed")
    write_series(root / "in" / "a", "a", 2)
    write_series(root / "in" / "b", "b", 5)
    with pytest.raises(Killed):
        run_batch(root / "in", root / "out", SETTINGS, workers=None, executor=Dying(3))
    return root


@pytest.fixture(scope="module")
def undisturbed(killed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    run_batch(killed / "in", out, SETTINGS)
    return results(out)


def state_files(out: Path) -> list[Path]:
    hidden = [path for path in (out / ".tomolearn").rglob("*") if path.is_file()]
    return [out / LEDGER, out / SUMMARY, *sorted(hidden)]


@pytest.mark.parametrize("name", DAMAGES)
def test_every_file_of_the_state_may_be_damaged(
    name: str, killed: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    names = [path.relative_to(killed / "out") for path in state_files(killed / "out")]
    assert len({path.name for path in names}) >= 6  # ledger, page, lock, record, slices
    for number, file in enumerate(names):
        out = tmp_path / str(number)
        shutil.copytree(killed / "out", out)
        DAMAGES[name](out / file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that something is set aside
            report = run_batch(killed / "in", out, SETTINGS)
        assert report.is_complete, file
        found = {key: value for key, value in results(out).items() if ".damaged" not in key}
        assert found == undisturbed, file
        assert read_ledger(out / LEDGER)
        assert [path.name for path in (out / ".tomolearn").iterdir()] == ["lock"], file


def test_all_of_the_state_may_be_damaged(
    killed: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    for number, damage in enumerate(DAMAGES.values()):
        out = tmp_path / str(number)
        shutil.copytree(killed / "out", out)
        for path in state_files(out):
            damage(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert run_batch(killed / "in", out, SETTINGS).is_complete
        found = {key: value for key, value in results(out).items() if ".damaged" not in key}
        assert found == undisturbed


def test_lines_that_are_no_records_are_said_and_set_aside(killed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(killed / "out", out)
    with (out / LEDGER).open("a") as stream:
        stream.write("nonsense\n[1]\n")
    before = (out / LEDGER).read_bytes()
    with pytest.warns(UserWarning, match=f"{LEDGER}: a file of which 2 lines are no records, is"):
        assert run_batch(killed / "in", out, SETTINGS).n_kept == 1
    (aside,) = out.glob("*.damaged")
    assert aside.read_bytes() == before
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_batch(killed / "in", out, SETTINGS).n_kept == 2


def test_what_systems_leave_in_folders(
    killed: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(killed / "out", out)
    folders = [out / ".tomolearn", *(p for p in (out / ".tomolearn").rglob("*") if p.is_dir())]
    for folder in folders:
        for name in (".DS_Store", ".nfs000000000012", "Thumbs.db", "._00001.dcm"):
            if folder.name != "files" or name.startswith("."):
                (folder / name).write_bytes(b"whatever")
    (out / ".tomolearn" / "run-stray").write_text("a file")
    (out / THUMBNAILS / ".DS_Store").write_bytes(b"whatever")
    assert run_batch(killed / "in", out, SETTINGS).is_complete
    (out / THUMBNAILS / ".DS_Store").unlink()
    assert results(out) == undisturbed


def test_folders_that_cannot_be_removed_at_once(
    killed: Path, undisturbed: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On NFS a file that a process has open stays under another name."""
    out = tmp_path / "out"
    shutil.copytree(killed / "out", out)

    def busy(path: Path, *, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise OSError(39, "Directory not empty", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", busy)
        assert run_batch(killed / "in", out, SETTINGS).is_complete
    assert results(out) == undisturbed
    assert run_batch(killed / "in", out, SETTINGS).n_kept == 2
    assert [path.name for path in (out / ".tomolearn").iterdir()] == ["lock"]


def test_finished_files_that_were_cut_are_made_again(
    killed: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run_batch(killed / "in", out, SETTINGS)
    for damage in (cut(0), cut(0.9), a_folder):
        damage(next(iter(sorted(out.glob("*/*/00001.dcm")))))
        assert run_batch(killed / "in", out, SETTINGS).n_kept == 1
        assert results(out) == undisturbed


def test_an_input_that_was_moved_meanwhile(
    killed: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(killed / "out", tmp_path / "out")
    shutil.copytree(killed / "in", tmp_path / "elsewhere")  # with the times of the files
    report = run_batch(tmp_path / "elsewhere", tmp_path / "out", SETTINGS)
    assert report.n_written == 1
    assert results(tmp_path / "out") == undisturbed


@pytest.fixture
def looped(tmp_path: Path) -> Path:
    source = tmp_path / "in"
    write_series(source, "a", 2)
    (source / "loop-a").symlink_to(source / "loop-b")
    (source / "loop-b").symlink_to(source / "loop-a")
    (source / "itself").symlink_to("itself")
    (source / "up").symlink_to(source)
    return source


def test_links_in_a_circle(looped: Path, tmp_path: Path) -> None:
    report = run_batch(looped, tmp_path / "out", SETTINGS)
    assert report.n_written == 2
    (tmp_path / "out-a").symlink_to(tmp_path / "out-b")
    (tmp_path / "out-b").symlink_to(tmp_path / "out-a")
    for deeper in ("", "deeper"):
        with pytest.raises(OSError, match="loop-a"):
            run_batch(looped / "loop-a" / deeper, tmp_path / "other", SETTINGS)
        with pytest.raises(OSError, match="out-a"):
            run_batch(looped, tmp_path / "out-a" / deeper, SETTINGS)


def test_no_path_is_resolved_in_a_way_that_can_fail() -> None:
    package = Path(tomolearn.batch.__file__).parents[1]
    for path in package.rglob("*.py"):
        assert ".resolve()" not in path.read_text(encoding="utf-8"), path


# 13: folders that fill up


def events(out: Path, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in read_ledger(out / LEDGER) if one["event"] in kinds]


@pytest.fixture
def grown(tmp_path: Path) -> tuple[Path, Path]:
    """A series to which a slice came after it was made."""
    source, out = tmp_path / "in", tmp_path / "out"
    write_series(source, "a", 2)
    write_series(source / "other", "b", 2)
    run_batch(source, out, SETTINGS)
    write_series(source, "a", 3)
    return source, out


def test_results_of_a_series_that_grew_are_superseded(grown: tuple[Path, Path]) -> None:
    source, out = grown
    old = {one["derived"] for one in events(out, "series")}
    for n_written in (3, 0):
        report = run_batch(source, out, SETTINGS)
        assert report.n_written == n_written
        (record,) = report.superseded
        assert record["derived"] in old
    (event,) = events(out, "superseded")  # said once
    assert event["output"] == record["output"]
    assert event["by"] in {one["derived"] for one in report.records}
    assert "Superseded results" in (out / SUMMARY).read_text()
    assert record["output"] in (out / SUMMARY).read_text()


def test_superseded_results_are_pruned_on_request_and_nothing_else(
    grown: tuple[Path, Path], tmp_path: Path
) -> None:
    source, out = grown
    # what looks like it and is not: of other settings, de-identified, of another input, somebody's
    others = settings_of("fbp(filter=hann)", views=8)
    run_batch(source, out, others)
    secret = tomolearn.dicom.Deidentification("a secret that is long enough")
    run_batch(source, out, SETTINGS, deidentification=secret)
    write_series(tmp_path / "in2", "a", 1)
    run_batch(tmp_path / "in2", out, SETTINGS)
    report = run_batch(source, out, SETTINGS)
    (record,) = report.superseded
    before = results(out)
    folder = out / record["output"]
    (folder / "notes.txt").write_text("mine")
    with pytest.warns(UserWarning, match="superseded, but not pruned: it has other files"):
        report = run_batch(source, out, SETTINGS, prune=True)
    assert len(report.superseded) == 1
    (folder / "notes.txt").unlink()
    assert results(out) == before
    report = run_batch(source, out, SETTINGS, prune=True)
    assert report.superseded == ()
    gone = {name for name in before if record["derived"] in name}
    assert len(gone) == 3  # two slices and a thumbnail
    assert results(out) == {name: value for name, value in before.items() if name not in gone}
    (event,) = events(out, "pruned")
    assert event["output"] == record["output"]


def test_nothing_is_pruned_for_a_series_that_lost_slices(grown: tuple[Path, Path]) -> None:
    source, out = grown
    write(source / "a-002.dcm", slice_dataset("a", 2, RescaleSlope="1e30"))
    before = results(out)
    report = run_batch(source, out, SETTINGS, prune=True)
    assert len(report.superseded) == 1
    assert before.items() <= results(out).items()


def test_pixels_that_changed_are_processed_again(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    paths = write_series(source, "a", 3)
    run_batch(source, out, SETTINGS)
    dataset = slice_dataset("a", 1)
    dataset.PixelData = slice_dataset("a", 2).PixelData
    write(paths[1], dataset)
    assert run_batch(source, out, SETTINGS).n_written == 3
    run_batch(source, tmp_path / "fresh", SETTINGS)
    assert results(out) == results(tmp_path / "fresh")
    assert run_batch(source, out, SETTINGS).n_written == 0


def test_pixels_that_changed_while_a_run_was_dead(killed: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    shutil.copytree(killed / "in", source)
    shutil.copytree(killed / "out", out)
    for index in range(5):
        dataset = slice_dataset("b", index)
        dataset.PixelData = slice_dataset("b", index + 3).PixelData
        write(source / "b" / f"b-{index:03d}.dcm", dataset)
    run_batch(source, out, SETTINGS)
    run_batch(source, tmp_path / "fresh", SETTINGS)
    assert results(out) == results(tmp_path / "fresh")


def test_slices_of_a_copy_that_was_half_made_are_taken_up(tmp_path: Path) -> None:
    """Whether or not half of the file is enough to know its series; without being asked."""
    source, out = tmp_path / "in", tmp_path / "out"
    paths = write_series(source, "a", 3)
    whole = paths[1].read_bytes()
    run_batch(source, tmp_path / "fresh", SETTINGS)
    for share in (0.9, 0.3, 0.0):
        paths[1].write_bytes(whole[: int(share * len(whole))])
        assert not run_batch(source, out, SETTINGS).is_complete
        paths[1].write_bytes(whole)
        report = run_batch(source, out, SETTINGS, prune=True)
        assert report.is_complete
        assert results(out) == results(tmp_path / "fresh")


def test_the_ledger_forgets_what_is_good_now(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    paths = write_series(source, "a", 2)
    (source / "notes.txt").write_text("no DICOM")
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:300])
    run_batch(source, out, SETTINGS)
    assert [one["path"] for one in events(out, "left out")] == ["a-001.dcm", "notes.txt"]
    paths[1].write_bytes(whole)
    run_batch(source, out, SETTINGS)
    assert [one["path"] for one in events(out, "left out")] == ["notes.txt"]
    # those of another input are nothing that this one knows of
    other = tmp_path / "other"
    write_series(other, "b", 1)
    (other / "more.txt").write_text("no DICOM")
    run_batch(other, out, SETTINGS)
    assert [one["path"] for one in events(out, "left out")] == ["notes.txt", "more.txt"]


def test_every_line_has_the_identifier_of_its_run(grown: tuple[Path, Path]) -> None:
    source, out = grown
    (source / "notes.txt").write_text("no DICOM")
    run_batch(source, out, SETTINGS, prune=True)
    lines = [json.loads(line) for line in (out / LEDGER).read_text().splitlines()]
    assert {one["event"] for one in lines} == {"run", "series", "left out", "pruned"}
    runs = [one["run"] for one in lines if one["event"] == "run"]
    assert len(set(runs)) == 2
    assert [one["run"] for one in lines] == sorted((one["run"] for one in lines), key=runs.index)
