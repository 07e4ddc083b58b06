"""Figures: the right image in the right place, on the scale that is written next to it."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from tomolearn.evaluation.figures import detailed_region, draw_images, middle_slice

ROOT = Path(__file__).resolve().parents[2]
RAMP = np.linspace(0.0, 1.0, 24).reshape(4, 6)
IMAGES = {"Truth": RAMP, "A": RAMP + 0.5, "B": RAMP.copy()}


def draw(**changes: Any) -> Any:
    options = {
        "window": (-1.0, 2.0),
        "unit": "HU",
        "reference": "Truth",
        "difference_window": (-0.25, 0.25),
        "notes": {"A": "wrong by a half"},
        "caption": "all there is to say",
    }
    return draw_images(**({"images": IMAGES} | options | changes))


def panels(figure: Any) -> dict[str, Any]:
    return {axis.get_title(): axis.images[0] for axis in figure.axes if axis.images}


def test_images_and_their_differences_are_drawn() -> None:
    drawn = panels(draw())
    assert list(drawn) == ["Truth", "A", "B", "A − Truth", "B − Truth"]
    np.testing.assert_array_equal(drawn["A"].get_array(), RAMP + 0.5)
    np.testing.assert_allclose(drawn["A − Truth"].get_array(), 0.5)
    np.testing.assert_array_equal(drawn["B − Truth"].get_array(), 0.0)


def test_each_row_has_one_grey_scale() -> None:
    drawn = panels(draw())
    scales = {title: (image.get_clim(), image.get_cmap().name) for title, image in drawn.items()}
    assert {scales[title] for title in IMAGES} == {((-1.0, 2.0), "gray")}
    assert {scales[f"{title} − Truth"] for title in "AB"} == {((-0.25, 0.25), "gray")}


def test_colour_bars_name_the_unit_and_show_that_values_lie_beyond() -> None:
    figure = draw()
    bars = {axis.get_ylabel(): axis._colorbar for axis in figure.axes if hasattr(axis, "_colorbar")}
    assert list(bars) == ["HU", "difference, HU"]
    assert bars["HU"].extend == "neither"
    assert bars["difference, HU"].extend == "max"
    assert (bars["HU"].vmin, bars["HU"].vmax) == (-1.0, 2.0)


def test_notes_and_caption_are_written() -> None:
    figure = draw()
    notes = {axis.get_title(): axis.get_xlabel() for axis in figure.axes if axis.images}
    assert notes["A"] == "wrong by a half"
    assert notes["B"] == ""
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts == ["all there is to say"]


def test_saved_picture_has_the_image_the_right_way_up() -> None:
    image = np.zeros((4, 6))
    image[0, 0] = 1.0
    figure = draw_images({"": image}, window=(0.0, 1.0), unit="1")
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    stream.seek(0)
    picture = matplotlib.image.imread(stream)[..., 0]
    black = np.argwhere(picture < 0.1)
    top, left = black.min(0)
    # the corner at the top left is white, the other three are black
    height = picture.shape[0]
    below = picture[top + height // 2, left + 5]
    assert picture[top + 5, left + 5] > 0.9
    assert below < 0.1


def test_pixels_have_their_shape() -> None:
    figure = draw_images({"x": RAMP}, window=(0.0, 1.0), unit="1", spacing=(2.0, 0.5))
    assert figure.axes[0].get_aspect() == 4.0


def test_a_row_of_images_needs_no_reference() -> None:
    drawn = panels(draw(reference=None, difference_window=None, caption=""))
    assert list(drawn) == ["Truth", "A", "B"]


def test_details_are_framed_and_drawn_on_the_images_scale() -> None:
    figure = draw(zoom=(1, 3, 2, 6))
    images = [axis for axis in figure.axes if axis.images]
    whole, details, differences = images[:3], images[3:6], images[6:]
    assert [axis.get_title() for axis in images] == [*IMAGES, "", "", "", "A − Truth", "B − Truth"]
    for axis, detail, array in zip(whole, details, IMAGES.values(), strict=True):
        np.testing.assert_array_equal(detail.images[0].get_array(), array[1:3, 2:6])
        assert detail.images[0].get_clim() == axis.images[0].get_clim() == (-1.0, 2.0)
        (frame,) = axis.patches
        # pixel k extends from k - 1/2 to k + 1/2
        assert (frame.get_x(), frame.get_y()) == (1.5, 0.5)
        assert (frame.get_width(), frame.get_height()) == (4, 2)
    assert [len(axis.patches) for axis in differences] == [0, 0]
    bars = [axis.get_ylabel() for axis in figure.axes if hasattr(axis, "_colorbar")]
    assert bars == ["HU", "difference, HU"]


def test_of_volumes_the_middle_slice_is_shown() -> None:
    volumes = {title: np.stack([image * 0, image, image + 9]) for title, image in IMAGES.items()}
    shown, expected = panels(draw(images=volumes)), panels(draw())
    for title in expected:
        np.testing.assert_array_equal(shown[title].get_array(), expected[title].get_array())
    assert detailed_region(np.stack([RAMP.T @ RAMP, np.eye(6)])) == detailed_region(np.eye(6))
    np.testing.assert_array_equal(middle_slice(RAMP), RAMP)


def test_many_panels_are_smaller() -> None:
    width = draw_images({"x": RAMP}, window=(0.0, 1.0), unit="1").get_size_inches()[0]
    many = draw_images({str(n): RAMP for n in range(8)}, window=(0.0, 1.0), unit="1")
    assert many.get_size_inches()[0] < 5 * width


def test_detailed_region_is_where_the_edges_are() -> None:
    image = np.zeros((40, 60))
    image[30:34, 10:14] = 1.0  # one high edge
    image[6:12, 44:52] = 0.1 * (np.indices((6, 8)).sum(0) // 2 % 2)  # many low ones
    top, bottom, left, right = detailed_region(image)
    assert (bottom - top, right - left) == (12, 12)
    assert top <= 6
    assert bottom >= 12
    assert left <= 44
    assert right >= 52


@pytest.mark.parametrize("fraction", [0.05, 0.3, 1.0])
def test_detailed_region_is_the_best_of_all(fraction: float, numpy_rng: Any) -> None:
    image = 0.05 * numpy_rng.random((11, 17))
    image[9, 14] = 1.0  # few edges reach the limit then
    top, bottom, left, right = detailed_region(image, fraction=fraction)
    side = bottom - top
    assert side == right - left == max(1, round(11 * fraction))
    rows, columns = np.gradient(image)
    edges = np.minimum(np.sqrt(rows**2 + columns**2), 0.05 * (image.max() - image.min()))
    sums = [
        edges[i : i + side, j : j + side].sum()
        for i in range(11 - side + 1)
        for j in range(17 - side + 1)
    ]
    # to rounding: one is a difference of cumulative sums
    assert edges[top:bottom, left:right].sum() == pytest.approx(max(sums), rel=1e-12)


def test_detailed_region_of_a_flat_image_is_inside() -> None:
    assert detailed_region(np.ones((10, 10))) == (0, 3, 0, 3)


@pytest.mark.parametrize(
    ("image", "fraction", "message"),
    [
        (np.zeros(3), 0.3, r"image: expected shape \(rows, columns\) or \(slices, .*, got \(3,\)"),
        (np.zeros((1, 9)), 0.3, r"at least 2 x 2 pixels, got \(1, 9\)"),
        (RAMP, 0.0, "fraction: expected a positive number"),
        (RAMP, 1.5, r"fraction: expected a number in \(0, 1\], got 1.5"),
    ],
)
def test_detailed_region_errors(image: Any, fraction: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detailed_region(image, fraction=fraction)


@pytest.mark.parametrize("zoom", [5, (0, 2, 0), "1234", (0, 2.0, 0, 2)])
def test_zoom_is_four_integers(zoom: Any) -> None:
    with pytest.raises(TypeError, match=r"zoom: expected (four integers|an integer)"):
        draw(zoom=zoom)


def test_drawing_leaves_pyplot_alone() -> None:
    program = (
        "import sys, numpy as np\n"
        "from tomolearn.evaluation.figures import draw_images\n"
        "print('matplotlib' in sys.modules)\n"
        "draw_images({'x': np.eye(3)}, window=(0, 1), unit='1')\n"
        "print('matplotlib.pyplot' in sys.modules)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.stdout.split() == ["False", "False"], result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "images: expected at least one image, got none"),
        (
            {"images": {"Truth": RAMP, "A": RAMP.T}},
            r"expected all of one shape, got \(6, 4\) for 'A' and \(4, 6\)",
        ),
        ({"images": {"Truth": np.zeros(3)}}, r"image: expected shape \(rows, .* got \(3,\)"),
        ({"window": (1.0, 1.0)}, r"window: expected an increasing pair, got \(1.0, 1.0\)"),
        ({"window": (0.0, np.inf)}, "window: expected 2 finite numbers"),
        ({"difference_window": (1, 0)}, "difference_window: expected an increasing pair"),
        ({"difference_window": None}, "difference_window: expected two numbers with a reference"),
        ({"reference": "C"}, "reference: expected one of Truth, A, B, got 'C'"),
        ({"notes": {"C": "x"}}, "notes: expected one of Truth, A, B, got 'C'"),
        ({"reference": None}, "reference: expected a title with caption or difference_window"),
        ({"zoom": (0, 5, 0, 6)}, r"zoom: .* within 4 x 6, got \(0, 5, 0, 6\)"),
        ({"zoom": (0, 4, 3, 3)}, "zoom: expected rows and columns"),
        ({"zoom": (-1, 4, 0, 3)}, "zoom: expected an integer >= 0"),
        ({"spacing": (1.0,)}, "spacing: expected 2 finite numbers"),
    ],
)
def test_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(**changes)
