"""Simulated pairs: what they are, and that an item depends on seed and index alone."""

import pickle

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate

from data_sim import shepp_logan
from tomolearn import ConeBeam, FanBeam, Grid, ParallelBeam, RayTransform
from tomolearn.data import RandomEllipses, SheppLogan, SimulatedPairs
from tomolearn.simulation import Acquisition, GaussianNoise, Refinement

GRID = Grid((24, 24), 2.0)
SCAN = ParallelBeam.covering(GRID, 10)
A = RayTransform(GRID, SCAN)
CLEAN, NOISY = Acquisition(SCAN), Acquisition(SCAN, GaussianNoise(0.05))


def pairs(grid=GRID, acquisition=NOISY, **changes):
    return SimulatedPairs(RandomEllipses(), grid, acquisition, **{"seed": 4} | changes)


def same(first, second):
    return all(
        torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in zip(first, second, strict=True)
    )


def test_item_is_sinogram_and_image():
    sinogram, image = pairs()[3]
    assert sinogram.shape == (1, *SCAN.shape)
    assert image.shape == (1, *GRID.shape)
    assert sinogram.dtype == image.dtype == torch.float32


def test_item_does_not_depend_on_batch_order_or_process():
    data = pairs()
    alone = [data[k] for k in range(5)]
    together = data.__getitems__([4, 0, 3, 1, 2])
    for index, pair in zip([4, 0, 3, 1, 2], together, strict=True):
        assert same(pair, alone[index])
    copied = pickle.loads(pickle.dumps(data))
    assert same(copied[2], alone[2])


def test_items_and_seeds_differ():
    data = pairs()
    images = [data[0][1], data[1][1], pairs(seed=5)[0][1]]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(images[first], images[second])


def test_loader_processes_draw_the_same_pairs():
    data = pairs(size=6)
    loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2)
    found = [pair for batch in loader for pair in zip(*batch, strict=True)]
    assert len(found) == 6
    for index, pair in enumerate(found):
        assert same(pair, data[index])


def test_noise_has_the_stated_level():
    clean = SimulatedPairs(SheppLogan(), GRID, CLEAN, size=200)
    noisy = SimulatedPairs(SheppLogan(), GRID, NOISY, size=200)
    y = clean[0][0]
    errors = torch.stack([noisy[k][0] - y for k in range(200)])
    assert errors.std().item() == pytest.approx(0.05 * y.abs().mean().item(), rel=0.01)
    # independent between items: neighbours' correlation is within five standard errors of zero
    products = (errors[1:] * errors[:-1]).mean() / errors.var()
    assert abs(products.item()) < 5 / np.sqrt(errors[1:].numel())


class NormalPixels:
    """A source that draws as Gaussian noise does, after some other draws."""

    def __init__(self, before=0, value=None):
        self.before, self.value = before, value

    def __call__(self, shape, rng):
        rng.standard_normal(self.before)
        drawn = rng.standard_normal(shape).astype(np.float32)
        return drawn if self.value is None else np.full(shape, self.value, np.float32)


def test_noise_does_not_come_from_the_stream_of_the_image():
    clean, noisy = (
        SimulatedPairs(NormalPixels(), GRID, acquisition) for acquisition in (CLEAN, NOISY)
    )
    n = min(np.prod(GRID.shape), np.prod(SCAN.shape))
    for index in range(3):
        sinogram, image = noisy[index]
        noise = (sinogram - clean[index][0]).flatten()[:n]
        correlation = np.corrcoef(noise.numpy(), image.flatten()[:n].numpy())[0, 1]
        # five standard errors of a correlation that is zero; drawn from one stream it is one
        assert abs(correlation) < 5 / np.sqrt(n)


def test_noise_does_not_depend_on_how_much_the_image_draws():
    first, second = (
        SimulatedPairs(NormalPixels(before, value=1.0), GRID, NOISY)[2][0] for before in (0, 17)
    )
    assert torch.equal(first, second)


