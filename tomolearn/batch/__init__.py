"""Folders of DICOM series in, folders of reconstructed series out."""

from tomolearn.batch.agreement import Agreement, SeriesAgreement, compare
from tomolearn.batch.execution import THUMBNAILS
from tomolearn.batch.ledger import Ledger, read_ledger
from tomolearn.batch.report import BatchReport, Progress
from tomolearn.batch.run import LEDGER, SUMMARY, check_batch, run_batch
from tomolearn.batch.settings import BatchSettings, SimulatedScan

__all__ = [
    "LEDGER",
    "SUMMARY",
    "THUMBNAILS",
    "Agreement",
    "BatchReport",
    "BatchSettings",
    "Ledger",
    "Progress",
    "SeriesAgreement",
    "SimulatedScan",
    "check_batch",
    "compare",
    "read_ledger",
    "run_batch",
]
