"""Masks of outlines, marks that are one nodule, and what readers agree on."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from lidc_trees import SEED, enclosed

from data_sim.lidc import lidc_patient, read, write_lidc
from tomolearn.data.lidc import (
    Contour,
    Nodule,
    SlicePositions,
    cluster_nodules,
    consensus,
    outline_mask,
    read_annotations,
    slice_mask,
)
from tomolearn.dicom import find_series

SHAPE = (40, 40)
STACK = SlicePositions(tuple("abcdefgh"), tuple(range(0, 16, 2)), SHAPE, (2.0, 0.5, 0.5))


def ring(row, column, radius):
    """Pixels just outside of a disc, in order: the chain that a reader's tool draws."""
    rows, columns = np.indices(SHAPE)
    disc = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    near = np.zeros(SHAPE, bool)
    for dr in (-1, 0, 1):
        for dc in (-1, 0, 1):
            near |= np.roll(disc, (dr, dc), (0, 1))
    border = np.argwhere(near & ~disc)
    angles = np.arctan2(border[:, 0] - row, border[:, 1] - column)
    return disc, tuple(map(tuple, border[np.argsort(angles)].tolist()))


def mark(reader, row, column, radius, slices=(2, 3), name="n"):
    points = ring(row, column, radius)[1]
    contours = [Contour(STACK.uids[k], STACK.z[k], points) for k in slices]
    return Nodule(reader, name, tuple(contours), {"malignancy": 1 + reader})


def even_odd(points, shape):
    """Inside by counting the edges that a ray to the right crosses, exactly, in integers."""
    inside, border = np.zeros(shape, bool), np.zeros(shape, bool)
    pairs = list(zip(points, points[1:] + points[:1], strict=True))
    for r in range(shape[0]):
        for c in range(shape[1]):
            crossings = 0
            for (r0, c0), (r1, c1) in pairs:
                cross = (c1 - c0) * (r - r0) - (r1 - r0) * (c - c0)
                between = min(r0, r1) <= r <= max(r0, r1) and min(c0, c1) <= c <= max(c0, c1)
                border[r, c] |= cross == 0 and between
                if (r0 > r) != (r1 > r):
                    crossings += (cross < 0) if r1 > r0 else (cross > 0)
            inside[r, c] = crossings % 2 == 1
    return inside & ~border


@pytest.mark.parametrize("trial", range(8))
def test_fill_is_that_of_counting_crossings(trial, numpy_rng):
    # a chain of neighbouring pixels around a blob: its edges pass through no other pixel
    rng = np.random.default_rng((trial, 5))
    angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    radius = 6 + sum(rng.uniform(-1, 1) * np.cos(k * angles + rng.uniform(0, 6)) for k in (2, 3, 5))
    path = np.rint(np.c_[12 + radius * np.sin(angles), 13 + radius * np.cos(angles)]).astype(int)
    chain = path[np.r_[True, (np.diff(path, axis=0) != 0).any(1)]]
    points = [tuple(point) for point in chain.tolist()]
    expected = even_odd(points, (25, 26))
    assert expected.sum() > 30
    np.testing.assert_array_equal(outline_mask(points, (25, 26)), expected)


def test_the_outline_lies_outside():
    disc, points = ring(20, 18, 6.3)
    np.testing.assert_array_equal(outline_mask(points, SHAPE), disc)
    with_border = outline_mask(points, SHAPE, border=True)
    assert all(with_border[point] for point in points)
    assert with_border.sum() == disc.sum() + len(set(points))


def test_outline_of_pixels_that_do_not_exist():
    with pytest.raises(ValueError, match=r"points: expected rows and columns up to \(39, 39\)"):
        outline_mask([(1, 1), (1, 40), (2, 2)], SHAPE)


def test_holes_are_taken_out_with_their_border():
    disc, points = ring(20, 18, 9)
    hole, inner = ring(20, 18, 3)
    contours = (Contour("c", 4, points), Contour("c", 4, inner, inclusion=False))
    found = consensus([Nodule(0, "n", contours)], STACK)
    mask = slice_mask([found], 2, SHAPE)
    expected = disc & ~hole
    for point in inner:
        expected[point] = False
    np.testing.assert_array_equal(mask, expected)


