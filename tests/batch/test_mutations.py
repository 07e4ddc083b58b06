"""Two hundred spoiled files in a good tree: no crash, none forgotten, good series complete."""

from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from batch_settings import settings_of
from batch_trees import uid, write_series
from dicom_mutations import KINDS, mutate
from dicom_validation import errors_of

from tomolearn.batch import (
    LEDGER,
    BatchReport,
    read_ledger,
    run_batch,
)

N_SPOILED = 200
GOOD = {"a": 4, "b": 7, "c": 3}
SETTINGS = settings_of("fbp", views=12)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source")
    good = [path for name, n in GOOD.items() for path in write_series(root / name, name, n)]
    rng = np.random.default_rng(200)
    kinds = sorted(KINDS)
    for number in range(N_SPOILED):
        victim = good[rng.integers(len(good))]
        target = victim.with_name(f"spoiled-{number:03d}.dcm")
        mutate(victim, target, rng, kinds[number % len(kinds)])
    return root


@pytest.fixture(scope="module")
def batch(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BatchReport]:
    out = tmp_path_factory.mktemp("results") / "out"
    return out, run_batch(source, out, SETTINGS, workers=2)


def test_every_good_series_is_complete(batch: tuple[Path, BatchReport]) -> None:
    found = {r["series"]: (r["status"], r["written"]) for r in batch[1].records}
    assert {uid(name): found[uid(name)] for name in GOOD} == {
        uid(name): ("done", n) for name, n in GOOD.items()
    }


def test_every_file_is_accounted_for_once(batch: tuple[Path, BatchReport], source: Path) -> None:
    out, report = batch
    records = read_ledger(out / LEDGER)
    skipped = [r["path"] for r in records if r["event"] == "left out"]
    lost = [one["path"] for r in records if r["event"] == "series" for one in r["lost"]]
    written = [
        one.path.relative_to(source).as_posix()
        for series in report.series_index.series
        for one in series.slices
    ]
    accounted = Counter(skipped) + Counter(written)
    files = {path.relative_to(source).as_posix() for path in source.rglob("*.dcm")}
    assert accounted == Counter(files)
    assert set(lost) <= set(written)
    assert sum(r["written"] for r in report.records) == len(written) - len(lost)
    # each with its reason, and the batch has met both kinds
    assert all(r["reason"] and r["detail"] for r in records if r["event"] == "left out")
    assert len(skipped) > 50
    assert lost
    assert not any("unexpected" in one["reason"] for r in records for one in r.get("lost", ()))


def test_what_came_of_spoiled_files_is_valid(batch: tuple[Path, BatchReport], source: Path) -> None:
    out, report = batch
    tolerated = errors_of(source / "a" / "a-000.dcm")
    made = [path for r in report.records if r["output"] for path in (out / r["output"]).iterdir()]
    assert len(made) == report.n_written
    for path in made:
        assert pydicom.dcmread(path).pixel_array.size > 0
    for name in GOOD:
        (record,) = (r for r in report.records if r["series"] == uid(name))
        for path in (out / record["output"]).iterdir():
            assert errors_of(path) <= tolerated
