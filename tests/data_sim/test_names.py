"""The public names of the synthetic data, and of the data sets that are made of it."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "name", ["data_sim", "data_sim.lidc", "tomolearn.data.lidc", "tomolearn.data.lodopab"]
)
def test_every_public_name_is_there(name):
    package = importlib.import_module(name)
    assert package.__all__
    # a function, not a file that is called like it
    assert all(not isinstance(getattr(package, one), type(sys)) for one in package.__all__)


def test_a_phantom_needs_neither_torch_nor_pydicom():
    program = (
        "import sys; from data_sim import shepp_logan; shepp_logan((8, 8)); "
        "print(*{'torch', 'pydicom', 'scipy', 'skimage', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
