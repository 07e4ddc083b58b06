"""What is said of the package in several places agrees: version, extras, continuous integration."""

import re
import tomllib
from pathlib import Path

from tomolearn._core.version import __version__

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
DEVELOPMENT = {"test", "dev", "docs", "all"}


def test_the_version_is_one() -> None:
    assert PROJECT["version"] == __version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [__version__]


def test_all_is_what_users_may_need() -> None:
    (everything,) = EXTRAS["all"]
    (names,) = re.findall(r"tomolearn\[(.+)\]", everything)
    assert set(names.split(",")) == EXTRAS.keys() - DEVELOPMENT


def test_extras_that_errors_and_pages_name_are_there() -> None:
    named = {}
    places = [*ROOT.glob("tomolearn/**/*.py"), *ROOT.glob("docs/*.md"), ROOT / "README.md"]
    for path in places:
        text = path.read_text(encoding="utf-8")
        for names in re.findall(r"(?:tomolearn|'\.)\[([a-z,]+)\]", text):
            named.update(dict.fromkeys(names.split(","), path.name))
    assert {"dicom", "node", "train"} <= named.keys()
    assert not named.keys() - EXTRAS.keys()


def test_extras_that_name_each_other_are_there() -> None:
    for needs in EXTRAS.values():
        for one in needs:
            for names in re.findall(r"tomolearn\[(.+)\]", one):
                assert set(names.split(",")) <= EXTRAS.keys()


def test_the_workflow_runs_the_script_of_every_machine() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "- run: bash .ci/run\n" in workflow
    assert (ROOT / ".ci" / "run").is_file()
