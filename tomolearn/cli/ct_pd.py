"""``tomolearn ct-pd``: a DICOM series from helical projections in DICOM-CT-PD."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer


def ct_pd(
    folder: Annotated[Path, typer.Argument(help="Folder of views (.dcm) in DICOM-CT-PD.")],
    out: Annotated[Path, typer.Option(help="Folder to make, for the series of slices in HU.")],
    water: Annotated[
        float, typer.Option(min=1e-6, help="Attenuation of water in 1/mm, which becomes 0 HU.")
    ],
    size: Annotated[int, typer.Option(min=1, help="Rows and columns of a slice.")] = 512,
    pixel: Annotated[float, typer.Option(min=1e-6, help="Pixels' spacing in mm.")] = 0.8,
    first: Annotated[float | None, typer.Option(help="z of the first slice in mm.")] = None,
    last: Annotated[float | None, typer.Option(help="z of the last slice in mm.")] = None,
    thickness: Annotated[float, typer.Option(min=1e-6, help="Slices' spacing in mm.")] = 2.0,
    focal_spot: Annotated[
        str,
        typer.Option(
            help="How to read the flying focal spot's shifts: documented, exchanged, angle "
            "reversed, axial reversed, both reversed, none."
        ),
    ] = "documented",
) -> None:
    """Reconstruct a helical scan in DICOM-CT-PD by weighted filtered back-projection.

    Without --first and --last, the slices that the helix's inner part sees: a turn less at each
    end.
    """
    from tomolearn._core.errors import TomolearnError
    from tomolearn.dicom import attenuation_to_hounsfield, read_ct_pd, write_ct_series
    from tomolearn.geometry import Grid
    from tomolearn.measurements import reconstruct_helix, shift_inconsistency

    if out.exists():
        raise TomolearnError(f"--out: expected a folder that does not exist, got {out}")
    read = read_ct_pd(folder)
    projections = read.with_shifts(focal_spot)
    if len(read.spots()) > 1:
        found = shift_inconsistency(read)
        best = min(found, key=lambda reading: found[reading])
        typer.echo(
            f"focal spot: redundant rays disagree by {found[focal_spot]:.3g} read as "
            f"{focal_spot}, least by {found[best]:.3g} as {best}"
        )
    z = projections.heights
    turns = abs(projections.angles[-1] - projections.angles[0]) / 6.283185307179586
    feed = (z.max() - z.min()) / turns
    start = z.min() + feed if first is None else first
    stop = z.max() - feed if last is None else last
    if stop < start:
        raise TomolearnError(
            f"--last: expected at least --first, {start:.1f} mm, got {stop:.1f} mm; a helix of "
            f"{turns:.1f} turns has no inner part without them"
        )
    slices = int((stop - start) / thickness + 1e-6) + 1
    middle = start + (slices - 1) / 2 * thickness
    grid = Grid((slices, size, size), (thickness, pixel, pixel), center=(middle, 0.0, 0.0))
    began = time.perf_counter()
    volume = reconstruct_helix(projections, grid)
    seconds = time.perf_counter() - began
    write_ct_series(out, attenuation_to_hounsfield(volume, mu_water=water), grid)
    typer.echo(f"{out}: {slices} slices of {size} x {size} in {seconds:.0f} s")