def test_two_regions_of_one_mark_are_both_of_it():
    one, first = ring(10, 10, 4)
    other, second = ring(28, 28, 5)
    contours = tuple(Contour("c", 4, points) for points in (first, second))
    found = consensus([Nodule(0, "n", contours)], STACK)
    np.testing.assert_array_equal(slice_mask([found], 2, SHAPE), one | other)


@pytest.mark.parametrize(("level", "needed"), [(0.25, 1), (0.5, 2), (0.51, 3), (0.75, 3), (1, 4)])
def test_consensus_counts_readers(level, needed):
    radii = (4, 6, 8, 10)
    marks = [mark(reader, 20, 20, radius) for reader, radius in enumerate(radii)]
    # a second mark of the last reader is no further vote
    marks.append(mark(3, 20, 20, 9))
    found = consensus(marks, STACK, consensus_level=level)
    assert found.n_readers == 4
    expected = ring(20, 20, sorted(radii, reverse=True)[needed - 1])[0]
    for k in range(8):
        mask = slice_mask([found], k, SHAPE)
        np.testing.assert_array_equal(mask, expected if k in (2, 3) else np.zeros(SHAPE, bool))
    assert not slice_mask([found], 2, SHAPE, min_readers=5).any()


def test_slices_are_found_by_uid_and_then_by_position():
    points = ring(20, 20, 5)[1]
    for contour, expected in (
        (Contour("c", 99.0, points), 2),
        (Contour("?", 6.049, points), 3),
        (Contour("?", 5.951, points), 3),
        (Contour("?", 6.051, points), None),
        (Contour("?", 7.0, points), None),
    ):
        assert STACK.find(contour) == expected
    lost = consensus([Nodule(0, "n", (Contour("?", 7.0, points),))], STACK)
    assert (lost.n_unmatched, lost.mask.size) == (1, 0)
    assert not slice_mask([lost], 0, SHAPE).any()


def test_near_marks_are_one_nodule_and_far_ones_two():
    near = [mark(0, 12, 12, 4), mark(1, 13, 12, 4), mark(2, 12, 14, 5, slices=(3,))]
    # 0.5 mm pixels: their outlines are 12 pixels, 6 mm, from those above
    far = [mark(0, 30, 30, 3), mark(3, 30, 30, 4)]
    point = Nodule(1, "small", (Contour("c", 4, ((12, 12),)),))
    found = cluster_nodules([near[0], far[0], point, near[1], far[1], near[2]], STACK)
    names = sorted(sorted((m.reader, m.contours[0].points[0]) for m in group) for group in found)
    expected = [sorted((m.reader, m.contours[0].points[0]) for m in g) for g in (near, far)]
    assert names == sorted(expected)


def test_marks_farther_apart_than_the_slices_are_two_nodules():
    # outlines are as far apart as the slices, 2 mm, and 2.5 mm
    for column, number in ((26, 1), (27, 2)):
        marks = [mark(0, 20, 12, 4), mark(1, 20, column, 4)]
        outlines = [np.array(one.contours[0].points) for one in marks]
        gap = np.linalg.norm(outlines[0][:, None] - outlines[1], axis=-1).min() / 2
        assert (gap > 2) == (number == 2)
        assert len(cluster_nodules(marks, STACK)) == number


def test_two_neighbours_that_four_readers_marked_stay_apart():
    # 1 mm between them: less than the distance of slices, 2 mm, at which they would be one of 8
    marks = [mark(reader, 20, column, 4) for reader in range(4) for column in (10, 22)]
    found = cluster_nodules(marks, STACK)
    assert [len(group) for group in found] == [4, 4]
    assert all(len({m.contours[0].points for m in group}) == 1 for group in found)


def test_four_marks_in_a_chain_are_one_nodule_and_five_are_not():
    """Each 1 mm from the last: within the distance of slices, 2 mm; four readers are the limit."""
    for number, sizes in ((4, [4]), (5, [1] * 5)):
        marks = [mark(reader % 4, 20, 5 + 7 * reader, 1) for reader in range(number)]
        outlines = [np.array(one.contours[0].points) for one in marks]
        for first, second in pairwise(outlines):
            gap = np.linalg.norm(first[:, None] - second, axis=-1).min() / 2
            assert 0.9 < gap < 2
        assert [len(group) for group in cluster_nodules(marks, STACK)] == sizes


