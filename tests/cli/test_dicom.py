"""`tomolearn dicom`: options, exit codes and what it says; the batch itself is tested with it."""

import json
from pathlib import Path
from typing import Any

import pydicom
import pytest
from batch_trees import results, slice_dataset, write_series
from dicom_files import write
from typer.testing import CliRunner, Result

from tomolearn.batch import LEDGER, SUMMARY, read_ledger
from tomolearn.cli import app
from tomolearn.dicom import find_series
from tomolearn.geometry import Grid, ParallelBeam, save_geometry


def dicom(*arguments: Any) -> Result:
    """Run the command, in this process unless told otherwise: workers are tested elsewhere."""
    workers = () if "--workers" in arguments else ("--workers", "0")
    return CliRunner().invoke(app, ["dicom", *map(str, arguments), *workers])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_series(tmp_path / "in", "a", 2)
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    return tmp_path / "in"


def test_it_says_what_it_did(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = dicom(source, out, "--views", 60, "--photons", 1e5)
    assert result.exit_code == 0, result.output
    assert "3 files: 1 series, 1 to do, 2 slices; skipped: 1 not DICOM" in result.stderr
    assert "done: patient-a series a, 2 of 2 slices" in result.stderr
    assert "2 slices in" in result.stdout
    assert str(out / SUMMARY) in result.stdout.replace("\n", "")
    (record,) = (r for r in read_ledger(out / LEDGER) if r["event"] == "series")
    assert f"{record['agreement']['psnr']:.2f}" in result.stdout
    again = dicom(source, out, "--views", 60, "--photons", 1e5)
    assert again.exit_code == 0
    assert "1 series were there" in again.stdout


def test_settings_are_those_of_the_options(source: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.json"
    grid = Grid((32, 40), (10.0, 9.0))
    save_geometry(scan, grid, ParallelBeam.covering(grid, 40))
    options = ("--scan", scan, "--photons", 1e4, "--electronic-std", 3, "--seed", 5, "--kev", 60)
    method = ("--method", "tv", "--iterations", 4, "--weight", 0.5)
    assert dicom(source, tmp_path / "out", *options, *method).exit_code == 0
    settings = read_ledger(tmp_path / "out" / LEDGER)[0]["settings"]
    assert settings["scan"]["geometry"]["type"] == "ParallelBeam"
    assert settings["scan"]["views"] == 40
    assert (settings["scan"]["photons"], settings["scan"]["electronic_std"]) == (1e4, 3)
    assert settings["scan"]["seed"] == 5
    assert settings["mu_water"] == pytest.approx(0.02059)
    assert settings["method"] == "tv"
    assert settings["options"] == {"iterations": 4, "weight": 0.5}


@pytest.mark.parametrize("method", ["sirt", "cgls", "landweber", "kaczmarz"])
def test_every_method_of_the_table_has_its_options(
    method: str, source: Path, tmp_path: Path
) -> None:
    options = ("--views", 30, "--method", method, "--iterations", 2)
    result = dicom(source, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    settings = read_ledger(tmp_path / "out" / LEDGER)[0]["settings"]
    assert (settings["method"], settings["options"]) == (method, {"iterations": 2})


def test_a_function_of_a_file_is_a_method(source: Path, tmp_path: Path) -> None:
    path = tmp_path / "own_of_dicom.py"
    path.write_text("def half(y, A, *, scale: float = 0.5):\n    return scale * A.T(y)\n")
    options = ("--views", 30, "--method", f"{path}:half", "--scale", 0.001)
    result = dicom(source, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    settings = read_ledger(tmp_path / "out" / LEDGER)[0]["settings"]
    assert (settings["method"], settings["options"]) == ("own_of_dicom.py:half", {"scale": 0.001})


def test_image_domain_and_weights(source: Path, tmp_path: Path) -> None:
    options = ("--image-domain", "--method", "unet-ellipses", "--image-scale", 20)
    result = dicom(source, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    settings = read_ledger(tmp_path / "out" / LEDGER)[0]["settings"]
    assert settings["scan"] is None
    assert len(settings["fingerprint"]) == 64
    (path, _) = sorted(tmp_path.glob("out/*/*/*.dcm"))
    made = pydicom.dcmread(path)
    assert made.SeriesDescription == "UNET-ELLIPSES, image domain"
    assert settings["fingerprint"][:16] in made.DerivationDescription


def test_weights_from_elsewhere_are_told_once(source: Path, tmp_path: Path) -> None:
    options = ("--views", 30, "--method", "unet-ellipses", "--workers", 0)
    result = dicom(source, tmp_path / "out", *options)
    told = [one for one in read_ledger(tmp_path / "out" / LEDGER) if one["event"] == "series"]
    assert all(len(one["warnings"]) == 1 for one in told)
    (text,) = told[0]["warnings"]
    for words in ("for Grid", "for ParallelBeam", "GaussianNoise(relative=0.05), not no noise"):
        assert words in text
    assert "images with values up to 1.1, not values up to about 0.039 (image_scale=29" in text
    assert result.output.count("unet-ellipses: trained for") == len(told)


def test_identity_is_removed_on_request(source: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    key.write_text("a secret that is long enough\n")
    key.chmod(0o600)
    options = ("--views", 20, "--deidentify", key)
    assert dicom(source, tmp_path / "out", *options).exit_code == 0
    (before,), (after,) = (find_series(f).series for f in (source, tmp_path / "out"))
    assert before.patient_id == "patient-a"
    assert "patient" not in after.patient_id
    assert after.study_uid != before.study_uid
    for path in tmp_path.glob("out/*/*/*.dcm"):
        content = path.read_bytes()
        assert b"patient-a" not in content
        assert before.study_uid.encode() not in content
        assert after.study_uid in path.parts
        assert pydicom.dcmread(path).PatientIdentityRemoved == "YES"


def test_series_of_no_unit_are_taken_if_one_says_so(tmp_path: Path) -> None:
    write_series(tmp_path / "in", "a", 1, RescaleType="US")
    write_series(tmp_path / "in", "b", 1, RescaleType="US", RescaleIntercept=0)
    result = dicom(tmp_path / "in", tmp_path / "out", "--views", 30)
    assert result.exit_code == 0, result.output
    assert "1 of 1 slices; unit not stated" in result.stderr
    assert "1 files are in no series for want of Hounsfield units, such as:" in result.stdout
    assert "got US, unspecified" in result.stdout
    assert "--assume-hu on the command line" in result.stdout
    result = dicom(tmp_path / "in", tmp_path / "out", "--dry-run", "--assume-hu")
    assert "unit not stated" in result.stdout
    assert "skipped: none" in result.stdout


def test_dry_run_writes_nothing(source: Path, tmp_path: Path) -> None:
    result = dicom(source, tmp_path / "out", "--dry-run", "--photons", 1e4)
    assert result.exit_code == 0
    assert "patient-a" in result.stdout
    assert "10,000 photons" in result.stdout
    assert not (tmp_path / "out").exists()


def test_dry_run_finds_mistakes(source: Path, tmp_path: Path) -> None:
    for out, options, message in (
        (source / "out", (), "OUT: expected a folder apart from the input"),
        (tmp_path / "out", ("--method", "no-such"), "no-such"),
    ):
        result = dicom(source, out, "--dry-run", *options)
        assert result.exit_code == 2
        assert message in result.stderr


def test_starting_over_is_asked_for(source: Path, tmp_path: Path) -> None:
    assert dicom(source, tmp_path / "out", "--views", 20).exit_code == 0
    again = dicom(source, tmp_path / "out", "--views", 20, "--no-resume")
    assert "1 series, 1 to do, 2 slices" in again.stderr
    assert "\n2 slices in" in again.stdout


def test_a_detector_that_misses_the_patient_is_told(source: Path, tmp_path: Path) -> None:
    grid, small = Grid((32, 40), (10.0, 9.0)), Grid((8, 8), 10.0)
    save_geometry(tmp_path / "scan.json", grid, ParallelBeam.covering(small, 20))
    result = dicom(source, tmp_path / "out", "--scan", tmp_path / "scan.json")
    assert result.exit_code == 0
    assert "2 of 2 slices; warning: " in result.stderr
    assert "mm" in result.stderr


def test_a_run_that_is_interrupted_says_that_it_can_go_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tomolearn.batch.run_batch", interrupted)
    result = dicom(source, tmp_path / "out")
    assert result.exit_code == 130
    assert "the same command goes on where it was" in result.stderr


def test_a_lost_slice_is_exit_code_1(source: Path, tmp_path: Path) -> None:
    write(source / "spoilt.dcm", slice_dataset("a", 2, RescaleSlope="1e30"))
    options = ("--views", 20)
    result = dicom(source, tmp_path / "out", *options)
    assert result.exit_code == 1
    assert "incomplete: patient-a series a, 2 of 3 slices" in result.stderr
    assert "1 slices lost" in result.stdout
    # the same slices as ever are lost: they are not tried again without being asked
    assert "0 slices in" in dicom(source, tmp_path / "out", *options).stdout
    write(source / "spoilt.dcm", slice_dataset("a", 2))
    assert dicom(source, tmp_path / "out", *options, "--retry").exit_code == 0
    assert len(results(tmp_path / "out")) == 4


def test_a_damaged_file_is_exit_code_1(source: Path, tmp_path: Path) -> None:
    """Its series is incomplete if it is known, and until it is whole."""
    path = write(source / "cut.dcm", slice_dataset("a", 2))
    whole = path.read_bytes()
    options = ("--views", 20)
    for content, reason in (
        (whole[:700], "Rows (0028,0010): expected an integer, got nothing"),
        (b"", "expected a DICOM file, got one without its header"),
        (whole.replace(b"-100.0\\-150.0\\10.0", b"-100.0\\-150.0\\1x.0"), "expected numbers"),
    ):
        path.write_bytes(content)
        for _ in range(2):
            result = dicom(source, tmp_path / "out", *options)
            assert result.exit_code == 1
            assert "2 / 3" in result.stdout
            assert (
                "1 files that cannot be read as slices of their series, such as:" in result.stdout
            )
            assert "cut.dcm: " in result.stdout
            assert reason in result.stdout
        record = [
            one for one in read_ledger(tmp_path / "out" / LEDGER) if one["event"] == "series"
        ][-1]
        assert (record["status"], record["written"], record["slices"]) == ("incomplete", 2, 3)
        assert [(one["path"], reason in one["reason"]) for one in record["lost"]] == [
            ("cut.dcm", True)
        ]
    path.unlink()
    assert dicom(source, tmp_path / "out", *options).exit_code == 0
    record = [one for one in read_ledger(tmp_path / "out" / LEDGER) if one["event"] == "series"][-1]
    assert (record["status"], record["slices"], record["lost"]) == ("done", 2, [])


def test_a_damaged_file_of_no_series_is_exit_code_1(source: Path, tmp_path: Path) -> None:
    (source / "other").mkdir()
    (source / "other" / "cut.dcm").touch()
    result = dicom(source, tmp_path / "out", "--views", 20)
    assert result.exit_code == 1
    assert "done: patient-a series a, 2 of 2 slices" in result.stderr
    assert "1 files that may have been slices are in no series, such as:" in result.stdout


def test_half_a_copy_of_a_slice_is_no_loss(source: Path, tmp_path: Path) -> None:
    whole = (source / "a-001.dcm").read_bytes()
    (source / "a-001_part.dcm").write_bytes(whole[:700])
    result = dicom(source, tmp_path / "out", "--views", 20)
    assert result.exit_code == 0
    assert "done: patient-a series a, 2 of 2 slices" in result.stderr
    assert "1 damaged copy" in result.stdout


def test_no_series_is_exit_code_1(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = dicom(tmp_path / "in", tmp_path / "out")
    assert result.exit_code == 1
    assert "there is no CT series in" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--scan", "helix"), "--scan: expected fan, parallel, cone or a .json file, got 'helix'"),
        (("--scan", "missing.json"), "missing.json"),
        (("--seed", 3), "--seed: expected 0 without noise, got 3"),
        (("--photons", 0), "--photons: expected a positive number, got 0.0"),
        (("--electronic-std", 3), "--electronic-std: expected 0 without --photons, got 3"),
        (("--method", "tv"), "--weight: expected a number for tv without photon noise"),
        (("--method", "tv", "--filter", "hann"), "--filter: expected with fbp only, got it with"),
        (("--method", "no-such"), "no-such"),
        (("--image-domain",), "--method: expected one that works on images, such as tv"),
        (("--image-domain", "--views", 3), "--views: expected none with --image-domain, got 3"),
        (("--kev", 5), "--kev: expected 40 to 150 keV, got 5"),
        (("--workers", 2, "--scheduler", "tcp://x:1"), "workers: expected none beside a scheduler"),
        (("--patient-id", "x"), "--patient-id: expected with --deidentify, got 'x' alone"),
        (("--quiet", "--json"), "--quiet: expected none with --json"),
        (("--name-template", "x"), "--name-template: expected fields among {patient}"),
        (("--deidentify", "missing.txt"), "missing.txt: No such file or directory"),
        (("--filter", "box"), "--filter: expected one of"),
    ],
)
def test_mistakes(options: tuple[Any, ...], message: str, source: Path, tmp_path: Path) -> None:
    result = dicom(source, tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("out/*/*/*.dcm"))


def test_results_within_the_input_are_a_mistake(source: Path) -> None:
    result = dicom(source, source / "out")
    assert result.exit_code == 2
    assert "OUT: expected a folder apart from the input" in result.stderr


def test_filters_are_options(source: Path, tmp_path: Path) -> None:
    write_series(source, "b", 3, SeriesDescription="other", ConvolutionKernel="B70f")
    options = ("--description", "SERIES*", "--kernel", "!B70f", "--minimum-slices", 2)
    result = dicom(source, tmp_path / "out", "--views", 20, *options)
    assert result.exit_code == 0, result.output
    assert "1 series, 1 to do, 2 slices; skipped: 1 not DICOM, 3 not asked for" in result.stderr
    begin = read_ledger(tmp_path / "out" / LEDGER)[0]
    assert begin["selection"] == {
        "description": ["SERIES*"], "kernel": ["!B70f"], "minimum_slices": 2,
    }  # fmt: skip
    result = dicom(source, tmp_path / "out", "--include", "nothing-like-it")
    assert result.exit_code == 1
    assert "there is no CT series in" in result.stderr
    assert "but 6 files that the filters leave out" in result.stderr


def test_summary_as_json(source: Path, tmp_path: Path) -> None:
    result = dicom(source, tmp_path / "out", "--views", 20, "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    summary = json.loads(result.stdout)
    ledger = read_ledger(tmp_path / "out" / LEDGER)
    assert {one["run"] for one in ledger} == {summary["run"]}
    assert (summary["complete"], summary["slices_written"]) == (True, 2)
    assert summary["skipped"] == {"not DICOM": 1}
    (series,) = summary["series"]
    assert series == next(one for one in ledger if one["event"] == "series")


def test_a_private_summary_names_nobody(source: Path, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    key.write_text("a secret that is long enough\n")
    key.chmod(0o600)
    options = ("--views", 20, "--deidentify", key, "--patient-id", "trial-7", "--json")
    log = tmp_path / "run.log"
    result = dicom(source, tmp_path / "out", *options, "--log", log)
    assert result.exit_code == 0, result.output
    for text in (result.output, log.read_text()):
        assert "patient-a" not in text
        assert "series a" not in text
    (path, _) = tmp_path.glob("out/*/*/*.dcm")
    assert pydicom.dcmread(path).PatientID == "trial-7"


def test_quiet_and_a_log(source: Path, tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    for _ in range(2):
        result = dicom(source, tmp_path / "out", "--views", 20, "--quiet", "--log", log)
        assert (result.exit_code, result.output) == (0, "")
    lines = log.read_text().splitlines()
    said = [line.split(" ", 1)[1] for line in lines]
    assert said[0].startswith(f"begin: {source} to ")
    assert said[2] == "done: patient-a series a, 2 of 2 slices"
    assert said[3].startswith("end: run ")
    assert len(said) == 7
    assert "1 series were there" in said[-1]


def test_dry_run_lists_what_is_skipped_and_ends_as_the_run_would(
    source: Path, tmp_path: Path
) -> None:
    result = dicom(source, tmp_path / "out", "--dry-run")
    assert result.exit_code == 0
    assert f"{source / 'notes.txt'}: not DICOM: expected a DICOM file" in result.stdout
    (source / "cut.dcm").write_bytes((source / "a-001.dcm").read_bytes()[:700])
    (source / "a-001.dcm").unlink()
    result = dicom(source, tmp_path / "out", "--dry-run", "--json")
    assert result.exit_code == 1
    plan = json.loads(result.stdout)
    assert not plan["complete"]
    (lost,) = (one for one in plan["skipped"] if one["lost"])
    assert lost["path"] == str(source / "cut.dcm")
    assert dicom(source, tmp_path / "out", "--views", 20).exit_code == 1
    options = ("--name-template", "{patient}/{nothing}")
    assert dicom(source, tmp_path / "out", "--dry-run", *options).exit_code == 2


def test_an_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "scans.zip").write_bytes(b"PK\3\4" + bytes(40))
    result = dicom(tmp_path / "scans.zip", tmp_path / "out")
    assert result.exit_code == 1
    assert "but 1 archives: unpack them first" in result.stderr


def test_results_have_the_names_of_a_template(source: Path, tmp_path: Path) -> None:
    options = ("--views", 20, "--name-template", "{patient}/{description}")
    assert dicom(source, tmp_path / "out", *options).exit_code == 0
    assert len(list(tmp_path.glob("out/patient-a/series a/*.dcm"))) == 2
