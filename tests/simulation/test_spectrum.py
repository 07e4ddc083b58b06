"""Spectra: against direct sums over energies, tables of NIST, and the packages that make them."""

import json
import math

import numpy as np
import pytest
import torch

from tomolearn import TomolearnError
from tomolearn.simulation import Spectrum

LINES = Spectrum([30, 60], [3, 1])
WATER, IRON = (0.0376, 0.0206), (6.4, 0.95)


def test_line_integrals_are_sums_over_energies(rng: torch.Generator) -> None:
    lengths = 5 * torch.rand(2, 3, 4, generator=rng, dtype=torch.float64)
    found = LINES.line_integrals(lengths, [WATER, IRON])
    water, iron = lengths.numpy()
    soft, hard = (np.exp(-w * water - i * iron) for w, i in zip(WATER, IRON, strict=True))
    np.testing.assert_allclose(found, -np.log(0.75 * soft + 0.25 * hard), rtol=1e-12)
    lengths.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: LINES.line_integrals(x, [WATER, IRON]), lengths)


def test_a_single_energy_is_linear_and_thick_objects_do_not_overflow() -> None:
    lengths = torch.tensor([[0.0, 1.0, 1e5]])
    one = Spectrum([60, 70], [1, 0]).line_integrals(lengths, [[0.02, 0.01]])
    torch.testing.assert_close(one, 0.02 * lengths[0])
    assert LINES.line_integrals(lengths, [WATER])[-1].isfinite()


def test_goes_through_json() -> None:
    values = json.loads(json.dumps(LINES.to_dict()))
    assert values.pop("type") == "Spectrum"
    assert Spectrum(**values) == LINES


def test_attenuation_is_that_of_the_tables() -> None:
    """NIST XCOM, doi:10.18434/T48G6X: water at 60 keV 0.2059 cm^2/g, aluminium 0.2778."""
    pytest.importorskip("xraydb")
    spectrum = Spectrum([60], [1])
    assert math.isclose(spectrum.attenuation("water")[0], 0.02059, rel_tol=0.01)
    assert math.isclose(spectrum.attenuation("Al", density=2.7)[0], 0.0750, rel_tol=0.01)


def test_tube_is_filtered_and_ends_at_its_voltage() -> None:
    pytest.importorskip("spekpy")

    def mean(spectrum: Spectrum) -> float:
        return float(np.dot(spectrum.energies, spectrum.shares))

    soft, hard = Spectrum.tube(80), Spectrum.tube(80, filters={"Al": 5, "Cu": 0.5})
    assert max(soft.energies) <= 80
    assert mean(soft) + 5 < mean(hard)
    assert mean(Spectrum.tube(80, detector="photons")) < mean(soft)
    # the half-value layer that spekpy finds in air kerma halves what a detector of energies reads
    # within the difference of the two responses
    import spekpy

    beam = spekpy.Spek(kvp=80, th=12).filter("Al", 5)
    layer = beam.get_hvl1()
    aluminium = Spectrum.tube(80, filters={"Al": 5})
    pytest.importorskip("xraydb")
    length = torch.tensor([layer], dtype=torch.float64)
    value = aluminium.line_integrals(length, [aluminium.attenuation("Al", density=2.7)])
    assert math.isclose(math.exp(-float(value)), 0.5, rel_tol=0.3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Spectrum([30, 60], [1]), "shares: expected 2"),
        (lambda: Spectrum([30, -1], [1, 1]), "energies: expected positive"),
        (lambda: Spectrum([30, 60], [-1, 2]), "shares: expected none below 0"),
        (lambda: LINES.line_integrals(torch.ones(2, 3), [WATER]), "one per material"),
        (lambda: LINES.line_integrals(torch.ones(1, 3), [[0.1]]), "attenuations"),
        (lambda: LINES.attenuation("C5H8O3"), "density: expected"),
        (lambda: LINES.attenuation("no such thing", density=1.0), "material: expected"),
        (lambda: Spectrum.tube(80, detector="film"), "detector: expected"),
        (lambda: Spectrum.tube(1e6), "voltage, filters: expected"),
        (lambda: Spectrum.tube(80, filters={"Nonsense": 1}), "voltage, filters: expected"),
    ],
)
def test_what_is_no_spectrum_is_named(make, message: str) -> None:
    for package in ("spekpy", "xraydb"):
        pytest.importorskip(package)
    with pytest.raises(TomolearnError, match=message):
        make()
