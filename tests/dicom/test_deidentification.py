"""Removal of identities: nothing that names anybody is left, and references still hold."""

import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import write
from dicom_series import SERIES, STUDY, along_z, code, ct_image, enhanced_image, item
from dicom_validation import errors_of
from pydicom._dicom_dict import DicomDictionary
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from tomolearn.dicom import (
    Deidentification,
    Derivation,
    DerivedSeries,
    deidentification,
    example_slice_path,
    find_series,
)

pytest.importorskip("dicomanonymizer")

KEY = "correct horse battery staple"
HOW = Derivation("Denoised by TV.", method="tv")
ORIGIN = (0.0, 0.0, 0.0)

# Everything that names a person, a place, a moment or a device, also deep in sequences.
IDENTIFYING: dict[str, Any] = {
    "InstanceCreationDate": "20240103",
    "AcquisitionDateTime": "20240104101112",
    "OtherPatientIDs": "OTHER-1",
    "OtherPatientNames": "Meier^Grete",
    "PatientAddress": "Hauptstr. 5",
    "PatientTelephoneNumbers": "030-12345",
    "PatientMotherBirthName": "Schmidt",
    "MedicalRecordLocator": "MRL-7",
    "EthnicGroup": "Ethnic",
    "Occupation": "Tischlerin",
    "AdditionalPatientHistory": "Histor",
    "PatientComments": "Kommentar",
    "OperatorsName": "Bediener^Bert",
    "PerformingPhysicianName": "Arzt^Anna",
    "NameOfPhysiciansReadingStudy": "Leser^Lutz",
    "InstitutionAddress": "Klinikweg 1",
    "InstitutionalDepartmentName": "Radiol. 2",
    "ProtocolName": "Protokoll Grete",
    "ImageComments": "Bildkommentar",
    "RequestedProcedureDescription": "Anforderung",
    "PerformedProcedureStepID": "PPS-3",
    "PerformedProcedureStepStartDate": "20240105",
    "RequestAttributesSequence": [item(ScheduledProcedureStepID="SPS-9")],
    "ReferencedImageSequence": [
        item(ReferencedSOPClassUID=CTImageStorage, ReferencedSOPInstanceUID="1.2.333.4444")
    ],
    "ContributingEquipmentSequence": [
        item(
            Manufacturer="ACME",
            InstitutionName="Anderswo",
            OperatorsName="Zweiter^Bert",
            ContributionDateTime="20240106101112",
            DeviceUID="1.2.333.5555",
            PurposeOfReferenceCodeSequence=[code("109101", "DCM", "Acquisition Equipment")],
        )
    ],
    "IrradiationEventUID": ["1.2.333.6666", "1.2.333.7777"],
    "ClinicalTrialSponsorName": "Sponsor",
    "PatientInsurancePlanCodeSequence": [code("V-1", "L", "Versichert")],
}


def source(tmp_path: Path, name: str = "in.dcm", **elements: Any) -> Path:
    dataset = ct_image(0, ORIGIN, **(IDENTIFYING | elements))
    dataset.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "privat")
    dataset.add_new(0x00189FFF, "LO", "unbekannt")  # in no dictionary
    return write(tmp_path / name, dataset)


def written(path: Path, target: Path, deidentify: Deidentification, index: int = 0) -> Dataset:
    (one,) = find_series(path).series
    series = DerivedSeries(one, HOW, deidentify=deidentify)
    series[index].write(one.read(index).hounsfield, target)
    found = pydicom.dcmread(target)
    assert found.SOPInstanceUID == series[index].sop_instance_uid
    assert found.SeriesInstanceUID == series.uid
    return found


def elements(dataset: Dataset) -> Iterator[DataElement]:
    """Return all elements, at any depth."""
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for one in element.value:
                yield from elements(one)


def values(dataset: Dataset, vrs: str) -> set[str]:
    """Return all single values of some types, at any depth."""
    found: set[str] = set()
    for element in elements(dataset):
        if element.VR in vrs.split() and not element.is_empty:
            value = element.value
            several = isinstance(value, (list, pydicom.multival.MultiValue))
            found |= {str(part) for part in (value if several else [value])}
    return found


