"""A simulated helix with a flying focal spot: its reconstruction's error in Hounsfield units.

``python examples/helix.py`` takes seconds. ``--turns 20 --rows 64 --columns 368 --views 576 --size
256`` takes minutes.
"""

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from scipy import ndimage

import tomolearn as tl
from data_sim.helix import CHEST, WATER, Helix, ellipsoid_volume


def main() -> None:
    """Simulate, decide how shifts are read, reconstruct, and print the errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("turns", 3), ("rows", 16), ("columns", 184), ("views", 360), ("size", 96)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    helix = Helix(
        turns=options.turns,
        rows=options.rows,
        columns=options.columns,
        views_per_turn=options.views,
        column_spacing=2.5716 * 368 / options.columns,
        feed=0.6 * options.rows,
        shifts=((0.0012, 0.25, 0.0), (-0.0012, -0.25, 0.0)),
    )
    angles, heights, shifts = helix.views()
    with ProcessPoolExecutor(2) as pool:
        views = pool.map(partial(view, helix), range(len(angles)), chunksize=32)
        line_integrals = np.empty((len(angles), helix.rows, helix.columns), np.float32)
        for number, values in enumerate(views):
            line_integrals[number] = values
    projections = tl.measurements.HelicalProjections(
        line_integrals,
        angles,
        heights,
        radius=helix.radius,
        detector_distance=helix.detector_distance,
        spacing=(helix.row_spacing, helix.column_spacing),
        center=helix.central,
        shifts=shifts,
    )
    # the first and the last turn do not see a slice from all sides
    reach = helix.feed * (helix.turns / 2 - 1)
    pixel = 340 / options.size
    grid = tl.Grid((int(reach) + 1, options.size, options.size), (2.0, pixel, pixel))
    truth = ellipsoid_volume(*(axis_of(grid, k) for k in (2, 1, 0)), CHEST)
    steps = sum(np.abs(np.gradient(truth, axis=k)) for k in range(3))
    flat = ~ndimage.binary_dilation(steps > 1e-9, np.ones((3, 5, 5))) & (truth > 0)
    print(f"inconsistency {tl.measurements.shift_inconsistency(projections)}")
    start = time.perf_counter()
    volume = tl.measurements.reconstruct_helix(projections, grid)
    seconds = time.perf_counter() - start
    error = 1000 * (volume - truth)[flat] / WATER
    print(
        f"{volume.shape} in {seconds:.0f} s; away from edges mean {error.mean():.2f}, "
        f"rms {np.sqrt(np.mean(error**2)):.2f}, 99 % {np.quantile(abs(error), 0.99):.2f}, "
        f"most {abs(error).max():.1f} HU"
    )


def view(helix: Helix, number: int) -> np.ndarray:
    """Return the line integrals of one view."""
    return helix.view(number)


def axis_of(grid: tl.Grid, axis: int) -> np.ndarray:
    """Return the voxels' centres along an axis."""
    count, spacing = grid.shape[axis], grid.spacing[axis]
    return (np.arange(count) - (count - 1) / 2) * spacing


if __name__ == "__main__":
    main()
