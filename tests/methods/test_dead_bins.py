"""Filtered back-projection of detectors with dead bins, or narrower than the object."""

import math
import warnings

import numpy as np
import pytest
import torch

from tomolearn import ConeBeam, CoverageWarning, FanBeam, Grid, ParallelBeam, RayTransform, fbp

GRID = Grid((24, 20))
RAYS = RayTransform(GRID, ParallelBeam.covering(GRID, 30))


def test_dead_bins_are_interpolated(rng):
    y = torch.rand(2, *RAYS.range_shape, generator=rng, dtype=torch.float64)
    mask = torch.rand(y.shape, generator=rng) > 0.3
    mask[0, 3, :4] = mask[0, 4, -3:] = mask[1, 7, 5:9] = False
    expected = y.clone()
    bins = np.arange(y.shape[-1])
    for row, known in zip(
        expected.reshape(-1, len(bins)), mask.reshape(-1, len(bins)), strict=True
    ):
        measured = known.numpy()
        row[:] = torch.from_numpy(np.interp(bins, bins[measured], row.numpy()[measured]))
    spoiled = torch.where(mask, y, math.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        found = fbp(spoiled, RAYS, mask=mask)
    torch.testing.assert_close(found, fbp(expected, RAYS))
    assert torch.equal(
        fbp(y, RAYS, mask=torch.ones(RAYS.range_shape, dtype=torch.bool)), fbp(y, RAYS)
    )


def test_it_is_differentiable_in_what_was_measured(rng):
    y = torch.rand(RAYS.range_shape, generator=rng, dtype=torch.float64)
    mask = torch.ones(RAYS.range_shape, dtype=torch.bool)
    mask[:, 7:9] = False
    y[~mask] = math.nan
    y.requires_grad_()
    (gradient,) = torch.autograd.grad(fbp(y, RAYS, mask=mask).square().sum(), y)
    assert (gradient[~mask] == 0).all()
    assert torch.isfinite(gradient).all()
    assert (gradient[:, 6] != 0).any()


def test_wide_gaps_are_told():
    y = torch.ones(RAYS.range_shape)
    mask = torch.ones(RAYS.range_shape, dtype=torch.bool)
    mask[:, 10:14] = False
    fbp(y, RAYS, mask=mask)
    mask[2, 10:15] = False
    with pytest.warns(
        CoverageWarning, match="mask: 121 of .* interpolated .* up to 5 side by side"
    ):
        fbp(y, RAYS, mask=mask)


def test_masks_that_will_not_do():
    y = torch.ones(RAYS.range_shape)
    mask = torch.ones(RAYS.range_shape, dtype=torch.bool)
    with pytest.raises(
        TypeError, match=r"mask: expected a torch\.Tensor of bool, .* got torch\.fl"
    ):
        fbp(y, RAYS, mask=mask.float())
    with pytest.raises(ValueError, match=r"mask: expected shape \(30, \d+\), got \(\d+, 30\)"):
        fbp(y, RAYS, mask=mask.T)
    mask[4] = False
    with pytest.raises(ValueError, match=r"mask: expected a measured bin in each row, .*\(4\)"):
        fbp(y, RAYS, mask=mask)
    bad = y.clone()
    bad[0, 0] = math.nan
    with pytest.raises(ValueError, match=r"sinogram: .* finite"):
        fbp(bad, RAYS, mask=mask | True)


DISC = 30.0


def disc_chords(scan):
    """Return line integrals through a disc about the axis, of value 1."""
    distance = scan.detector_positions
    if not isinstance(scan, ParallelBeam):
        distance = scan.source_to_isocenter * np.sin(scan.fan_angles)
    chords = 2 * np.sqrt(np.maximum(DISC**2 - distance**2, 0))
    return torch.from_numpy(np.broadcast_to(chords, scan.shape).copy())


def truncated(kind):
    """Return a ray transform whose detector sees two thirds of a disc, and the exact sinogram."""
    grid = Grid((40, 40))
    if kind == "parallel":
        scan = ParallelBeam(180, 40, 1.0)
    else:
        distances = {"source_to_isocenter": 120.0, "source_to_detector": 180.0}
        scan = FanBeam(360, 40, 1.5, detector=kind, **distances)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        operator = RayTransform(grid, scan)
    return operator, disc_chords(scan)


@pytest.mark.parametrize("kind", ["parallel", "flat", "curved"])
def test_truncated_projections(kind):
    operator, y = truncated(kind)
    radius = np.hypot(*np.meshgrid(*operator.grid.coordinates(), indexing="ij"))
    images = [fbp(y, operator, filter="hann", truncation=how) for how in ("zero", "extend")]
    means = [
        [float(one[(radius >= r) & (radius < r + 3)].mean()) for r in (0, 8, 15)] for one in images
    ]
    # a bright rim and a bright image; then neither
    assert means[0][2] > means[0][0] + 0.4
    assert min(means[0]) > 1.15
    np.testing.assert_allclose(means[1], 1, atol=0.12)
    assert abs(means[1][2] - means[1][0]) < 0.07


def test_where_air_is_seen_extension_changes_nothing(rng):
    y = torch.rand(RAYS.range_shape, generator=rng, dtype=torch.float64)
    y[:, [0, -1]] = 0.0
    # the convolution is the same; finer values in between know of the period
    found = fbp(y, RAYS, truncation="extend", oversampling=1)
    torch.testing.assert_close(found, fbp(y, RAYS, oversampling=1))


def test_masks_and_extension_in_compiled_code(rng):
    y = torch.rand(RAYS.range_shape, generator=rng)
    mask = torch.rand(RAYS.range_shape, generator=rng) > 0.02

    def image(y):
        return fbp(y, RAYS, mask=mask, truncation="extend")

    torch.testing.assert_close(
        torch.compile(image, fullgraph=True, backend="aot_eager")(y), image(y)
    )


def test_cone_beams_are_extended_across(rng):
    grid = Grid((1, 40, 40))
    scan = ConeBeam(180, (4, 40), 1.5, 120.0, 180.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        operator = RayTransform(grid, scan)
    flat, y = truncated("flat")
    y = y[::2, None].expand(-1, 4, -1)
    image = fbp(y, operator, filter="hann", truncation="extend")[0]
    # the rows are so near to the plane of the source that each sees the disc, of infinite height
    radius = np.hypot(*np.meshgrid(*flat.grid.coordinates(), indexing="ij"))
    assert float(image[radius < 15].mean()) == pytest.approx(1, abs=0.12)
