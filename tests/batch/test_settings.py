"""Settings: what they accept, what they say, and that different ones have different digests."""

import json
from typing import Any

import pytest

from tomolearn.batch import BatchSettings, SimulatedScan
from tomolearn.geometry import ConeBeam, FanBeam, Grid, ParallelBeam

GRID = Grid((16, 20), 2.0)
FAN = FanBeam.covering(GRID, 30, source_to_isocenter=595.0, source_to_detector=1086.0)

DIFFERENT = [
    BatchSettings(),
    BatchSettings("fbp", {"filter": "hann"}),
    BatchSettings("fbp", {"filter": "hann", "frequency_scaling": 0.5}),
    BatchSettings("tv", {"weight": 1.0}),
    BatchSettings("tv", {"weight": 1.0, "iterations": 3}),
    BatchSettings("tv", {"weight": 1.0}, None),
    BatchSettings("tv", {}, SimulatedScan(photons=1e4)),
    BatchSettings("unet", {}, fingerprint="a"),
    BatchSettings("unet", {}, fingerprint="b"),
    BatchSettings(scan=SimulatedScan("parallel")),
    BatchSettings(scan=SimulatedScan(FAN)),
    BatchSettings(scan=SimulatedScan(views=30)),
    BatchSettings(scan=SimulatedScan(photons=1e4)),
    BatchSettings(scan=SimulatedScan(photons=1e4, seed=1)),
    BatchSettings(scan=SimulatedScan(photons=1e4, electronic_std=2.0)),
    BatchSettings(scan=SimulatedScan(refinement=1)),
    BatchSettings(mu_water=0.02),
]


def test_digests_differ_where_settings_do() -> None:
    assert len({one.digest() for one in DIFFERENT}) == len(DIFFERENT)
    assert DIFFERENT[0].digest() == BatchSettings().digest()
    # where weights lie does not matter, what they are does
    assert BatchSettings("a/unet").digest() == BatchSettings("b/unet").digest()


@pytest.mark.parametrize("settings", DIFFERENT, ids=str)
def test_all_of_it_is_json_and_has_a_line(settings: BatchSettings) -> None:
    assert json.loads(json.dumps(settings.to_dict())) == settings.to_dict()
    assert settings.method in str(settings)


def test_scans_cover_the_slice() -> None:
    fan, parallel = (SimulatedScan(kind, 30).scan(GRID) for kind in ("fan", "parallel"))
    assert isinstance(fan, FanBeam)
    assert isinstance(parallel, ParallelBeam)
    assert fan.shape[0] == parallel.shape[0] == 30
    assert fan == FAN
    assert SimulatedScan(FAN, 7).scan(GRID) is FAN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"geometry": "cone"}, "geometry: expected one of fan, parallel, got 'cone'"),
        ({"views": 0}, "views: expected an integer >= 1, got 0"),
        ({"photons": 0.0}, "photons: expected a positive number, got 0.0"),
        ({"photons": 10.0, "electronic_std": -1.0}, "electronic_std: expected a non-negative"),
        ({"photons": 1e19}, "photons: expected at most 1e\\+15, got 1e\\+19; leave them out"),
        ({"seed": 1}, "seed: expected 0 without photons, got 1"),
        ({"electronic_std": 1.0}, "electronic_std: expected 0 without photons, got 1"),
        ({"seed": -1}, "seed: expected an integer >= 0, got -1"),
        ({"refinement": 0}, "refinement: expected an integer >= 1, got 0"),
    ],
)
def test_scan_mistakes(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SimulatedScan(**arguments)


def test_a_cone_beam_is_no_scan_of_a_slice() -> None:
    grid = Grid((4, 4, 4))
    cone = ConeBeam.covering(grid, 4, source_to_isocenter=50.0, source_to_detector=90.0)
    with pytest.raises(ValueError, match="geometry: expected a scan of two dimensions, got ConeB"):
        SimulatedScan(cone)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fbp", {"weight": 1.0}), "options: expected filter or frequency_scaling with fbp, got w"),
        (("tv", {"weight": 0.0}), "weight: expected a positive number"),
        (("tv", {"weight": 1.0, "iterations": 0}), "iterations: expected an integer >= 1, got 0"),
        (("tv", {}), "weight: expected a number for tv without photon noise"),
        (("tv", {}, None), "weight: expected a number for tv without photon noise"),
        (("fbp", {}, None), "method: expected tv or weights in the image domain, got fbp"),
        (("unet", {"image_scale": -1.0}), "image_scale: expected a positive number, got -1"),
        (("fbp", {}, SimulatedScan(), 0.0), "mu_water: expected a positive number, got 0"),
    ],
)
def test_mistakes(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchSettings(*arguments)


def test_a_method_has_a_name() -> None:
    with pytest.raises(TypeError, match="method: expected a name, got None"):
        BatchSettings(None)
