"""Matrices that move filters."""

import numpy as np
import pytest

from tomolearn.models.equivariant import GROUPS, Group, filter_action, filter_basis, get_group

SIZES = (1, 3, 5, 7)
each = pytest.mark.parametrize(
    ("group", "size"),
    [(get_group(name), size) for name in GROUPS for size in SIZES],
    ids=lambda value: getattr(value, "name", value),
)


@each
def test_action_is_a_representation(group, size):
    moves = filter_action(group, size)
    assert moves.shape == (group.order, size**2, size**2)
    for g in range(group.order):
        for h in range(group.order):
            # sums of at most 49 products of numbers of order one
            assert np.abs(moves[g] @ moves[h] - moves[group.table[g][h]]).max() < 1e-13


@pytest.mark.parametrize("size", [3, 5])
def test_action_of_turns_and_flips_together_is_a_representation(size):
    group = Group("D8", 8, reflections=True)
    moves = filter_action(group, size)
    for g in range(group.order):
        for h in range(group.order):
            assert np.abs(moves[g] @ moves[h] - moves[group.table[g][h]]).max() < 1e-13


@each
def test_quarter_turns_and_flips_are_numpys(group, size, numpy_rng):
    basis, moves = filter_basis(group, size), filter_action(group, size)
    coefficients = numpy_rng.standard_normal(basis.shape[-1])
    kernel = (basis[0] @ coefficients).reshape(size, size)
    for e, (turn, mirrored) in enumerate(group.elements):
        if not group.is_exact(e):
            continue
        moved = np.rot90(np.fliplr(kernel) if mirrored else kernel, 4 * turn // group.rotations)
        np.testing.assert_allclose(basis[e] @ coefficients, moved.ravel(), atol=1e-14)
        np.testing.assert_allclose(moves[e] @ kernel.ravel(), moved.ravel(), atol=1e-13)
        if group.exact:
            assert (np.sort(moves[e], 1)[:, :-1] == 0).all()
            assert (moves[e].sum(1) == 1).all()


@pytest.mark.parametrize(("size", "filters"), [(1, 1), (3, 6), (5, 10), (7, 15)])
def test_filters_for_turns_by_45_degrees(size, filters):
    basis = filter_basis(get_group("C8"), size)
    assert basis.shape == (8, size**2, filters)
    for moved in basis:
        assert np.linalg.matrix_rank(moved) == filters
        # far from dependent, so that weights are learned at similar speeds
        assert np.linalg.cond(moved) < 10
    projector = filter_action(get_group("C8"), size)[0]
    np.testing.assert_allclose(projector @ projector, projector, atol=1e-13)
    assert np.trace(projector) == pytest.approx(filters)


@pytest.mark.parametrize("size", [3, 5, 7])
def test_turned_filters_are_turned_polynomials(size):
    # what a filter does to a plane wave exp(i w x) of low frequency is what its moments say;
    # turned by 45 degrees, it must do so to the wave turned
    basis = filter_basis(get_group("C8"), size)
    reach = size // 2
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    z = (columns - 1j * rows).ravel()
    wave = 0.3 * np.exp(1j * 0.4)

    def response(moved, wave):
        return np.exp(1j * (np.conj(wave) * z).real) @ moved

    still = response(basis[0], wave)
    turned = response(basis[1], wave * np.exp(1j * np.pi / 4))
    away = response(basis[1], wave * np.exp(-1j * np.pi / 4))
    assert np.linalg.norm(turned - still) < 2e-2 * np.linalg.norm(still)
    assert np.linalg.norm(away - still) > 0.1 * np.linalg.norm(still)


def test_small_filters_see_an_isotropic_gradient():
    # to fourth order: 1, 4, 1 across the derivative; the Gaussian falls by 4.01, not by 4
    moves = filter_action(get_group("C8"), 3)
    gradient = np.outer([1, 4, 1], [-1, 0, 1]).ravel()
    np.testing.assert_allclose(moves[0] @ gradient, gradient, atol=0.005)
    upwards = -np.outer([-1, 0, 1], [1, 4, 1]).ravel()
    expected = (gradient + upwards) / np.sqrt(2)
    np.testing.assert_allclose(moves[1] @ gradient, expected, atol=0.005)


def test_results_are_independent():
    group = get_group("C4")
    filter_basis(group, 3)[:] = 7
    assert filter_basis(group, 3).max() == 1


@pytest.mark.parametrize(
    ("size", "error", "message"),
    [
        (4, ValueError, "kernel_size: expected an odd number, got 4"),
        (0, ValueError, "kernel_size: expected an integer >= 1, got 0"),
        (3.0, TypeError, "kernel_size: expected an integer"),
    ],
)
def test_refused(size, error, message):
    for function in (filter_basis, filter_action):
        with pytest.raises(error, match=message):
            function(get_group("C4"), size)
