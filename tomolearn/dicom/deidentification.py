"""Removal of a patient's identity from the elements of an image."""

from __future__ import annotations

import base64
import functools
import hmac
import os
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.optional import optional_import
from tomolearn.dicom.element_copy import code_item, keep_raw_encoding, set_elements
from tomolearn.dicom.elements import element_error, text, texts
from tomolearn.dicom.identity import Identity, stated_identity
from tomolearn.dicom.uids import keyed_uid

METHOD: Final = "DICOM PS3.15 Basic Application Confidentiality Profile"

_TABLE: Final = "dicomfields_2026c"
_SHORTEST_KEY: Final = 16
# Codes of the profile's options that retain something (CID 7050): full or modified dates,
# characteristics of the patient, device, identifiers, private elements, institution.
_RETAINING: Final = frozenset(str(code) for code in range(113106, 113113))
_STANDARD: Final = "1.2.840.10008."


class _Action(Enum):
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    REPLACE_UID = "replace the identifier"
    KEEP_REFERENCES = "replace identifiers inside"


@dataclass(frozen=True)
class Deidentification:
    """Removal of identities by the Basic Application Level Confidentiality Profile.

    The profile is table E.1-1 of DICOM PS3.15 (2026c) as the package dicom-anonymizer has it,
    without any of its options: names, identifiers, dates, descriptions, comments, devices and
    institutions go, private elements too, in the file itself and in the items of its sequences;
    identifiers of studies, series, images and frames of reference are replaced. Where the table
    lets one choose, elements are removed, or emptied if a CT image must have them. Beyond the
    table, elements that no dictionary knows are removed, all else of the patient's group (dates in
    other calendars, species, measures), whatever else is a date, a time, a name or an address, and
    texts but a few that say how the image was made; identifiers that are not DICOM's own are
    replaced.

    Replacements depend on the old value and a secret. So the references between files that are
    de-identified with one key still hold, whenever and wherever that was done, and without the key
    nobody can tell which patient is which. Keep it like the patients' names.

    **What this cannot do.** Nothing looks at the pixels: text burned into them stays (an image that
    says that it has such text, by BurnedInAnnotation, is refused), and a head can be rendered to a
    face. Intervals between studies are lost with the dates. Texts that the profile keeps, such as
    that of a convolution kernel, are kept.

    Parameters
    ----------
    key : str
        The secret, of at least 16 characters: a shorter one can be found by trying, by anybody who
        knows an identifier before and after. It is not shown when the object is printed.
    patient_id : str, optional
        New PatientID and PatientName of whatever patient. Without it they are made from the old
        PatientID, its issuer and the secret, so that patients stay apart. Where a series has none,
        it is the name and the date of birth that count, and without them the study; where several
        patients share identifiers of a series, all of that.

    Attributes
    ----------
    key_file : pathlib.Path or None
        The file that the secret was read from, see `from_file`.

    Raises
    ------
    TypeError, ValueError
        If `key` or `patient_id` is no such text.
    ImportError
        If dicom-anonymizer is not installed.

    Notes
    -----
    The secret is not part of a pickle. What is loaded from one knows it if the process has made an
    object with it before, and else reads `key_file`.
    """

    key: str = field(repr=False)
    patient_id: str | None = None
    key_file: Path | None = field(default=None, init=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.key, str):
            raise TomolearnTypeError(f"key: expected a text, got {type(self.key).__name__}")
        if len(self.key) < _SHORTEST_KEY:
            raise TomolearnError(
                f"key: expected at least {_SHORTEST_KEY} characters, got {len(self.key)}"
            )
        _actions()  # a missing package is better found now than by the first image
        _keys[_token(self.key)] = self.key
        patient = self.patient_id
        if patient is None:
            return
        if not isinstance(patient, str):
            raise TomolearnTypeError(f"patient_id: expected a text, got {type(patient).__name__}")
        plain = patient.isascii() and patient.isprintable() and "\\" not in patient
        if not 1 <= len(patient) <= 64 or not plain or patient != patient.strip():
            raise TomolearnError(
                "patient_id: expected 1 to 64 ASCII characters without backslash and without "
                f"blanks at the ends, got {patient!r}"
            )

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, patient_id: str | None = None
    ) -> Deidentification:
        """Read the secret from a file of text that only its owner may read (mode 600).

        Raises
        ------
        OSError
            If it cannot be read, or others may read it.
        ValueError
            If there is no such text in it.
        """
        file = Path(path).absolute()
        if os.name == "posix" and (mode := file.stat().st_mode & 0o777) & 0o077:
            raise PermissionError(
                f"{path}: expected a key that only its owner may read, got mode {mode:o}; "
                f"chmod 600 {path}"
            )
        try:
            made = cls(file.read_text(encoding="utf-8").strip(), patient_id)
        except UnicodeDecodeError as error:
            raise TomolearnError(f"{path}: expected a file of text, got {error}") from error
        object.__setattr__(made, "key_file", file)
        return made

    @property
    def label(self) -> str:
        """16 digits that tell this removal from those with another key or PatientID."""
        return _token(f"{self.key}\0{self.patient_id}")[:16]

    def __reduce__(self) -> tuple[Any, ...]:
        return _found, (_token(self.key), self.patient_id, self.key_file)

    def uid(self, uid: str) -> str:
        """Return the identifier that stands for `uid`; DICOM's own stay what they are."""
        return uid if not uid or uid.startswith(_STANDARD) else keyed_uid(self.key, uid)

    def patient(self, patient_id: str) -> str:
        """Return the PatientID that stands for another one."""
        if self.patient_id is not None:
            return self.patient_id
        digest = hmac.digest(self.key.encode(), b"patient:" + patient_id.encode(), "sha256")
        return "P" + base64.b32encode(digest[:10]).decode()

    def apply(self, dataset: Dataset, identity: Identity | None = None) -> None:
        """Remove the identity from a data set, in place.

        Parameters
        ----------
        dataset : pydicom.dataset.Dataset
            The data set.
        identity : Identity, optional
            Whose it is, where other files of its series state more of that than it does.

        Raises
        ------
        ValueError
            If the data set says that its pixels show text.
        """
        burned_in = text(dataset, "BurnedInAnnotation")
        if burned_in.upper() == "YES":
            raise element_error(
                "BurnedInAnnotation", "an image without text in its pixels", burned_in
            )
        patient = self.patient((identity or stated_identity(dataset)).person)
        methods = [method for method in texts(dataset, "DeidentificationMethod") if method]
        self._clean(dataset)
        set_elements(
            dataset,
            PatientID=patient,
            PatientName=patient,
            PatientIdentityRemoved="YES",
            LongitudinalTemporalInformationModified="REMOVED",
            DeidentificationMethod=[*(m for m in methods if m != METHOD), METHOD],
        )
        codes = dataset.get("DeidentificationMethodCodeSequence") or []
        # what an earlier removal had retained is gone now
        codes = [code for code in codes if text(code, "CodeValue") not in _RETAINING]
        if not any(text(code, "CodeValue") == "113100" for code in codes):
            codes.append(code_item("113100", "Basic Application Confidentiality Profile"))
        set_elements(dataset, DeidentificationMethodCodeSequence=codes)

    def _clean(self, dataset: Dataset) -> None:
        actions = _actions()
        for tag in list(dataset.keys()):
            action = actions.get((tag.group, tag.element))
            element: Any = dataset.get_item(tag, keep_deferred=True)
            if action is None and not _is_kept(tag, element.VR):
                action = _Action.REMOVE
            if action is _Action.REMOVE or (action is _Action.DUMMY and element.VR == "SQ"):
                del dataset[tag]
            elif action is _Action.EMPTY:
                dataset.add_new(tag, element.VR, None)
            elif element.VR == "UI":
                self._replace_uids(dataset, tag)
            elif action is _Action.DUMMY:
                dataset.add_new(tag, element.VR, None)
                _anonymizer("simpledicomanonymizer").replace_element(dataset[tag])
            elif element.VR == "SQ":
                for item in dataset[tag].value:
                    self._clean(item)
                    keep_raw_encoding(item)

    def _replace_uids(self, dataset: Dataset, tag: BaseTag) -> None:
        values = texts(dataset, keyword_for_tag(tag))
        if values:
            dataset.add_new(tag, "UI", [self.uid(value) for value in values])


