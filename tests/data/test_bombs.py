"""Files that ask for more than there is, or for what is not theirs: one line, before it is made."""

import contextlib
import json
import math
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import torch
from saved_networks import edit
from typer.testing import CliRunner

import tomolearn as tl
from tomolearn._core import memory, reading
from tomolearn.cli import app
from tomolearn.data import LoDoPaBPairs, StoredPairs, store_pairs
from tomolearn.data.arrays import opened_array
from tomolearn.data.images import find_images
from tomolearn.data.lidc import LIDCSlices, PatientSplits
from tomolearn.data.lidc.annotations import read_annotations
from tomolearn.geometry import load_geometry
from tomolearn.tasks.folder import read_task
from tomolearn.training import weights
from tomolearn.training.checkpointing import CompleteFiles
from tomolearn.training.config import read_config, with_overrides
from tomolearn.training.folder import read_run

GRID = tl.Grid((8, 8))
SCAN = tl.ParallelBeam.covering(GRID, 6)
HUGE = 10**9


@pytest.fixture(autouse=True)
def frugal(monkeypatch):
    """Allow little, so that the bombs of the tests are small."""
    monkeypatch.setattr(memory, "_LARGE", 2**16)


@pytest.fixture
def scan_file(tmp_path):
    tl.geometry.save_geometry(tmp_path / "scan.json", GRID, SCAN)
    return tmp_path / "scan.json"


def reconstruct(sinogram: Path, scan: Path) -> str:
    out = sinogram.with_name("image.npy")
    arguments = ["reconstruct", sinogram, "--scan", scan, "--out", out]
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert not out.exists()
    assert result.stderr.count("\n") == 1
    return result.stderr


# Text


DEEP = "[" * 100_000
LONG = "1" * 5000
TEXTS = {
    "nested": DEEP.encode(),
    "nested less": b'{"grid": ' + b"[" * 500 + b"]" * 500 + b"}",
    "digits": f'{{"grid": {LONG}}}'.encode(),
    "utf-16": '{"grid": 1}'.encode("utf-16"),
    "utf-16-be": b"\xfe\xff" + '{"grid": 1}'.encode("utf-16-be"),
    "twice": b'{"grid": 1, "grid": 2}',
    "bytes": b"\xff\x00\x80",
    "empty": b"",
}
READERS = {
    "scan.json": load_geometry,
    "task.json": read_task,
    "config.json": read_config,
    "splits.json": lambda path: PatientSplits.from_files([path]),
    "card.json": lambda path: tl.load(path),
    "pairs": None,
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", [name for name, read in READERS.items() if read])
def test_json_of_others(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(tl.TomolearnError, match=r"\.json: expected"):
        READERS[name](path)


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
def test_attributes_of_pairs(content, tmp_path):
    from small_task import small_task

    task = small_task()
    store_pairs(
        task.pairs("train"),
        tmp_path / "pairs.h5",
        2,
        attributes={"task": content.decode("latin-1").replace("\0", " ")},
    )
    with pytest.raises(tl.TomolearnError, match=r"pairs\.h5: task: expected"):
        task.pairs("train", data=tmp_path / "pairs.h5")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"a = " + DEEP.encode(), "expected TOML, got an error: "),
        (f"seed = {LONG}".encode(), "expected TOML, got an error: Exceeds the limit"),
        ("steps = 5".encode("utf-16"), "expected text in UTF-8, .* it is UTF-16, as PowerShell"),
        (b"steps = \xff", "expected text in UTF-8"),
    ],
)
def test_toml_of_others(content, found, tmp_path):
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(tl.TomolearnError, match=rf"a\.toml: {found}"):
        read_config(tmp_path / "a.toml")


@pytest.mark.parametrize("text", [DEEP, f"[{LONG}]", '{"a": 1, "a": 2}'])
def test_settings_of_the_command_line(text):
    with pytest.raises(tl.TomolearnError, match="model_arguments: expected JSON"):
        with_overrides({"model": "learned-gradient"}, [f"model_arguments={text}"])


def test_a_mark_of_utf_8_is_read(tmp_path, scan_file):
    scan_file.write_bytes(b"\xef\xbb\xbf" + scan_file.read_bytes())
    assert load_geometry(scan_file) == (GRID, SCAN)


def test_text_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(reading.read_bytes, "__defaults__", (1000,))
    with pytest.raises(tl.TomolearnError, match="/dev/zero: expected at most 1000 bytes"):
        load_geometry("/dev/zero")


