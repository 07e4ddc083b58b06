"""The files that `tomolearn demo` leaves."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tomolearn._core.files import complete_file
from tomolearn._core.version import versions
from tomolearn.cli.output import check_target, write_array, write_text
from tomolearn.dicom import MU_WATER_PER_MM, CTSlice, attenuation_to_hounsfield
from tomolearn.evaluation import Comparison
from tomolearn.evaluation.figures import draw_images
from tomolearn.evaluation.low_dose import CONVENTION, Experiment, within_border
from tomolearn.geometry import save_geometry

_IMAGES = ("truth", "fbp", "tv")
# Written last: where it lies, the others are complete.
_RECORD = "demo.json"
_LEARNED_FIGURE, _LEARNED_TABLE = "learned.png", "learned.md"
_FILES = (
    *(f"{name}{suffix}" for name in _IMAGES for suffix in (".npy", ".png")),
    "sinogram.npy",
    "scan.json",
    "demo.png",
    _LEARNED_FIGURE,
    _LEARNED_TABLE,
    _RECORD,
)
_DIFFERENCES = (-200.0, 200.0)


def check_folder(folder: Path, *, force: bool) -> None:
    """Make the folder if it is missing, and check that the results can be written into it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        check_target(folder / name, force=force)


def write_results(
    folder: Path,
    name: str,
    ct_slice: CTSlice,
    experiment: Experiment,
    window: tuple[float, float],
) -> None:
    """Write arrays, pictures with a `window` in HU, the figure and the record."""
    from matplotlib.image import imsave

    measurement = experiment.measurement
    operator = measurement.operator
    (folder / _RECORD).unlink(missing_ok=True)
    write_array(folder / "sinogram.npy", measurement.sinogram.numpy())
    save_geometry(folder / "scan.json", operator.grid, operator.scan)
    shown: dict[str, NDArray[Any]] = {}
    images = {"Truth": measurement.truth}
    images |= {method: result.image for method, result in experiment.results.items()}
    for title, image in images.items():
        write_array(folder / f"{title.lower()}.npy", image.numpy())
        shown[title] = within_border(attenuation_to_hounsfield(image).numpy())
        with complete_file(folder / f"{title.lower()}.png") as stream:
            low, high = window
            imsave(stream, shown[title], cmap="gray", vmin=low, vmax=high, format="png")
    figure = draw_images(
        shown,
        window=window,
        unit="HU",
        reference="Truth",
        difference_window=_DIFFERENCES,
        notes={
            method: f"{result.psnr:.1f} dB,  SSIM {result.ssim:.3f},  RMSE {result.rmse:.0f} HU"
            for method, result in experiment.results.items()
        },
        caption=_caption(name, experiment, window),
        spacing=ct_slice.spacing,
    )
    with complete_file(folder / "demo.png") as stream:
        figure.savefig(stream, format="png")
    record = _record(name, ct_slice, experiment, window)
    write_text(folder / _RECORD, json.dumps(record, indent=2, allow_nan=False) + "\n")


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write table and figure of the learned methods' test."""
    from tomolearn.evaluation.tables import markdown_table

    write_text(folder / _LEARNED_TABLE, markdown_table(comparison))
    with complete_file(folder / _LEARNED_FIGURE) as stream:
        comparison.draw().savefig(stream, format="png")


def _caption(name: str, experiment: Experiment, window: tuple[float, float]) -> str:
    settings = experiment.settings
    grid, scan = experiment.measurement.operator.grid, experiment.measurement.operator.scan
    photons, electronics = f"{settings.photons:,.0f}", f"{settings.electronic_std:g}"
    return "\n".join(
        (
            f"{name}, {grid.shape[0]} × {grid.shape[1]} pixels of {grid.spacing[0]:.3g} mm",
            f"Fan beam, {scan.shape[0]} views, {scan.shape[1]} bins",
            f"{photons} photons per bin, electronic noise {electronics}",
            f"FBP: Hann filter, cut-off {settings.frequency_scaling:g} Nyquist",
            f"TV: weight {settings.weight:.3g} mm, {settings.iterations} iterations",
            f"Grey scale {_range(window)}",
            f"Differences {_range(_DIFFERENCES)}",
            f"PSNR and SSIM: data range {CONVENTION.psnr_range:g} HU",
        )
    )


def _range(window: tuple[float, float]) -> str:
    return f"{window[0]:g} to {window[1]:g} HU".replace("-", "−")


def _record(
    name: str, ct_slice: CTSlice, experiment: Experiment, window: tuple[float, float]
) -> dict[str, Any]:
    operator = experiment.measurement.operator
    return {
        "input": {"name": name, "sop_instance_uid": ct_slice.sop_instance_uid},
        "settings": asdict(experiment.settings) | {"window": list(window)},
        "mu_water": MU_WATER_PER_MM,
        "grid": operator.grid.to_dict(),
        "scan": operator.scan.to_dict(),
        "convention": {
            "unit": "HU",
            "psnr_range": CONVENTION.psnr_range,
            "ssim_range": CONVENTION.ssim_range,
            "region": "without the outermost 4 pixels",
        },
        "results": {
            method: {name: getattr(result, name) for name in ("psnr", "ssim", "rmse", "seconds")}
            for method, result in experiment.results.items()
        },
        "versions": versions(),
    }
