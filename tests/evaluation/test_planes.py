"""The three middle planes of a volume: which, and in what place and scale."""

import numpy as np
import pytest

from tomolearn import TomolearnError
from tomolearn.evaluation.planes import draw_planes, middle_planes


def test_planes_are_those_through_the_middle():
    z, x, y = np.ogrid[:3, :5, :7]
    slices, rows, columns = middle_planes(100 * z + 10 * x + y)
    np.testing.assert_array_equal(slices, (100 + 10 * x + y)[0])
    np.testing.assert_array_equal(rows, (100 * z + 20 + y)[:, 0])
    np.testing.assert_array_equal(columns, (100 * z + 10 * x + 3)[:, :, 0])


def test_lengths_and_greys_are_on_one_scale():
    volume = np.zeros((3, 5, 7))
    volume[1, 2, 3], volume[0, 0, 0] = 4.0, 9.0  # the latter is in none of the planes
    figure = draw_planes(volume, unit="1/mm", spacing=(2.0, 1.0, 0.5), title="fbp")
    shown = [panel.images[0] for panel in figure.axes[:3]]
    assert [image.get_clim() for image in shown] == [(0.0, 4.0)] * 3
    extents = [np.abs(np.subtract(*np.reshape(image.get_extent(), (2, 2)).T)) for image in shown]
    np.testing.assert_allclose(extents, [(3.5, 5.0), (3.5, 6.0), (5.0, 6.0)])
    assert figure.get_suptitle() == "fbp"


@pytest.mark.parametrize(
    ("shape", "spacing", "message"),
    [
        ((3, 4), (1.0, 1.0), "volume: expected shape"),
        ((3, 0, 4), (1.0, 1.0, 1.0), "volume: expected shape"),
        ((3, 4, 5), (1.0, 1.0), "spacing: "),
    ],
)
def test_refusals(shape, spacing, message):
    with pytest.raises(TomolearnError, match=message):
        draw_planes(np.zeros(shape), unit="", spacing=spacing)