# The secrets of this process by their tokens, for what is loaded from pickles.
_keys: dict[str, str] = {}


def _token(key: str) -> str:
    """Return what tells a secret from others and does not tell what it is."""
    return hmac.digest(key.encode(), b"token:", "sha256").hex()[:32]


def _found(token: str, patient_id: str | None, key_file: Path | None) -> Deidentification:
    """Return an object whose secret has this token."""
    if token in _keys:
        made = Deidentification(_keys[token], patient_id)
        object.__setattr__(made, "key_file", key_file)
    elif key_file is not None:
        made = Deidentification.from_file(key_file, patient_id=patient_id)
    else:
        raise TomolearnError(
            "deidentification: expected its key in this process, got a pickle, which has none: "
            "make one with that key here first, or use Deidentification.from_file"
        )
    if _token(made.key) != token:
        raise TomolearnError(f"{key_file}: expected the key that the batch began with, got another")
    return made


# Of what the table does not know, only this is kept: elements of groups that a CT image needs, ...
_GROUPS: Final = frozenset(
    (0x0008, 0x0012, 0x0018, 0x0020, 0x0028, 0x0032, 0x0038, 0x0040, 0x0054, 0x2050, 0x7FE0)
)
_NEVER_KEPT: Final = frozenset({"DA", "DT", "TM", "PN", "AE", "AS"})
# ... and of free text, and of bytes with any contents, those that say how the image was made.
_CONTENTS: Final = frozenset(
    {"LO", "SH", "LT", "ST", "UC", "UR", "UT", "OB", "OD", "OF", "OL", "OV", "OW", "UN"}
)
_KEPT_CONTENTS: Final = frozenset(
    Tag(keyword)
    for keyword in (
        "CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning",
        "LongCodeValue", "Manufacturer", "ManufacturerModelName", "SoftwareVersions",
        "DeidentificationMethod", "AcquisitionMode", "ContrastBolusRoute", "ConvolutionKernel",
        "FilterType", "TypeOfFilters", "ImageFilter", "ReconstructionMethod", "StackID",
        "TriggerSourceOrType", "PositionReferenceIndicator", "RescaleType", "ModalityLUTType",
        "LUTExplanation", "WindowCenterWidthExplanation", "LUTData", "PixelData",
    )
)  # fmt: skip


