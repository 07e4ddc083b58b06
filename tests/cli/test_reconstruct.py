"""`tomolearn reconstruct`: every method, every format, and every mistake."""

import json
from pathlib import Path
from typing import Any

import h5py
import matplotlib.image
import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

import tomolearn
from data_sim import parallel_sinogram, shepp_logan, shepp_logan_ellipses
from tomolearn.cli import app
from tomolearn.geometry import ConeBeam, Grid, ParallelBeam, save_geometry
from tomolearn.methods import fbp
from tomolearn.models import LearnedPrimalDual
from tomolearn.operators import RayTransform

GRID = Grid((48, 40), (1.0, 1.2))
SCAN = ParallelBeam.covering(GRID, 60)


def reconstruct(*arguments: Any) -> Result:
    return CliRunner().invoke(app, ["reconstruct", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a scan and its exact sinogram, ``y.npy``."""
    save_geometry(tmp_path / "scan.json", GRID, SCAN)
    np.save(tmp_path / "y.npy", sinogram())
    return tmp_path


def sinogram() -> np.ndarray:
    exact = parallel_sinogram(
        shepp_logan_ellipses(),
        SCAN.view_angles,
        SCAN.detector_positions,
        half_extent=(24.0, 24.0),
    )
    return exact.astype(np.float32)


def run(folder: Path, *arguments: Any, name: str = "y.npy", out: str = "x.npy") -> Result:
    scan = () if "--scan" in arguments else ("--scan", folder / "scan.json")
    return reconstruct(folder / name, *scan, "--out", folder / out, *arguments)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("fbp", ()),
        ("tv", ("--weight", 1.0, "--iterations", 200)),
        ("sirt", ()),
        ("cgls", ("--iterations", 8)),
        ("landweber", ()),
        ("tikhonov", ("--weight", 50.0)),
        ("kaczmarz", ()),
        ("mlem", ()),
    ],
)
def test_every_method_finds_the_phantom(
    method: str, options: tuple[Any, ...], folder: Path
) -> None:
    result = run(folder, "--method", method, *options)
    assert result.exit_code == 0, result.output
    image = np.load(folder / "x.npy")
    assert (image.shape, image.dtype) == (GRID.shape, np.float32)
    # One number of the phantom that no discretisation changes much: its integral over the plane.
    exact = sinogram().sum(axis=1).mean() * SCAN.detector_spacing
    assert image.sum() * 1.2 == pytest.approx(exact, rel=0.02)
    # and where it is: the same ellipses, drawn
    truth = shepp_logan((48, 48), oversampling=4)
    columns = np.interp(GRID.coordinates()[1], np.arange(48) - 23.5, np.arange(48))
    drawn = np.stack([np.interp(columns, np.arange(48), row) for row in truth])
    assert np.corrcoef(image.ravel(), drawn.ravel())[0, 1] > 0.9


def test_options_reach_the_method(folder: Path) -> None:
    options = ("--filter", "hann", "--frequency-scaling", 0.5, "--backend", "joseph")
    assert run(folder, *options).exit_code == 0
    A = RayTransform(GRID, SCAN)
    wanted = fbp(torch.from_numpy(sinogram()), A, filter="hann", frequency_scaling=0.5)
    np.testing.assert_array_equal(np.load(folder / "x.npy"), wanted.numpy())


@pytest.mark.parametrize(
    ("method", "options"),
    [("fbp", ()), ("cgls", ("--padding", 3))],
)
def test_dead_bins_have_weight_zero(method: str, options: tuple[Any, ...], folder: Path) -> None:
    mask = np.ones(SCAN.shape, bool)
    mask[:, 20] = mask[7, 30:33] = False
    np.save(folder / "mask.npy", mask)
    np.savez(folder / "weights.npz", w=mask.astype(float))
    clean, spoiled = (np.where(mask, sinogram(), value) for value in (0.0, np.nan))
    np.save(folder / "clean.npy", clean.astype(np.float32))
    np.save(folder / "spoiled.npy", np.stack([spoiled, spoiled]).astype(np.float32))
    arguments = ("--method", method, *options, "--weights")
    result = run(folder, *arguments, folder / "mask.npy", name="clean.npy", out="a.npy")
    assert result.exit_code == 0, result.output
    result = run(folder, *arguments, folder / "weights.npz", name="spoiled.npy", out="b.npy")
    assert result.exit_code == 0, result.output
    # one image and two are rounded apart, which the iterations of cgls make larger
    one, two = np.load(folder / "a.npy"), np.load(folder / "b.npy")[1]
    np.testing.assert_allclose(two, one, atol=1e-4 * np.abs(one).max())


def test_weights_and_padding_that_will_not_do(folder: Path) -> None:
    np.save(folder / "short.npy", np.ones(SCAN.shape[1:]))
    np.save(folder / "text.npy", np.full(SCAN.shape, "a"))
    np.save(folder / "ones.npy", np.ones(SCAN.shape))
    for arguments, message in {
        ("--weights", folder / "short.npy"): "short.npy: expected shape (...,",
        ("--weights", folder / "text.npy"): "text.npy: expected weights as numbers, or a mask",
        ("--weights", folder / "ones.npy", "--method", "tsvd"): "expected none with tsvd",
        ("--padding", 2): "expected 0 with fbp, which does not iterate, got 2",
    }.items():
        result = run(folder, *arguments)
        assert result.exit_code == 2
        assert message in " ".join(result.output.split())
        assert not (folder / "x.npy").exists()


def test_a_batch_of_float64_gives_a_batch_of_float32(folder: Path) -> None:
    batch = np.stack([sinogram(), 2 * sinogram(), 0 * sinogram()]).astype(np.float64)
    np.save(folder / "batch.npy", batch[:, None])
    assert run(folder, name="batch.npy").exit_code == 0
    images = np.load(folder / "x.npy")
    assert (images.shape, images.dtype) == ((3, 1, *GRID.shape), np.float32)
    np.testing.assert_allclose(images[1], 2 * images[0], rtol=1e-4, atol=1e-6)


def test_formats_of_sinogram_and_image(folder: Path) -> None:
    y = sinogram()
    np.savez(folder / "one.npz", scan=y)
    np.savez(folder / "two.npz", scan=y, other=y[0])
    with h5py.File(folder / "one.h5", "w") as file:
        file["a/b"] = y
    with h5py.File(folder / "two.hdf5", "w") as file:
        file["a/b"], file["c"] = y, y[0]
    assert run(folder).exit_code == 0
    wanted = np.load(folder / "x.npy")
    for name, options in (
        ("one.npz", ()),
        ("two.npz", ("--dataset", "scan")),
        ("one.h5", ()),
        ("two.hdf5", ("--dataset", "/a/b")),
    ):
        result = run(folder, *options, name=name, out=f"{name}.npz")
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(np.load(folder / f"{name}.npz")["image"], wanted)
    assert run(folder, out="x.h5").exit_code == 0
    with h5py.File(folder / "x.h5") as file:
        np.testing.assert_array_equal(file["image"][()], wanted)


def test_preview_is_a_picture(folder: Path) -> None:
    result = run(folder, "--preview", folder / "x.png")
    assert result.exit_code == 0, result.output
    picture = matplotlib.image.imread(folder / "x.png")
    assert picture.ndim == 3
    assert picture[..., :3].std() > 0.1


def bad_files(folder: Path) -> None:
    y = sinogram()
    (folder / "text.npy").write_text("not an array")
    (folder / "empty.npy").touch()
    (folder / "cut.npy").write_bytes((folder / "y.npy").read_bytes()[:-100])
    (folder / "text.h5").write_text("not HDF5")
    (folder / "text.npz").write_text("not a zip file")
    (folder / "y.mat").touch()
    np.save(folder / "objects.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    np.save(folder / "turned.npy", y.T)
    np.save(folder / "flat.npy", y.ravel())
    np.save(folder / "none.npy", y[None][:0])
    np.save(folder / "counts.npy", (1000 * y).astype(np.uint16))
    np.save(folder / "complex.npy", y.astype(np.complex64))
    y[3, 5] = np.nan
    np.save(folder / "nan.npy", y)
    np.save(folder / "huge.npy", np.full(y.shape, 1e300))
    np.savez(folder / "two.npz", a=y, b=y)
    with h5py.File(folder / "nothing.h5", "w") as file:
        file.create_group("group")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("missing.npy", (), "missing.npy: No such file or directory"),
        ("text.npy", (), "text.npy: expected a complete numpy file, got"),
        ("empty.npy", (), "empty.npy: expected a complete numpy file, got"),
        ("cut.npy", (), "cut.npy: expected a complete numpy file, got"),
        ("objects.npy", (), "objects.npy: expected a complete numpy file, got"),
        ("text.npz", (), "text.npz: expected a complete numpy file, got"),
        ("text.h5", (), "text.h5: expected a complete HDF5 file, got"),
        ("y.mat", (), "y.mat: expected a name that ends in .npy, .npz, .h5, .hdf5"),
        ("turned.npy", (), "as in the scan, got (69, 60)"),
        ("flat.npy", (), "flat.npy: expected shape (..., 60, 69) as in the scan, got (4140,)"),
        ("none.npy", (), "as in the scan, got (0, 60, 69)"),
        ("counts.npy", (), "expected line integrals as floating-point numbers, got uint16"),
        ("complex.npy", (), "expected line integrals as floating-point numbers, got complex64"),
        ("nan.npy", (), "expected finite values, got 1 others, the first of them nan at index (3,"),
        ("huge.npy", (), "got 4140 others, the first of them 1e+300 at index (0, 0)"),
        ("two.npz", (), "two.npz: expected --dataset with one of its arrays, got a, b"),
        ("two.npz", ("--dataset", "c"), "expected the array 'c', got a file with a, b"),
        ("nothing.h5", (), "expected --dataset with one of its arrays, got no array"),
        ("y.npy", ("--dataset", "a"), "--dataset: expected none for a .npy file, got 'a'"),
        ("y.npy", ("--weight", 1), "--weight: expected with tv, tikhonov, variational, pnp, gen"),
        ("y.npy", ("--method", "tv", "--filter", "hann"), "--filter: expected with fbp only"),
        ("y.npy", ("--iterations", 3), "--iterations: expected with tv, sirt, cgls, landweber,"),
        ("y.npy", ("--method", "tv"), "--weight: expected a number for tv without photon noise"),
        ("y.npy", ("--method", "tv", "--weight", "nan"), "weight: expected a non-negative number"),
        ("y.npy", ("--method", "sirt", "--iterations", 0), "iterations: expected an integer >= 1"),
        ("y.npy", ("--filter", "box"), "filter: expected one of ram-lak, shepp-logan"),
        ("y.npy", ("--frequency-scaling", 2), "--frequency-scaling: expected a number in (0, 1]"),
        ("y.npy", ("--backend", "abacus"), "backend: expected auto or one of joseph, astra"),
        ("y.npy", ("--device", "gpu"), "--device: expected cpu, cuda or cuda:<number>, got 'gpu'"),
        ("y.npy", ("--device", "cuda:99"), "--device: expected one that torch sees"),
        ("y.npy", ("--scan", "missing.json"), "missing.json: No such file or directory"),
        ("y.npy", ("--preview", "p.jpg"), "p.jpg: expected a name that ends in .png"),
    ],
)
def test_mistake_is_one_line_and_leaves_no_file(
    name: str, options: tuple[Any, ...], message: str, folder: Path
) -> None:
    bad_files(folder)
    before = set(folder.iterdir())
    result = run(folder, *options, name=name)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["scan"].update(colour="red"), "got unknown 'colour'"),
        (lambda values: values["grid"].update(rows=3), "got unknown 'rows'"),
        (lambda values: values.update(patient="x"), "expected exactly the keys grid and scan"),
        (lambda values: values.pop("grid"), "expected exactly the keys grid and scan, got scan"),
        (lambda values: values["scan"].update(type="Spiral"), "type: expected one of"),
        (lambda values: values["scan"].update(n_detectors=-3), "n_detectors: expected an integer"),
        (lambda values: values["scan"].pop("n_detectors"), "n_detectors"),
        (lambda values: values.update(scan=[1]), "scan.json: "),
        (lambda values: values.update(grid=[1]), "scan.json: "),
        (lambda values: values["grid"].update(shape=[4, 5, 6], spacing=1, center=None), "grid"),
    ],
)
def test_mistakes_in_the_scan(change: Any, message: str, folder: Path) -> None:
    values = json.loads((folder / "scan.json").read_text())
    change(values)
    (folder / "scan.json").write_text(json.dumps(values))
    result = run(folder)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not (folder / "x.npy").exists()


def test_scan_that_is_not_json(folder: Path) -> None:
    (folder / "scan.json").write_text("{")
    result = run(folder)
    assert result.exit_code == 2
    assert "scan.json: expected a JSON file" in result.stderr


def test_what_no_backend_can_do_here_is_said(folder: Path) -> None:
    grid = Grid((4, 6, 6))
    scan = ConeBeam(8, (6, 9), 1.5, source_to_isocenter=40.0, source_to_detector=70.0)
    save_geometry(folder / "scan.json", grid, scan)
    np.save(folder / "y.npy", np.zeros(scan.shape, np.float32))
    result = run(folder, "--backend", "astra", "--method", "sirt")
    assert result.exit_code == 2, result.output
    assert "error: backend 'astra': it projects three dimensions only on CUDA" in result.stderr
    assert not (folder / "x.npy").exists()


@pytest.mark.parametrize("kind", ["cone", "rectangular pixels"])
def test_what_needs_no_projector_is_not_refused_for_want_of_one(folder: Path, kind: str) -> None:
    if kind == "cone":
        grid = Grid((4, 6, 6))
        scan = ConeBeam.covering(grid, 12, source_to_isocenter=40.0, source_to_detector=70.0)
    else:
        grid = Grid((6, 12), (2.0, 1.0))
        scan = ParallelBeam.covering(grid, 12)
    save_geometry(folder / "scan.json", grid, scan)
    np.save(folder / "y.npy", np.ones(scan.shape, np.float32))
    images = []
    for backend in ("astra", "auto"):
        result = run(folder, "--backend", backend, "--force")
        assert result.exit_code == 0, result.output
        images.append(np.load(folder / "x.npy"))
    np.testing.assert_allclose(*images, atol=1e-5)


@pytest.mark.parametrize("method", ["fbp", "sirt"])
def test_volumes_are_reconstructed_on_a_cpu(folder: Path, method: str) -> None:
    grid = Grid((4, 6, 6))
    scan = ConeBeam.covering(grid, 12, source_to_isocenter=40.0, source_to_detector=70.0)
    save_geometry(folder / "scan.json", grid, scan)
    volume = torch.ones(grid.shape)
    np.save(folder / "y.npy", RayTransform(grid, scan)(volume).numpy())
    result = run(folder, "--method", method)
    assert result.exit_code == 0, result.output
    found = np.load(folder / "x.npy")
    assert found.shape == grid.shape
    assert np.abs(found[1:3, 2:4, 2:4] - 1).max() < 0.3


def cone_scan(folder: Path) -> Grid:
    """Write the scan of a volume, and its sinogram (views, rows, columns)."""
    grid = Grid((4, 6, 8), (1.5, 1.0, 1.2), center=(0.5, 0.0, 0.0))
    scan = ConeBeam.covering(grid, 12, source_to_isocenter=40.0, source_to_detector=70.0)
    save_geometry(folder / "scan.json", grid, scan)
    np.save(folder / "y.npy", RayTransform(grid, scan)(torch.ones(grid.shape)).numpy())
    return grid


def test_volumes_are_written_for_other_programs(folder: Path) -> None:
    import mrcfile
    import nibabel

    grid = cone_scan(folder)
    for name in ("x.npy", "x.h5", "x.mrc", "x.nii.gz"):
        result = run(folder, out=name)
        assert result.exit_code == 0, result.output
    wanted = np.load(folder / "x.npy")
    assert wanted.shape == grid.shape
    np.testing.assert_array_equal(mrcfile.read(folder / "x.mrc"), wanted)
    image = nibabel.load(folder / "x.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 0, 1), wanted)
    np.testing.assert_allclose(image.header.get_zooms(), (1.0, 1.2, 1.5), rtol=1e-6)


def test_what_is_no_volume_is_refused_before_it_is_made(folder: Path) -> None:
    result = run(folder, out="x.nii.gz")
    assert result.exit_code == 2
    assert "x.nii.gz: expected one volume, a grid (slices, rows, columns)" in result.stderr
    cone_scan(folder)
    np.save(folder / "two.npy", np.stack(2 * [np.load(folder / "y.npy")]))
    result = run(folder, name="two.npy", out="x.mrc")
    assert result.exit_code == 2
    assert "x.mrc: expected one volume, (4, 6, 8), got shape (2, 4, 6, 8)" in result.stderr
    assert run(folder, name="two.npy").exit_code == 0
    assert np.load(folder / "x.npy").shape == (2, 4, 6, 8)


def test_preview_of_a_volume(folder: Path) -> None:
    cone_scan(folder)
    result = run(folder, "--preview", folder / "x.png")
    assert result.exit_code == 0, result.output
    assert matplotlib.image.imread(folder / "x.png")[..., :3].std() > 0.1


def test_nothing_is_overwritten_without_force(folder: Path) -> None:
    (folder / "x.npy").write_text("mine")
    result = run(folder)
    assert result.exit_code == 2
    assert "x.npy: exists already; --force overwrites it" in result.stderr
    assert (folder / "x.npy").read_text() == "mine"
    assert run(folder, "--force").exit_code == 0
    assert np.load(folder / "x.npy").shape == GRID.shape


def test_folder_of_the_image_must_exist(folder: Path) -> None:
    result = run(folder, out="no/x.npy")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr
    assert not (folder / "no").exists()


def test_unknown_format_of_the_image(folder: Path) -> None:
    result = run(folder, out="x.tif")
    assert result.exit_code == 2
    assert "x.tif: expected a name that ends in .npy, .npz, .h5, .hdf5" in result.stderr


def test_weights_with_their_image_scale(folder: Path) -> None:
    torch.manual_seed(0)
    model = LearnedPrimalDual(iterations=2, channels=4)
    tomolearn.save(model, folder / "net")
    result = run(folder, "--method", folder / "net.json", "--image-scale", 3)
    assert result.exit_code == 0, result.output
    operator = RayTransform(GRID, SCAN)
    with torch.no_grad():
        expected = model(3 * torch.from_numpy(sinogram()), operator) / 3
    np.testing.assert_allclose(np.load(folder / "x.npy"), expected.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("default::tomolearn.catalogue.TrainedElsewhereWarning")
def test_weights_of_another_scan_are_warned_about(folder: Path) -> None:
    model = LearnedPrimalDual(iterations=1, n_primal=2, n_dual=2, channels=4)
    tomolearn.save(model, folder / "net", grid=GRID, scan=ParallelBeam.covering(GRID, 61))
    result = run(folder, "--method", folder / "net")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("warning: ")
    assert "trained for ParallelBeam" in result.stderr


@pytest.mark.filterwarnings("default::tomolearn.catalogue.TrainedElsewhereWarning")
@pytest.mark.parametrize(("views", "scale"), [(30, 0.02), (10, 1.0)])
def test_shipped_weights_far_from_their_training(folder: Path, views: int, scale: float) -> None:
    grid = Grid((128, 128))
    scan = ParallelBeam.covering(grid, views)
    image = torch.zeros(1, 1, 128, 128)
    image[..., 30:90, 40:100] = scale
    tomolearn.save_geometry(folder / "scan.json", grid, scan)
    np.save(folder / "y.npy", RayTransform(grid, scan)(image).numpy())
    result = run(folder, "--method", "lpd-ellipses")
    (warning,) = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert "lpd-ellipses: trained for" in warning
    if views == 30:
        assert "image_scale=" in warning
        assert result.exit_code == 0
    else:
        assert result.exit_code == 2
        assert "error: lpd-ellipses: the image contradicts its data" in result.stderr
        assert not (folder / "x.npy").exists()


def test_function_of_a_user_with_its_settings(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "def back(sinogram, operator, *, factor: float = 1.0, twice: bool = False):\n"
        "    return (2 if twice else 1) * factor * operator.adjoint(sinogram)\n"
    )
    method = f"{folder / 'mine.py'}:back"
    result = run(folder, "--method", method, "--factor", 0.5, "--twice")
    assert result.exit_code == 0, result.output
    expected = RayTransform(GRID, SCAN).adjoint(torch.from_numpy(sinogram()))
    np.testing.assert_allclose(np.load(folder / "x.npy"), expected.numpy(), rtol=1e-5)
    result = run(folder, "--method", method, "--relaxation", 0.5, out="no.npy")
    assert "--relaxation: expected with sirt, kaczmarz only, got it with" in result.stderr


def test_help_has_the_settings_of_all_methods() -> None:
    shown = reconstruct("--help").stdout
    for flag in ("--filter", "--weight", "--relaxation", "--subsets", "--image-scale"):
        assert flag in shown
    assert "kaczmarz" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--method", "lpd-ellipses", "--iterations", 3), "--iterations: expected with tv, sirt,"),
        (
            ("--method", "fbp", "--image-scale", 3),
            "--image-scale: expected with variational, pnp, generative, dds, dps, diffpir, weights",
        ),
        (("--method", "no-such"), "--method: expected one of fbp, tv, sirt"),
        (("--method", "./no-such.json"), "no-such.json: expected the name of weights"),
        (("--method", "no.py:f"), "no.py: there is no such file"),
        (("--method", "tv(weight=1, iterations=3.5)"), "--iterations: expected an integer, got"),
        (("--method", "tv", "--weight", 1, "--no-nonnegativ"), "--no-nonnegativ"),
    ],
)
def test_mistakes_with_methods(folder: Path, options: tuple, message: str) -> None:
    result = run(folder, *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not (folder / "x.npy").exists()
