"""Hounsfield units and attenuation, against NIST's numbers and the definition."""

from typing import Any

import numpy as np
import pytest
import torch

from tomolearn.dicom import (
    MU_WATER_PER_MM,
    attenuation_to_hounsfield,
    hounsfield_to_attenuation,
    mu_water_at,
)

# Hubbell and Seltzer's table for liquid water, in cm^2/g.
NIST = {40: 0.2683, 50: 0.2269, 60: 0.2059, 80: 0.1837, 100: 0.1707, 150: 0.1505}


@pytest.mark.parametrize(("energy", "mass_attenuation"), NIST.items())
def test_water_at_the_energies_of_the_table(energy: float, mass_attenuation: float) -> None:
    assert mu_water_at(energy) == pytest.approx(mass_attenuation / 10, rel=1e-12)


def test_water_between_the_energies_of_the_table() -> None:
    # XCOM, which computes it, says 0.1929 cm^2/g at 70 keV: half a unit of the last digit
    assert mu_water_at(70) == pytest.approx(0.01929, abs=0.5e-5)
    assert pytest.approx(mu_water_at(70), abs=0.5e-5) == MU_WATER_PER_MM
    values = [mu_water_at(energy) for energy in np.linspace(40, 150, 200)]
    assert (np.diff(values) < 0).all()


@pytest.mark.parametrize("energy", [39.9, 150.1, -70.0, np.nan])
def test_energy_outside_the_table(energy: float) -> None:
    with pytest.raises(ValueError, match="energy: expected"):
        mu_water_at(energy)


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_air_water_and_twice_water(make: Any) -> None:
    attenuation = hounsfield_to_attenuation(make([-1000.0, 0.0, 1000.0]), mu_water=0.02)
    assert attenuation.tolist() == pytest.approx([0.0, 0.02, 0.04])
    assert type(attenuation) is type(make([0.0]))


@pytest.mark.parametrize("make", [np.array, torch.tensor])
def test_below_air_is_air_unless_asked_otherwise(make: Any) -> None:
    hounsfield = make([-1500.0, -1000.0])
    assert hounsfield_to_attenuation(hounsfield, mu_water=0.02).tolist() == [0.0, 0.0]
    unclipped = hounsfield_to_attenuation(hounsfield, mu_water=0.02, clip=False)
    assert unclipped.tolist() == pytest.approx([-0.01, 0.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip_keeps_values_and_precision(dtype: Any) -> None:
    hounsfield = np.linspace(-1024, 3071, 57, dtype=dtype)
    attenuation = hounsfield_to_attenuation(hounsfield, clip=False)
    assert attenuation.dtype == dtype
    # four roundings of numbers of up to 4071
    tolerance = 4 * np.finfo(dtype).eps * 4071
    np.testing.assert_allclose(
        attenuation_to_hounsfield(attenuation), hounsfield, atol=tolerance, rtol=0
    )


def test_integers_are_not_rounded() -> None:
    hounsfield = np.array([-500, 40], dtype=np.int16)
    assert hounsfield_to_attenuation(hounsfield, mu_water=0.02).tolist() == pytest.approx(
        [0.01, 0.0208]
    )


def test_input_is_left_alone() -> None:
    hounsfield = np.array([-2000.0])
    hounsfield_to_attenuation(hounsfield)
    assert hounsfield.tolist() == [-2000.0]


@pytest.mark.parametrize("function", [hounsfield_to_attenuation, attenuation_to_hounsfield])
def test_errors(function: Any) -> None:
    with pytest.raises(TypeError, match=r"expected a numpy.ndarray or torch.Tensor, got list"):
        function([0.0])
    with pytest.raises(ValueError, match="mu_water: expected a positive number, got 0"):
        function(np.zeros(2), mu_water=0)
