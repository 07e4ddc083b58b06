"""Rivals in space: that they compute what we do of the same scan, and that it would be noticed."""

import numpy as np
import pytest
import torch

from tomolearn import ConeBeam, Grid, RayTransform, fbp
from tomolearn.benchmarks import space_rivals
from tomolearn.benchmarks.space_rivals import SPACE_RIVALS, SpaceRival, differences, smooth_volume

GRID = Grid((20, 24, 22), (1.2, 1.1, 1.1), center=(0.7, 0.0, 0.0))
SOURCE = {"source_to_isocenter": 60.0, "source_to_detector": 100.0}
SCANS = {
    "circle": ConeBeam(24, (30, 36), (2.0, 1.9), **SOURCE),
    "aside": ConeBeam(24, (30, 40), (2.0, 1.9), **SOURCE, detector_offset=(1.5, -6.0)),
    "helix": ConeBeam(24, (30, 36), (2.0, 1.9), **SOURCE, pitch=9.0, start_z=-4.5),
    "curved": ConeBeam(24, (30, 36), (2.0, 1.9), **SOURCE, detector="curved"),
}
TAKES = {
    "rtk": ("circle",),
    "leap": ("circle", "aside"),
    "mbirjax": ("circle", "aside", "helix", "curved"),
    "torchtomo": ("circle", "aside", "helix", "curved"),
    "diffct": ("circle", "aside", "helix"),
}


def made(name, scan):
    try:
        return SPACE_RIVALS[name](GRID, scan)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", SPACE_RIVALS)
def test_what_a_rival_has_not_is_declined(name):
    others = set(SCANS) - set(TAKES[name])
    assert all(SPACE_RIVALS[name](GRID, SCANS[scan]) is None for scan in others)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scan"), [(name, scan) for name, scans in TAKES.items() for scan in scans]
)
def test_rivals_project_and_back_project_the_same_rays(name, scan):
    made(name, SCANS[scan])
    found = differences(name, GRID, SCANS[scan])
    assert set(found) == {"forward", "adjoint"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACE_RIVALS)
def test_adjoints_of_rivals_are_transposes(name, rng):
    rival = made(name, SCANS["circle"])
    x = torch.rand(GRID.shape, generator=rng).numpy()
    y = torch.rand(SCANS["circle"].shape, generator=rng).numpy()
    given = y.copy()
    left = np.vdot(rival.forward(x).astype(float), y)
    right = np.vdot(x, rival.adjoint(y).astype(float))
    # sums of float32: an error of a wrong weight would be one of percents
    assert left == pytest.approx(right, rel=1e-3)
    np.testing.assert_array_equal(y, given)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACE_RIVALS)
def test_rivals_reconstruct_the_same_volume(name):
    rival = made(name, SCANS["circle"])
    if rival.fdk is None:
        pytest.skip(f"{name} has no FDK")
    A = RayTransform.derived(GRID, SCANS["circle"], "joseph")
    y = A(smooth_volume(GRID))
    ours, theirs = fbp(y, A, filter="ram-lak"), torch.from_numpy(rival.fdk(y.numpy()))
    inner = (slice(4, -4),) * 3
    assert (theirs - ours)[inner].norm() < 0.05 * ours[inner].norm()


@pytest.mark.slow
def test_rtk_has_the_same_weights(rng):
    rival = made("rtk", SCANS["circle"])
    A = RayTransform.derived(GRID, SCANS["circle"], "joseph")
    x = torch.zeros(GRID.shape)
    inner = (slice(2, -2),) * 3
    # RTK treats what lies outside of the volume in another way
    x[inner] = torch.rand(x[inner].shape, generator=rng)
    y = A(x)
    np.testing.assert_allclose(rival.forward(x.numpy()), y, atol=1e-5 * float(y.max()))
    z = A.T(y)[inner]
    np.testing.assert_allclose(rival.adjoint(y.numpy())[inner], z, atol=1e-5 * float(z.max()))


@pytest.mark.parametrize("wrong", [None, "forward", "adjoint"])
def test_a_rival_with_another_scan_is_an_error(wrong, monkeypatch):
    A = RayTransform.derived(GRID, SCANS["circle"], "joseph")

    def mirrored(function, what):
        def result(values):
            found = function(torch.from_numpy(values)).numpy()
            return found[..., ::-1].copy() if what == wrong else found

        return result

    rival = SpaceRival(mirrored(A, "forward"), mirrored(A.T, "adjoint"))
    monkeypatch.setitem(space_rivals.SPACE_RIVALS, "ours", lambda grid, scan: rival)
    if wrong is None:
        assert differences("ours", GRID, SCANS["circle"]) == {"forward": 0.0, "adjoint": 0.0}
        return
    with pytest.raises(ValueError, match=f"ours: expected its {wrong} within 5 % of ours"):
        differences("ours", GRID, SCANS["circle"])
    monkeypatch.setitem(space_rivals.SPACE_RIVALS, "ours", lambda grid, scan: None)
    with pytest.raises(ValueError, match="name: expected a rival with this scan, got 'ours'"):
        differences("ours", GRID, SCANS["circle"])
