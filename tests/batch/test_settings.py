"""Settings: what they accept, what they say, and that different ones have different digests."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from batch_settings import settings_of

from tomolearn.batch import BatchSettings, batch_method
from tomolearn.evaluation.calibration import ConformalCalibration
from tomolearn.evaluation.estimation import SavedCalibration
from tomolearn.geometry import ConeBeam, FanBeam, Grid
from tomolearn.methods import FBP, TotalVariation
from tomolearn.simulation import Acquisition, CoveringScan, GaussianNoise, PhotonNoise, Refinement

GRID = Grid((16, 20), 2.0)
FAN = FanBeam.covering(GRID, 30, source_to_isocenter=595.0, source_to_detector=1086.0)

DIFFERENT = [
    BatchSettings(),
    settings_of("fbp(filter=hann)"),
    settings_of("fbp(filter=hann, frequency_scaling=0.5)"),
    settings_of("tv(weight=1.0)"),
    settings_of("tv(weight=1.0, iterations=3)"),
    settings_of("tv(weight=1.0)", geometry=None),
    settings_of("tv", photons=1e4),
    settings_of("sirt"),
    settings_of("lgd-ellipses"),
    settings_of("lpd-ellipses"),
    settings_of(geometry="parallel"),
    settings_of(geometry=FAN),
    settings_of(views=30),
    settings_of(photons=1e4),
    settings_of(photons=1e4, seed=1),
    settings_of(photons=1e4, electronic_std=2.0),
    settings_of(refinement=1),
    BatchSettings(mu_water=0.02),
    # what version 0.1 had no words for
    BatchSettings(acquisition=Acquisition(CoveringScan(), GaussianNoise(0.01))),
    BatchSettings(acquisition=Acquisition(CoveringScan(), refinement=Refinement("linear", 2))),
    BatchSettings(acquisition=Acquisition(CoveringScan(), PhotonNoise(1e4, floor=1e-3))),
]


def test_digests_differ_where_settings_do(tmp_path: Path) -> None:
    assert len({one.digest() for one in DIFFERENT}) == len(DIFFERENT)
    assert DIFFERENT[0].digest() == settings_of("fbp(filter=ram-lak)").digest()


@pytest.mark.parametrize(
    ("settings", "digest"),
    [
        (BatchSettings(), "86e0f7c651995f0d"),
        (
            settings_of("fbp(filter=hann, frequency_scaling=0.5)", views=90, photons=10_000),
            "e8de57af37bf93e4",
        ),
        (
            settings_of(geometry="parallel", views=90, photons=1e4, electronic_std=5, seed=4),
            "43697789beb3cf97",
        ),
        (settings_of("tv", views=90, photons=1e4, electronic_std=2.0), "27ba855c44cc2a36"),
        (settings_of("tv(weight=0.1, iterations=40)", views=90), "846a9a87e0f49d4a"),
        (settings_of("tv(weight=60)", geometry=None), "6b4c2466248bebcc"),
    ],
    ids=str,
)
def test_digests_are_those_of_version_0_1(settings: BatchSettings, digest: str) -> None:
    """Batches that version 0.1 began are continued; its digests, computed by it."""
    assert settings.digest() == digest


@pytest.mark.parametrize("settings", DIFFERENT, ids=str)
def test_all_of_it_is_json_and_has_a_line(settings: BatchSettings) -> None:
    assert json.loads(json.dumps(settings.to_dict())) == settings.to_dict()
    assert settings.method.name in str(settings)


def test_tv_has_defaults_that_suit_slices() -> None:
    assert batch_method("fbp") == FBP()
    tv = TotalVariation(weight=0.1, iterations=100, nonnegative=True, start="fbp")
    assert batch_method("tv(weight=0.1)") == tv
    assert batch_method("tv", weight=0.1, start="zero") == replace(tv, start="zero")


def test_a_method_of_a_file_has_the_fingerprint_of_its_source(tmp_path: Path) -> None:
    path = tmp_path / "method_of_mine.py"
    path.write_text("def half(y, A, *, scale: float = 0.5):\n    return scale * A.T(y)\n")
    settings = settings_of(f"{path}:half")
    assert len(settings.fingerprint) == 64
    assert settings.method_name == "method_of_mine.py:half"
    other = replace(settings, method=batch_method(f"{path}:half", scale=0.25))
    assert other.options == {"scale": 0.25}
    assert other.digest() != settings.digest()


ENSEMBLE = batch_method("ensemble", members="[fbp,fbp(filter=hann)]")
FACTORS = ConformalCalibration(0.9, torch.ones(4, 4), 9, "pixels")
PIXELS = SavedCalibration(ENSEMBLE.to_dict(), None, "small", 0.01, FACTORS)


def test_half_widths_make_other_settings() -> None:
    plain = BatchSettings(ENSEMBLE)
    found = BatchSettings(ENSEMBLE, uncertainty=True)
    assert plain.digest() != found.digest()
    assert "uncertainty" not in plain.to_dict()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"method": "fbp"}, TypeError, "method: expected a Method, as batch_method .* got 'fbp'"),
        ({"acquisition": FAN}, TypeError, "acquisition: expected an Acquisition or None, got FanB"),
        ({"seed": 1}, ValueError, "seed: expected 0 without noise, got 1"),
        ({"seed": -1}, ValueError, "seed: expected an integer >= 0, got -1"),
        ({"mu_water": 0.0}, ValueError, "mu_water: expected a positive number"),
        ({"acquisition": None}, ValueError, "method: expected one that works on images, .* fbp"),
        (
            {"uncertainty": True},
            ValueError,
            "uncertainty: expected a method that samples.* got fbp",
        ),
        (
            {"uncertainty": True, "method": TotalVariation(weight=1.0), "acquisition": None},
            ValueError,
            "uncertainty: expected a scan",
        ),
        ({"calibration": PIXELS}, ValueError, "calibration: expected with uncertainty only"),
        (
            {"uncertainty": True, "method": ENSEMBLE, "calibration": PIXELS},
            ValueError,
            "calibration: expected one factor for the image, got factors by pixels",
        ),
        (
            {"method": TotalVariation()},
            ValueError,
            "weight: expected a number for tv without photon noise",
        ),
        (
            {"method": TotalVariation(), "acquisition": None},
            ValueError,
            "weight: expected a number for tv without photon noise",
        ),
        (
            {"method": batch_method("lgd-ellipses"), "acquisition": None},
            ValueError,
            "expected a network with a denoiser, .* got LearnedGradient",
        ),
    ],
)
def test_mistakes(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BatchSettings(**arguments)


def test_a_cone_beam_is_a_scan_of_a_volume() -> None:
    grid = Grid((4, 4, 4))
    cone = ConeBeam.covering(grid, 4, source_to_isocenter=50.0, source_to_detector=90.0)
    assert settings_of(geometry=cone).of_volumes
    assert settings_of(geometry="cone").of_volumes
    assert not settings_of().of_volumes
    assert not settings_of("tv(weight=1.0)", geometry=None).of_volumes
    # the digests of earlier versions stay what they were
    resampled = replace(settings_of(geometry="cone"), resample=True)
    assert "resample" not in settings_of(geometry="cone").to_dict()
    assert resampled.to_dict()["resample"] is True
