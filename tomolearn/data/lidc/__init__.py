"""LIDC-IDRI: folders, annotations, splits by patient, and caches of slices."""

from tomolearn.data.lidc.annotations import (
    CHARACTERISTICS,
    Annotations,
    Contour,
    Nodule,
    NonNodule,
    read_annotations,
)
from tomolearn.data.lidc.cache import CacheReport, SliceSelection, write_slices
from tomolearn.data.lidc.download import Download, select_series
from tomolearn.data.lidc.index import LIDCIndex, SeriesRecord, build_index
from tomolearn.data.lidc.masks import (
    Consensus,
    SlicePositions,
    cluster_nodules,
    consensus,
    outline_mask,
    slice_mask,
)
from tomolearn.data.lidc.preparation import Preparation
from tomolearn.data.lidc.slices import LIDCSlices
from tomolearn.data.lidc.splits import FRACTIONS, SPLITS, PatientSplits, read_patients

__all__ = [
    "CHARACTERISTICS",
    "FRACTIONS",
    "SPLITS",
    "Annotations",
    "CacheReport",
    "Consensus",
    "Contour",
    "Download",
    "LIDCIndex",
    "LIDCSlices",
    "Nodule",
    "NonNodule",
    "PatientSplits",
    "Preparation",
    "SeriesRecord",
    "SlicePositions",
    "SliceSelection",
    "build_index",
    "cluster_nodules",
    "consensus",
    "outline_mask",
    "read_annotations",
    "read_patients",
    "select_series",
    "slice_mask",
    "write_slices",
]
