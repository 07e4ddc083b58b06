"""Death before or after every single step on the disk, then a plain rerun: nothing is lost."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from batch_executors import FakeWorkers
from batch_settings import settings_of
from batch_trees import results, slice_dataset, write_series
from dicom_files import write

import tomolearn.batch
import tomolearn.batch.work
import tomolearn.dicom.derived_slice
from tomolearn.batch import LEDGER, read_ledger
from tomolearn.batch.chunks import Chunk, file_name
from tomolearn.batch.ledger import Ledger

SETTINGS = settings_of("fbp", views=12)
run_batch = partial(tomolearn.batch.run_batch, workers=0)


class Killed(BaseException):
    """Like SIGKILL: nobody expects it."""


class Dying(FakeWorkers):
    """Workers with which the whole run dies after the first chunk."""

    def submit(self, chunk: Chunk) -> None:
        if self.most:
            raise Killed
        super().submit(chunk)


STEPS = [
    (Path, "rename"),
    (Path, "replace"),
    (Path, "unlink"),
    (Path, "mkdir"),
    (Path, "rmdir"),
    (os, "unlink"),
    (os, "rmdir"),
    (os, "fsync"),
    (Ledger, "append"),
]


@contextmanager
def death(step: int, *, after: bool) -> Iterator[None]:
    """Die before or after the step of this number, counted over everything done to the disk."""
    count = 0

    def deadly(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            mine = count  # some steps consist of others
            if mine == step and not after:
                raise Killed
            try:
                return real(*arguments, **options)
            finally:
                if mine == step:
                    raise Killed

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in STEPS:
            patch.setattr(owner, name, deadly(getattr(owner, name)))
        yield


def begin(folder: Path, story: str) -> tuple[Path, Path, dict[str, Any]]:
    """Return input, output and options of a run; what was before it depends on the story."""
    source, out = folder / "in", folder / "out"
    paths = write_series(source, "a", 3)
    if story == "anew":
        with pytest.raises(Killed):
            run_batch(source, out, SETTINGS, workers=None, executor=Dying())
        return source, out, {"resume": False}
    if story == "again":
        run_batch(source, out, SETTINGS)
        return source, out, {"resume": False}
    if story == "retry":
        write(paths[1], slice_dataset("a", 1, RescaleSlope="1e30"))
        run_batch(source, out, SETTINGS)
        write(paths[1], slice_dataset("a", 1))
        return source, out, {"retry": True}
    return source, out, {}


# Between two steps nothing but partial files changes: before each one is enough, but once.
@pytest.mark.parametrize(
    ("story", "after"),
    [("first", False), ("again", False), ("anew", False), ("retry", False), ("retry", True)],
)
def test_death_at_any_step(story: str, after: bool, tmp_path: Path) -> None:
    source, out, options = begin(tmp_path / "undisturbed", story)
    run_batch(source, out, SETTINGS, **options)
    undisturbed = results(out)
    for step in range(1, 500):
        source, out, options = begin(tmp_path / str(step), story)
        try:
            with death(step, after=after):
                run_batch(source, out, SETTINGS, **options)
        except Killed:
            pass
        else:
            break
        # by retrying, if the death was before that was begun
        report = run_batch(source, out, SETTINGS, retry=story == "retry")
        assert results(out) == undisturbed, step
        assert [record["status"] for record in report.records] == ["done"]
        assert sorted(path.name for path in (out / ".tomolearn").iterdir()) == ["lock"]
        shutil.rmtree(tmp_path / str(step))
    assert step > 30


def test_what_was_put_right_is_not_kept_wrong(tmp_path: Path) -> None:
    """Killed during a retry and then run plainly: the ledger says what is there."""
    for step in range(1, 500):
        source, out, options = begin(tmp_path / str(step), "retry")
        try:
            with death(step, after=False):
                run_batch(source, out, SETTINGS, **options)
        except Killed:
            pass
        else:
            break
        (record,) = run_batch(source, out, SETTINGS).records
        names = sorted(path.name for path in (out / record["output"]).iterdir())
        wanted = [0, 1, 2] if record["status"] == "done" else [0, 2]
        assert names == [file_name(index) for index in wanted], step
        assert record["written"] == len(wanted)


def test_a_record_without_its_files_counts_for_nothing(tmp_path: Path) -> None:
    """A run that dies while it removes a series may leave one, in whatever order it removes."""
    write_series(tmp_path / "in", "a", 3)
    run_batch(tmp_path / "in", tmp_path / "undisturbed", SETTINGS)
    with pytest.raises(Killed):
        run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=None, executor=Dying())
    (first,) = (tmp_path / "out").glob(f".tomolearn/run-*/*/files/{file_name(0)}")
    first.unlink()
    assert run_batch(tmp_path / "in", tmp_path / "out", SETTINGS).n_written == 3
    assert results(tmp_path / "out") == results(tmp_path / "undisturbed")


def test_a_retry_that_loses_everything_is_tried_again(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    for n_bad, status in ((1, "incomplete"), (3, "failed"), (0, "done")):
        for index in range(3):
            source.mkdir(exist_ok=True)
            slope = "1e30" if index < n_bad else "1"
            write(source / f"{index}.dcm", slice_dataset("a", index, RescaleSlope=slope))
        (record,) = run_batch(source, out, SETTINGS, retry=n_bad == 3).records
        assert record["status"] == status
    assert len(list(out.glob("*/*/*.dcm"))) == 3


def test_no_more_is_in_flight_than_the_workers_need(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 30)
    workers = FakeWorkers()
    run_batch(tmp_path / "in", tmp_path / "out", SETTINGS, workers=None, executor=workers)
    assert workers.most == 2


def test_a_bad_slice_does_not_cost_its_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "in", "a", 4)
    run_batch(tmp_path / "in", tmp_path / "out", SETTINGS)
    whole = results(tmp_path / "out")
    real = tomolearn.batch.work.process

    def process(slices: Any, *others: Any) -> Any:
        if any(ct.instance_number == 2 for ct in slices):
            raise RuntimeError("out of memory")
        return real(slices, *others)

    monkeypatch.setattr(tomolearn.batch.work, "process", process)
    (record,) = run_batch(tmp_path / "in", tmp_path / "hurt", SETTINGS).records
    (lost,) = record["lost"]
    assert lost["reason"] == "RuntimeError: out of memory"
    assert lost["transient"]
    assert len(results(tmp_path / "hurt")) == len(whole) - 1
    assert results(tmp_path / "hurt").items() < whole.items()


def test_a_killer_costs_only_itself_whatever_was_with_it(tmp_path: Path) -> None:
    for name in "ab":
        write_series(tmp_path / "in" / name, name, 6)
    run_batch(tmp_path / "in", tmp_path / "whole", SETTINGS)
    killers = {"a-001.dcm", "b-000.dcm"}
    workers = FakeWorkers(3, lambda path: path.name in killers)
    report = run_batch(tmp_path / "in", tmp_path / "hurt", SETTINGS, workers=None, executor=workers)
    assert workers.most == 6
    lost = [one for record in report.records for one in record["lost"]]
    assert {Path(one["path"]).name for one in lost} == killers
    assert all("killed its worker" in one["reason"] and one["transient"] for one in lost)
    whole, hurt = results(tmp_path / "whole"), results(tmp_path / "hurt")
    assert len(hurt) == len(whole) - 2
    assert hurt.items() < whole.items()


def test_a_bug_costs_its_slices_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "in", "a", 4)
    run_batch(tmp_path / "in", tmp_path / "out", SETTINGS)
    real = tomolearn.batch.work.process

    def process(slices: Any, *others: Any) -> Any:
        if any(ct.instance_number == 2 for ct in slices):
            raise TypeError("a bug")
        return real(slices, *others)

    with monkeypatch.context() as patch:
        patch.setattr(tomolearn.batch.work, "process", process)
        (record,) = run_batch(tmp_path / "in", tmp_path / "hurt", SETTINGS).records
    assert [one["path"] for one in record["lost"]] == ["a-000.dcm", "a-001.dcm"]
    assert all("unexpected error, please report it" in one["reason"] for one in record["lost"])
    assert all("TypeError: a bug" in one["reason"] for one in record["lost"])
    # it may be mended by the next time
    assert run_batch(tmp_path / "in", tmp_path / "hurt", SETTINGS).is_complete
    assert results(tmp_path / "hurt") == results(tmp_path / "out")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_stops_the_run_and_the_next_one_goes_on(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "in", "a", 5)
    run_batch(tmp_path / "in", tmp_path / "out", SETTINGS)
    real, written = tomolearn.dicom.derived_slice.complete_file, 0

    @contextmanager
    def full(path: Path) -> Iterator[Any]:
        nonlocal written
        written += 1
        if written > 3:
            raise OSError(error, os.strerror(error), str(path))
        with real(path) as stream:
            yield stream

    with monkeypatch.context() as patch:
        patch.setattr(tomolearn.dicom.derived_slice, "complete_file", full)
        with pytest.raises(OSError, match=os.strerror(error)) as caught:
            run_batch(tmp_path / "in", tmp_path / "stopped", SETTINGS)
    assert caught.value.errno == error
    # the page is there, but no slice has its place yet
    assert results(tmp_path / "stopped") == {}
    run_batch(tmp_path / "in", tmp_path / "stopped", SETTINGS)
    assert results(tmp_path / "stopped") == results(tmp_path / "out")


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "in" / os.fsdecode(b"M\xfcller")
    write_series(folder, "a", 2)
    (folder / os.fsdecode(b"\xff.txt")).write_text("no DICOM")
    report = run_batch(tmp_path / "in", tmp_path / "out", SETTINGS)
    assert report.is_complete
    records = read_ledger(tmp_path / "out" / LEDGER)
    (skipped,) = (one for one in records if one["event"] == "left out")
    assert skipped["path"] == os.fsdecode(b"M\xfcller/\xff.txt")
    # and it is known the next time
    run_batch(tmp_path / "in", tmp_path / "out", SETTINGS)
    assert len(read_ledger(tmp_path / "out" / LEDGER)) == len(records) + 1


def test_the_page_shows_texts_as_texts(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 1, PatientID="<b>&")
    run_batch(tmp_path / "in", tmp_path / "out", SETTINGS)
    page = (tmp_path / "out" / "summary.html").read_text()
    assert "<b>&lt;b&gt;&amp;</b>" in page
