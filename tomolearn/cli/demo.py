"""``tomolearn demo``: a real slice, scanned with few photons and reconstructed in two ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from tomolearn.cli.experiment import Measurement, Result, Settings

__all__ = ["demo"]

# demo.json is written last: where it lies, the others are complete.
_ARRAYS = ("truth", "sinogram", "fbp", "tv")
_FILES = (
    *(f"{name}.npy" for name in _ARRAYS),
    *(f"{name}.png" for name in ("truth", "fbp", "tv")),
    "scan.json",
    "demo.png",
    "demo.json",
)
_DIFFERENCES = (-200.0, 200.0)


def demo(
    slice_path: Annotated[
        Path | None,
        typer.Option("--input", help="CT slice (DICOM). Default: the one that pydicom ships."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results; made if missing.")] = Path(
        "tomolearn-demo"
    ),
    views: Annotated[int, typer.Option(min=1, help="Views over the full turn.")] = 90,
    photons: Annotated[
        float, typer.Option(help="Photons per detector element without an object.")
    ] = 20000.0,
    electronic_std: Annotated[
        float, typer.Option(help="Electronic noise: standard deviation in photons.")
    ] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    iterations: Annotated[int, typer.Option(min=1, help="Iterations of TV.")] = 300,
    weight: Annotated[
        float | None, typer.Option(help="Weight of TV in mm. Default: one that suits the noise.")
    ] = None,
    window: Annotated[
        tuple[float, float], typer.Option(help="Black and white of the pictures, in HU.")
    ] = (-500.0, 700.0),
    force: Annotated[bool, typer.Option("--force", help="Overwrite earlier results.")] = False,
) -> None:
    """Scan a real CT slice with few views and photons, and reconstruct it by FBP and TV.

    Prints PSNR, SSIM, error and time, and writes a figure, the reconstructions (.npy in 1/mm,
    .png), the sinogram with its scan, and all settings. The same seed gives the same result.
    """
    from tomolearn.cli.experiment import Settings, compare, simulate, tv_weight
    from tomolearn.cli.output import check_target
    from tomolearn.dicom import example_slice_path, read_slice

    if window[0] >= window[1]:
        raise ValueError(f"--window: expected an increasing pair, got {window[0]:g} {window[1]:g}")
    source = example_slice_path() if slice_path is None else slice_path
    ct_slice = read_slice(source)
    out.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        check_target(out / name, force=force)
    settings = Settings(views, photons, electronic_std, seed, iterations, weight)
    measurement = simulate(ct_slice, settings)
    used = tv_weight(measurement, settings) if weight is None else weight
    results = compare(measurement, weight=used, iterations=iterations, progress=sys.stderr.isatty())
    _write(out, source, settings, measurement, results, used, window)
    _print_table(results, source.name, measurement, out)


def _print_table(
    results: dict[str, Result], name: str, measurement: Measurement, out: Path
) -> None:
    from rich.console import Console
    from rich.table import Table

    from tomolearn.cli.experiment import CONVENTION

    views, bins = measurement.operator.scan.shape
    table = Table(
        title=f"{name}: fan beam, {views} views, {bins} bins",
        caption=f"PSNR and SSIM: data range {CONVENTION.psnr_range:g} HU, whole image, nothing "
        "clipped. Times: after compilation.",
    )
    for heading in ("method", "PSNR / dB", "SSIM", "RMSE / HU", "ms"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for method, result in results.items():
        table.add_row(
            method,
            f"{result.psnr:.2f}",
            f"{result.ssim:.4f}",
            f"{result.rmse:.1f}",
            f"{1000 * result.seconds:.0f}",
        )
    console = Console()
    console.print(table)
    console.print(f"Results: {out}", highlight=False, markup=False, soft_wrap=True)


def _write(
    out: Path,
    source: Path,
    settings: Settings,
    measurement: Measurement,
    results: dict[str, Result],
    weight: float,
    window: tuple[float, float],
) -> None:
    from tomolearn.cli.output import complete_file, write_array, write_text
    from tomolearn.dicom import attenuation_to_hounsfield
    from tomolearn.evaluation.figures import draw_images
    from tomolearn.geometry import save_geometry

    operator = measurement.operator
    images = {"Truth": measurement.truth} | {name: r.image for name, r in results.items()}
    (out / "demo.json").unlink(missing_ok=True)
    write_array(out / "sinogram.npy", measurement.sinogram.numpy())
    save_geometry(out / "scan.json", operator.grid, operator.scan)
    hounsfield = {}
    for name, image in images.items():
        write_array(out / f"{name.lower()}.npy", image.numpy())
        hounsfield[name] = attenuation_to_hounsfield(image).numpy()
        _write_picture(out / f"{name.lower()}.png", hounsfield[name], window)
    figure = draw_images(
        hounsfield,
        window=window,
        unit="HU",
        reference="Truth",
        difference_window=_DIFFERENCES,
        notes={
            name: f"{r.psnr:.1f} dB,  SSIM {r.ssim:.3f},  RMSE {r.rmse:.0f} HU"
            for name, r in results.items()
        },
        caption=_caption(source, settings, measurement, weight, window),
        spacing=(operator.grid.spacing[0], operator.grid.spacing[1]),
    )
    with complete_file(out / "demo.png") as stream:
        figure.savefig(stream, format="png")
    record = _record(source, settings, measurement, results, weight, window)
    write_text(out / "demo.json", json.dumps(record, indent=2, allow_nan=False) + "\n")


def _write_picture(path: Path, image: Any, window: tuple[float, float]) -> None:
    from matplotlib.image import imsave

    from tomolearn.cli.output import complete_file

    with complete_file(path) as stream:
        imsave(stream, image, cmap="gray", vmin=window[0], vmax=window[1], format="png")


def _caption(
    source: Path,
    settings: Settings,
    measurement: Measurement,
    weight: float,
    window: tuple[float, float],
) -> str:
    grid, scan = measurement.operator.grid, measurement.operator.scan
    return "\n".join(
        (
            source.name,
            f"{grid.shape[0]} × {grid.shape[1]} pixels of {grid.spacing[0]:.3g} mm",
            f"fan beam, {scan.shape[0]} views, {scan.shape[1]} bins",
            f"{settings.photons:g} photons per bin,",
            f"electronic noise {settings.electronic_std:g}",
            "FBP: Hann filter",
            f"TV: weight {weight:.3g} mm, {settings.iterations} iterations",
            f"window {window[0]:g} to {window[1]:g} HU,",
            f"differences {_DIFFERENCES[0]:g} to {_DIFFERENCES[1]:g} HU",
            "PSNR and SSIM: data range 2000 HU",
        )
    )


def _record(
    source: Path,
    settings: Settings,
    measurement: Measurement,
    results: dict[str, Result],
    weight: float,
    window: tuple[float, float],
) -> dict[str, Any]:
    from dataclasses import asdict

    from tomolearn.cli.experiment import CONVENTION
    from tomolearn.cli.info import versions
    from tomolearn.dicom import MU_WATER

    operator = measurement.operator
    return {
        "input": str(source),
        "settings": asdict(settings) | {"weight": weight, "window": list(window)},
        "mu_water": MU_WATER,
        "grid": operator.grid.to_dict(),
        "scan": operator.scan.to_dict(),
        "convention": {
            "unit": "HU",
            "psnr_range": CONVENTION.psnr_range,
            "ssim_range": CONVENTION.ssim_range,
        },
        "results": {
            name: {"psnr": r.psnr, "ssim": r.ssim, "rmse": r.rmse, "seconds": r.seconds}
            for name, r in results.items()
        },
        "versions": versions(),
    }