def test_fields_of_a_table_have_an_end(tmp_path):
    path = tmp_path / "patients_train.csv"
    path.write_text("PatientID,note\nLIDC-IDRI-0001," + "x" * 200_000)
    with pytest.raises(tl.TomolearnError, match=r"train\.csv: expected comma-sep.* field limit"):
        PatientSplits.from_files([path])


def test_marks_with_entities_are_refused(tmp_path):
    path = tmp_path / "a.xml"
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    path.write_text(f'<!DOCTYPE a [<!ENTITY e0 "ha">{entities}]><a>&e9;</a>')
    with pytest.raises(tl.TomolearnError, match="expected XML without a DOCTYPE"):
        read_annotations(path)


def test_marks_have_an_end(tmp_path):
    path = tmp_path / "a.xml"
    path.write_bytes(b"<a>")
    with path.open("r+b") as stream:
        stream.truncate(2**30)
    with pytest.raises(tl.TomolearnError, match=r"a\.xml: expected at most \d+ bytes"):
        read_annotations(path)


# Geometry


@pytest.mark.parametrize(
    "make",
    [
        lambda: tl.ParallelBeam(HUGE, 9, 1.0),
        lambda: tl.ParallelBeam(9, HUGE, 1.0),
        lambda: tl.FanBeam(HUGE, 9, 1.0, 500.0, 500.0),
        lambda: tl.Grid((8, HUGE)),
        lambda: tl.ConeBeam(9, (9, HUGE), 1.0, 500.0, 500.0),
    ],
)
def test_axes_have_an_end(make):
    with pytest.raises(tl.TomolearnError, match=rf"expected an integer <= \d+, got {HUGE}"):
        make()


def test_what_does_not_fit_into_the_memory_is_refused_in_python(monkeypatch):
    monkeypatch.setattr(memory, "_installed", lambda: 2**20)
    large = tl.Grid((1000, 1000))
    with pytest.raises(tl.TomolearnError, match=r"grid: expected no more than the memory of"):
        tl.RayTransform(large, tl.ParallelBeam.covering(large, 3))
    with pytest.raises(tl.TomolearnError, match=r"grid: expected no more than the memory of"):
        tl.geometry.field_of_view(large, tl.ParallelBeam.covering(large, 3))
    with pytest.raises(tl.TomolearnError, match=r"scan: expected no more than the memory of"):
        tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 100_000))


