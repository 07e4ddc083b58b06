"""What the site generates: headings of scripts, docstrings as they are meant, the reference."""

import runpy
from pathlib import Path

import pytest

import tomolearn as tl

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def pages():
    return runpy.run_path(str(DOCS / "pages.py"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("shape (*batch, rows)", r"shape (\*batch, rows)"),
        ("the largest of |1 - t m|", r"the largest of \|1 - t m\|"),
        ("``(*batch, |x|)`` and *batch", r"``(*batch, |x|)`` and \*batch"),
        ("* an item, 2 * A, **names", "* an item, 2 * A, **names"),
    ],
)
def test_stars_and_bars_stand_for_themselves(pages, line, expected):
    lines = [line]
    pages["plain_signs"](None, "function", "f", None, None, lines)
    assert lines == [expected]


def test_scripts_get_headings_and_those_that_are_gone_go(pages, tmp_path, monkeypatch):
    examples, copies = tmp_path / "examples", tmp_path / "scripts"
    examples.mkdir()
    copies.mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "gallery_header.rst").write_text("Gallery\n=======\n")
    (copies / "old.py").write_text("")
    (examples / "one.py").write_text('"""A title.\n\nText.\n"""\n\nx = 1\n')
    (examples / "two.py").write_text('"""Another."""\n')
    monkeypatch.setitem(pages["copy_scripts"].__globals__, "ROOT", tmp_path)
    pages["copy_scripts"](copies)
    assert sorted(file.name for file in copies.glob("*.py")) == ["one.py", "two.py"]
    text = (copies / "one.py").read_text()
    assert text == '"""\nA title\n=======\n\nText.\n"""\n\nx = 1\n'
    compile((copies / "two.py").read_text(), "two.py", "exec")
    (examples / "three.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"three\.py: expected a docstring"):
        pages["copy_scripts"](copies)


def test_reference_has_everything_public_once(pages, tmp_path):
    pages["write_reference"](tmp_path)
    text = "".join(file.read_text() for file in tmp_path.glob("*.rst"))
    for name in ("geometry.ConeBeam", "methods.fbp", "priors.TotalVariation", "metrics.psnr"):
        assert sum(line.endswith(f":: tomolearn.{name}") for line in text.splitlines()) == 1
    face = (tmp_path / "tomolearn.rst").read_text()
    for name in tl.__all__:
        if not name.startswith("_") and name not in (*pages["ROOMS"],):
            assert f".{name}\n" in face
