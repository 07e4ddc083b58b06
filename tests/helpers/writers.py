"""Every writer of files, on a disk that is full; run as a program, since it may crash.

``python writers.py FOLDER TREE rlimit|fill NAME ...`` writes with too little room: as the largest
size that files of the process may have, or on the disk of FOLDER, a small one, which is filled for
that. It prints what is wrong.
"""

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from tomolearn import Grid, ParallelBeam
from tomolearn.cli.output import write_array, write_text
from tomolearn.data import RandomEllipses, SimulatedPairs, store_pairs
from tomolearn.data.lidc import (
    PatientSplits,
    Preparation,
    SliceSelection,
    build_index,
    write_slices,
)
from tomolearn.data.lodopab import Recipe, make_lodopab
from tomolearn.geometry import save_geometry
from tomolearn.models import LearnedGradient
from tomolearn.simulation import Acquisition
from tomolearn.training import save
from tomolearn.training.checkpointing import CompleteFiles

ARRAY = np.random.default_rng(0).random((60, 70), np.float32)
GRID = Grid((24, 24))
SCAN = ParallelBeam.covering(GRID, 30)
SPLIT = PatientSplits(seed=2, fractions={"train": 0.6, "test": 0.4})
LISTED = ParallelBeam(n_detectors=40, detector_spacing=1.0, angles=np.arange(2000) / 700)
# of what a writer needs
ROOMS = (0.0, 0.5, 0.98)


def slices(folder: Path, tree: Path) -> None:
    write_slices(
        tree,
        folder / "slices.h5",
        preparation=Preparation(48),
        selection=SliceSelection(nodules=True),
        splits=SPLIT,
    )


def lodopab(folder: Path, tree: Path) -> None:
    recipe = Recipe(slice_size=128, margin=19, simulated_size=150, n_angles=20)
    make_lodopab(tree, folder / "set", splits=SPLIT, every=3, recipe=recipe)


def pairs(folder: Path, tree: Path) -> None:
    drawn = SimulatedPairs(RandomEllipses(), GRID, Acquisition(SCAN), size=40)
    store_pairs(drawn, folder / "pairs.h5", 40, batch_size=8)


def weights(folder: Path, tree: Path) -> None:
    torch.manual_seed(0)
    save(LearnedGradient(iterations=2), folder / "weights", overwrite=True)


def figure(folder: Path, tree: Path) -> None:
    from tomolearn._core.files import complete_file
    from tomolearn.evaluation.figures import draw_images

    with complete_file(folder / "figure.png") as stream:
        draw_images({"image": ARRAY}, unit="1/mm").savefig(stream, format="png")


WRITERS: dict[str, Callable[[Path, Path], object]] = {
    "npy": lambda folder, tree: write_array(folder / "a.npy", ARRAY),
    "npz": lambda folder, tree: write_array(folder / "a.npz", ARRAY),
    "h5": lambda folder, tree: write_array(folder / "a.h5", ARRAY),
    "text": lambda folder, tree: write_text(folder / "a.md", "text\n" * 5000),
    "geometry": lambda folder, tree: save_geometry(folder / "scan.json", GRID, LISTED),
    "checkpoint": lambda folder, tree: CompleteFiles().save_checkpoint(
        {"state": torch.arange(9000.0)}, folder / "last.ckpt"
    ),
    "index": lambda folder, tree: build_index(tree, splits=SPLIT).write(folder / "index.json"),
    "figure": figure,
    "weights": weights,
    "pairs": pairs,
    "slices": slices,
    "lodopab": lodopab,
}


def contents(folder: Path) -> dict[str, bytes]:
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@contextmanager
def largest_file(folder: Path, room: int) -> Iterator[None]:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def filled(folder: Path, room: int) -> Iterator[None]:
    filler = folder.parent / "filler"
    disk = os.statvfs(folder)
    filler.write_bytes(bytes(max(0, disk.f_bavail * disk.f_bsize - room)))
    try:
        yield
    finally:
        filler.unlink()


def problems(name: str, folder: Path, tree: Path, limited: Callable) -> Iterator[str]:
    write = WRITERS[name]
    folder.mkdir()
    write(folder, tree)
    whole = contents(folder)
    sizes = list(map(len, whole.values()))
    most = max(sizes) if limited is largest_file else sum(sizes)
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    for room in ROOMS:
        try:
            with limited(folder, int(room * most)):
                write(folder, tree)
        except OSError as error:
            if Path(error.filename or ".") not in (folder, *map(folder.joinpath, whole)):
                is_part = ".slices.h5.parts" in (error.filename or "")
                if not is_part:
                    yield f"{name}, {room}: {error!r} names {error.filename}"
        else:
            yield f"{name}, {room}: no error"
        if left := [path for path in contents(folder) if path.endswith(".partial")]:
            yield f"{name}, {room}: left {left}"
    write(folder, tree)
    if contents(folder) != whole:
        yield f"{name}: another result afterwards, {sorted(contents(folder))}"


if __name__ == "__main__":
    root, tree = map(Path, sys.argv[1:3])
    limited = {"rlimit": largest_file, "fill": filled}[sys.argv[3]]
    for name in sys.argv[4:] or WRITERS:
        for problem in problems(name, root / name, tree, limited):
            sys.stdout.write(f"{problem}\n")
    sys.stdout.write("done\n")
