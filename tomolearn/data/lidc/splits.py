"""Splits by patient: training, validation and test."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tomolearn._core.checks import check_float, check_int
from tomolearn._core.errors import TomolearnError
from tomolearn._core.reading import parse_csv, read_json, read_text

SPLITS = ("train", "validation", "test")
FRACTIONS: Mapping[str, float] = MappingProxyType({"train": 0.8, "validation": 0.1, "test": 0.1})
"""How large the splits are by default."""

_COLUMN_NAMES = ("patientid", "patient", "patient_id", "patient id")


def first_of(names: Sequence[str]) -> str:
    """Return the first few names with commas between them."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


@dataclass(frozen=True)
class PatientSplits:
    """An assignment of patients to disjoint splits, at random or by lists.

    At random, a patient's split depends on `seed` and the patient's ID alone, so a set may grow or
    be read in pieces. The splits' sizes are `fractions` of the whole on average only.

    Parameters
    ----------
    seed : int
        Of the assignment; not negative.
    fractions : mapping of str to float
        Probability of each split; their sum is at most 1, and what is missing to 1 is left out.
    lists : mapping of str to collection of str, optional
        Patient IDs by split, in place of chance; patients in no list are left out.

    Raises
    ------
    TypeError, ValueError
        If the seed is negative, a fraction is, or they sum to more than 1, or a patient is in two
        lists.
    """

    seed: int = 0
    fractions: Mapping[str, float] = field(default_factory=lambda: FRACTIONS)
    lists: Mapping[str, frozenset[str]] | None = None

    def __post_init__(self) -> None:
        check_int("seed", self.seed, minimum=0)
        fractions = {
            split: check_float(f"fractions[{split}]", value, nonnegative=True)
            for split, value in self.fractions.items()
        }
        total = sum(fractions.values())
        if not 0 < total <= 1 + 1e-9:
            raise TomolearnError(f"fractions: expected a sum above 0 and up to 1, got {total:g}")
        object.__setattr__(self, "fractions", MappingProxyType(fractions))
        if self.lists is not None:
            lists = {split: frozenset(patients) for split, patients in self.lists.items()}
            _check_disjoint(lists)
            object.__setattr__(self, "lists", MappingProxyType(lists))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the splits."""
        return tuple(self.fractions if self.lists is None else self.lists)

    def split_of(self, patient: str) -> str | None:
        """Return the split of a patient; None if it is in none."""
        if self.lists is not None:
            return next((split for split, ids in self.lists.items() if patient in ids), None)
        digest = hashlib.sha256(f"{self.seed} {patient}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        limit = 0.0
        for split, fraction in self.fractions.items():
            limit += fraction
            if place < limit:
                return split
        return None

    def check_known(self, patients: Iterable[str]) -> None:
        """Check that every listed patient is among those that there are; errors name the others."""
        if self.lists is None:
            return
        missing = sorted(frozenset().union(*self.lists.values()) - frozenset(patients))
        if missing:
            found = f"{len(missing)} that are not: {first_of(missing)}"
            raise TomolearnError(f"patients: expected listed ones to be in the data, got {found}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, ready for JSON."""
        if self.lists is not None:
            return {"lists": {split: sorted(ids) for split, ids in self.lists.items()}}
        return {"seed": self.seed, "fractions": dict(self.fractions)}

    @classmethod
    def from_files(cls, files: Sequence[Path]) -> PatientSplits:
        """Return splits by lists.

        Parameters
        ----------
        files : sequence of Path
            Either one JSON file, an object with a list of patients, or of files in the patients'
            folders, per split; or one file per split with the split's name in its name, such as
            ``patients_train.csv``, see `read_patients`.

        Raises
        ------
        OSError, ValueError
            If a file cannot be read, its split is not clear, or as for `read_patients`.
        """
        if len(files) == 1 and files[0].suffix.lower() == ".json":
            values = read_json(files[0], "JSON")
            if not isinstance(values, dict):
                kind, found = "an object with a list of patients per split", type(values).__name__
                raise TomolearnError(f"{files[0]}: expected {kind}, got {found}")
            listed = {str(split): _patients(files[0], entries) for split, entries in values.items()}
            return cls(lists={split: frozenset(patients) for split, patients in listed.items()})
        lists: dict[str, frozenset[str]] = {}
        for path in files:
            splits = [split for split in SPLITS if split in path.stem.lower()]
            if len(splits) != 1 or splits[0] in lists:
                kind = f"one file for each of {', '.join(SPLITS)}, with the word in its name"
                raise TomolearnError(f"{path}: expected {kind}")
            lists[splits[0]] = frozenset(read_patients(path))
        return cls(lists=lists)


def read_patients(path: Path) -> tuple[str, ...]:
    """Read patient IDs from a file, each once, in the file's order.

    Parameters
    ----------
    path : Path
        ``.json``, a list; ``.csv``, its column ``PatientID`` (or ``patient``), or its only one;
        or text with one on each line.

    Raises
    ------
    OSError, ValueError
        If the file cannot be read, or has no patient IDs, or plain numbers in their place.
    """
    if path.suffix.lower() == ".json":
        return _patients(path, read_json(path, "JSON"))
    lines = [line for line in read_text(path).splitlines() if line.strip()]
    if path.suffix.lower() != ".csv":
        return _patients(path, [line.strip() for line in lines])
    rows = [[cell.strip() for cell in row] for row in parse_csv(path, lines)]
    header = [cell.lower() for cell in rows[0]] if rows else []
    columns = [k for k, cell in enumerate(header) if cell in _COLUMN_NAMES]
    if not columns and len(header) > 1:
        raise TomolearnError(f"{path}: expected a column PatientID, got {', '.join(rows[0])}")
    column = columns[0] if columns else 0
    return _patients(path, [row[column] for row in rows[len(columns) > 0 :] if len(row) > column])


def _patients(path: Path, entries: Any) -> tuple[str, ...]:
    if not isinstance(entries, list) or not entries:
        raise TomolearnError(f"{path}: expected a list of patient IDs, got {entries!r:.60}")
    found = []
    for entry in entries:
        if not isinstance(entry, str) or not entry or _is_number(entry):
            # the published lists of LoDoPaB-CT look like this
            raise TomolearnError(
                f"{path}: expected patient IDs such as LIDC-IDRI-0001, got {entry!r}; LoDoPaB-CT's "
                "patient_ids_rand files number the samples' patients at random and do not say who "
                "they are"
            )
        # of a file in a patient's folder
        found.append(entry.partition("/")[0])
    return tuple(dict.fromkeys(found))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _check_disjoint(lists: Mapping[str, frozenset[str]]) -> None:
    for one, other in combinations(lists, 2):
        if common := sorted(lists[one] & lists[other]):
            more = f", and {len(common) - 1} more" if len(common) > 1 else ""
            found = f"{common[0]} in {one} and {other}{more}"
            raise TomolearnError(f"lists: expected each patient in one split, got {found}")
