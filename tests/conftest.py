"""Fixtures and marks that every test may use."""

import os
from pathlib import Path

# Of several processes, as pytest-xdist starts them, each has a core. Torch and BLAS look for this
# when they are loaded.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"
SEED = 20240613
# A test that provokes one of these on purpose says so with `pytest.warns`.
OUR_WARNINGS = (
    "tomolearn.geometry.CoverageWarning",
    "tomolearn._core.errors.ConvergenceWarning",
    "tomolearn._core.errors.SkippedImagesWarning",
    "tomolearn.dicom.DicomWarning",
    "tomolearn.measurements.MeasurementWarning",
    "tomolearn.catalogue.TrainedElsewhereWarning",
    "tomolearn._core.errors.UnitWarning",
)


def pytest_configure(config: pytest.Config) -> None:
    """Make our own warnings errors.

    Not in setup.cfg: pytest would import the package to find them before coverage is measured.
    """
    for category in OUR_WARNINGS:
        config.addinivalue_line("filterwarnings", f"error::{category}")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test that asks for the real series, so that `-m "not real_data"` finds them all."""
    if "real_data" in getattr(item, "fixturenames", ()):
        item.add_marker("real_data")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this machine cannot run."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU with CUDA; torch sees none")
    if item.get_closest_marker("real_data") and not REAL_DATA.is_dir():
        pytest.skip("needs real CT series in ../shared/data; there is no such folder")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real CT series, one subfolder per series."""
    return REAL_DATA


@pytest.fixture(scope="session")
def lidc_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small tree of synthetic LIDC patients, see `lidc_trees`; tests change copies only."""
    # not above: coverage is measured of what is imported later
    from lidc_trees import PATIENTS, SEED, SHAPE, SLICES

    from data_sim import write_lidc

    root = tmp_path_factory.mktemp("lidc")
    write_lidc(root, PATIENTS, SLICES, seed=SEED, shape=SHAPE)
    return root


@pytest.fixture
def rng() -> torch.Generator:
    """Source of random tensors on the CPU, the same in every run."""
    return torch.Generator().manual_seed(SEED)


@pytest.fixture
def numpy_rng() -> np.random.Generator:
    """Source of random arrays, the same in every run."""
    return np.random.default_rng(SEED)
