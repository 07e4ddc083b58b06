"""Series that are scanned as volumes: what is computed, what is refused, what is lost."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from batch_settings import settings_of
from batch_trees import SPACING, body, slice_dataset, uid, write_series
from dicom_files import write

import tomolearn as tl
from tomolearn.batch import BatchSettings, run_batch
from tomolearn.batch.processing import process_volume
from tomolearn.dicom import (
    MU_WATER_PER_MM,
    Series,
    attenuation_to_hounsfield,
    body_mask,
    find_series,
    hounsfield_to_attenuation,
)
from tomolearn.simulation import CoveringScan

CONE = settings_of(geometry="cone", views=40)


def only_series(folder: Path) -> Series:
    (series,) = find_series(folder).series
    return series


def processed(series: Series, settings: BatchSettings) -> np.ndarray:
    slices = [series.read(k) for k in range(len(series))]
    return np.stack(process_volume(slices, series.slices, settings))


def test_a_volume_is_scanned_as_a_whole(tmp_path: Path) -> None:
    write_series(tmp_path, "a", 5)
    series = only_series(tmp_path)
    truth = series.volume().hounsfield
    grid = tl.Grid(truth.shape, (5.0, *SPACING))
    fine = np.repeat(np.repeat(np.repeat(truth, 2, 0), 2, 1), 2, 2)
    scan = CoveringScan("cone", 40).on(grid)
    project = tl.RayTransform(grid.refined((10, 64, 80)), scan)
    y = project(torch.from_numpy(hounsfield_to_attenuation(fine, mu_water=MU_WATER_PER_MM)))
    expected = attenuation_to_hounsfield(
        tl.fbp(y, tl.RayTransform(grid, scan)), mu_water=MU_WATER_PER_MM
    )
    found = processed(series, CONE)
    assert (found.dtype, found.shape) == (np.float32, truth.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.1)


def test_noise_follows_from_seed_and_all_slices(tmp_path: Path) -> None:
    write_series(tmp_path, "a", 4)
    series = only_series(tmp_path)
    noisy = settings_of(geometry="cone", views=20, photons=1e4)
    first = processed(series, noisy)
    assert np.array_equal(first, processed(series, noisy))
    assert np.abs(first - processed(series, replace(noisy, seed=1))).max() > 10
    fewer = replace(series, slices=series.slices[:3])
    assert np.abs(first[:3] - processed(fewer, noisy)).max() > 10


@pytest.mark.parametrize(
    ("heights", "message"),
    [
        ((0, 5, 11, 15, 20), r"uneven spacing: Slices lie 4.00 to 6.00 mm .*; --resample"),
        ((0, 5, 15, 20), r"missing slices: 1 slices are missing .*; --resample"),
        ((0, 5, 5, 10), r"duplicate positions: 1 of 4 slices [^;]*$"),
    ],
)
def test_uneven_slices_are_refused(heights: tuple[int, ...], message: str, tmp_path: Path) -> None:
    series = _at(heights, tmp_path)
    with pytest.raises(ValueError, match=f"series: expected evenly spaced slices.*got {message}"):
        processed(series, CONE)


def test_uneven_slices_are_interpolated(tmp_path: Path) -> None:
    even = processed(_at((0, 5, 10, 15, 20, 25), tmp_path / "even"), CONE)
    resampled = replace(CONE, resample=True)
    uneven = processed(_at((0, 5, 15, 20, 25), tmp_path / "uneven"), resampled)
    inside = body_mask(body(2))
    # a slice is interpolated between its neighbours, which differ by little
    assert np.abs(uneven - even[[0, 1, 3, 4, 5]])[:, inside].mean() < 10
    # where there is nothing to interpolate, it changes nothing
    assert np.array_equal(processed(_at((0, 5, 10, 15, 20, 25), tmp_path / "e"), resampled), even)


def _at(heights: tuple[int, ...], folder: Path) -> Series:
    """Write slices of a body at these heights in mm, and find them."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, height in enumerate(heights):
        dataset = slice_dataset(
            "a", height // 5, SOPInstanceUID=uid(index), InstanceNumber=index + 1
        )
        dataset.ImagePositionPatient = [-100.0, -150.0, float(height)]
        write(folder / f"{index}.dcm", dataset)
    return only_series(folder)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_series_is_done_as_a_whole_or_not_at_all(damaged: bool, tmp_path: Path) -> None:
    files = write_series(tmp_path / "in", "a", 4)
    if damaged:
        content = files[2].read_bytes()
        files[2].write_bytes(content[:-100])
    report = run_batch(tmp_path / "in", tmp_path / "out", CONE, workers=0)
    (record,) = report.records
    if not damaged:
        assert (record["status"], record["written"]) == ("done", 4)
        (made,) = find_series(tmp_path / "out").series
        found = processed(only_series(tmp_path / "in"), CONE)
        # stored in whole Hounsfield units
        np.testing.assert_allclose(made.volume().hounsfield, found, rtol=0, atol=0.51)
        return
    assert (record["status"], record["written"]) == ("failed", 0)
    reasons = {one["reason"] for one in record["lost"]}
    assert any("a volume needs all of its slices" in reason for reason in reasons) or any(
        "missing slices" in reason for reason in reasons
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(settings_of(), resample=True), "resample: expected False but for a scan"),
        (
            lambda: replace(
                settings_of("ensemble(members=[fbp,sirt])", geometry="cone"), uncertainty=True
            ),
            "uncertainty: expected a scan of slices, got one of volumes",
        ),
        (
            lambda: CoveringScan("cone").on(tl.Grid((8, 8))),
            "grid: expected 3 dimensions for a cone beam, got 2",
        ),
        (lambda: CoveringScan("fan").on(tl.Grid((8, 8, 8))), "grid: expected 2 dimensions for a"),
    ],
)
def test_settings_that_do_not_fit(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