def _is_kept(tag: BaseTag, vr: str | None) -> bool:
    """Return whether an element that the profile does not name may stay."""
    if not dictionary_has_tag(tag) or tag.group not in _GROUPS:
        return False
    # what the file says of the type may be wrong
    types = {vr, *dictionary_VR(tag).split(" or ")}
    if types & _NEVER_KEPT:
        return False
    return not types & _CONTENTS or tag in _KEPT_CONTENTS


def _anonymizer(module: str) -> ModuleType:
    return optional_import(
        f"dicomanonymizer.{module}",
        purpose="De-identification",
        install="pip install 'tomolearn[dicom]'",
    )


@functools.cache
def _actions() -> dict[tuple[int, int], _Action]:
    """Return what the profile does with which element, by group and element."""
    selector = _anonymizer("dicomfields_selector")
    table = selector.dicom_anonymization_database_selector(_TABLE)
    actions: dict[tuple[int, int], _Action] = {}
    for name, action in (
        ("X_TAGS", _Action.REMOVE),
        ("X_D_TAGS", _Action.REMOVE),
        ("X_Z_TAGS", _Action.REMOVE),
        ("X_Z_D_TAGS", _Action.REMOVE),
        ("Z_TAGS", _Action.EMPTY),
        ("Z_D_TAGS", _Action.EMPTY),
        ("D_TAGS", _Action.DUMMY),
        ("U_TAGS", _Action.REPLACE_UID),
        ("X_Z_U_STAR_TAGS", _Action.KEEP_REFERENCES),
    ):
        # Repeating groups, overlays and curves, are never copied into a derived image.
        actions.update({tag: action for tag in table[name] if len(tag) == 2})
    return actions
