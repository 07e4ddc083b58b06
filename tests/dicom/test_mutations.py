"""Spoiled files: whatever happens to a file, it costs an error with its name and nothing else."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from dicom_files import write
from dicom_mutations import KINDS, mutate
from dicom_series import SERIES, along_z, ct_image, enhanced_image, write_series
from pydicom.uid import RLELossless

from tomolearn.dicom import (
    Deidentification,
    Derivation,
    DerivedSeries,
    example_slice_path,
    find_series,
    read_slice,
)

# pydicom warns of what it finds odd, by its own settings.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

HOW = Derivation("Mutated.")
PER_KIND = 12


def good_files(folder: Path) -> list[Path]:
    compressed = ct_image(0, (0, 0, 0))
    compressed.compress(RLELossless)
    return [
        write(folder / "classic", ct_image(0, (0, 0, 0))),
        write(folder / "enhanced", enhanced_image(along_z(3))),
        write(folder / "compressed", compressed),
        example_slice_path(),
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_spoiled_file_is_left_out_or_read_or_an_error_with_its_name(
    kind: str, tmp_path: Path
) -> None:
    good = good_files(tmp_path)
    rng = np.random.default_rng(KINDS.index(kind))
    path, out = tmp_path / "spoiled.dcm", tmp_path / "out.dcm"
    deidentify = Deidentification("correct horse battery staple")
    errors: list[Exception] = []
    for number in range(PER_KIND):
        mutate(good[number % len(good)], path, rng, kind)
        series_index = find_series(path)
        assert len(series_index.skipped) + len(series_index.series) == 1
        for index, series in ((i, one) for one in series_index.series for i in range(len(one))):
            try:
                ct = series.read(index)
                DerivedSeries(series, HOW, deidentify=deidentify)[index].write(ct.hounsfield, out)
            except (ValueError, OSError) as error:
                errors.append(error)
            else:
                again = read_slice(out).hounsfield
                # beyond this the stored type ends
                inside = np.abs(again) < 30000
                np.testing.assert_allclose(again[inside], ct.hounsfield[inside], atol=0.5)
        try:
            read_slice(path)
        except (ValueError, OSError) as error:
            errors.append(error)
    for error in errors:
        assert str(path) in str(error)


def test_spoiled_files_cost_a_good_series_nothing(tmp_path: Path) -> None:
    good = write_series(tmp_path, along_z(10))
    rng = np.random.default_rng(5)
    for number in range(200):
        kind = KINDS[number % len(KINDS)]
        mutate(good[number % 10], tmp_path / f"{number:03d}-bad.dcm", rng, kind)
    series_index = find_series(tmp_path)
    assert series_index.n_files == 210
    in_series = [one.path for series in series_index.series for one in series.slices]
    assert len(in_series) + len(series_index.skipped) == 210
    assert len({*in_series, *(one.path for one in series_index.skipped)}) == 210
    (survivor,) = [one for one in series_index.series if one.uid == SERIES]
    assert [one.path for one in survivor.slices] == good
    assert survivor.findings == ()
    assert survivor.volume().hounsfield.shape == (10, 6, 8)
    reasons = Counter(one.reason for one in series_index.skipped)
    assert len(reasons) >= 5, reasons
    assert sum(reasons.values()) > 80


def test_seed_decides_everything(tmp_path: Path) -> None:
    (source,) = write_series(tmp_path, [(0, 0, 0)])
    for kind in KINDS:
        one, two = (
            mutate(source, tmp_path / name, np.random.default_rng(3), kind).read_bytes()
            for name in ("a", "b")
        )
        assert one == two


def test_every_kind_of_damage_is_damage(tmp_path: Path) -> None:
    (source,) = write_series(tmp_path, [(0, 0, 0)])
    for kind in KINDS:
        rng = np.random.default_rng(1)
        spoiled = {
            mutate(source, tmp_path / "a", rng, kind, fresh=False).read_bytes() for _ in range(5)
        }
        assert spoiled - {source.read_bytes()}, kind
