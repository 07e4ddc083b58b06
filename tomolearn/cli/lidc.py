"""``tomolearn lidc ...``: index, cache and download of LIDC-IDRI, and LoDoPaB-CT made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tomolearn._core.errors import TomolearnError
from tomolearn._core.progress import progress_bars
from tomolearn.cli.errors import CleanErrors
from tomolearn.cli.output import check_target, echo, print_table

if TYPE_CHECKING:
    from tomolearn.data.lidc import LIDCIndex, PatientSplits

lidc = typer.Typer(
    cls=CleanErrors,
    no_args_is_help=True,
    help="LIDC-IDRI: what a folder holds, caches of slices, download, LoDoPaB-CT made of it.",
)

Root = Annotated[
    Path, typer.Argument(help="Folder of patients' folders, in either published layout.")
]
Xml = Annotated[
    Path | None,
    typer.Option(help="Tree of annotations, such as LIDC-XML-only, if not next to the series."),
]
Patients = Annotated[
    list[Path] | None,
    typer.Option(
        "--patients",
        help="Lists of patients: one file per split, with train, validation or test in its name, "
        "or one JSON file for all. May be given again. Default: at random.",
    ),
]
Fractions = Annotated[
    tuple[float, float, float],
    typer.Option(help="Sizes of train, validation and test, if at random."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the splits, and of what is random else.")]
Every = Annotated[int, typer.Option(min=1, help="Every so many-th slice of each series.")]
PerPatient = Annotated[
    int | None, typer.Option(min=1, help="At most so many slices of a patient, evenly spread.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file.")]

_FRACTIONS = (0.8, 0.1, 0.1)


@lidc.command()
def index(
    root: Root,
    out: Annotated[Path, typer.Option(help="JSON file to write.")],
    xml: Xml = None,
    patients: Patients = None,
    fractions: Fractions = _FRACTIONS,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Write what each CT series is: slices, spacing, scanner, findings, nodules, split.

    Reads headers and annotations only. Radiographs and other files are counted.
    """
    check_target(out, force=force, suffixes=(".json",))
    from tomolearn.data.lidc import build_index

    splits = _splits(patients, fractions, seed)
    with _progress("patients") as (told,):
        found = build_index(root, xml=xml, splits=splits, progress=told)
    found.write(out)
    _print_index(found)
    echo(f"wrote {out}: {len(found.records)} series of {len(found.patients)} patients")


@lidc.command()
def slices(
    root: Root,
    out: Annotated[Path, typer.Argument(help="HDF5 file to write, .h5 or .hdf5.")],
    shape: Annotated[
        int, typer.Option(min=1, help="Rows, and columns, of the middle that is kept.")
    ] = 512,
    spacing: Annotated[
        float | None,
        typer.Option(help="Distance in mm of pixels to interpolate to. Default: as they are."),
    ] = None,
    body_only: Annotated[
        bool, typer.Option("--body-only", help="Make air of the table and all outside the body.")
    ] = False,
    every: Every = 1,
    per_patient: PerPatient = None,
    nodules: Annotated[bool, typer.Option("--nodules", help="Store nodule masks.")] = False,
    nodules_only: Annotated[
        bool, typer.Option("--nodules-only", help="Only slices that show a nodule.")
    ] = False,
    consensus_level: Annotated[
        float, typer.Option(help="Share of a nodule's readers who must agree on a voxel.")
    ] = 0.5,
    min_readers: Annotated[
        int, typer.Option(min=1, help="Readers, of four, who must have marked a nodule.")
    ] = 1,
    like: Annotated[
        str | None,
        typer.Option(help="Only slices as in a publication: celledoni, for the task lidc-50."),
    ] = None,
    xml: Xml = None,
    patients: Patients = None,
    fractions: Fractions = _FRACTIONS,
    seed: Seed = 0,
    force: Force = False,
) -> None:
    """Write slices to an HDF5 file, all alike, for training and tasks (`--data FILE`).

    A run that was stopped continues where it was. Series that cannot be read are left out and
    listed.
    """
    check_target(out, force=force, suffixes=(".h5", ".hdf5"))
    from tomolearn.data.lidc import Preparation, SliceSelection, write_slices

    with _progress("patients") as (told,):
        report = write_slices(
            root,
            out,
            preparation=Preparation(shape, spacing, body_only),
            selection=SliceSelection(
                every, per_patient, nodules, nodules_only, consensus_level, min_readers, like
            ),
            splits=_splits(patients, fractions, seed),
            xml=xml,
            progress=told,
        )
    for line in report.left_out:
        echo(f"left out: {line}", err=True)
    _print_splits(report.n_slices, report.n_patients, "slices")
    without = f", {report.n_without_split} patients in no split" if report.n_without_split else ""
    echo(f"wrote {out}: {sum(report.n_slices.values())} slices{without}")


