"""``tomolearn reconstruct``: an image from a measured sinogram."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn.cli.method_options import method_command
from tomolearn.cli.scanner_options import (
    grid_of,
    prepared,
    refuse_scanner_options,
    scanner_options,
    split_scanner_options,
)

if TYPE_CHECKING:
    import torch

    from tomolearn.evaluation.estimation import SavedCalibration
    from tomolearn.geometry import Grid
    from tomolearn.methods import Method, UncertainMethod


@scanner_options
@method_command
def reconstruct(
    sinogram: Annotated[
        Path,
        typer.Argument(
            help="Line integrals with --scan, .npy, .npz or .h5 of shape (..., angles, detectors), "
            "of cones (..., angles, rows, columns); "
            "else a file of a scanner: Data Exchange, NXtomo, TIFF, .mat, .xtekct, .txrm, .mrc."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Image to write, float32 in 1/mm: .npy, .npz or .h5; of volumes with their place "
            "and voxel size also .mrc, .nii or .nii.gz."
        ),
    ],
    scan: Annotated[
        Path | None, typer.Option(help="Grid and scan, as save_geometry writes them.")
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="fbp, tv, sirt, ... (see the settings below), trained weights (a name of "
            "`models`, or a path), or a function of yours, file.py:name."
        ),
    ] = "fbp",
    dataset: Annotated[
        str | None, typer.Option(help="Name of the array in a .npz or .h5 file of several.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="What each measured value counts, or a mask (.npy, .npz or .h5, of the sinogram's "
            "shape or the scan's): 0 for a dead bin, in which anything may stand."
        ),
    ] = None,
    padding: Annotated[
        int,
        typer.Option(
            min=0, help="Pixels that methods that iterate add around the image and cut off again."
        ),
    ] = 0,
    calibrate: Annotated[
        str,
        typer.Option(
            help="Parameters of the scan to find from the data first, see `tomolearn calibrate`: "
            "detector_offset, ..., with commas between them. Of several slices the middle one "
            "tells. Methods that iterate take shifts of views and tilts, fbp does not."
        ),
    ] = "",
    preview: Annotated[
        Path | None,
        typer.Option(
            help="Picture (.png) of the first image, of a volume its three middle planes, for a "
            "first look."
        ),
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            help="Half-widths of intervals to write beside the image, in its formats, by a "
            "method that samples, such as ensemble, or weights of a heteroscedastic network."
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="What `tomolearn uncertainty --out` wrote. Default: standard deviations, "
            "which cover what they may."
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help="joseph, astra, odl, tomosipo or auto.")] = "auto",
    rays_per_bin: Annotated[
        int, typer.Option(min=1, help="Rays per bin: more than 1 where bins are wider than pixels.")
    ] = 1,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    **settings: Any,
) -> None:
    """Reconstruct an image from line integrals, or from a file of a scanner."""
    from tomolearn.catalogue import FromWeights, get_clinical_method
    from tomolearn.cli.output import check_target, write_array
    from tomolearn.data.arrays import ARRAY_SUFFIXES
    from tomolearn.data.volumes import VOLUME_SUFFIXES, check_volume, is_volume_name
    from tomolearn.methods import FBP

    formats = (*ARRAY_SUFFIXES, *VOLUME_SUFFIXES)
    check_target(out, force=force, suffixes=formats)
    if preview is not None:
        check_target(preview, force=force, suffixes=(".png",))
    if uncertainty is not None:
        check_target(uncertainty, force=force, suffixes=formats)
    told, settings = split_scanner_options(settings)
    chosen = get_clinical_method(method, **settings)
    uncertain = None if uncertainty is None else _uncertain(chosen)
    known = _read_calibration(chosen, uncertainty, calibration)
    free = [name.strip() for name in calibrate.split(",")] if calibrate else []
    if free and isinstance(chosen, FBP):
        _check_stays_circular(free)

    import numpy as np
    import torch

    from tomolearn._core.tensors import check_device
    from tomolearn.catalogue.trained_prior import TrainedPrior
    from tomolearn.cli.arrays import read_sinogram, read_weights
    from tomolearn.geometry import Views, load_geometry
    from tomolearn.methods import IterativeMethod
    from tomolearn.operators import RayTransform

    place = check_device("--device", device)
    if scan is not None:
        refuse_scanner_options(told)
        grid, scanner = load_geometry(scan)
        # first, so that nothing is made for a scan that is not the data's
        counted = None if weights is None else read_weights(weights, scanner.shape)
        values = read_sinogram(sinogram, dataset, scanner.shape, counted)
    elif sinogram.suffix.lower() in (".npy", ".npz") or dataset is not None:
        raise TomolearnError(f"--scan: expected a file that tells of the scanner of {sinogram}")
    else:
        values, measured, scanner, grid, _ = prepared(sinogram, told)
        if weights is not None:
            measured = measured * read_weights(weights, scanner.shape)
        # photons count for methods that can use them, dead bins for all
        counts_all = isinstance(chosen, (IterativeMethod, TrainedPrior))
        counted = measured if counts_all or not measured.all() else None
    if free:
        from tomolearn.measurements import calibrate as calibrated

        # slices share the scan: that in the middle calibrates it
        slices = values.reshape(-1, *scanner.shape)
        middle = len(slices) // 2
        one = None if counted is None else np.broadcast_to(counted, values.shape)
        found = calibrated(
            torch.from_numpy(slices[middle]),
            grid,
            scanner,
            free=free,
            weights=None if one is None else torch.from_numpy(one.reshape(slices.shape)[middle]),
        )
        scanner = found.scan
        if scan is None and not isinstance(found.scan, Views):
            grid = grid_of(scanner, told)
        if len(slices) > 1:
            typer.echo(f"calibrated by slice {middle} of {len(slices)}, for all of them")
        typer.echo(str(found))
    shape = (*values.shape[: values.ndim - len(scanner.shape)], *grid.shape)
    for target in (out, uncertainty):
        if target is not None and is_volume_name(target):
            check_volume(target, shape, grid)
    operator = RayTransform(grid, scanner, backend, rays_per_bin=rays_per_bin)
    if isinstance(chosen, FromWeights):
        chosen.prepare(place)  # reading the weights is no part of the time
    keywords: dict[str, Any] = {}
    if counted is not None:
        keywords |= chosen.weighting(torch.from_numpy(counted).to(place))
    if padding:
        if not isinstance(chosen, (IterativeMethod, TrainedPrior)):
            raise TomolearnError(
                f"padding: expected 0 with {chosen.name}, which does not iterate, got {padding}"
            )
        keywords["padding"] = padding
    start = time.perf_counter()
    data = torch.from_numpy(values).to(place)
    moments = None if uncertain is None else uncertain.moments(data, operator, **keywords)
    mean = chosen(data, operator, **keywords) if moments is None else moments.mean
    image = mean.cpu()
    seconds = time.perf_counter() - start
    write_array(out, image.numpy(), grid)
    if uncertainty is not None and moments is not None:
        from tomolearn.evaluation.estimation import half_widths

        widths, what = half_widths(moments, known)
        write_array(uncertainty, widths.cpu().numpy(), grid)
        typer.echo(f"{uncertainty}: {what}")
    if preview is not None:
        _write_preview(preview, image, grid, method)
    size = " x ".join(map(str, image.shape))
    typer.echo(f"{out}: {size}, float32, by {chosen} in {seconds:.2f} s")


def _check_stays_circular(free: list[str]) -> None:
    """Check before a calibration that filtered back-projection takes what it finds."""
    from tomolearn.measurements.calibration.parameters import gives_views

    if given := [name for name in free if gives_views(name)]:
        raise TomolearnError(
            "--calibrate: expected parameters of a circular scan with --method fbp, got "
            f"{', '.join(given)}; take a method that iterates, such as --method cgls or tv"
        )


def _uncertain(method: Method) -> UncertainMethod:
    from tomolearn.methods import UncertainMethod

    if not isinstance(method, UncertainMethod):
        raise TomolearnError(
            "--uncertainty: expected a method that samples, such as --method ensemble --members "
            "[lpd-ellipses,lgd-ellipses], or weights of a heteroscedastic network, got "
            f"{method.name}"
        )
    return method


def _read_calibration(
    method: Method, uncertainty: Path | None, calibration: Path | None
) -> SavedCalibration | None:
    """Return a calibration, which has to be that of the method."""
    if calibration is None:
        return None
    if uncertainty is None:
        raise TomolearnError("--calibration: expected with --uncertainty only")

    from tomolearn.evaluation.estimation import calibration_for

    return calibration_for(calibration, method)


def _write_preview(path: Path, image: torch.Tensor, grid: Grid, title: str) -> None:
    """Draw the first image of a batch, of a volume its three middle planes."""
    from tomolearn._core.files import complete_file
    from tomolearn.evaluation.figures import draw_images
    from tomolearn.evaluation.planes import draw_planes

    first = image.reshape(-1, *grid.shape)[0].numpy()
    if grid.ndim == 3:
        figure = draw_planes(first, unit="1/mm", spacing=grid.spacing, title=title)
    else:
        figure = draw_images({title: first}, unit="1/mm", spacing=grid.spacing)  # type: ignore[arg-type]
    with complete_file(path) as stream:
        figure.savefig(stream, format="png")