def test_nothing_that_identifies_is_left(tmp_path: Path) -> None:
    path = source(tmp_path)
    before = pydicom.dcmread(path)
    found = written(path, tmp_path / "out.dcm", Deidentification(KEY))
    contents = (tmp_path / "out.dcm").read_bytes()
    secrets = {
        text
        for keyword in [
            *IDENTIFYING,
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "StudyDate",
            "StudyID",
            "AccessionNumber",
            "InstitutionName",
            "ReferringPhysicianName",
            "StationName",
            "StudyDescription",
            "SeriesDescription",
            "DeviceSerialNumber",
            "PatientAge",
        ]
        for element in [before[keyword]]
        for text in (
            {t for one in element.value for t in values(one, "LO SH PN DA DT UI LT ST")}
            if element.VR == "SQ"
            else values(Dataset({element.tag: element}), element.VR)
        )
    } | {"privat", "unbekannt", STUDY, SERIES, before.SOPInstanceUID, before.FrameOfReferenceUID}
    # what the profile keeps: standard identifiers and codes, and who made the scanner
    secrets -= {CTImageStorage, "ACME", "109101", "DCM", "Acquisition Equipment"}
    secrets = {secret for secret in secrets if len(secret) > 2}  # shorter ones stand anywhere
    assert len(secrets) > 45
    for secret in secrets:
        assert secret.encode() not in contents, secret
    assert found.StudyID == ""
    # nor anything else that is a date, a time or a person
    assert values(found, "DA DT TM") == set()
    assert values(found, "PN") == {found.PatientID}


def test_what_is_said_about_it(tmp_path: Path) -> None:
    found = written(source(tmp_path), tmp_path / "out.dcm", Deidentification(KEY))
    assert found.PatientIdentityRemoved == "YES"
    assert found.LongitudinalTemporalInformationModified == "REMOVED"
    method = "DICOM PS3.15 Basic Application Confidentiality Profile"
    assert found.DeidentificationMethod == method
    (one,) = found.DeidentificationMethodCodeSequence
    assert (one.CodeValue, one.CodingSchemeDesignator) == ("113100", "DCM")
    # done again, it is not said twice
    again = written(tmp_path / "out.dcm", tmp_path / "again.dcm", Deidentification(KEY))
    assert again.DeidentificationMethod == method
    assert len(again.DeidentificationMethodCodeSequence) == 1


def test_codes_do_not_say_that_something_was_retained(tmp_path: Path) -> None:
    """An earlier removal may have; and what it cleaned is clean."""
    path = source(tmp_path)
    dataset = pydicom.dcmread(path)
    codes = [str(number) for number in (113100, 113101, 113103, *range(113105, 113113))]
    dataset.DeidentificationMethodCodeSequence = [
        item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning="an option")
        for value in codes
    ]
    dataset.save_as(path)
    found = written(path, tmp_path / "out.dcm", Deidentification(KEY))
    said = [one.CodeValue for one in found.DeidentificationMethodCodeSequence]
    assert said == ["113100", "113101", "113103", "113105"]


def test_image_geometry_and_derivation_stay(tmp_path: Path) -> None:
    path = source(tmp_path)
    before = pydicom.dcmread(path)
    found = written(path, tmp_path / "out.dcm", Deidentification(KEY))
    for keyword in (
        "Rows", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "KVP",
        "SliceThickness", "ConvolutionKernel", "Manufacturer", "WindowCenter", "PixelData",
        "BodyPartExamined", "SpecificCharacterSet",
    ):  # fmt: skip
        assert found[keyword].value == before[keyword].value, keyword
    assert found.DerivationDescription == HOW.description
    assert [x.Manufacturer for x in found.ContributingEquipmentSequence] == ["ACME", "tomolearn"]


def test_result_is_as_valid_as_its_source(tmp_path: Path) -> None:
    path = source(tmp_path)
    written(path, tmp_path / "out.dcm", Deidentification(KEY))
    assert errors_of(tmp_path / "out.dcm") <= errors_of(path)
    written(example_slice_path(), tmp_path / "small.dcm", Deidentification(KEY))
    assert errors_of(tmp_path / "small.dcm") <= errors_of(example_slice_path())
    enhanced = write(tmp_path / "e.dcm", enhanced_image(along_z(2)))
    written(enhanced, tmp_path / "e.out", Deidentification(KEY))
    assert errors_of(tmp_path / "e.out") == set()


def test_references_hold_across_the_files_of_a_study(tmp_path: Path) -> None:
    first = source(tmp_path, "a.dcm")
    other = write(
        tmp_path / "b.dcm",
        ct_image(
            1,
            (0, 0, 5),
            series=f"{SERIES}.2",
            ReferencedImageSequence=[
                item(
                    ReferencedSOPClassUID=CTImageStorage,
                    ReferencedSOPInstanceUID=pydicom.dcmread(first).SOPInstanceUID,
                )
            ],
        ),
    )
    one = written(first, tmp_path / "a.out", Deidentification(KEY))
    two = written(other, tmp_path / "b.out", Deidentification(KEY))
    assert one.StudyInstanceUID == two.StudyInstanceUID != STUDY
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert one.PatientID == two.PatientID
    assert one.SeriesInstanceUID != two.SeriesInstanceUID
    # the image that both were made from has one new name
    assert (
        two.ReferencedImageSequence[0].ReferencedSOPInstanceUID
        == one.SourceImageSequence[0].ReferencedSOPInstanceUID
        == Deidentification(KEY).uid(pydicom.dcmread(first).SOPInstanceUID)
    )


