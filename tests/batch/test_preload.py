"""What workers are copies of: it has loaded all that a slice needs."""

import subprocess
import sys
from pathlib import Path

from batch_trees import slice_dataset
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


def test_a_worker_loads_nothing_for_its_first_slice(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    # square, as the images of scanners are
    for index in range(2):
        dataset = slice_dataset("a", index, PixelSpacing=[9, 9])
        dataset.PixelData = dataset.pixel_array[:, :32].tobytes()
        dataset.Columns = 32
        write(tmp_path / "in" / f"{index}.dcm", dataset)
    (tmp_path / "out" / "files").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "in"), str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.splitlines() == ["2 slices", "modules", "0 0 kernels"], done.stderr
