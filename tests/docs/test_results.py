"""Tables of documents are those of `results/`, tables, cards and weights."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

from tomolearn.benchmarks.tables import output_block, speed_table
from tomolearn.evaluation.benchmarking.leaderboard import entries
from tomolearn.tasks import TASKS

ROOT = Path(__file__).parents[2]


def _script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


record, tables = _script("record"), _script("tables")


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_pages_have_their_tables(page) -> None:
    text = page.read_text(encoding="utf-8")
    unknown = set(re.findall("^<!-- table: (.*) -->$", text, re.MULTILINE)) - tables.TABLES.keys()
    assert not unknown, "run `python docs/record.py NAME COMMAND`, or `tomolearn bench --out`"
    assert tables.rendered(text) == text, "run `python docs/tables.py`"


def test_results_are_those_of_the_command() -> None:
    found = entries(ROOT / "results") + entries(ROOT / "results" / "rehearsal")
    assert found
    for values in found:
        task = values["task"]["name"]
        assert task in TASKS
        assert values["command"].startswith(f"tomolearn benchmark {task}")
        assert all(row["search"] is None or row["search"]["images"] for row in values["rows"])
        # what was measured is the task as it is now
        assert values["task"]["acquisition"] == TASKS[task].to_dict()["acquisition"]


def test_tables_of_speed_have_command_and_machine(tmp_path) -> None:
    timing = {"case": "fan", "batch": 2, "what": "forward", "unit": "ms", "ratio": None}
    timings = [
        timing | {"contender": "joseph", "value": 1.2345, "ratio": 9.96},
        timing | {"contender": "astra", "value": 1234.5},
        timing | {"contender": "joseph", "value": 5.0, "what": "fdk"},
    ]
    machine = {"processor": "P", "cores": 2, "load": 0.5, "threads": 1, "system": "S"}
    values = {
        "command": "tomolearn bench projectors",
        "machine": machine | {"versions": {"torch": "2"}},
        "timings": timings,
    }
    path = tmp_path / "projectors.json"
    path.write_text(json.dumps(values))
    assert speed_table(path).splitlines() == [
        "| scan | batch | what |  | `joseph` | ASTRA |",
        "| --- | ---: | --- | --- | ---: | ---: |",
        "| fan | 2 | forward | ms | 1.23 (10.0x) | 1230 |",
        "| fan | 2 | FDK | ms | 5 | – |",
        "",
        "`tomolearn bench projectors`. Load when it began: 0.5. P, 1 of 2 threads, S; torch 2.",
    ]
    path.write_text(json.dumps(values | {"rivals": {"rtk": "2.7", "diffct": "2.5"}}))
    assert speed_table(path).endswith("S; torch 2. Beside it RTK 2.7, diffct 2.5.\n")
    path.write_text("{}")
    with pytest.raises(ValueError, match="expected figures of `tomolearn bench --out`"):
        speed_table(path)


def test_output_of_commands_is_shown_as_it_is(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(record, "OUTPUT", tmp_path)
    record.record("greeting", "echo '| a |'; printf 'dB  \\n\\n'; ls DATA; echo DATA", tmp_path)
    path = tmp_path / "greeting.json"
    assert json.loads(path.read_text())["printed"] == ["| a |", "dB", "", "DATA"]
    lines = output_block(path).splitlines()
    shown = ["| a |", "", "```text", "dB", "", "DATA", "```", ""]
    assert lines[4:-1] == shown
    assert lines[-1].startswith("It took ")
    before = path.read_text()
    with pytest.raises(subprocess.CalledProcessError):
        record.record("greeting", "echo new; false", None)
    assert path.read_text() == before
    with pytest.raises(SystemExit, match="--data: expected a folder"):
        record.record("greeting", None, None)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"expected what `docs/record.py` kept"):
        output_block(path)


FILES = sorted([*ROOT.glob("results/bench/*.json"), *ROOT.glob("results/output/*.json")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_files_have_their_page(path) -> None:
    marker = f"<!-- table: {path.parent.name} {path.stem} -->"
    assert any(marker in page.read_text(encoding="utf-8") for page in tables.PAGES)
