"""Parameters of scans from their data: exact sinograms, symmetry of a full turn, real scans."""

import numpy as np
import pytest
import torch

import tomolearn as tl
from data_sim import fan_sinogram, parallel_sinogram, shepp_logan_ellipses

GRID = tl.Grid((96, 96), 1.0)
RADIUS = 40.0


def parallel(**changes):
    settings = {"n_angles": 120, "n_detectors": 128, "detector_spacing": 0.8, "angular_range": 6.2}
    return tl.ParallelBeam(**(settings | changes))


def fan(distance=150.0, **changes):
    settings = {"n_angles": 120, "n_detectors": 128, "detector_spacing": 1.4}
    far = distance * 1.6
    settings |= {"source_to_isocenter": distance, "source_to_detector": far}
    return tl.FanBeam(**(settings | changes))


def exact(scan):
    """Return the sinogram of a phantom by chords of its ellipses, averaged over bins."""
    fine = scan.with_columns(5 * scan.n_detectors, 1 / 5, 0.0)
    return _chords(fine).reshape(*scan.shape, 5).mean(-1)


def _chords(scan):
    phantom, angles, positions = shepp_logan_ellipses(), scan.view_angles, scan.column_positions
    if isinstance(scan, tl.FanBeam):
        distances = scan.source_to_isocenter, scan.source_to_detector
        values = fan_sinogram(phantom, angles, positions, *distances, half_extent=RADIUS)
    else:
        values = parallel_sinogram(phantom, angles, positions, half_extent=RADIUS)
    return torch.from_numpy(values.astype(np.float32))


def test_offset_and_span_of_a_parallel_beam():
    truth = parallel(detector_offset=5.3, angular_range=6.2 * 1.012)
    free = ("detector_offset", "angular_span")
    found = tl.calibrate(exact(truth), GRID, parallel(), free=free)
    assert found.converged
    assert found.values["detector_offset"] == pytest.approx(5.3, abs=0.02)
    # a fifth of a pixel at the rim
    assert found.values["angular_span"] == pytest.approx(np.ptp(truth.view_angles), abs=5e-3)
    assert found.residual_after < 0.2 * found.residual_before
    assert found.left_out_after < 0.3 * found.left_out_before
    assert "detector_offset = 5.2" in str(found)


@pytest.mark.parametrize("start", [110.0, 230.0])
def test_source_distance_of_a_fan_beam(start):
    truth = fan(150.0, detector_offset=2.1)
    free = ("detector_offset", "source_to_isocenter")
    found = tl.calibrate(exact(truth), GRID, fan(start), free=free)
    assert found.values["detector_offset"] == pytest.approx(2.1, abs=0.03)
    assert found.values["source_to_isocenter"] == pytest.approx(150, rel=0.01)
    assert found.scan.magnification == pytest.approx(truth.magnification)


def test_dead_bins_do_not_matter():
    truth = parallel(detector_offset=-3.0)
    y, weights = exact(truth), torch.ones(truth.shape)
    y[:, 40], weights[:, 40] = torch.nan, 0
    found = tl.calibrate(y, GRID, parallel(), weights=weights)
    assert found.values["detector_offset"] == pytest.approx(-3, abs=0.03)
    with pytest.raises(ValueError, match="sinogram: expected finite values"):
        tl.calibrate(y, GRID, parallel())


def test_standard_errors_are_those_of_noise(rng):
    truth = parallel(n_angles=60)
    clean = exact(truth)
    drawn = []
    for _ in range(12):
        y = clean + 2 * torch.randn(clean.shape, generator=rng)
        drawn.append(tl.calibrate(y, GRID, truth, search=0, inner_iterations=10))
    spread = np.std([one.values["detector_offset"] for one in drawn], ddof=1)
    said = np.mean([one.errors["detector_offset"] for one in drawn])
    # twelve draws tell a standard deviation to a fifth
    assert 0.5 < said / spread < 2


def test_sense_of_rotation():
    # lines of sight of a short scan are told from those of the mirrored one by their far ends
    truth = fan(detector_offset=3.0, angular_range=5.0)
    said = {"angles": (-truth.view_angles).tolist(), "angular_range": None, "start_angle": None}
    other = tl.FanBeam.from_dict(truth.to_dict() | said)
    found = tl.calibrate(exact(truth), GRID, other, rotation="either")
    assert found.reversed
    assert found.values["detector_offset"] == pytest.approx(3, abs=0.03)
    assert not tl.calibrate(exact(truth), GRID, truth, rotation="either").reversed


