"""Parameters of scans from their data: exact sinograms, symmetry of a full turn, real scans."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

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


def jittered(scan, shifts):
    """Return the sinogram of a smooth object, by a detector that is elsewhere in each view."""
    bins = shifts / scan.bin_sizes[0]
    views = [
        exact(scan.subset([k]).with_columns(scan.n_detectors, 1.0, shift))
        for k, shift in enumerate(bins)
    ]
    return torch.from_numpy(gaussian_filter1d(torch.cat(views).numpy(), 1.5, axis=1))


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


def gauged(shifts, angles):
    """Return shifts without their mean and their first harmonic."""
    gauge = np.stack([np.ones_like(angles), np.cos(angles), np.sin(angles)], axis=1)
    return shifts - gauge @ np.linalg.lstsq(gauge, shifts, rcond=None)[0]


@pytest.mark.parametrize("kind", ["parallel", "half", "fan"])
def test_jitter_of_views(kind, numpy_rng):
    scan = {
        "parallel": parallel(n_angles=40),
        "half": parallel(n_angles=40, angular_range=np.pi),
        "fan": fan(n_angles=40),
    }[kind]
    angles, size = scan.view_angles, scan.bin_sizes[0]
    shifts = gauged(numpy_rng.normal(0, 0.7 * size, 40), angles)
    y = jittered(scan, shifts)
    found = tl.calibrate(y, GRID, scan, free=("shifts",), inner_iterations=12)
    assert isinstance(found.scan, tl.Views)
    assert np.abs(np.array(found.shifts) - shifts).max() < 0.1 * size
    assert np.abs(gauged(np.array(found.shifts), angles) - found.shifts).max() < 1e-9
    assert found.residual_after < 0.3 * found.residual_before
    assert len(found.shift_errors) == 40
    assert "shifts = " in str(found)


def test_offset_beside_jitter(numpy_rng):
    scan = parallel(n_angles=40)
    shifts = gauged(numpy_rng.normal(0, 0.4, 40), scan.view_angles)
    y = jittered(parallel(n_angles=40, detector_offset=2.4), shifts)
    free = ("detector_offset", "shifts")
    found = tl.calibrate(y, GRID, scan, free=free, inner_iterations=12)
    assert found.values["detector_offset"] == pytest.approx(2.4, abs=0.05)
    assert np.abs(np.array(found.shifts) - shifts).max() < 0.08


def test_what_shifts_make_up_for_is_told(monkeypatch):
    from tomolearn.measurements.calibration import parameters

    sway = parameters.PARAMETERS["detector_offset"]._replace(
        value=lambda scan: 0.0,
        changed=lambda scan, value: parameters.shifted_views(
            scan, value * np.sign(np.sin(3 * scan.view_angles))
        ),
    )
    monkeypatch.setitem(parameters.PARAMETERS, "sway", sway)
    scan = parallel(n_angles=24)
    with pytest.raises(ValueError, match=r"'sway' and 'shifts', whose correlation is 0\.9"):
        tl.calibrate(exact(scan), GRID, scan, free=("sway", "shifts"), bins=64)


def test_a_view_without_data_cannot_be_shifted():
    scan = parallel(n_angles=20)
    weights = torch.ones(scan.shape)
    weights[7] = 0
    with pytest.raises(ValueError, match="got none in view 7; leave it out"):
        tl.calibrate(exact(scan), GRID, scan, free=("shifts",), weights=weights)


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
        ({"free": ("source_to_isocenter",)}, "'source_to_isocenter', which fan and cone beams"),
        ({"free": ("magnification",)}, "'magnification': the image scaled explains them as well"),
        ({"free": ("start_angle",)}, "'start_angle': the image turned explains them as well"),
        (
            {"free": ("shifts",), "scan": parallel(n_angles=5), "sinogram": torch.ones(5, 128)},
            "free: expected 'shifts' of a flat detector in at least 8 views, got 5",
        ),
        ({"rotation": "left"}, "rotation: expected one of known, either"),
        ({"bins": 4}, "bins: expected at least 8"),
        ({"search": -1.0}, "search: expected a non-negative number"),
        ({"scan": tl.Views.of(parallel())}, "scan: expected a ParallelBeam, a FanBeam or a Cone"),
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


def test_tooth_by_nothing_but_its_file(real_data):
    path = real_data / "measured" / "tooth.h5"
    y, _, scan, _, _ = tl.measurements.prepare(
        tl.measurements.read(path, rows=0, detector_spacing=1.0), bins=4
    )
    other = tl.ParallelBeam.from_dict(scan.to_dict() | {"detector_offset": 24.5})
    y, grid = torch.from_numpy(y).float(), tl.Grid((147, 147), 4.0)
    found = tl.calibrate(y, grid, other, search=0)
    # 23.65 by variable projection elsewhere, 24.5 by algotom's search
    assert found.values["detector_offset"] == pytest.approx(23.65, abs=0.1)
    assert found.left_out_after < 0.0209
    assert found.left_out_after < found.left_out_before


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
        bins=126,
        inner_iterations=12,
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
