"""``tomolearn dicom``: every series of a folder, reconstructed into a series of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn._core.printable import printable
from tomolearn._core.progress import progress_bars
from tomolearn.cli import batch_options
from tomolearn.cli.method_options import method_command
from tomolearn.cli.output import echo, log_file, print_table

if TYPE_CHECKING:
    from rich.progress import Progress

    from tomolearn.batch import BatchReport, BatchSettings, Certificates
    from tomolearn.dicom import Deidentification, SeriesIndex

_INCOMPLETE = 1
_SHOWN = 5


@method_command
def dicom(
    source: Annotated[
        Path,
        typer.Argument(metavar="IN", help="Folder with DICOM files anywhere below, or a file."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for the results.")],
    scan: batch_options.Scan = "fan",
    views: batch_options.Views = None,
    photons: batch_options.Photons = None,
    electronic_std: batch_options.ElectronicStd = 0.0,
    seed: batch_options.Seed = 0,
    kev: batch_options.Kev = None,
    method: batch_options.Method = "fbp",
    image_domain: batch_options.ImageDomain = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Write half-widths of intervals in HU beside each slice, as a series of "
            "Parametric Maps, by a method that samples or weights of a heteroscedastic network.",
        ),
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="What `tomolearn uncertainty --out` wrote. Default: standard deviations, which "
            "cover what they may."
        ),
    ] = None,
    resample: batch_options.Resample = False,
    workers: batch_options.Workers = None,
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
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only files whose path or name fits, as '*/chest/*'."),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="No files whose path or name fits.")
    ] = None,
    description: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only series with such a description; '!*' negates."),
    ] = None,
    kernel: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only series with such a kernel.")
    ] = None,
    image_type: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Only images with such an ImageType, as ORIGINAL."),
    ] = None,
    patient: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only patients with such an ID.")
    ] = None,
    minimum_slices: Annotated[
        int, typer.Option(min=1, help="Only series with at least so many slices.")
    ] = 1,
    name_template: Annotated[
        str,
        typer.Option(
            help="Folders of results, of {patient}, {study}, {series}, {source_series}, {number}, "
            "{description}, {study_description}, {kernel}, {method}, {settings}."
        ),
    ] = "{study}/{series}",
    patient_id: Annotated[
        str | None,
        typer.Option(help="With --deidentify: PatientID and name of the one patient's results."),
    ] = None,
    deidentify: batch_options.Deidentify = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Only show what would be done, with each skipped file and why."
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object, and nothing else.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    log: batch_options.Log = None,
    **settings: Any,
) -> None:
    """Scan every CT series of a folder again, reconstruct it, and write it as a DICOM series.

    Results are valid DICOM series, one per series of the input, in a folder per study. The ledger
    (ledger.jsonl) and a page (summary.html) say what became of every series and file. A run that
    was stopped or killed is continued by the same command. Exit code 1: a slice or a file was lost,
    or there was no series; --dry-run ends with that code, too.

    Patterns are those of shells and do not tell capitals from small letters; an option may be
    given several times, of which one has to fit, and a pattern that begins with ! must not.

    Each method has its settings as options. tv starts from a smooth fbp, has no negative values and
    takes 100 iterations, unless told otherwise, and with --photons a weight that suits the noise of
    each slice; with --image-domain its weight is in HU.
    """
    if workers != 0 and scheduler is None and not dry_run:
        from tomolearn.batch.forkserver import prepare_workers

        # they load torch while this process does
        prepare_workers()
    from tomolearn.batch import check_batch, run_batch
    from tomolearn.dicom import Deidentification, SeriesFilter, find_series

    if patient_id is not None and deidentify is None:
        raise TomolearnError(f"--patient-id: expected with --deidentify, got {patient_id!r} alone")
    if as_json and quiet:
        raise TomolearnError("--quiet: expected none with --json, which prints nothing else")
    chosen = batch_options.batch_settings(
        scan=scan,
        views=views,
        photons=photons,
        electronic_std=electronic_std,
        seed=seed,
        kev=kev,
        method=method,
        image_domain=image_domain,
        uncertainty=uncertainty,
        calibration=calibration,
        resample=resample,
        **settings,
    )
    select = SeriesFilter(
        include=include or (),
        exclude=exclude or (),
        description=description or (),
        kernel=kernel or (),
        image_type=image_type or (),
        patient=patient or (),
        minimum_slices=minimum_slices,
    )
    key = None
    if deidentify is not None:
        key = Deidentification.from_file(deidentify, patient_id=patient_id)
    certificates = _certificates(tls_ca, tls_cert, tls_key)
    silent = quiet or as_json
    if dry_run:
        check_batch(source, out)
        found = find_series(
            source, without=out, assume_hu=assume_hu, include_derived=include_derived, select=select
        )
        _check_plan(found, out, chosen, key, name_template)
        if not silent:
            _show(found, chosen)
        elif as_json:
            typer.echo(json.dumps(_planned(found), ensure_ascii=True))
        _no_series(found, source)
        if not found.series or found.lost:
            raise typer.Exit(_INCOMPLETE)
        return
    with (
        batch_options.stoppable(),
        log_file(log) as logged,
        progress_bars(False if silent else None) as bars,
    ):
        logged(f"begin: {source} to {out}, {chosen}")
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
            select=select,
            name_template=name_template,
            progress=_Shown(bars, logged, private=key is not None, silent=silent),
        )
        logged(
            f"end: run {report.run}, {report.n_written} slices written, {report.n_lost} lost, "
            f"{report.n_kept} series were there, {_skipped(report.series_index)}"
        )
    if as_json:
        summary = report.to_dict(private=key is not None)
        typer.echo(json.dumps(summary, ensure_ascii=True, allow_nan=False))
    elif not quiet:
        _print_report(report, out, private=key is not None)
    _no_series(report.series_index, source)
    if not report.records or not report.is_complete:
        raise typer.Exit(_INCOMPLETE)


def _certificates(ca: Path | None, cert: Path | None, key: Path | None) -> Certificates | None:
    from tomolearn.batch import Certificates

    given = {"--tls-ca": ca, "--tls-cert": cert, "--tls-key": key}
    if not any(given.values()):
        return None
    if ca is None or cert is None or key is None:
        missing = " and ".join(name for name, value in given.items() if value is None)
        raise TomolearnError(f"{missing}: expected with {', '.join(given)}, got none")
    return Certificates(ca, cert, key)


class _Shown:
    """Shows the progress on a terminal; elsewhere, and in the log, says one line per series."""

    def __init__(
        self, bars: Progress, logged: Callable[[str], None], *, private: bool, silent: bool
    ) -> None:
        self._bar, self._logged, self._private, self._silent = bars, logged, private, silent
        self._task = bars.add_task("looking for series", total=None, unit="files")

    def searched(self, n_done: int, n_files: int) -> None:
        self._bar.update(self._task, completed=n_done, total=n_files)

    def planned(self, series_index: SeriesIndex, n_series: int, n_slices: int) -> None:
        text = f"{n_series} of {len(series_index.series)} series"
        self._bar.reset(self._task, total=n_slices, description=text, unit="slices")
        found = (
            f"{series_index.n_files} files: {len(series_index.series)} series, {n_series} to do, "
            f"{n_slices} slices; {_skipped(series_index)}"
        )
        self._logged(found)
        if not self._silent:
            echo(found, err=True)

    def advanced(self, n_slices: int) -> None:
        self._bar.advance(self._task, n_slices)

    def finished(self, record: Mapping[str, Any]) -> None:
        found = "".join(f"; {one['kind']}" for one in record["findings"])
        found += "".join(f"; warning: {text}" for text in record["warnings"])
        # what is shown here stays in logs
        name = record["derived"]
        if not self._private:
            name = f"{record['patient']} {record['description'] or record['source']}"
        line = (
            f"{record['status']}: {name}, {record['written']} of {record['slices']} slices{found}"
        )
        self._logged(line)
        if self._silent:
            return
        self._bar.console.print(printable(line), markup=False, highlight=False, soft_wrap=True)


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
    for one in series_index.skipped:
        lost = ", lost" if one.is_lost else ""
        echo(f"  {one.path}: {one.reason}{lost}: {one.detail}")


def _planned(series_index: SeriesIndex) -> dict[str, Any]:
    """Return what a dry run found, ready for JSON."""
    return {
        "files": series_index.n_files,
        "complete": bool(series_index.series) and not series_index.lost,
        "series": [
            {
                "patient": one.patient_id,
                "study": one.study_uid,
                "series": one.uid,
                "description": one.description,
                "slices": len(one),
                "findings": [
                    {"kind": str(found.kind), "detail": found.detail} for found in one.findings
                ],
            }
            for one in series_index.series
        ],
        "skipped": [
            {
                "path": str(one.path),
                "reason": str(one.reason),
                "detail": one.detail,
                "lost": one.is_lost,
            }
            for one in series_index.skipped
        ],
    }


def _check_plan(
    series_index: SeriesIndex,
    out: Path,
    settings: BatchSettings,
    removal: Deidentification | None,
    name_template: str,
) -> None:
    """Raise what the run itself would raise before it begins."""
    from tomolearn.batch import ResultNames, check_patients, derived_series

    check_patients(series_index, removal)
    made = derived_series(series_index.series, settings, removal)
    ResultNames(name_template).places(made, settings)


def _no_series(series_index: SeriesIndex, source: Path) -> None:
    """Say on stderr why there is no series, if there is none."""
    if series_index.series:
        return
    counts = series_index.counts
    derived, archives = counts.get("result of tomolearn", 0), counts.get("archive", 0)
    refused = counts.get("not asked for", 0) + counts.get("excluded", 0)
    hints = [
        f"{derived} results of tomolearn: --include-derived takes them" if derived else "",
        f"{archives} archives: unpack them first" if archives else "",
        f"{refused} files that the filters leave out" if refused else "",
    ]
    said = " and ".join(filter(None, hints))
    echo(f"there is no CT series in {source}{' but ' * bool(said)}{said}", err=True)


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
