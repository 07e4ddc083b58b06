"""Download of LIDC-IDRI from the Imaging Data Commons."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tomolearn._core.checks import check_int, check_known
from tomolearn._core.errors import TomolearnError
from tomolearn._core.optional import optional_import
from tomolearn.data.lidc.splits import first_of

COLLECTION = "lidc_idri"

# as The Cancer Imaging Archive publishes it
_LAYOUT = "%PatientID/%StudyInstanceUID/%SeriesInstanceUID"


@dataclass(frozen=True)
class Download:
    """Series to be downloaded.

    Parameters
    ----------
    series_uids, patients : tuple of str
        Which, and their patients, each once.
    files_per_series, megabytes : tuple of int, float
        Number of files of each series; their size, in 10^6 bytes.
    """

    series_uids: tuple[str, ...]
    patients: tuple[str, ...]
    files_per_series: tuple[int, ...]
    megabytes: float

    @property
    def n_files(self) -> int:
        """Number of files."""
        return sum(self.files_per_series)

    def run(self, folder: str | os.PathLike[str], *, client: Any = None) -> None:
        """Download them, those that are not there yet, as ``patient/study/series/file``.

        Parameters
        ----------
        folder : path-like
            Made if it is missing.
        client : idc_index.IDCClient, optional
            Does it. Default: a new one.

        Raises
        ------
        ImportError, OSError
            If idc-index is not installed; if some did not arrive, for which the client has its
            reasons in the log; the same call goes on where it was.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        options = {"dirTemplate": _LAYOUT, "use_s5cmd_sync": True}
        (client or idc_client()).download_from_selection(
            str(folder), seriesInstanceUID=list(self.series_uids), **options
        )
        # the client reports what went wrong to the log alone
        there = {path.name: path for path in Path(folder).glob("*/*/*")}
        counts = [
            sum(path.is_file() for path in there[uid].iterdir()) if uid in there else 0
            for uid in self.series_uids
        ]
        numbers = zip(self.series_uids, counts, self.files_per_series, strict=True)
        missing = [(uid, found, wanted) for uid, found, wanted in numbers if found < wanted]
        if missing:
            uid, found, wanted = missing[0]
            raise OSError(
                f"{folder}: expected {len(self.series_uids)} series, got {len(missing)} "
                f"incomplete, the first {uid} with {found} of {wanted} files; run it again to go on"
            )


def select_series(
    *,
    patients: Sequence[str] | None = None,
    n_patients: int | None = None,
    modality: str = "CT",
    client: Any = None,
) -> Download:
    """Choose series of LIDC-IDRI from the index that comes with idc-index; nothing is downloaded.

    Parameters
    ----------
    patients : sequence of str, optional
        Patient IDs such as "LIDC-IDRI-0001". Default: all.
    n_patients, modality : int, str, optional
        The first so many of them, by ID (default: all); "CT", "CR" and "DX" are images, the
        collection has segmentations and measurements too.
    client : idc_index.IDCClient, optional
        Has the index. Default: a new one.

    Raises
    ------
    ImportError, TypeError, ValueError
        If idc-index is not installed, a patient or the modality is not in the collection, or
        `n_patients` not positive.
    """
    index = (client or idc_client()).index
    index = index[index.collection_id == COLLECTION]
    check_known("modality", modality, sorted(set(index.Modality)))
    index = index[index.Modality == modality]
    if patients is not None:
        known = set(index.PatientID)
        unknown = [patient for patient in patients if patient not in known]
        if unknown:
            kind, found = f"ones with {modality} in the collection", f"{len(unknown)} without"
            raise TomolearnError(f"patients: expected {kind}, got {found}: {first_of(unknown)}")
        index = index[index.PatientID.isin(list(patients))]
    index = index.sort_values(["PatientID", "SeriesInstanceUID"])
    if n_patients is not None:
        first = sorted(set(index.PatientID))[: check_int("n_patients", n_patients, minimum=1)]
        index = index[index.PatientID.isin(first)]
    return Download(
        tuple(index.SeriesInstanceUID),
        tuple(dict.fromkeys(index.PatientID)),
        tuple(map(int, index.instanceCount)),
        float(index.series_size_MB.sum()),
    )


def idc_client() -> Any:
    """Return a new client of the Imaging Data Commons."""
    package = optional_import(
        "idc_index", purpose="downloading LIDC-IDRI", install="pip install 'tomolearn[lidc]'"
    )
    return package.IDCClient()