def test_memory_is_that_of_the_machine_or_the_container(tmp_path, monkeypatch):
    whole = memory._installed()
    assert whole is None or 2**28 < whole < 2**50
    monkeypatch.setattr(memory, "_LIMIT", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text("1048576\n")
    assert memory._installed() in (None, 2**20)
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(memory, "_LIMIT", tmp_path / "none")
    assert memory._installed() == whole


def test_a_scan_is_compared_with_the_data_before_anything_is_made(scan_file, tmp_path):
    values = json.loads(scan_file.read_text())
    values["scan"]["n_angles"] = 9_999_999
    scan_file.write_text(json.dumps(values))
    np.save(tmp_path / "a.npy", np.zeros(SCAN.shape, np.float32))
    assert "expected shape (..., 9999999," in reconstruct(tmp_path / "a.npy", scan_file)


# Arrays


def packed(path: Path, shape: tuple[int, ...]) -> None:
    np.savez_compressed(path, a=np.zeros(shape, np.float32))


def test_a_packed_array_of_another_shape_is_not_unpacked(tmp_path, scan_file, monkeypatch):
    packed(tmp_path / "a.npz", (100, 60, 90))
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", None)
    assert "expected at most 100 times what is stored" in reconstruct(tmp_path / "a.npz", scan_file)
    monkeypatch.setattr(memory, "_LARGE", 2**40)
    assert "expected shape (..., 6," in reconstruct(tmp_path / "a.npz", scan_file)


def test_a_packed_array_that_fits_the_scan_is_a_bomb_all_the_same(tmp_path, scan_file):
    packed(tmp_path / "a.npz", (10_000, *SCAN.shape))
    assert "store it without compression" in reconstruct(tmp_path / "a.npz", scan_file)


def test_arrays_that_are_packed_well_are_read(tmp_path, numpy_rng):
    values = np.zeros((1000, 64), np.float32)
    values[::7] = numpy_rng.random(64)
    values[:40] = numpy_rng.random((40, 64))
    np.savez_compressed(tmp_path / "a.npz", a=values)
    with opened_array(tmp_path / "a.npz") as found:
        assert (found.shape, found.ndim, found.dtype) == (values.shape, 2, np.float32)
        np.testing.assert_array_equal(found[3:5], values[3:5])


def test_an_archive_that_is_damaged_says_so(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(5))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x09\x00nonsense")
    with (
        pytest.raises(tl.TomolearnError, match=r"a\.npz: expected a complete array a"),
        opened_array(tmp_path / "a.npz"),
    ):
        pytest.fail("opened")


def rows(file, name, shape, **options):
    file.create_dataset(name, shape, np.float32, **options)


def secret(tmp_path):
    (tmp_path / "secret").write_bytes(b"0123456789abcdef" * 100)
    return str(tmp_path / "secret")


def external(file, name, shape, tmp_path):
    rows(file, name, shape, external=[(secret(tmp_path), 0, 4 * math.prod(shape))])


def virtual(file, name, shape, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = np.ones(shape, np.float32)
    layout = h5py.VirtualLayout(shape, np.float32)
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "data", shape)
    file.create_virtual_dataset(name, layout)


def link(file, name, shape, tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = np.ones(shape, np.float32)
    file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "data")


def nothing(file, name, shape, tmp_path):
    rows(file, name, (HUGE, *shape[1:]), chunks=(1, *shape[1:]))


def one_of_many(file, name, shape, tmp_path):
    rows(file, name, (HUGE, *shape[1:]), chunks=(1, *shape[1:]))
    file[name][7] = 1


def large_chunks(file, name, shape, tmp_path):
    options = {"chunks": (2_000, *shape[1:]), "maxshape": (None, *shape[1:])}
    rows(file, name, shape, compression="gzip", **options)
    file[name][:] = 1


def group(file, name, shape, tmp_path):
    file.create_group(name)


def empty(file, name, shape, tmp_path):
    file[name] = h5py.Empty("f4")


BOMBS = [external, virtual, link, nothing, one_of_many, large_chunks, group, empty]


@pytest.mark.parametrize("bomb", BOMBS)
def test_hdf5_of_others_as_a_sinogram(bomb, tmp_path, scan_file):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        bomb(file, "sinogram", (4, *SCAN.shape), tmp_path)
    assert "a.h5" in reconstruct(tmp_path / "a.h5", scan_file)


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("name", ["sinogram", "image"])
def test_hdf5_of_others_as_pairs(bomb, name, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for one in ("sinogram", "image"):
            if one == name:
                bomb(file, one, (4, 8, 8), tmp_path)
            else:
                file[one] = np.ones((4, 8, 8), np.float32)
    with pytest.raises(tl.TomolearnError, match=rf"a\.h5.*{name}"):
        StoredPairs(tmp_path / "a.h5")


@pytest.mark.parametrize("bomb", BOMBS)
def test_hdf5_of_others_as_lodopab(bomb, tmp_path):
    for kind in ("observation", "ground_truth"):
        with h5py.File(tmp_path / f"{kind}_test_000.hdf5", "w") as file:
            bomb(file, "data", (4, 8, 8), tmp_path)
    with pytest.raises(tl.TomolearnError, match=r"_test_000\.hdf5.*data"):
        LoDoPaBPairs(tmp_path, "test")


@pytest.mark.parametrize("bomb", BOMBS)
def test_hdf5_of_others_as_slices(bomb, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["format"] = "tomolearn lidc slices 1"
        bomb(file, "hounsfield", (4, 8, 8), tmp_path)
        file["part"] = file["patient"] = ["test"] * 4
    with pytest.raises(tl.TomolearnError, match=r"a\.h5.*hounsfield"):
        LIDCSlices(tmp_path / "a.h5", "test")


def test_slices_have_one_patient_each(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["format"] = "tomolearn lidc slices 1"
        file["hounsfield"] = np.zeros((4, 8, 8), np.int16)
        file["part"] = file["patient"] = ["test"] * 5
    with pytest.raises(tl.TomolearnError, match=r"part: expected 4 of them, got \(5,\)"):
        LIDCSlices(tmp_path / "a.h5", "test")


def test_pictures_that_are_bombs_are_left_out(tmp_path, monkeypatch):
    good = np.ones((8, 8), np.float32)
    tifffile.imwrite(tmp_path / "a.tif", good)
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((900, 900), np.float32), compression="zlib")
    found = find_images(tmp_path)
    assert [file.name for file in found.files] == ["a.tif"]
    assert "100 times what is stored" in found.skipped["b.tif"]
    from PIL import Image

    (tmp_path / "png").mkdir()
    for name, n in (("a", 8), ("b", 90)):
        Image.fromarray(np.zeros((n, n), np.uint8)).save(tmp_path / "png" / f"{name}.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    found = find_images(tmp_path / "png", scale=1.0)
    assert [file.name for file in found.files] == ["a.png"]
    assert "decompression bomb" in found.skipped["b.png"]


# Weights and checkpoints


@pytest.fixture
def saved(tmp_path):
    model = tl.models.LearnedPrimalDual(iterations=2, n_primal=3, n_dual=2, channels=4)
    tl.save(model, tmp_path / "net")
    return tmp_path / "net"


@pytest.mark.parametrize("arguments", [{"channels": 10**7}, {"iterations": 9999}])
def test_a_card_is_compared_with_its_weights_before_a_network_is_made(
    arguments, saved, monkeypatch
):
    edit(saved, lambda card: card["arguments"].update(arguments))
    made = []
    empty_strided = torch.nn.Parameter.__new__

    def parameter(kind, data=None, requires_grad=True):
        made.append(data)
        return empty_strided(kind, data, requires_grad)

    monkeypatch.setattr(torch.nn.Parameter, "__new__", parameter)
    with pytest.raises(tl.TomolearnError, match=r"of another shape|expected at most 2"):
        tl.load(saved)
    assert all(one is None or one.is_meta for one in made)
    assert len(made) < 1000


def test_a_billion_iterations_are_refused(saved):
    edit(saved, lambda card: card["arguments"].update(iterations=HUGE))
    with pytest.raises(tl.TomolearnError, match=r"net\.json: iterations: expected an integer <="):
        tl.load(saved)


@pytest.mark.parametrize("name", sorted({*tl.models.MODELS, *tl.priors.PRIORS}))
def test_every_network_can_be_made_without_memory(name):
    kind = {**tl.models.MODELS, **tl.priors.PRIORS}[name]
    with contextlib.suppress(TypeError), torch.device("meta"):  # those with required arguments
        assert all(tensor.is_meta for tensor in kind().state_dict().values())


class Particular(tl.models.LearnedGradient):
    """Needs values of its weights to be made."""

    def __init__(self, iterations: int = 2) -> None:
        super().__init__(iterations=iterations)
        self._arguments = {"iterations": iterations}
        self.first = next(self.parameters()).sum().item()


def test_a_network_that_needs_values_is_loaded(tmp_path):
    torch.manual_seed(1)
    model = Particular()
    tl.save(model, tmp_path / "net")
    found = tl.load(tmp_path / "net", model=Particular)
    assert all(
        torch.equal(one, other)
        for one, other in zip(found.parameters(), model.parameters(), strict=True)
    )


def test_weights_are_not_read_to_see_that_they_are_a_pickle(tmp_path, monkeypatch):
    torch.save({"a": torch.zeros(1)}, tmp_path / "net.pt")
    monkeypatch.setattr(Path, "read_bytes", None)
    with pytest.raises(tl.TomolearnError, match="got a pickle"):
        tl.load(tmp_path / "net.pt")


def test_large_files_of_weights_are_refused(saved, monkeypatch):
    monkeypatch.setattr(memory, "_installed", lambda: 1000)
    with pytest.raises(tl.TomolearnError, match="safetensors: expected no more than the memory"):
        weights.load(saved)


@pytest.mark.parametrize("how", ["packed", "twice", "cut", "empty", "text", "legacy"])
def test_checkpoints_of_others(how, tmp_path):
    path = tmp_path / "last.ckpt"
    CompleteFiles().save_checkpoint({"state": torch.zeros(50_000)}, path)
    if how == "packed":
        with zipfile.ZipFile(path) as old:
            members = {one: old.read(one) for one in old.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for name, content in members.items():
                new.writestr(name, content)
    elif how == "twice":
        content = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as old:
            sizes = sum(entry.file_size for entry in old.infolist())
            largest = max(old.infolist(), key=lambda entry: entry.file_size)
        assert sizes < len(content)
        size = largest.file_size.to_bytes(4, "little")
        at = content.rindex(size + size)
        content[at + 4 : at + 8] = (10**9).to_bytes(4, "little")
        path.write_bytes(content)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-3000])
    elif how == "legacy":
        torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=False)
    else:
        path.write_text("" if how == "empty" else "no checkpoint")
    with pytest.raises(tl.TomolearnError, match=r"last\.ckpt: expected a complete checkpoint"):
        CompleteFiles().load_checkpoint(path)


def test_the_settings_of_a_run_may_be_damaged(tmp_path):
    (tmp_path / "config.json").write_bytes(b"\0" * 100)
    with pytest.raises(tl.TomolearnError, match=r"config\.json: expected"):
        read_run(tmp_path)
