"""Tables of documents are those of `results/`, tables, cards and weights."""

import importlib.util
from pathlib import Path

import pytest

from tomolearn.evaluation.benchmarking.leaderboard import entries
from tomolearn.tasks import TASKS

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("tables", ROOT / "docs" / "tables.py")
tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tables)


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_pages_have_their_tables(page) -> None:
    text = page.read_text(encoding="utf-8")
    assert tables.rendered(text) == text, "run `python docs/tables.py`"


def test_results_are_those_of_the_command() -> None:
    found = entries(ROOT / "results")
    assert found
    for values in found:
        task = values["task"]["name"]
        assert task in TASKS
        assert values["command"].startswith(f"tomolearn benchmark {task}")
        assert all(row["search"] is None or row["search"]["images"] for row in values["rows"])
        # what was measured is the task as it is now
        assert values["task"]["acquisition"] == TASKS[task].to_dict()["acquisition"]
