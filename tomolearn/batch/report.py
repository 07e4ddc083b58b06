"""Progress of a batch while it runs, and the report at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tomolearn._core.version import __version__
from tomolearn.batch.ledger_records import DONE
from tomolearn.dicom import SeriesIndex


class Progress(Protocol):
    """Receiver of a batch's progress."""

    def searched(self, n_done: int, n_files: int) -> None:
        """Take the numbers of files read so far and of all files of the input."""

    def planned(self, series_index: SeriesIndex, n_series: int, n_slices: int) -> None:
        """Take what was found, and how many series and slices are to be made."""

    def advanced(self, n_slices: int) -> None:
        """Take the number of slices done, or lost, since the last call."""

    def finished(self, record: Mapping[str, Any]) -> None:
        """Take the record of a finished series."""


@dataclass(frozen=True)
class BatchReport:
    """Result of a batch.

    Parameters
    ----------
    records : tuple of mapping
        One for each series of the input, as in the ledger.
    series_index : SeriesIndex
        What was found in the input.
    n_written, n_lost : int
        Slices that this run wrote, and that it lost.
    n_kept : int
        Series that were there already.
    seconds : float
        Time of this run.
    peak_mib : float or None
        Sum of the largest memory that each process of this machine's run has had, in MiB; None
        where the system does not tell.
    superseded : tuple of mapping
        Records of earlier results that are still there, of the same series as it was when it had
        other slices.
    run : str
        Identifier of the run, that of its lines in the ledger.
    """

    records: tuple[Mapping[str, Any], ...]
    series_index: SeriesIndex
    n_written: int
    n_lost: int
    n_kept: int
    seconds: float
    peak_mib: float | None
    superseded: tuple[Mapping[str, Any], ...] = ()
    run: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether every slice has its result: of every series, and none is damaged beyond that."""
        return not self.series_index.lost and all(one["status"] == DONE for one in self.records)

    def to_dict(self, *, private: bool = False) -> dict[str, Any]:
        """Return it ready for JSON: counts, the records of all series, skipped files by reason.

        Without what names patients and files of the input, if it is `private`.
        """
        hidden = ("patient", "study", "series", "description", "source", "findings", "lost")
        records = [
            {key: value for key, value in one.items() if not private or key not in hidden}
            for one in self.records
        ]
        return {
            "run": self.run,
            "version": __version__,
            "complete": bool(self.records) and self.is_complete,
            "files": self.series_index.n_files,
            "skipped": self.series_index.counts,
            "files_lost": len(self.series_index.lost),
            "slices_written": self.n_written,
            "slices_lost": self.n_lost,
            "series_kept": self.n_kept,
            "seconds": round(self.seconds, 3),
            "peak_mib": None if self.peak_mib is None else round(self.peak_mib, 1),
            "superseded": [one["output"] for one in self.superseded],
            "series": records,
        }
