"""Examples in docstrings run, and print what they say that they print.

An example without output shows a call: what it prints is not compared. It may use the names of
`context`, and all public ones.
"""

import ast
import dataclasses
import doctest
import importlib
import math
import re
import typing
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import odl
import pytest
import torch

import tomolearn as tl
from tomolearn.models import LearnedPrimalDual

ROOT = Path(__file__).parents[2]
ROOMS = sorted(file.parent.name for file in (ROOT / "tomolearn").glob("*/__init__.py"))


def examples() -> list[tuple[str, str, str]]:
    """Return module, name and text of each docstring with an example."""
    found = []
    for folder in ("tomolearn", "data_sim"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text(encoding="utf-8")
            if ">>>" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                    doc = ast.get_docstring(node) or ""
                    if ">>>" in doc:
                        name = getattr(node, "name", "module")
                        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
                        found.append((module, name, doc))
    return found


@cache
def trained() -> dict[str, typing.Any]:
    """Return networks, which are made once."""
    return {
        "model": LearnedPrimalDual(iterations=2),
        "denoiser": tl.priors.load("gsd-ellipses"),
    }


def context(home: str) -> dict[str, typing.Any]:
    """Return the names that examples of a module may use."""
    names: dict[str, typing.Any] = {}
    for room in ROOMS:
        module = importlib.import_module(f"tomolearn.{room}")
        names |= {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    names |= vars(tl.metrics) | vars(importlib.import_module(home))
    generator = torch.Generator().manual_seed(0)
    grid = tl.Grid((32, 32))
    scan = tl.FanBeam.covering(grid, 24, source_to_isocenter=60.0, source_to_detector=100.0)
    A = tl.RayTransform(grid, scan)
    image = torch.zeros(grid.shape)
    image[8:20, 12:24] = 1.0
    batch = torch.rand(20, 1, *grid.shape, generator=generator)
    noisy = image + 0.05 * torch.randn(grid.shape, generator=generator)
    y = A(image) + 0.1 * torch.randn(A.range_shape, generator=generator)
    counts = 1e4 * torch.exp(-y / 50).numpy()
    return (
        names
        | trained()
        | {
            "tl": tl,
            "torch": torch,
            "np": np,
            "math": math,
            "odl": odl,
            "dataclass": dataclasses.dataclass,
            "ClassVar": typing.ClassVar,
            "grid": grid,
            "scan": scan,
            "A": A,
            "operator": A,
            "x": batch,
            "image": image,
            "truth": image,
            "noisy": noisy,
            "images": batch,
            "truths": batch + 0.1,
            "y": y,
            "sinogram": y,
            "w": torch.ones_like(y),
            "method": tl.get_method("fbp"),
            "prior": tl.priors.SquaredDifferences(),
            "regulariser": tl.priors.SquaredDifferences(),
            "counts": counts,
            "flats": np.full((2, *counts.shape[1:]), 1e4),
            "darks": np.zeros((2, *counts.shape[1:])),
            "deviations": torch.ones_like(batch),
            "deviation": torch.ones_like(image),
            "is_plastic": image,
            "is_iron": 0 * image,
        }
    )


def ellipses() -> dict[str, typing.Any]:
    """Return the scan that trained networks are for, and one of its sinograms."""
    task = tl.tasks.get_task("ellipses")
    return {"y": task.pairs("test", size=1)[0][0], "A": task.operator()}


def scanner_file() -> dict[str, typing.Any]:
    """Write a small file of a synchrotron."""
    with h5py.File("tooth.h5", "w") as file:
        counts = np.random.default_rng(0).uniform(50, 90, (7, 2, 592))
        for name, value in (("data", counts), ("data_white", counts[:3] + 100)):
            file[f"exchange/{name}"] = value.astype("uint16")
        file["exchange/data_dark"] = np.zeros((2, 2, 592), "uint16")
        file["exchange/theta"] = np.arange(7) * 25.0
    return {}


def published() -> dict[str, typing.Any]:
    """Write weights of a learned primal-dual under the names that DIVal gives them."""
    state = {
        re.sub(r"_updates\.(\d+)\.layers", r"_blocks.\1.block", name): one
        for name, one in LearnedPrimalDual(iterations=1).state_dict().items()
    }
    torch.save(state, "lpd.pt")
    return {"task": tl.tasks.get_task("lodopab")}


def watched() -> dict[str, typing.Any]:
    """Return a sinogram that gradients are asked of, and the image that is the minimiser."""
    grid = tl.Grid((16, 16))
    A = tl.RayTransform(grid, tl.ParallelBeam.covering(grid, 24))
    y = torch.ones(A.range_shape)
    prior = tl.priors.SquaredDifferences()
    x = tl.variational(y, A, prior=prior, weight=1.0, iterations=2000, tolerance=1e-6)
    return {"A": A, "x": x[None], "y": y[None].requires_grad_(), "truth": torch.zeros(grid.shape)}


# What some need besides.
OWN = {
    "tomolearn.priors.patches": lambda: {"images": torch.rand(2, 1, 16, 16)},
    "tomolearn.catalogue.ensemble": ellipses,
    "tomolearn.training.adaptation": ellipses,
    "tomolearn.training.others": published,
    "tomolearn.measurements.prepared": scanner_file,
    "tomolearn.measurements.readers.table": scanner_file,
    "tomolearn.numerics.minimiser": watched,
}


class Checker(doctest.OutputChecker):
    """Compares what stands in the docstring, where something does."""

    def check_output(self, want, got, flags):
        return not want or super().check_output(want, got, flags)


@pytest.mark.parametrize(
    ("home", "name", "doc"), [pytest.param(*one, id=f"{one[0]}.{one[1]}") for one in examples()]
)
@pytest.mark.filterwarnings(
    "ignore::tomolearn.TrainedElsewhereWarning", "ignore::tomolearn.ConvergenceWarning"
)
def test_example_of_docstring_runs(home, name, doc, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = context(home) | OWN.get(home, dict)()
    test = doctest.DocTestParser().get_doctest(doc, names, f"{home}.{name}", home, 0)
    runner = doctest.DocTestRunner(Checker(), optionflags=doctest.NORMALIZE_WHITESPACE)
    report: list[str] = []
    runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
