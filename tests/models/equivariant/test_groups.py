"""Tables of the groups, and their action on images and fields."""

import numpy as np
import pytest
import torch

from tomolearn.models.equivariant import GROUPS, Group, get_group

each_group = pytest.mark.parametrize("group", [get_group(name) for name in GROUPS], ids=GROUPS)


@each_group
def test_table_is_that_of_a_group(group):
    table, n = np.array(group.table), group.order
    assert len(group.elements) == len(set(group.elements)) == n
    assert group.elements[0] == (0, 0)
    everyone = np.arange(n)
    assert (table[0] == everyone).all()
    assert (table[:, 0] == everyone).all()
    assert (np.sort(table, 0) == everyone[:, None]).all()
    assert (np.sort(table, 1) == everyone).all()
    # (f g) h = f (g h)
    assert (table[table] == table[everyone[:, None, None], table]).all()
    inverses = np.array(group.inverses)
    assert (table[everyone, inverses] == 0).all()
    assert (table[inverses, everyone] == 0).all()


@each_group
def test_table_is_that_of_the_matrices(group):
    def matrix(element):
        turn, mirrored = group.elements[element]
        angle = 2 * np.pi * turn / group.rotations
        rotation = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return np.array(rotation) @ np.diag([-1.0 if mirrored else 1.0, 1.0])

    for g in range(group.order):
        assert group.angle(g) == pytest.approx(360 * group.elements[g][0] / group.rotations)
        for h in range(group.order):
            np.testing.assert_allclose(matrix(group.table[g][h]), matrix(g) @ matrix(h), atol=1e-14)


def test_orders():
    assert [get_group(name).order for name in GROUPS] == [1, 4, 8, 8]
    assert [get_group(name).exact for name in GROUPS] == [True, True, True, False]
    assert [get_group("C8").is_exact(e) for e in range(4)] == [True, False, True, False]


@each_group
@pytest.mark.parametrize("representation", ["trivial", "regular"])
def test_action_is_that_of_a_group(group, representation, rng):
    fields = torch.rand(2, 3 * group.order, 4, 5, generator=rng)
    exact = [e for e in range(group.order) if group.is_exact(e)]
    assert torch.equal(group.act(0, fields, representation), fields)
    for g in exact:
        for h in exact:
            step = group.act(g, group.act(h, fields, representation), representation)
            assert torch.equal(step, group.act(group.table[g][h], fields, representation))


def test_action_on_pixels_is_numpys(rng):
    image = torch.rand(3, 4, generator=rng)
    for name in ("C4", "C8"):
        group = get_group(name)
        quarter = group.rotations // 4
        np.testing.assert_array_equal(group.act(quarter, image), np.rot90(image))
    group = get_group("D4")
    mirrored = group.elements.index((0, 1))
    np.testing.assert_array_equal(group.act(mirrored, image), np.fliplr(image))
    np.testing.assert_array_equal(
        group.act(group.elements.index((1, 1)), image), np.rot90(np.fliplr(image))
    )


@each_group
def test_elements_permute_the_channels_of_a_field(group):
    # one field that tells its channels apart, the second one larger
    names = torch.arange(2.0 * group.order)[:, None, None]
    for g in range(group.order):
        permuted = group.permute(g, names).flatten().reshape(2, -1)
        for h in range(group.order):
            # what was at h is now at g h
            assert permuted[0, group.table[g][h]] == h
        assert torch.equal(permuted[1], permuted[0] + group.order)


def test_refused():
    with pytest.raises(ValueError, match="group: expected one of C1, C4, D4, C8, got 'C6'"):
        get_group("C6")
    with pytest.raises(TypeError, match="group: expected a name, got 4"):
        get_group(4)
    group = get_group("C8")
    image = torch.zeros(8, 3, 3)
    with pytest.raises(ValueError, match=r"multiple of a quarter turn, got 45 degrees .* of C8"):
        group.act(1, image)
    with pytest.raises(ValueError, match=r"element: expected one of 0\.\.7, got 8"):
        group.act(8, image)
    with pytest.raises(TypeError, match="element: expected an integer"):
        group.act(1.0, image)
    with pytest.raises(ValueError, match="representation: expected one of trivial, regular, got"):
        group.act(0, image, "irreducible")
    for wrong in (torch.zeros(9, 3, 3), torch.zeros(3, 8)):
        with pytest.raises(ValueError, match=r"fields: expected a multiple of 8 channels .* C8"):
            group.act(0, wrong, "regular")


def test_groups_are_values():
    assert get_group("D4") == Group("D4", 4, reflections=True)
    assert get_group("C8") != get_group("C4")


@pytest.mark.parametrize("rotations", [3, 6, 10])
def test_groups_without_quarter_turns_are_refused(rotations):
    with pytest.raises(ValueError, match=rf"rotations: expected 1, 2 or .* 4, got {rotations}"):
        Group("other", rotations)