def test_another_key_gives_other_names(tmp_path: Path) -> None:
    path = source(tmp_path)
    one = written(path, tmp_path / "a.out", Deidentification(KEY))
    same = written(path, tmp_path / "b.out", Deidentification(KEY))
    other = written(path, tmp_path / "c.out", Deidentification(KEY + "!"))
    assert (tmp_path / "a.out").read_bytes() == (tmp_path / "b.out").read_bytes()
    own = {uid for uid in values(one, "UI") if not uid.startswith("1.2.840.10008.")}
    assert own == {uid for uid in values(same, "UI") if not uid.startswith("1.2.840.10008.")}
    assert len(own) >= 7
    assert not own & values(other, "UI")
    assert one.PatientID != other.PatientID
    for uid in own:
        assert re.fullmatch(r"2\.25\.[1-9]\d{0,38}", uid)


def test_patients_stay_apart_unless_named(tmp_path: Path) -> None:
    found = [
        written(source(tmp_path, PatientID=f"P{i}"), tmp_path / "out", Deidentification(KEY))
        for i in range(2)
    ]
    assert found[0].PatientID != found[1].PatientID
    assert re.fullmatch(r"P[A-Z2-7]{16}", found[0].PatientID)
    named = written(source(tmp_path), tmp_path / "out", Deidentification(KEY, "STUDY-042"))
    assert (named.PatientID, named.PatientName) == ("STUDY-042", "STUDY-042")


def test_text_in_the_pixels_cannot_be_removed(tmp_path: Path) -> None:
    path = source(tmp_path, BurnedInAnnotation="YES")
    (one,) = find_series(path).series
    series = DerivedSeries(one, HOW, deidentify=Deidentification(KEY))
    message = r"in\.dcm: BurnedInAnnotation \(0028,0301\): expected an image without text"
    with pytest.raises(ValueError, match=message):
        series[0].write(np.zeros((6, 8)), tmp_path / "out.dcm")
    assert not (tmp_path / "out.dcm").exists()


def test_standard_identifiers_are_kept() -> None:
    rules = Deidentification(KEY)
    assert rules.uid(CTImageStorage) == CTImageStorage
    assert rules.uid("") == ""
    assert rules.uid("1.2.3") != "1.2.3"


def test_secret_is_not_shown() -> None:
    assert KEY not in repr(Deidentification(KEY))