@lidc.command()
def download(
    out: Annotated[Path, typer.Argument(help="Folder; made if it is missing.")],
    patients: Annotated[
        str | None,
        typer.Option(help="Patient IDs with commas between them, or a file of them. Default: all."),
    ] = None,
    n: Annotated[
        int | None, typer.Option("--n", min=1, help="The first so many patients. Default: all.")
    ] = None,
    modality: Annotated[str, typer.Option(help="CT, or the radiographs CR and DX.")] = "CT",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be downloaded, and stop.")
    ] = False,
) -> None:
    """Download series from the Imaging Data Commons, as patient/study/series/file.

    What is there already is not downloaded again. The annotations are not among it: The Cancer
    Imaging Archive has them as LIDC-XML-only (doi:10.7937/K9/TCIA.2015.LO9QL9SX).
    """
    from tomolearn.data.lidc import read_patients, select_series
    from tomolearn.data.lidc.download import idc_client

    client = idc_client()
    ids: list[str] | None = None
    if patients is not None:
        is_file = Path(patients).is_file()
        ids = list(read_patients(Path(patients))) if is_file else _listed(patients)
    chosen = select_series(patients=ids, n_patients=n, modality=modality, client=client)
    echo(
        f"{len(chosen.series_uids):,} {modality} series of {len(chosen.patients):,} patients, "
        f"{chosen.n_files:,} files, {chosen.megabytes / 1000:.1f} GB"
    )
    if dry_run:
        return
    chosen.run(out, client=client)
    echo(f"downloaded to {out}")


@lidc.command()
def lodopab(
    root: Root,
    out: Annotated[Path, typer.Argument(help="Folder; made if it is missing.")],
    patients: Patients = None,
    fractions: Fractions = _FRACTIONS,
    series: Annotated[
        Path | None,
        typer.Option(
            help="Series to choose from: the publication's series_list.json, or text with a UID on "
            "each line. Default: all."
        ),
    ] = None,
    every: Every = 3,
    per_patient: PerPatient = None,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Make files like those of LoDoPaB-CT, for the tasks lodopab and lodopab-200 (`--data OUT`).

    A run that was stopped continues where it was. Slices that are not 512 x 512, cannot be read
    or reach beyond the scanner's circle are left out and counted.
    """
    from tomolearn._core.tensors import check_device
    from tomolearn.data.lodopab import make_lodopab, read_series_list

    check_device("--device", device)
    splits = _splits(patients, fractions, seed)
    with _progress("patients", "samples") as (selecting, told):
        made = make_lodopab(
            root,
            out,
            splits=splits,
            every=every,
            per_patient=per_patient,
            series=None if series is None else read_series_list(series),
            seed=seed,
            device=device,
            selecting=selecting,
            progress=told,
        )
    for reason, number in made.left_out.items():
        echo(f"left out: {number} slices, {reason}", err=True)
    sizes = {split: len(samples) for split, samples in made.samples.items()}
    _print_splits(sizes, {split: len(made.patients(split)) for split in sizes}, "samples")
    echo(f"wrote {out}: {len(made)} samples")


def _splits(
    files: list[Path] | None, fractions: tuple[float, float, float], seed: int
) -> PatientSplits:
    from tomolearn.data.lidc import SPLITS, PatientSplits

    if files:
        return PatientSplits.from_files(files)
    return PatientSplits(seed, dict(zip(SPLITS, fractions, strict=True)))


def _listed(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise TomolearnError(f"--patients: expected IDs with commas between them, got {text!r}")
    return found


@contextmanager
def _progress(*names: str) -> Iterator[tuple[Callable[[int, int], None], ...]]:
    """Show progress bars on stderr; what is yielded is called with done and total of each."""
    with progress_bars() as progress:

        def teller(name: str) -> Callable[[int, int], None]:
            bar = progress.add_task(name, total=None)
            return lambda done, total: progress.update(bar, completed=done, total=total)

        yield tuple(teller(name) for name in names)


def _print_index(found: LIDCIndex) -> None:
    from collections import Counter

    rows: list[tuple[object, ...]] = []
    for split in (*found.splits.names, None):
        records = [record for record in found.records if record.split == split]
        if records or split is not None:
            rows.append(
                (
                    split or "none",
                    len({record.patient for record in records}),
                    len(records),
                    sum(record.n_slices for record in records),
                    sum(record.xml is not None for record in records),
                    sum(record.n_nodules or 0 for record in records),
                )
            )
    headings = ("split", "patients", "series", "slices", "with annotations", "nodules")
    _print_table(headings, rows, title=f"LIDC-IDRI in {found.root}")
    findings = Counter(
        finding.partition(":")[0] for record in found.records for finding in record.findings
    )
    for title, counts in (("files left out", found.left_out), ("findings in series", findings)):
        if counts:
            echo(f"{title}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
    for problem in found.problems:
        echo(f"annotations not read: {problem}", err=True)


def _print_splits(sizes: Mapping[str, int], patients: Mapping[str, int], what: str) -> None:
    rows = [(split, patients.get(split, 0), size) for split, size in sizes.items()]
    _print_table(("split", "patients", what), rows)


def _print_table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], *, title: str = ""
) -> None:
    """Print rows of a name and numbers."""
    cells = [(str(name), *(f"{number:,}" for number in numbers)) for name, *numbers in rows]
    print_table(headings, cells, right=headings[1:], title=title)
