"""Calls that a stopped run has made are read as they were, and no others."""

import pytest
import torch

import tomolearn as tl
from tomolearn._core.errors import DivergenceError, TomolearnError
from tomolearn.catalogue import get_method
from tomolearn.evaluation import compare
from tomolearn.evaluation.kept_calls import Call, KeptCalls
from tomolearn.evaluation.workers import Workers
from tomolearn.methods import TotalVariation

METHOD = TotalVariation(weight=0.1)
SINOGRAM = torch.linspace(0, 1, 12).reshape(1, 1, 4, 3)


def test_calls_are_read_as_they_were(tmp_path) -> None:
    kept = KeptCalls(tmp_path / "calls")
    assert kept.read(METHOD, SINOGRAM) is None
    image = torch.rand(1, 1, 5, 5)
    kept.write(METHOD, SINOGRAM, Call(image, 0.1 + 0.2, 12345))
    found = KeptCalls(tmp_path / "calls").read(METHOD, SINOGRAM.clone())
    assert torch.equal(found.image, image)
    assert (found.seconds, found.peak) == (0.1 + 0.2, 12345)


@pytest.mark.parametrize(
    ("method", "sinogram"),
    [
        (TotalVariation(weight=0.2), SINOGRAM),
        (METHOD, SINOGRAM + 1e-6),
        (METHOD, SINOGRAM.double()),
        (METHOD, SINOGRAM.reshape(1, 1, 3, 4)),
        (get_method("sirt"), SINOGRAM),
        (lambda y, A: y, SINOGRAM),
    ],
    ids=["settings", "data", "precision", "shape", "method", "function"],
)
def test_other_calls_are_not_known(method, sinogram, tmp_path) -> None:
    kept = KeptCalls(tmp_path)
    kept.write(METHOD, SINOGRAM, Call(torch.zeros(1)))
    assert kept.read(method, sinogram) is None
    kept.write(method, sinogram, Call(torch.ones(1)))
    assert kept.read(METHOD, SINOGRAM).image == 0


def test_divergence_is_kept_and_a_mistake_is_not(tmp_path) -> None:
    kept = KeptCalls(tmp_path)
    kept.write(METHOD, SINOGRAM, Call(TomolearnError("weight: expected another")))
    assert kept.read(METHOD, SINOGRAM) is None
    kept.write(METHOD, SINOGRAM, Call(DivergenceError("it has risen")))
    assert isinstance(kept.read(METHOD, SINOGRAM).image, DivergenceError)
    assert str(kept.read(METHOD, SINOGRAM).image) == "it has risen"


def test_comparisons_take_kept_calls_with_their_times(tmp_path) -> None:
    task, method = tl.tasks.get_task("ellipses"), tl.methods.FBP()
    first, second = (task.pairs("test", size=2)[n][0][None] for n in range(2))
    image = torch.full((1, 1, 128, 128), 0.25)
    kept = KeptCalls(tmp_path)
    kept.write(method, first, Call(image, 12.5, 7))
    # an image without a time is none where times are asked for
    kept.write(method, second, Call(image))
    warmed = []

    def warm_up(called, sinogram, operator, truth):
        warmed.append((called, truth.shape))

    with Workers() as workers, workers.keeping(kept):
        compared = compare(
            task, {"fbp": method}, images=2, workers=workers, warm_up=warm_up, memory=True
        )
    (row,) = compared.rows
    assert torch.equal(row.example, image[0, 0])
    assert (row.seconds[0], row.peak) == (12.5, 7)
    assert row.seconds[1] < 12.5
    assert row.metrics["psnr"].values[0] != row.metrics["psnr"].values[1]
    assert warmed == [(method, (1, 1, 128, 128))]
    assert kept.read(method, second).seconds == row.seconds[1]