def test_average_of_a_finer_phantom():
    fine = GRID.refined((72, 72))
    acquisition = Acquisition(SCAN, refinement=Refinement("average", 3))
    data = SimulatedPairs(SheppLogan(), GRID, acquisition, size=1)
    sinogram, image = data[0]
    phantom = torch.from_numpy(shepp_logan((72, 72)))[None]
    assert torch.allclose(image, avg_pool2d(phantom, 3))
    assert torch.allclose(sinogram, RayTransform(fine, SCAN)(phantom))
    # it is not the sinogram of the image: no inverse crime
    assert (sinogram - A(image)).norm() > 0.01 * sinogram.norm()


def test_interpolation_of_a_coarse_phantom():
    acquisition = Acquisition(SCAN, refinement=Refinement("linear", shape=(60, 60)))
    sinogram, image = SimulatedPairs(SheppLogan(), GRID, acquisition, size=1)[0]
    assert torch.allclose(image[0], torch.from_numpy(shepp_logan(GRID.shape)))
    fine = interpolate(image[None], (60, 60), mode="bilinear")[0]
    expected = RayTransform(GRID.refined((60, 60)), SCAN)(fine)
    torch.testing.assert_close(sinogram, expected)


def test_no_length_without_size():
    assert len(pairs(size=7)) == 7
    with pytest.raises(TypeError, match="no end"):
        len(pairs())
    assert pairs()[10**9][1].shape == (1, *GRID.shape)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: pairs(acquisition=A), TypeError, "acquisition: expected an Acquisition, got Ray"),
        (lambda: pairs(seed=-1), ValueError, "seed: expected an integer >= 0"),
        (lambda: pairs(size=0), ValueError, "size: expected an integer >= 1"),
        (
            lambda: pairs(
                acquisition=Acquisition(SCAN, refinement=Refinement("average", shape=(60, 60)))
            ),
            ValueError,
            "grid: expected a shape that div",
        ),
        (lambda: pairs(size=3)[3], IndexError, "index: expected one from 0 on and below 3, got 3"),
        (lambda: pairs()[-1], IndexError, "index: expected one from 0 on, got -1"),
        (lambda: GaussianNoise(-0.1), ValueError, "relative: expected a non-negative"),
        (lambda: RandomEllipses("square"), ValueError, "convention: expected one of"),
        (lambda: SheppLogan("middle"), ValueError, "extent: expected one of"),
    ],
)
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_other_scans():
    scan = FanBeam.covering(GRID, 8, source_to_isocenter=90.0, source_to_detector=150.0)
    sinogram, _ = SimulatedPairs(RandomEllipses(), GRID, Acquisition(scan))[0]
    assert sinogram.shape == (1, *scan.shape)


class Boxes:
    """A source of volumes."""

    def __call__(self, shape, rng):
        volume = np.zeros(shape, np.float32)
        volume[tuple(slice(0, rng.integers(1, n + 1)) for n in shape)] = rng.uniform(0.5, 1)
        return volume


@pytest.mark.parametrize("interpolation", [None, "average", "linear"])
def test_pairs_of_volumes(interpolation):
    grid = Grid((4, 6, 8), 3.0)
    scan = ConeBeam.covering(grid, 5, source_to_isocenter=60.0, source_to_detector=100.0)
    refinement = None if interpolation is None else Refinement(interpolation, 2)
    acquisition = Acquisition(scan, GaussianNoise(0.02), refinement)
    data = SimulatedPairs(Boxes(), grid, acquisition, seed=3)
    sinogram, image = data[7]
    assert sinogram.shape == (1, *scan.shape)
    assert image.shape == (1, *grid.shape)
    # seen from far away, the mean over the pixels is what counts; edges blur between the centres
    clean = RayTransform(grid, scan)(image)
    assert (sinogram - clean).norm() < 0.25 * clean.norm()
    if interpolation is None:
        level = (sinogram - clean).std() / clean.abs().mean()
        assert level.item() == pytest.approx(0.02, rel=0.2)
