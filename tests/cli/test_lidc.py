"""``tomolearn lidc``: index, slices, download, lodopab."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest
import typer
from lidc_trees import PATIENTS, SHAPE, SLICES
from typer.testing import CliRunner

from tomolearn.cli.errors import CleanErrors
from tomolearn.cli.lidc import lidc
from tomolearn.data import LIDCSlices, LoDoPaBPairs
from tomolearn.data.lidc import PatientSplits, build_index
from tomolearn.data.lodopab import Recipe, generation

app = typer.Typer(cls=CleanErrors)
app.add_typer(lidc, name="lidc")


def run(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["lidc", *map(str, arguments)])


def rows(text):
    """Cells of the table's lines."""
    lines = [line for line in text.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_index(lidc_tree, tmp_path):
    out = tmp_path / "index.json"
    result = run("index", lidc_tree, "--out", out, "--seed", 2, "--fractions", 0.5, 0.25, 0.25)
    assert result.exit_code == 0, result.output
    fractions = {"train": 0.5, "validation": 0.25, "test": 0.25}
    expected = build_index(lidc_tree, splits=PatientSplits(2, fractions))
    assert json.loads(out.read_text()) == json.loads(json.dumps(expected.to_dict()))
    for split, *numbers in rows(result.stdout):
        found = [record for record in expected.records if record.split == split]
        nodules = sum(record.n_nodules for record in found)
        assert list(map(int, numbers)) == [len(found)] * 2 + [SLICES * len(found)] + [
            len(found),
            nodules,
        ]
    assert "files left out: " in result.stdout
    assert result.stdout.endswith(f"wrote {out}: {PATIENTS} series of {PATIENTS} patients\n")
    again = run("index", lidc_tree, "--out", out)
    assert (again.exit_code, "--force" in again.stderr) == (2, True)


def test_slices(lidc_tree, tmp_path):
    out = tmp_path / "slices.h5"
    lists = tmp_path / "patients.json"
    lists.write_text(json.dumps({"train": ["LIDC-IDRI-0001"], "test": ["LIDC-IDRI-0003"]}))
    options = ("--shape", 96, "--spacing", 4, "--body-only", "--every", 2, "--nodules")
    result = run("slices", lidc_tree, out, *options, "--patients", lists)
    assert result.exit_code == 0, result.output
    assert rows(result.stdout) == [["train", "1", "3"], ["test", "1", "3"]]
    assert f"wrote {out}: 6 slices, {PATIENTS - 2} patients in no split" in result.stdout
    assert LIDCSlices(out, "train").slice_shape == (96, 96)
    with h5py.File(out) as file:
        assert (file["spacing"][()] == 4).all()
        assert "nodules" in file


def test_left_out_series_are_listed(lidc_tree, tmp_path):
    import shutil

    root = tmp_path / "set"
    shutil.copytree(lidc_tree, root)
    for xml in (root / "LIDC-IDRI-0001").rglob("*.xml"):
        xml.unlink()
    result = run("slices", root, tmp_path / "a.h5", "--nodules", "--shape", 32)
    assert result.exit_code == 0, result.output
    assert "left out: series " in result.stderr
    assert "expected annotations that can be read, got none" in result.stderr


def test_lodopab(lidc_tree, tmp_path, monkeypatch):
    small = Recipe(slice_size=SHAPE[0], margin=19, simulated_size=150, n_angles=20)
    monkeypatch.setattr(generation, "Recipe", lambda: small)
    out = tmp_path / "made"
    files = []
    for split, patients in (("train", (1, 2)), ("validation", (3,)), ("test", (4, 5))):
        files.append(tmp_path / f"{split}.txt")
        files[-1].write_text("".join(f"LIDC-IDRI-{k:04d}\n" for k in patients))
    given = [value for file in files for value in ("--patients", file)]
    result = run("lodopab", lidc_tree, out, *given, "--every", 2, "--per-patient", 2)
    assert result.exit_code == 0, result.output
    table = [["train", "2", "4"], ["validation", "1", "2"], ["test", "2", "4"]]
    assert rows(result.stdout) == table
    assert [len(LoDoPaBPairs(out, split)) for split in ("train", "validation", "test")] == [4, 2, 4]
    again = run("lodopab", lidc_tree, out, *given, "--every", 2, "--per-patient", 2)
    assert again.stdout == result.stdout
    records = build_index(lidc_tree).records
    uids = [record.series_uid for record in records if record.patient[-1] in "13"]
    (tmp_path / "list.txt").write_text("\n".join(uids))
    few = run("lodopab", lidc_tree, tmp_path / "few", *given, "--series", tmp_path / "list.txt")
    assert few.exit_code == 0, few.output
    assert rows(few.stdout) == [["train", "1", "2"], ["validation", "1", "2"], ["test", "0", "0"]]


def test_download(tmp_path, monkeypatch):
    pandas = pytest.importorskip("pandas")
    calls = []
    # the package takes seconds to load; its own index is tried in tests/data/test_lidc_download.py
    index = pandas.DataFrame(
        {
            "collection_id": "lidc_idri",
            "PatientID": [f"LIDC-IDRI-{k:04d}" for k in (1, 1, 2, 3)],
            "Modality": ["CT", "DX", "CT", "CT"],
            "SeriesInstanceUID": list("abcd"),
            "instanceCount": [100, 2, 1000, 300],
            "series_size_MB": [50.0, 9.0, 1000.0, 150.0],
        }
    )

    def transfer(folder, **options):
        calls.append((folder, options["seriesInstanceUID"]))
        for row in index[index.SeriesInstanceUID.isin(calls[-1][1])].itertuples():
            series = Path(folder, row.PatientID, "study", row.SeriesInstanceUID)
            series.mkdir(parents=True, exist_ok=True)
            for number in range(row.instanceCount):
                (series / f"{number}.dcm").touch()

    client = SimpleNamespace(index=index, download_from_selection=transfer)
    package = SimpleNamespace(IDCClient=lambda: client)
    monkeypatch.setitem(sys.modules, "idc_index", package)
    dry = run("download", tmp_path / "out", "--n", 2, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert dry.stdout == "2 CT series of 2 patients, 1,100 files, 1.1 GB\n"
    assert (calls, (tmp_path / "out").exists()) == ([], False)
    (tmp_path / "ids.txt").write_text("LIDC-IDRI-0003\nLIDC-IDRI-0001\n")
    for given in ("LIDC-IDRI-0001, LIDC-IDRI-0003", tmp_path / "ids.txt"):
        result = run("download", tmp_path / "out", "--patients", given)
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("2 CT series of 2 patients, ")
    assert calls == [(str(tmp_path / "out"), ["a", "d"])] * 2
    wrong = run("download", tmp_path / "out", "--patients", "LIDC-IDRI-0001,")
    assert (wrong.exit_code, "--patients: expected IDs" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("index", "no", "--out", "i.json"), "no: expected a folder of LIDC-IDRI"),
        (("index", "{tree}", "--out", "i.txt"), "expected a name that ends in .json"),
        (("slices", "{tree}", "a.npz"), "expected a name that ends in .h5, .hdf5"),
        (("slices", "{tree}", "no/a.h5"), "the folder no does not exist"),
        (("slices", "{tree}", "a.h5", "--consensus-level", "2"), "consensus-level: expected a nu"),
        (("slices", "{tree}", "a.h5", "--spacing", "0"), "spacing: expected a positive number"),
        (("slices", "{tree}", "a.h5", "--fractions", "0.9", "0.9", "0"), "fractions: expected a s"),
        (("slices", "{tree}", "a.h5", "--patients", "none.json"), "none.json"),
        (("slices", "{tree}", "a.h5", "--xml", "no"), "no: expected a folder of XML files"),
        (("slices", "{tree}", "a.h5", "--like", "adler"), "like: expected one of celledoni"),
        (("slices", "{tree}", "a.h5", "--like", "celledoni"), "got none that are wanted"),
        (("lodopab", "no", "made"), "no: expected a folder of LIDC-IDRI"),
        (("lodopab", "{tree}", "made", "--series", "no.json"), "no.json"),
        (("lodopab", "{tree}", "made"), "10 of another size, 128 x 128"),
        (("lodopab", "{tree}", "made", "--device", "tpu"), "--device: expected cpu, cuda"),
    ],
)
def test_mistakes_are_one_line(lidc_tree, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    result = run(*(argument.format(tree=lidc_tree) for argument in arguments))
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