def test_slices_at_one_position_have_no_distance(tmp_path):
    """Positions of a series that was written twice differ by rounding."""
    write_lidc(tmp_path, 1, 4, seed=SEED, shape=(64, 64))
    (series,) = find_series(tmp_path).series
    distance = SlicePositions.of(series).spacing[0]
    x, y, _ = series.slices[0].position
    for shift, expected in ((0.04, distance), (0.06, 0.06)):
        z = [k * distance + s for k in range(4) for s in (0.0, shift)]
        twice = [replace(series.slices[k // 2], position=(x, y, at)) for k, at in enumerate(z)]
        positions = SlicePositions.of(replace(series, slices=tuple(twice)))
        assert positions.spacing[0] == pytest.approx(expected, abs=0.05 if shift < 0.05 else 1e-6)


def test_more_marks_than_readers_on_one_spot_are_left_together():
    marks = [mark(reader % 4, 20, 20, 4) for reader in range(5)]
    assert [len(group) for group in cluster_nodules(marks, STACK)] == [5]


def test_no_marks():
    assert cluster_nodules([], STACK) == []
    with pytest.raises(ValueError, match="marks: expected at least one, got none"):
        consensus([], STACK)


@pytest.mark.parametrize(("level", "words"), [(0, "level: expected a pos"), (1.5, r"in \(0, 1\]")])
def test_levels_that_are_none(level, words):
    with pytest.raises(ValueError, match=words):
        consensus([mark(0, 20, 20, 4)], STACK, consensus_level=level)


def test_outline_beyond_the_image():
    far = Nodule(0, "n7", (Contour("c", 4, ((50, 3), (52, 3), (52, 9))),))
    with pytest.raises(ValueError, match=r"edgeMap: expected .* below \(40, 40\), got .* in n7"):
        consensus([far], STACK)


def test_a_nodule_beyond_the_slice():
    found = consensus([mark(0, 20, 18, 5)], STACK)
    whole = slice_mask([found], 2, SHAPE)
    rows, columns = np.argwhere(ring(20, 18, 5)[0]).max(0) + 2
    for shape in ((rows - 1, 40), (40, columns - 1)):
        with pytest.raises(ValueError, match=f"shape: expected at least {rows} x {columns}, which"):
            slice_mask([found], 2, shape)
    np.testing.assert_array_equal(slice_mask([found], 2, (rows, columns)), whole[:rows, :columns])


def test_readings_of_synthetic_patients(tmp_path):
    # the simulation knows which lesion each mark is of
    shape = (192, 192)
    write_lidc(tmp_path, 4, 10, seed=SEED, shape=shape)
    n_nodules = n_outlines = 0
    for index in range(1, 5):
        patient = lidc_patient(index, SEED, slices=10, shape=shape)
        (series,) = find_series(tmp_path / f"LIDC-IDRI-{index:04d}").series
        (path,) = series.slices[0].path.parent.glob("*.xml")
        annotations = read_annotations(path)
        lesion = {
            (number, one.name): one.lesion
            for number, reading in enumerate(read(patient))
            for one in reading.marks
        }
        assert set(lesion) == {(one.reader, one.id) for one in annotations.nodules}
        positions = SlicePositions.of(series)
        groups = cluster_nodules(annotations.nodules, positions)
        found = [{lesion[one.reader, one.id] for one in group} for group in groups]
        # each group is of one lesion, and each lesion one group
        assert all(len(lesions) == 1 for lesions in found)
        assert len(set().union(*found)) == len(found)
        assert all(consensus(group, positions).n_unmatched == 0 for group in groups)
        n_nodules += len(groups)
        for contour in (c for one in annotations.outlined for c in one.contours):
            n_outlines += 1
            filled = enclosed(np.array(contour.points), shape)
            np.testing.assert_array_equal(outline_mask(contour.points, shape), filled)
    assert n_nodules >= 3
    assert n_outlines > 20
