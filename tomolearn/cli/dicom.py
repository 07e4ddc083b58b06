"""``tomolearn dicom``: every series of a folder, reconstructed into a series of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn._core.printable import printable
from tomolearn._core.progress import progress_bars
from tomolearn._core.signals import terminable
from tomolearn.cli.method_options import method_command
from tomolearn.cli.output import echo, print_table

if TYPE_CHECKING:
    from rich.progress import Progress

    from tomolearn.batch import BatchReport, BatchSettings, Certificates
    from tomolearn.dicom import SeriesIndex
    from tomolearn.simulation import Acquisition

_INCOMPLETE = 1
_SHOWN = 5


@method_command
def dicom(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Folder with DICOM files anywhere below, or a file."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results.")],
    scan: Annotated[
        str,
        typer.Option(help="Simulated scan: fan, parallel, or a file of save_geometry (.json)."),
    ] = "fan",
    views: Annotated[
        int | None, typer.Option(min=1, help="Views. Default: 1000.", show_default=False)
    ] = None,
    photons: Annotated[
        float | None,
        typer.Option(help="Photons per detector element without an object. Default: no noise."),
    ] = None,
    electronic_std: Annotated[
        float, typer.Option(help="Electronic noise: standard deviation in photons.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    kev: Annotated[
        float | None,
        typer.Option(help="Photon energy that sets the attenuation of water. Default: 70 keV."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="fbp, tv, sirt or another of the methods, trained weights (a name of `models`, or "
            "a path), or a function, file.py:name."
        ),
    ] = "fbp",
    image_domain: Annotated[
        bool,
        typer.Option(
            "--image-domain", help="Do not scan: improve the images as they are, by tv or weights."
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0, help="Processes on this machine. Default: one per core; 0: none, only this one."
        ),
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Dask scheduler of a cluster, tls://host:port.")
    ] = None,
    tls_ca: Annotated[
        Path | None, typer.Option(help="Certificate of the cluster's authority (PEM).")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="Our certificate for the scheduler (PEM).")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key of --tls-cert (PEM).")] = None,
    insecure_scheduler: Annotated[
        bool,
        typer.Option(
            "--insecure-scheduler",
            help="Allow tcp:// to another machine: who reaches it can run code there.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Keep results that are there, continue unfinished series.")
    ] = True,
    retry: Annotated[
        bool, typer.Option("--retry", help="Make series that lost slices again.")
    ] = False,
    assume_hu: Annotated[
        bool,
        typer.Option(
            "--assume-hu",
            help="Take values of an unstated unit (RescaleType US) as Hounsfield units, whatever "
            "they look like.",
        ),
    ] = False,
    include_derived: Annotated[
        bool,
        typer.Option(
            "--include-derived",
            help="Take results of tomolearn among the files as input, too.",
        ),
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove results of series that had other slices when they were made."
        ),
    ] = False,
    deidentify: Annotated[
        Path | None,
        typer.Option(
            help="Remove the patient's identity from results (PS3.15 basic profile); a file of "
            "mode 600 with a secret key, from which new UIDs are made."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    **settings: Any,
) -> None:
    """Scan every CT series of a folder again, reconstruct it, and write it as a DICOM series.

    Results are valid DICOM series, one per series of the input, in a folder per study. The ledger
    (ledger.jsonl) and a page (summary.html) say what became of every series and file. A run that
    was stopped or killed is continued by the same command. Exit code 1: a slice or a file was lost,
    or there was no series.

    Each method has its settings as options. tv starts from a smooth fbp, has no negative values and
    takes 100 iterations, unless told otherwise, and with --photons a weight that suits the noise of
    each slice; with --image-domain its weight is in HU.
    """
    if workers != 0 and scheduler is None and not dry_run:
        from tomolearn.batch.forkserver import prepare_workers

        # they load torch while this process does
        prepare_workers()
    from tomolearn.batch import BatchSettings, batch_method, check_batch, run_batch
    from tomolearn.dicom import MU_WATER_PER_MM, Deidentification, find_series, mu_water_at

    if image_domain:
        unset = {
            "--scan": None if scan == "fan" else scan,
            "--views": views,
            "--photons": photons,
            "--electronic-std": electronic_std or None,
            "--seed": seed or None,
        }
        for flag, value in unset.items():
            if value is not None:
                raise TomolearnError(f"{flag}: expected none with --image-domain, got {value}")
    chosen = BatchSettings(
        batch_method(method, **settings),
        None if image_domain else _acquisition(scan, views, photons, electronic_std),
        seed,
        MU_WATER_PER_MM if kev is None else mu_water_at(kev),
    )
    key = None if deidentify is None else Deidentification.from_file(deidentify)
    certificates = _certificates(tls_ca, tls_cert, tls_key)
    if dry_run:
        check_batch(source, out)
        found = find_series(source, assume_hu=assume_hu, include_derived=include_derived)
        _show(found, chosen)
        return
    with _stoppable(), progress_bars() as bars:
        report = run_batch(
            source,
            out,
            chosen,
            workers=workers,
            scheduler=scheduler,
            certificates=certificates,
            insecure_scheduler=insecure_scheduler,
            deidentification=key,
            resume=resume,
            retry=retry,
            assume_hu=assume_hu,
            include_derived=include_derived,
            prune=prune,
            progress=_Shown(bars, private=key is not None),
        )
    _print_report(report, out, private=key is not None)
    if not report.records:
        derived = report.series_index.counts.get("result of tomolearn", 0)
        but = f" but {derived} results of tomolearn: --include-derived takes them" * bool(derived)
        echo(f"there is no CT series in {source}{but}", err=True)
    if not report.records or not report.is_complete:
        raise typer.Exit(_INCOMPLETE)


def _acquisition(
    scan: str, views: int | None, photons: float | None, electronic_std: float
) -> Acquisition:
    from tomolearn.geometry import load_geometry
    from tomolearn.simulation import Acquisition, CoveringScan, PhotonNoise, Refinement

    if photons is None and electronic_std:
        raise TomolearnError(
            f"--electronic-std: expected 0 without --photons, got {electronic_std:g}"
        )
    if scan in ("fan", "parallel"):
        known: Any = CoveringScan(scan, 1000 if views is None else views)
    elif not Path(scan).suffix:
        raise TomolearnError(f"--scan: expected fan, parallel or a .json file, got {scan!r}")
    elif views is not None:
        raise TomolearnError(f"--views: expected none with a scan from a file, got {views}")
    else:
        known = load_geometry(Path(scan))[1]
    noise = None if photons is None else PhotonNoise(photons, electronic_std=electronic_std)
    return Acquisition(known, noise, Refinement("constant", 2))


def _certificates(ca: Path | None, cert: Path | None, key: Path | None) -> Certificates | None:
    from tomolearn.batch import Certificates

    given = {"--tls-ca": ca, "--tls-cert": cert, "--tls-key": key}
    if not any(given.values()):
        return None
    if ca is None or cert is None or key is None:
        missing = " and ".join(name for name, value in given.items() if value is None)
        raise TomolearnError(f"{missing}: expected with {', '.join(given)}, got none")
    return Certificates(ca, cert, key)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let a run that is told to end close its files and stop its workers, and say what is next."""
    try:
        with terminable():
            yield
    except (KeyboardInterrupt, SystemExit):
        echo("stopped; the same command goes on where it was", err=True)
        raise


