"""Options of the commands that reconstruct DICOM series: scan, noise, method, output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn._core.signals import terminable
from tomolearn.cli.output import echo

if TYPE_CHECKING:
    from tomolearn.batch import BatchSettings
    from tomolearn.simulation import Acquisition

_VIEWS = {"fan": 1000, "parallel": 1000, "cone": 360}

Scan = Annotated[
    str,
    typer.Option(
        help="Simulated scan: fan, parallel, cone (of a series as one volume), or a file of "
        "save_geometry (.json)."
    ),
]
Views = Annotated[
    int | None,
    typer.Option(min=1, help="Views. Default: 1000; 360 of a cone.", show_default=False),
]
Photons = Annotated[
    float | None,
    typer.Option(help="Photons per detector element without an object. Default: no noise."),
]
ElectronicStd = Annotated[
    float, typer.Option(help="Electronic noise: standard deviation in photons.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the noise.")]
Kev = Annotated[
    float | None,
    typer.Option(help="Photon energy that sets the attenuation of water. Default: 70 keV."),
]
Method = Annotated[
    str,
    typer.Option(
        help="fbp, tv, sirt or another of the methods, trained weights (a name of `models`, or "
        "a path), or a function, file.py:name."
    ),
]
Resample = Annotated[
    bool,
    typer.Option(
        "--resample",
        help="Interpolate volumes with uneven slices to even distances; they are lost otherwise. "
        "With --scan cone.",
    ),
]
ImageDomain = Annotated[
    bool,
    typer.Option(
        "--image-domain", help="Do not scan: improve the images as they are, by tv or weights."
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=0, help="Processes on this machine. Default: one per core; 0: none, only this one."
    ),
]
Deidentify = Annotated[
    Path | None,
    typer.Option(
        help="Remove the patient's identity from results (PS3.15 basic profile); a file of mode "
        "600 with a secret key, from which new UIDs are made."
    ),
]
Log = Annotated[
    Path | None, typer.Option(help="File to which each event is added as a line, with time.")
]


def batch_settings(
    *,
    scan: str,
    views: int | None,
    photons: float | None,
    electronic_std: float,
    seed: int,
    kev: float | None,
    method: str,
    image_domain: bool,
    uncertainty: bool = False,
    calibration: Path | None = None,
    resample: bool = False,
    **settings: Any,
) -> BatchSettings:
    """Return what is done to each slice, by the options; `settings` are those of the method."""
    from tomolearn.batch import BatchSettings, batch_method
    from tomolearn.dicom import MU_WATER_PER_MM, mu_water_at

    if image_domain:
        unset = {
            "--scan": None if scan == "fan" else scan,
            "--views": views,
            "--photons": photons,
            "--electronic-std": electronic_std or None,
            "--seed": seed or None,
            "--resample": resample or None,
        }
        for flag, value in unset.items():
            if value is not None:
                raise TomolearnError(f"{flag}: expected none with --image-domain, got {value}")
    chosen, known = batch_method(method, **settings), None
    if calibration is not None:
        from tomolearn.evaluation.estimation import calibration_for

        known = calibration_for(calibration, chosen)
    return BatchSettings(
        chosen,
        None if image_domain else _acquisition(scan, views, photons, electronic_std),
        seed,
        MU_WATER_PER_MM if kev is None else mu_water_at(kev),
        uncertainty,
        known,
        resample,
    )


def _acquisition(
    scan: str, views: int | None, photons: float | None, electronic_std: float
) -> Acquisition:
    from tomolearn.geometry import load_geometry
    from tomolearn.simulation import Acquisition, CoveringScan, PhotonNoise, Refinement

    if photons is None and electronic_std:
        raise TomolearnError(
            f"--electronic-std: expected 0 without --photons, got {electronic_std:g}"
        )
    if scan in _VIEWS:
        known: Any = CoveringScan(scan, _VIEWS[scan] if views is None else views)
    elif not Path(scan).suffix:
        raise TomolearnError(f"--scan: expected fan, parallel, cone or a .json file, got {scan!r}")
    elif views is not None:
        raise TomolearnError(f"--views: expected none with a scan from a file, got {views}")
    else:
        known = load_geometry(Path(scan))[1]
    noise = None if photons is None else PhotonNoise(photons, electronic_std=electronic_std)
    return Acquisition(known, noise, Refinement("constant", 2))


@contextmanager
def stoppable() -> Iterator[None]:
    """Let a run that is told to end close its files and stop its workers, and say what is next."""
    try:
        with terminable():
            yield
    except (KeyboardInterrupt, SystemExit):
        echo("stopped; the same command goes on where it was", err=True)
        raise
