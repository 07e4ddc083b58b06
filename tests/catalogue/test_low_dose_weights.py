"""Weights for low-dose chests: any fan beam, pixels, dose, in 1/mm."""

import warnings

import numpy as np
import pytest

import tomolearn as tl
from tomolearn.catalogue import get_clinical_method
from tomolearn.data import ThoraxPatches
from tomolearn.methods import UncertainMethod
from tomolearn.simulation import Acquisition, CoveringScan, PhotonNoise, Refinement

GRID = tl.Grid((128, 112), 0.75)


@pytest.fixture(scope="module")
def truth():
    import torch

    source = ThoraxPatches(1, 256, first=5000)
    image = source(GRID.shape, np.random.default_rng(0)) / source.value_per_attenuation
    return torch.from_numpy(image)


@pytest.mark.parametrize(
    ("scan", "photons"),
    [
        (CoveringScan("fan", 360), 1_000.0),
        (CoveringScan("fan", 700), 1_500.0),
        (tl.FanBeam.covering(GRID, 420, source_to_isocenter=500, source_to_detector=900), 1e3),
    ],
    ids=["360 views", "700 views", "another scanner"],
)
@pytest.mark.parametrize(("name", "part"), [("denoise-chest", 0.7), ("lpd-chest", 0.9)])
def test_other_fan_beams_have_part_of_the_error_of_filtered_back_projection(
    name, part, scan, photons, truth
):
    noise = PhotonNoise(photons)
    acquisition = Acquisition(scan, noise, Refinement("constant", 2))
    operator = acquisition.operator(GRID)
    y = acquisition.measure(truth, GRID, np.random.default_rng(1)).float()
    method = get_clinical_method(name).informed(noise)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = method(y, operator)
    error, plain = (
        float((one - truth).square().mean().sqrt())
        for one in (image, tl.fbp(y, operator, filter="hann"))
    )
    assert error < part * plain


@pytest.mark.parametrize("name", ["denoise-chest", "lpd-chest"])
def test_cards_know_the_scan_of_the_training(name):
    card = get_clinical_method(name).card
    assert card["training"]["any_scan"]
    assert (card["grid"]["shape"], card["scan"]["type"]) == ([512, 512], "FanBeam")


def test_other_doses_than_those_of_the_training_are_warned_of(truth):
    noise = PhotonNoise(100.0)
    acquisition = Acquisition(CoveringScan("fan", 360), noise)
    y = acquisition.measure(truth, GRID, np.random.default_rng(1)).float()
    with pytest.warns(tl.TrainedElsewhereWarning, match=r"photons=1000.0 to 200000.0"):
        get_clinical_method("denoise-chest").informed(noise)(y, acquisition.operator(GRID))


def test_half_widths_grow_as_the_dose_falls(truth):
    method = get_clinical_method("denoise-chest")
    assert isinstance(method, UncertainMethod)
    deviations = []
    for photons in (1_000.0, 100_000.0):
        acquisition = Acquisition(CoveringScan("fan", 360), PhotonNoise(photons))
        operator = acquisition.operator(GRID)
        y = acquisition.measure(truth, GRID, np.random.default_rng(1)).float()
        moments = method.moments(y, operator)
        error = (moments.mean - truth).square().mean().sqrt()
        size = moments.standard_deviation.square().mean().sqrt()
        assert 0.5 < float(size / error) < 2
        deviations.append(float(size))
    assert deviations[0] > deviations[1]
