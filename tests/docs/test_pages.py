"""README and pages: their tables are as code and weights have them, what they name is there."""

import functools
import importlib
import re
import runpy
from pathlib import Path

import pytest

import tomolearn as tl

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
NAMING = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "tomolearn" / "weights" / "README.md"]
# The changelog may name what was there.
PRESENT = [page for page in NAMING if page.name != "CHANGELOG.md"]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def tables():
    return runpy.run_path(str(DOCS / "tables.py"))


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to headings."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_page_has_its_tables_as_they_are(page, tables):
    text = page.read_text(encoding="utf-8")
    assert tables["rendered"](text) == text, "run python docs/tables.py"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}, no such heading"


@pytest.mark.parametrize("page", NAMING, ids=name)
def test_names_of_the_package_exist(page):
    text = page.read_text(encoding="utf-8")
    for found in set(re.findall(r"\btl((?:\.[A-Za-z_]\w*)+)", text)):
        functools.reduce(getattr, found[1:].split("."), tl)
    for room, rest in set(re.findall(r"\btomolearn\.(\w+)\.(\w+)", text)):
        module = importlib.import_module(f"tomolearn.{room}")
        if not hasattr(module, rest):
            importlib.import_module(f"tomolearn.{room}.{rest}")


@pytest.mark.parametrize("page", PRESENT, ids=name)
def test_files_of_the_repository_exist(page):
    text = page.read_text(encoding="utf-8")
    folders = "examples|docs|results|tests|tomolearn|data_sim"
    for path in set(re.findall(rf"[\s`(]((?:{folders})/[\w/.*-]*\w)", text)):
        assert "NAME" in path or any(ROOT.glob(path)), (
            f"{page.name} names {path}, which is not there"
        )


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_methods_page_has_every_method(tables):
    from tomolearn.catalogue import methods_table

    assert methods_table() in (DOCS / "methods.md").read_text(encoding="utf-8")
