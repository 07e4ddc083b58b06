"""Numbers, names and identifiers that follow from a seed and nothing else."""

from __future__ import annotations

import uuid

import numpy as np

from tomolearn._core.checks import check_int
from tomolearn._core.errors import TomolearnError

LAST_PATIENT = 9999
"""Largest patient number: the published names have four digits."""

# One stream of random numbers for each subject, so that another slice size or number of slices
# leaves the anatomy as it is.
_STREAMS = ("anatomy", "lesions", "scanner", "readers", "marks", "radiograph", "noise")

_NAMESPACE = uuid.UUID("5f0c2a3e-7f1b-5c2d-9b0e-6c1d0c1d1dc5")


def stream(seed: int, index: int, subject: str, *more: int) -> np.random.Generator:
    """Return the source of randomness of one subject of one patient.

    Parameters
    ----------
    seed : int
        Of the whole tree, at least 0.
    index : int
        Patient number.
    subject : str
        One of the subjects that have a stream of their own.
    *more : int
        Further numbers, such as that of a slice.
    """
    return np.random.default_rng((seed, index, _STREAMS.index(subject), *more))


def make_uid(*parts: object) -> str:
    """Return the DICOM UID under the root 2.25 that stands for some values, always the same."""
    return f"2.25.{uuid.uuid5(_NAMESPACE, '/'.join(str(part) for part in parts)).int}"


def digits(uid: str, n: int) -> str:
    """Return the last `n` digits of a UID."""
    return uid[-n:]


def check_index(index: object) -> int:
    """Return a patient number as an int from 1 to 9999."""
    number = check_int("index", index, minimum=1)
    if number > LAST_PATIENT:
        raise TomolearnError(
            f"index: expected a patient number from 1 to {LAST_PATIENT}, got {number}"
        )
    return number


def patient_name(index: int) -> str:
    """Return the published kind of patient ID, ``LIDC-IDRI-0001`` for number 1."""
    return f"LIDC-IDRI-{index:04d}"
