"""``tomolearn calibrate``: the scan that a sinogram belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def calibrate(
    sinogram: Annotated[
        Path,
        typer.Argument(help="Line integrals, .npy, .npz or .h5 of shape (angles, *detector)."),
    ],
    scan: Annotated[
        Path, typer.Option(help="Grid and scan as far as known, as save_geometry writes them.")
    ],
    out: Annotated[Path, typer.Option(help="File (.json) of the grid and the scan that is found.")],
    free: Annotated[
        str,
        typer.Option(
            help="What is not known: detector_offset, angular_span, source_to_isocenter, shifts "
            "(of each view), of cone beams row_offset, detector_rotation, axis_tilt, "
            "with commas between them."
        ),
    ] = "detector_offset",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="What each measured value counts, or a mask (.npy, .npz or .h5): 0 for a dead bin."
        ),
    ] = None,
    rotation: Annotated[
        str, typer.Option(help="known, or either: views may turn the other way.")
    ] = "known",
    bins: Annotated[
        int | None,
        typer.Option(
            min=8,
            help="Largest number of columns; data of more are binned. 320, of cone beams 48.",
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Name of the array in a .npz or .h5 file of several.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Picture (.png) of the search for the offset.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Calibrate a scan by its own data: detector offset, span of the angles, source distance."""
    from tomolearn._core.files import complete_file
    from tomolearn.cli.output import check_target

    check_target(out, force=force, suffixes=(".json",))
    if figure is not None:
        check_target(figure, force=force, suffixes=(".png",))

    import torch

    from tomolearn.cli.arrays import read_sinogram, read_weights
    from tomolearn.geometry import load_geometry, save_geometry
    from tomolearn.measurements import calibrate as calibrated, draw_calibration

    grid, scanner = load_geometry(scan)
    counted = None if weights is None else read_weights(weights, scanner.shape)
    values = read_sinogram(sinogram, dataset, scanner.shape, counted)
    found = calibrated(
        torch.from_numpy(values),
        grid,
        scanner,
        free=[name.strip() for name in free.split(",") if name.strip()],
        weights=None if counted is None else torch.from_numpy(counted),
        rotation=rotation,
        bins=bins,
    )
    save_geometry(out, grid, found.scan)
    if figure is not None:
        with complete_file(figure) as stream:
            draw_calibration(found).savefig(stream, format="png")
    typer.echo(str(found))
    typer.echo(f"wrote {out}")