def test_missing_package_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dicomanonymizer.dicomfields_selector", None)
    deidentification._actions.cache_clear()
    with pytest.raises(ImportError, match=r"remedy: pip install 'tomolearn\[dicom\]'"):
        Deidentification(KEY)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("short",), ValueError, "key: expected at least 16 characters, got 5"),
        ((b"x" * 20,), TypeError, "key: expected a text, got bytes"),
        ((KEY, ""), ValueError, "patient_id: expected 1 to 64 ASCII characters"),
        ((KEY, "a\\b"), ValueError, "patient_id: expected 1 to 64 ASCII characters"),
        ((KEY, " a"), ValueError, "patient_id: expected 1 to 64 ASCII characters"),
        ((KEY, "Müller"), ValueError, "patient_id: expected 1 to 64 ASCII characters"),
        ((KEY, 7), TypeError, "patient_id: expected a text, got int"),
    ],
)
def test_errors(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Deidentification(*arguments)


def test_patients_without_identifier_stay_apart(tmp_path: Path) -> None:
    def named(name: str, **who: Any) -> str:
        path = source(tmp_path / name, **({"PatientID": None} | who))
        return str(written(path, tmp_path / f"{name}.out", Deidentification(KEY)).PatientID)

    for name in "abcdef":
        (tmp_path / name).mkdir()
    first = named("a", PatientName="A^B", PatientBirthDate="19500101")
    assert named("b", PatientName="A^B", PatientBirthDate="19500102") != first
    assert named("c", PatientName="A^B", PatientBirthDate="19500101", StudyID="7") == first
    nobody = {"PatientName": None, "PatientBirthDate": None}
    second = named("d", **nobody, StudyInstanceUID="1.2.3.4")
    assert named("e", **nobody, StudyInstanceUID="1.2.3.5") != second
    assert named("f", **nobody, StudyInstanceUID="1.2.3.4") == second


def test_only_identifiers_of_dicom_itself_are_kept(tmp_path: Path) -> None:
    """Those of makers begin alike: 1.2.840.113619 is GE's."""
    mine = "1.2.840.113619.2.55.3"
    path = source(tmp_path, FrameOfReferenceUID=mine, IrradiationEventUID=[f"{mine}.1"])
    found = written(path, tmp_path / "out.dcm", Deidentification(KEY))
    assert not [uid for uid in values(found, "UI") if uid.startswith(mine)]
    assert found.SOPClassUID == CTImageStorage


def test_text_in_the_pixels_is_refused_however_it_is_written(tmp_path: Path) -> None:
    path = source(tmp_path, BurnedInAnnotation="YES")
    path.write_bytes(path.read_bytes().replace(b"CS\x04\x00YES ", b"CS\x04\x00Yes "))
    assert b"Yes " in path.read_bytes()
    with pytest.raises(ValueError, match="BurnedInAnnotation"):
        written(path, tmp_path / "out.dcm", Deidentification(KEY))


def test_dates_times_and_names_go_that_the_table_does_not_know(tmp_path: Path) -> None:
    """Elements of these types that are standard, and not in the profile's table."""
    unlisted = {
        "DateOfGainCalibration": "20230203",
        "TimeOfGainCalibration": "101112",
        "ExpirationDateTime": "20230405101112",
        "EvaluatorName": "Unlisted^Name",
    }
    path = source(tmp_path, **unlisted)
    found = written(path, tmp_path / "out.dcm", Deidentification(KEY))
    content = (tmp_path / "out.dcm").read_bytes()
    assert not [keyword for keyword in unlisted if found.get(keyword)]
    assert b"Unlisted" not in content
    assert b"20230405" not in content


def _marked(vr: str) -> Any:
    """Return a value of a type that must not be found in a result, or None."""
    texts = dict.fromkeys(("LO", "LT", "ST", "UC", "UR", "UT", "PN"), "Marker^Mo") | {
        "SH": "Marker^Mo",
        "AE": "Marker^Mo",
        "AS": "077Y",
        "DA": "19770707",
        "DT": "19770707101112",
        "TM": "070707.77",
    }
    return texts.get(vr, b"Marker^Mo!" if vr in ("OB", "UN") else None)


def _every_element() -> dict[int, tuple[str, Any]]:
    """Return type and value of each element of the dictionary that can hold a text or a date."""
    found = {}
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        group = tag >> 16
        if group in (0x0000, 0x0002, 0x0004, 0xFFFE, 0xFFFA, 0x7FE0) or not keyword:
            continue
        if (value := _marked(vr)) is not None:
            found[tag] = vr, value
    return found


@pytest.mark.filterwarnings("ignore:Invalid value:UserWarning")
def test_no_text_date_or_name_of_the_dictionary_stays_anywhere() -> None:
    """Each element is filled, in the data set and in the items of sequences that are kept."""
    elements = _every_element()
    assert len(elements) > 800
    allowed = deidentification._KEPT_CONTENTS
    dataset = Dataset()
    sequences = ("AnatomicRegionSequence", "RequestAttributesSequence", "CTExposureSequence")
    inner = Dataset()
    for target in (dataset, inner):
        for tag, (vr, value) in elements.items():
            target.add_new(tag, vr, value)
    for keyword in sequences:
        outer = Dataset()
        outer.CTExposureSequence = [copy.deepcopy(inner)]
        for tag, (vr, value) in elements.items():
            outer.add_new(tag, vr, value)
        setattr(dataset, keyword, [outer])
    dataset.BurnedInAnnotation = "NO"
    Deidentification(KEY).apply(dataset)
    n_kept = 0
    for element in dataset.iterall():
        if element.VR == "SQ" or element.tag in allowed:
            continue
        n_kept += 1
        for marker in ("Marker", "19770707", "070707.77", "077Y"):
            assert marker not in str(element.value), element
    assert n_kept > 20
    assert dataset.ConvolutionKernel == dataset.Manufacturer == "Marker^Mo"
    for keyword in (
        "PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar",
        "PatientAlternativeCalendar", "CommentsOnTheScheduledProcedureStep", "FileAccessURI",
    ):  # fmt: skip
        assert keyword not in dataset


def test_all_that_identifies_in_the_patients_group_goes() -> None:
    dataset = Dataset()
    for tag, (vr, *_) in DicomDictionary.items():
        if tag >> 16 == 0x0010 and vr not in ("SQ",):
            value = {"DS": "7.7", "US": 7, "FL": 7.7, "IS": "7", "CS": "M", "OB": b"77"}.get(vr)
            dataset.add_new(tag, vr, value if value is not None else _marked(vr))
    Deidentification(KEY).apply(dataset)
    stated = {one.keyword for one in dataset if one.tag.group == 0x0010 and one.value}
    assert stated == {"PatientID", "PatientName"}