def test_parameters_that_are_one_are_told(monkeypatch):
    from tomolearn.measurements.calibration import parameters

    twin = parameters.PARAMETERS["detector_offset"]._replace(
        value=lambda scan: 2 * scan.detector_offset,
        changed=lambda scan, value: parameters.PARAMETERS["detector_offset"].changed(
            scan, value / 2 + scan.detector_offset
        ),
    )
    monkeypatch.setitem(parameters.PARAMETERS, "twice_the_offset", twin)
    free = ("detector_offset", "twice_the_offset")
    with pytest.raises(ValueError, match="expected parameters that can be told apart, got"):
        tl.calibrate(exact(parallel()), GRID, parallel(), free=free)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"free": ()}, "free: expected some of detector_offset"),
        ({"free": ("offset",)}, "free: expected one of detector_offset"),
        ({"free": ("detector_offset", "detector_offset")}, "expected each parameter once"),
        ({"free": ("source_to_isocenter",)}, "'source_to_isocenter', which fan beams have"),
        ({"free": ("magnification",)}, "'magnification': the image scaled explains them as well"),
        ({"free": ("start_angle",)}, "'start_angle': the image turned explains them as well"),
        ({"rotation": "left"}, "rotation: expected one of known, either"),
        ({"bins": 4}, "bins: expected at least 8"),
        ({"search": -1.0}, "search: expected a non-negative number"),
        ({"scan": tl.Views.of(parallel())}, "scan: expected a ParallelBeam or a FanBeam"),
        ({"sinogram": torch.zeros(120, 128)}, "expected an object, got zeros only"),
        ({"sinogram": torch.zeros(2, 120, 128)}, r"sinogram: expected one, of shape \(120, 128\)"),
    ],
)
def test_refusals(changes, message):
    arguments = {"sinogram": torch.ones(120, 128), "grid": GRID, "scan": parallel()} | changes
    with pytest.raises(ValueError, match=message):
        tl.calibrate(**arguments)


def test_too_few_steps_are_told():
    y = exact(fan(150.0))
    with pytest.warns(tl.ConvergenceWarning, match="did not converge in 1 steps"):
        tl.calibrate(y, GRID, fan(220.0), free=("source_to_isocenter",), iterations=1)


@pytest.mark.slow
def test_disc_of_the_tomography_challenge(real_data):
    with np.load(real_data / "measured" / "htc2022_tb_fan_549views.npz") as file:
        y = torch.from_numpy(file["sinogram"].astype(np.float32))
        angles = np.deg2rad(file["angles_deg"].astype(float))
    scan = tl.FanBeam(
        angles=angles,
        n_detectors=560,
        detector_spacing=0.2,
        source_to_isocenter=600.0,
        source_to_detector=600 * 553.74 / 410.66,
        detector_offset=1.0,
    )
    free = ("detector_offset", "source_to_isocenter")
    found = tl.calibrate(y, tl.Grid((512, 512), 0.157), scan, free=free)
    # 410.66 mm by its makers; hardening biases both
    assert found.values["detector_offset"] == pytest.approx(0.040, abs=0.003)
    assert found.values["source_to_isocenter"] == pytest.approx(409, abs=4)


@pytest.mark.slow
def test_neutron_scan_by_the_symmetry_of_its_full_turn(real_data):
    import tifffile

    counts = tifffile.imread(real_data / "measured" / "neutron_360.tif").astype(float)
    y = -np.log(np.clip(counts / 46985, 1e-3, None))
    weights = np.ones_like(y)
    weights[:, [314, 346]] = 0
    weights[counts == 0] = 0
    views, bins = y.shape
    scan = tl.ParallelBeam(
        angles=np.arange(views) * 2 * np.pi / views, n_detectors=bins, detector_spacing=1.0
    )
    found = tl.calibrate(
        torch.from_numpy(y.astype(np.float32)),
        tl.Grid((bins, bins), 1.0),
        scan,
        weights=torch.from_numpy(weights.astype(np.float32)),
    )
    # a view half a turn on is the mirrored one
    dead = [314, 346]
    y[:, dead] = (y[:, [k - 1 for k in dead]] + y[:, [k + 1 for k in dead]]) / 2
    half = (y[229:459] + np.roll(y, -1, 0)[229:459]) / 2
    half, first = half[:225], y[:225]
    columns, errors = np.arange(bins), {}
    for offset in np.arange(-10, 10, 0.25):
        mirrored = bins - 1 - 2 * offset - columns
        inside = (mirrored >= 0) & (mirrored <= bins - 1)
        other = np.array([np.interp(mirrored, columns, view) for view in half])
        errors[offset] = np.sqrt(np.mean((other - first)[:, inside] ** 2))
    assert found.values["detector_offset"] == pytest.approx(min(errors, key=errors.get), abs=0.25)