class _Shown:
    """Shows the progress on a terminal; elsewhere says one line per series."""

    def __init__(self, bars: Progress, *, private: bool) -> None:
        self._bar, self._private = bars, private
        self._task = bars.add_task("looking for series", total=None, unit="files")

    def searched(self, n_done: int, n_files: int) -> None:
        self._bar.update(self._task, completed=n_done, total=n_files)

    def planned(self, series_index: SeriesIndex, n_series: int, n_slices: int) -> None:
        text = f"{n_series} of {len(series_index.series)} series"
        self._bar.reset(self._task, total=n_slices, description=text, unit="slices")
        echo(
            f"{series_index.n_files} files: {len(series_index.series)} series, {n_series} to do, "
            f"{n_slices} slices; {_skipped(series_index)}",
            err=True,
        )

    def advanced(self, n_slices: int) -> None:
        self._bar.advance(self._task, n_slices)

    def finished(self, record: Mapping[str, Any]) -> None:
        found = "".join(f"; {one['kind']}" for one in record["findings"])
        found += "".join(f"; warning: {text}" for text in record["warnings"])
        # what is shown here stays in logs
        name = record["derived"] if self._private else f"{record['patient']} {record['source']}"
        self._bar.console.print(
            printable(
                f"{record['status']}: {name}, {record['written']} of {record['slices']} "
                f"slices{found}"
            ),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _skipped(series_index: SeriesIndex) -> str:
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(series_index.counts.items()))
    return f"skipped: {reasons or 'none'}"


