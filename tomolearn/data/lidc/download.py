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

COLLECTION = "lidc_idri"

# as The Cancer Imaging Archive publishes it
_LAYOUT = "%PatientID/%StudyInstanceUID/%SeriesInstanceUID"


@dataclass(frozen=True)
class Download:
    """Series to be downloaded.

    Parameters
    ----------
    series_uids : tuple of str
        Which.
    patients : tuple of str
        Their patients, each once.
    files_per_series : tuple of int
        Number of files of each series.
    megabytes : float
        Their size, in 10^6 bytes.
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
        ImportError
            If idc-index is not installed.
        OSError
            If some did not arrive, for which the client has its reasons in the log; the same call
            goes on where it was.
        """
        Path(folder).mkdir(parents=True, exist_ok=True)
        (_client() if client is None else client).download_from_selection(
            str(folder),
            seriesInstanceUID=list(self.series_uids),
            dirTemplate=_LAYOUT,
            use_s5cmd_sync=True,
        )
        # the client reports what went wrong to the log alone
        there = {path.name: path for path in Path(folder).glob("*/*/*")}
        counts = [
            sum(path.is_file() for path in there[uid].iterdir()) if uid in there else 0
            for uid in self.series_uids
        ]
        missing = [
            (uid, found, wanted)
            for uid, found, wanted in zip(
                self.series_uids, counts, self.files_per_series, strict=True
            )
            if found < wanted
        ]
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
    n_patients : int, optional
        The first so many of them, by ID. Default: all.
    modality : str
        "CT", "CR" and "DX" are images; the collection has segmentations and measurements too.
    client : idc_index.IDCClient, optional
        Has the index. Default: a new one.

    Returns
    -------
    Download

    Raises
    ------
    ImportError
        If idc-index is not installed.
    TypeError, ValueError
        If a patient or the modality is not in the collection, or `n_patients` not positive.
    """
    index = (_client() if client is None else client).index
    index = index[index.collection_id == COLLECTION]
    check_known("modality", modality, sorted(set(index.Modality)))
    index = index[index.Modality == modality]
    if patients is not None:
        known = set(index.PatientID)
        unknown = [patient for patient in patients if patient not in known]
        if unknown:
            listed = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
            raise TomolearnError(
                f"patients: expected ones with {modality} in the collection, got "
                f"{len(unknown)} without: {listed}"
            )
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


def _client() -> Any:
    package = optional_import(
        "idc_index", purpose="downloading LIDC-IDRI", install="pip install 'tomolearn[lidc]'"
    )
    return package.IDCClient()
