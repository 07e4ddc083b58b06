"""Who loads what: workers are copies of a process that has loaded all, the driver loads little."""

import subprocess
import sys
from pathlib import Path

from batch_trees import slice_dataset, write_series
from dicom_files import write

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from pathlib import Path

import distributed
import tomolearn.batch.preload
from tomolearn.batch import BatchSettings
from tomolearn.batch.chunks import chunks_of
from tomolearn.batch.derivation_text import derivation_of
from tomolearn.batch.worker import run_on_worker
from tomolearn.dicom import DerivedSeries, find_series
from tomolearn.kernels import joseph as kernels

(series,) = find_series(sys.argv[1]).series
settings = BatchSettings()
modules = set(sys.modules)
compiled = [len(kernels.project.signatures), len(kernels.gather.signatures)]
derived = DerivedSeries(series, derivation_of(settings, series))
(chunk,) = chunks_of(derived, settings, Path(sys.argv[2]))
outcome = run_on_worker(chunk)
print(len(outcome.record["slices"]), "slices")
print(*sorted(set(sys.modules) - modules), "modules")
after = [len(kernels.project.signatures), len(kernels.gather.signatures)]
print(*(b - a for a, b in zip(compiled, after)), "kernels")
"""


DRIVER = """
import sys

from tomolearn.batch import BatchSettings, run_batch
from tomolearn.simulation import Acquisition, CoveringScan

settings = BatchSettings(acquisition=Acquisition(CoveringScan(views=8)))
report = run_batch(*sys.argv[1:], settings, workers=1)
print(report.n_written, "slices")
print(*sorted({"torch", "numba", "scipy.ndimage"} & set(sys.modules)), "modules")
"""


def run(program: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_worker_loads_nothing_for_its_first_slice(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    # square, as the images of scanners are
    for index in range(2):
        dataset = slice_dataset("a", index, PixelSpacing=[9, 9])
        dataset.PixelData = dataset.pixel_array[:, :32].tobytes()
        dataset.Columns = 32
        write(tmp_path / "in" / f"{index}.dcm", dataset)
    (tmp_path / "out" / "files").mkdir(parents=True)
    done = run(PROGRAM, tmp_path / "in", tmp_path / "out")
    assert done.stdout.splitlines() == ["2 slices", "modules", "0 0 kernels"], done.stderr


def test_the_driver_of_a_batch_loads_no_torch(tmp_path: Path) -> None:
    """It takes seconds, and the workers load it at the same time."""
    write_series(tmp_path / "in", "a", 2)
    done = run(DRIVER, tmp_path / "in", tmp_path / "out")
    assert done.stdout.splitlines() == ["2 slices", "modules"], done.stderr