def _show(series_index: SeriesIndex, settings: BatchSettings) -> None:
    rows = []
    for series in series_index.series:
        findings = "\n".join(f"{one.kind}: {one.detail}" for one in series.findings)
        series_name = series.description or series.uid
        rows.append((series.patient_id, series_name, str(len(series)), findings))
    caption = f"{series_index.n_files} files, {_skipped(series_index)}"
    heads = ("patient", "series", "slices", "found")
    print_table(heads, rows, title=str(settings), caption=caption)


def _print_report(report: BatchReport, out: Path, *, private: bool) -> None:
    from tomolearn.batch import LEDGER, SUMMARY

    forms = {"rmse_hu": ".1f", "psnr": ".2f", "ssim": ".4f"}
    rows = []
    for record in report.records:
        series = (record["patient"], record["description"] or record["source"], record["status"])
        if private:
            series = ("", record["derived"], record["status"])
        agreement = (_number(record["agreement"][name], form) for name, form in forms.items())
        rows.append((*series, f"{record['written']} / {record['slices']}", *agreement))
    heads = ("patient", "series", "status", "slices", "RMSE / HU", "PSNR / dB", "SSIM")
    caption = "RMSE and PSNR within the body, data range 2000 HU."
    print_table(heads, rows, right=heads[3:], caption=caption)
    memory = "" if report.peak_mib is None else f", peak memory at most {report.peak_mib:.0f} MiB"
    rate = report.n_written / report.seconds
    echo(
        f"{report.n_written} slices in {report.seconds:.1f} s, {rate:.2f} a second{memory}; "
        f"{report.n_kept} series were there, {report.n_lost} slices lost, "
        f"{_skipped(report.series_index)}"
    )
    known = {one.path for series in report.series_index.series for one in series.lost}
    lost = report.series_index.lost
    for files, what in (
        ([one for one in lost if one.path in known], "cannot be read as slices of their series"),
        ([one for one in lost if one.path not in known], "may have been slices are in no series"),
    ):
        if files:
            where = f"the ledger names them: {out / LEDGER}" if private else "such as:"
            echo(f"{len(files)} files that {what}, {where}")
        for one in () if private else files[:_SHOWN]:
            echo(f"  {one.path}: {one.detail}")
    others = [
        one
        for one in report.series_index.skipped
        if one.reason == "no Hounsfield units" and not one.is_lost
    ]
    if others:
        echo(f"{len(others)} files are in no series for want of Hounsfield units, such as:")
        echo(f"  {others[0].detail}" if private else f"  {others[0].path}: {others[0].detail}")
    if n_old := len(report.superseded):
        echo(
            f"{n_old} results are superseded, of series that had other slices: the summary names "
            "them, --prune removes them"
        )
    echo(f"Results: {out}, {out / SUMMARY}, {out / LEDGER}")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
