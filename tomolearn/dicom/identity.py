"""Identity of the patient and study of a file, and contradictions between identities."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from pydicom.dataset import Dataset

from tomolearn.dicom.elements import sequence_items, tag_name, text

_ELEMENT_OF: Final[Mapping[str, str]] = {
    "study_uid": "StudyInstanceUID",
    "patient_id": "PatientID",
    "issuer": "IssuerOfPatientID",
    "authority": "IssuerOfPatientIDQualifiersSequence",
    "name": "PatientName",
    "ideographic_name": "PatientName",
    "phonetic_name": "PatientName",
    "birth_year": "PatientBirthDate",
    "birthday": "PatientBirthDate",
    "sex": "PatientSex",
}

IDENTITY_KEYWORDS: Final = tuple(dict.fromkeys(_ELEMENT_OF.values()))
"""Elements that an identity is read from."""

_PREFIX = 3  # of the components of a name: family, given, middle, prefix, suffix
_BETWEEN_NAMES = re.compile(r"[\s,^]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of patient and study as files state it; empty where they do not.

    Values are in a form in which the same ones are equal, however they were written.

    Parameters
    ----------
    study_uid, patient_id : str
        StudyInstanceUID and PatientID, as written.
    issuer, authority : str
        Who gave the PatientID: IssuerOfPatientID, and UniversalEntityID of its qualifiers.
    name, ideographic_name, phonetic_name : str
        Component groups of PatientName: small letters, blanks between the components, no title.
    birth_year, birthday : str
        YYYY and MMDD of PatientBirthDate, of which the second or both may be unknown.
    sex : str
        M or F.
    disputed : bool
        Whether files of another patient have identifiers of this one's series.
    """

    study_uid: str = ""
    patient_id: str = ""
    issuer: str = ""
    authority: str = ""
    name: str = ""
    ideographic_name: str = ""
    phonetic_name: str = ""
    birth_year: str = ""
    birthday: str = ""
    sex: str = ""
    disputed: bool = False

    @classmethod
    def joined(cls, identities: Iterable[Self], *, disputed: bool = False) -> Self:
        """Return all that identities state of which no two contradict each other."""
        parts = tuple(identities)
        values = {key: max(getattr(one, key) for one in parts) for key in _ELEMENT_OF}
        return cls(**values, disputed=disputed)

    @property
    def person(self) -> str:
        """Text that is the same for files of one patient, and another one for other patients."""
        birth_date = self.birth_year + self.birthday
        names = (self.name, self.ideographic_name, self.phonetic_name)
        if self.disputed:  # none of these tells the patients apart by itself
            stated = (self.patient_id, self.issuer, self.authority, *names, birth_date, self.sex)
            if any(stated):
                return "\\".join(stated)
        if self.patient_id:
            return "\\".join(filter(None, (self.patient_id, self.issuer, self.authority)))
        if any(names):
            return "\\".join(filter(None, (next(filter(None, names)), birth_date)))
        return self.study_uid

    @property
    def n_stated(self) -> int:
        """Number of values that are stated."""
        return sum(bool(getattr(self, key)) for key in _ELEMENT_OF)

    def contradictions(self, other: Identity) -> tuple[str, ...]:
        """Return the elements, by keyword, that both state, and differently."""
        pairs = ((key, getattr(self, key), getattr(other, key)) for key in _ELEMENT_OF)
        differing = (_ELEMENT_OF[key] for key, one, two in pairs if one and two and one != two)
        return tuple(dict.fromkeys(differing))


def stated_identity(dataset: Dataset) -> Identity:
    """Return the identity that a file states."""
    groups = [_name(group) for group in text(dataset, "PatientName").split("=")]
    name, ideographic, phonetic = (*groups, "", "", "")[:3]
    year, day = _birth_date(text(dataset, "PatientBirthDate"))
    sex = text(dataset, "PatientSex").upper()
    return Identity(
        text(dataset, "StudyInstanceUID"),
        text(dataset, "PatientID"),
        _plain(text(dataset, "IssuerOfPatientID")),
        _authority(dataset),
        name,
        ideographic,
        phonetic,
        year,
        day,
        sex if sex in ("M", "F") else "",  # O, other, is written for unknown too
    )


def identity_groups(
    identities: Iterable[Identity],
) -> list[tuple[Identity, tuple[Identity, ...]]]:
    """Return groups of identities that belong together, each with what they state together.

    Those belong together that contradict the same others: then none of them contradicts another
    one, and what could be of either of two patients is of neither. The order does not matter.
    """
    known = tuple(dict.fromkeys(identities))
    patients = _contradicting([replace(one, study_uid="") for one in known])
    groups: dict[int, list[int]] = {}
    for place, others in enumerate(_contradicting(known)):
        groups.setdefault(others, []).append(place)
    found = []
    for places in groups.values():
        members = tuple(known[place] for place in places)
        disputed = any(patients[place] for place in places)
        found.append((Identity.joined(members, disputed=disputed), members))
    return found


def differing_elements(identities: Iterable[Identity]) -> tuple[str, ...]:
    """Return names and tags of the elements in which some identities contradict each other."""
    known = tuple(identities)
    differing = (
        element
        for key, element in _ELEMENT_OF.items()
        if len({getattr(one, key) for one in known} - {""}) > 1
    )
    return tuple(tag_name(element) for element in dict.fromkeys(differing))


def _contradicting(identities: Sequence[Identity]) -> list[int]:
    """Return for each identity those that it contradicts, one bit for each."""
    stating = dict.fromkeys(_ELEMENT_OF, 0)
    having: dict[tuple[str, str], int] = {}
    for place, one in enumerate(identities):
        for key in _ELEMENT_OF:
            if value := getattr(one, key):
                stating[key] |= 1 << place
                having[key, value] = having.get((key, value), 0) | 1 << place
    found = []
    for one in identities:
        others = 0
        for key in _ELEMENT_OF:
            if value := getattr(one, key):
                others |= stating[key] & ~having[key, value]
        found.append(others)
    return found


def _authority(dataset: Dataset) -> str:
    try:
        items = sequence_items(dataset, "IssuerOfPatientIDQualifiersSequence")
        return _plain("\\".join(text(item, "UniversalEntityID") for item in items))
    except ValueError:  # too good a file to be skipped for it
        return ""


def _name(group: str) -> str:
    """Return a component group of a name as it is compared.

    Capitals, blanks and carets are written as one likes, titles are added and left out.
    """
    components = _plain(group).split("^")
    del components[_PREFIX : _PREFIX + 1]
    return " ".join(filter(None, _BETWEEN_NAMES.split(" ".join(components))))


def _birth_date(written: str) -> tuple[str, str]:
    """Return year and day of a date of birth; a text that is no date is a year of its own."""
    digits = re.sub(r"[\s.:/-]", "", written)
    if not re.fullmatch(r"\d{4}(\d{4})?", digits):
        return _plain(written), ""
    year, day = digits[:4], digits[4:]
    # parts that are not known are written as zeros
    return year if int(year) else "", "" if "00" in (day[:2], day[2:]) else day


def _plain(written: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", written).casefold().split())
