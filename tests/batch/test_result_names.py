"""Folders of results by a template: safe names, one folder for each result, nothing replaced."""

from pathlib import Path
from typing import Any

import pytest
from batch_trees import results, uid, write_series

from tomolearn import TomolearnError
from tomolearn.batch import BatchSettings, ResultNames, batch_method, derived_series, run_batch
from tomolearn.dicom import Deidentification, find_series
from tomolearn.simulation import Acquisition, CoveringScan

FEW = Acquisition(CoveringScan("parallel", 20))
FBP, HANN = (
    BatchSettings(batch_method("fbp", **options), FEW) for options in ({}, {"filter": "hann"})
)


def names(root: Path, template: str, **removal: Any) -> list[str]:
    made = derived_series(find_series(root).series, FBP, removal.get("removal"))
    return sorted(map(str, ResultNames(template).places(made, FBP).values()))


@pytest.mark.parametrize(
    ("description", "expected"),
    [
        ("Thorax 1.0 mm", "Thorax 1.0 mm"),
        ("a/b\\c:d*e", "a_b_c_d_e"),
        ("..", "_"),
        ("", "_"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("Kopf nativ ä", "Kopf nativ ä"),
        (" .hidden", "hidden"),
    ],
)
def test_names_are_safe(description: str, expected: str, tmp_path: Path) -> None:
    elements = {"SeriesDescription": description, "SpecificCharacterSet": "ISO_IR 192"}
    write_series(tmp_path, "a", 1, **elements)
    assert names(tmp_path, "{patient}/{description}") == [f"patient-a/{expected}"]


def test_all_fields(tmp_path: Path) -> None:
    write_series(tmp_path, "a", 1, SeriesNumber=7, StudyDescription="S", ConvolutionKernel="K")
    template = "{study}/{source_series}/{number}-{study_description}-{kernel}-{method}/{settings}"
    (name,) = names(tmp_path, template)
    assert name == f"{uid('study', 'a')}/{uid('a')}/7-S-K-fbp/{FBP.digest()}"


def test_long_names_fit_file_systems(tmp_path: Path) -> None:
    write_series(tmp_path, "a", 1)
    (name,) = names(tmp_path, "{patient}" + "ä" * 200)
    assert 100 < len(name.encode()) <= 180


@pytest.mark.parametrize(
    "template",
    ["", "plain", "{unknown}", "{patient!r}", "{series:>9}", "{", "{}", "/{series}", "../{series}",
     "{series}/", "{study}//{series}", "{study}\\{series}"],
)  # fmt: skip
def test_templates_that_are_none(template: str) -> None:
    with pytest.raises(TomolearnError, match="name_template: expected "):
        ResultNames(template)


def test_series_that_would_share_a_folder(tmp_path: Path) -> None:
    write_series(tmp_path, "a", 1, SeriesDescription="same")
    write_series(tmp_path, "b", 1, SeriesDescription="SAME")
    with pytest.raises(TomolearnError, match=r"expected a folder for each series.*\{series\}"):
        names(tmp_path, "{description}")
    assert len(names(tmp_path, "{description}/{series}")) == 2


def test_a_folder_within_anothers(tmp_path: Path) -> None:
    write_series(tmp_path, "a", 1, PatientID="x", SeriesDescription="")
    write_series(tmp_path, "b", 1, PatientID="y", SeriesDescription="")
    assert names(tmp_path, "{patient}") == ["x", "y"]


def test_names_do_not_tell_what_is_removed(tmp_path: Path) -> None:
    write_series(tmp_path, "a", 1)
    removal = Deidentification("a secret that is long enough", "trial-7")
    for field in ("description", "study_description", "source_series"):
        with pytest.raises(TomolearnError, match="with the removal of identities"):
            names(tmp_path, f"{{series}}-{{{field}}}", removal=removal)
    assert names(tmp_path, "{patient}/{method}", removal=removal) == ["trial-7/fbp"]


def test_results_lie_where_the_template_says_and_stay_there(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    out = tmp_path / "out"
    run_batch(tmp_path / "in", out, FBP, workers=0, name_template="{patient}/{description}")
    files = results(out)
    assert {str(Path(one).parent) for one in files if one.endswith(".dcm")} == {
        "patient-a/series a"
    }
    again = run_batch(tmp_path / "in", out, FBP, workers=0)
    assert (again.n_written, again.n_kept) == (0, 1)
    assert results(out) == files
    # made anew, they keep their place
    anew = run_batch(tmp_path / "in", out, FBP, workers=0, resume=False)
    assert anew.n_written == 2
    assert results(out) == files


def test_results_of_other_settings_are_not_replaced(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 2)
    out = tmp_path / "out"
    run_batch(tmp_path / "in", out, FBP, workers=0, name_template="{patient}/x")
    before = results(out)
    for template in ("{patient}/x", "{patient}", "{patient}/x/{series}"):
        with pytest.raises(TomolearnError, match="expected a new folder for each result"):
            run_batch(tmp_path / "in", out, HANN, workers=0, name_template=template)
    assert results(out) == before
    run_batch(tmp_path / "in", out, HANN, workers=0, name_template="{patient}/{settings}")
    assert before.items() < results(out).items()


def test_superseded_results_are_pruned_wherever_they_are(tmp_path: Path) -> None:
    (first, *_) = write_series(tmp_path / "in", "a", 3)
    out = tmp_path / "out"
    run_batch(tmp_path / "in", out, FBP, workers=0, name_template="deep/{patient}/old")
    first.unlink()
    report = run_batch(
        tmp_path / "in", out, FBP, workers=0, prune=True, name_template="new/{series}"
    )
    assert not report.superseded
    assert not (out / "deep").exists()
    assert len(list(out.glob("new/*/*.dcm"))) == 2


def test_one_new_patient_id_is_for_one_patient(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 1)
    write_series(tmp_path / "in", "b", 1)
    removal = Deidentification("a secret that is long enough", "trial-7")
    with pytest.raises(TomolearnError, match="patient_id: expected none for 2 patients"):
        run_batch(tmp_path / "in", tmp_path / "out", FBP, workers=0, deidentification=removal)
    assert not list(tmp_path.glob("out/**/*.dcm"))
