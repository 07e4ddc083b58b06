"""Images by several processes are those of one, and so are errors and warnings."""

import pytest
import torch

import tomolearn as tl
from tomolearn._core.errors import ConvergenceWarning, DivergenceError
from tomolearn.evaluation import workers as module
from tomolearn.evaluation.kept_calls import KeptCalls
from tomolearn.evaluation.workers import Workers
from tomolearn.methods import Landweber, TotalVariation

GRID = tl.Grid((16, 16))
OPERATOR = tl.RayTransform(GRID, tl.ParallelBeam.covering(GRID, 8))
SINOGRAMS = list(OPERATOR(torch.rand(4, 1, 1, *GRID.shape, generator=torch.manual_seed(0))))


def test_processes_reconstruct_the_same_images(monkeypatch) -> None:
    monkeypatch.setattr(module, "_SLOW", -1.0)  # all is worth a process
    method = TotalVariation(weight=0.1, iterations=20)
    unmet = TotalVariation(weight=0.1, iterations=2, tolerance=1e-9)
    bad = [torch.full_like(SINOGRAMS[0], float("inf"))]
    with Workers(2) as workers:
        found = workers.reconstruct(method, OPERATOR, SINOGRAMS)
        assert workers._pool is not None
        # the first is computed here, the others there
        failed = workers.reconstruct(Landweber(step=1e3), OPERATOR, SINOGRAMS[:2] + bad)
        with pytest.warns(ConvergenceWarning) as said:
            workers.reconstruct(unmet, OPERATOR, SINOGRAMS[:2])
    assert len(said) == 2
    assert all(isinstance(one, DivergenceError) for one in failed[:2])
    for image, sinogram in zip(found, SINOGRAMS, strict=True):
        torch.testing.assert_close(image, method(sinogram, OPERATOR), rtol=0, atol=1e-6)


def test_functions_and_fast_methods_stay_here() -> None:
    with Workers(2) as workers:
        found = workers.reconstruct(lambda y, A: A.T(y), OPERATOR, SINOGRAMS)
        workers.reconstruct(TotalVariation(weight=0.1, iterations=1), OPERATOR, SINOGRAMS)
        assert workers._pool is None
    torch.testing.assert_close(torch.stack(found), OPERATOR.T(torch.stack(SINOGRAMS)))


def test_processes_keep_what_they_have_made(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(module, "_SLOW", -1.0)  # all is worth a process
    method, kept = TotalVariation(weight=0.1, iterations=20), KeptCalls(tmp_path)
    with Workers(2) as workers, workers.keeping(kept):
        found = workers.reconstruct(method, OPERATOR, SINOGRAMS)
        assert len(list(tmp_path.iterdir())) == len(SINOGRAMS)
        monkeypatch.setattr(module, "_image", None)  # nothing is computed here any more
        pool, workers._pool = workers._pool, None
        again = workers.reconstruct(method, OPERATOR, SINOGRAMS)
        assert workers._pool is None
        workers._pool = pool
    for image, other in zip(found, again, strict=True):
        assert torch.equal(image, other)
