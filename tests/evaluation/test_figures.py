"""Figures: the right image in the right place, on the scale that is written next to it."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from tomolearn.evaluation.figures import draw_images

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
            r"expected all of one shape \(rows, columns\), got \(6, 4\) for 'A' and \(4, 6\)",
        ),
        ({"images": {"Truth": np.zeros(3)}}, r"images: expected all of one shape .* got \(3,\)"),
        ({"window": (1.0, 1.0)}, r"window: expected an increasing pair, got \(1.0, 1.0\)"),
        ({"window": (0.0, np.inf)}, "window: expected 2 finite numbers"),
        ({"difference_window": (1, 0)}, "difference_window: expected an increasing pair"),
        ({"difference_window": None}, "difference_window: expected two numbers with a reference"),
        ({"reference": "C"}, "reference: expected one of Truth, A, B, got 'C'"),
        ({"notes": {"C": "x"}}, "notes: expected one of Truth, A, B, got 'C'"),
        ({"reference": None}, "reference: expected a title with caption or difference_window"),
        ({"spacing": (1.0,)}, "spacing: expected 2 finite numbers"),
    ],
)
def test_errors(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw(**changes)
