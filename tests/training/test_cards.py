"""Cards for people and for programs."""

import json
from pathlib import Path

import pytest
import torch
from saved_networks import CARD, tiny

import tomolearn as tl
from tomolearn._core.checkpoints.cards import plain_values, render_card
from tomolearn.training.weights import read_card


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Stem of a pair of files."""
    tl.save(tiny(), tmp_path / "net", **CARD)
    return tmp_path / "net"


def test_card_for_people_says_it_all(saved: Path) -> None:
    name, card = read_card(saved)
    text = render_card(name, card)
    lines = text.splitlines()
    assert lines[0] == "# net"
    for expected in (
        "Tiny.",
        "| network | learned-primal-dual |",
        f"| parameters | {card['parameters']:,} |",
        f"| SHA-256 of the weights | {card['sha256']} |",
        "| task | ellipses |",
        "| psnr | 31.25 |",
        "| noisy, psnr | 28.5 |",
        "| convention | range 1 \\| fixed |",
        "| data | drawn |",
        "| steps | 7 |",
        "| seed | 20240613 |",
        "| hours | 0.5 |",
        "| hardware | not recorded |",
        "| Limits | images in [0, 1] |",
        "| Licence of the weights | CC0 |",
        "| Intended use | not recorded |",
        "| spacing | 0.7, 0.7 |",
        f"| torch | {torch.__version__} |",
    ):
        assert expected in lines, expected
    assert "```bash\na \\\n b\n```" in text
    assert 'tl.load("net")' in text


def test_empty_card_says_what_is_missing(tmp_path: Path) -> None:
    text = render_card(*read_card(tl.save(tiny(), tmp_path / "net")))
    for expected in (
        "| task | not recorded |",
        "| steps | not recorded |",
        "Command: not recorded.",
    ):
        assert expected in text.splitlines()
    assert text.count("\nNot recorded.\n") == 3  # results, grid, scan


def test_long_lists_are_cut_in_the_middle(tmp_path: Path) -> None:
    tl.save(tiny(), tmp_path / "net", training={"curve": list(range(50)), "best": [1, 2]})
    text = render_card(*read_card(tmp_path / "net"))
    assert "| curve | 0, 1, 2, ..., 49 (50 values) |" in text
    assert "| best | 1, 2 |" in text


def test_plain_values_are_those_that_json_gives_back() -> None:
    values = {"a": (1, 2.5, None, True, "x"), "b": {"c": []}}
    plain = plain_values("x", values)
    assert plain == json.loads(json.dumps(values))
    assert plain["b"] is not values["b"]
