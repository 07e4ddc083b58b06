"""``tomolearn benchmark``: one command from a task's name to a report."""

import json

import pytest
from typer.testing import CliRunner

from tomolearn.cli import app
from tomolearn.cli.output import published_command

QUICK = ("--images", "2", "--search", "0", "--no-physics")


def run(*arguments):
    return CliRunner().invoke(app, ["benchmark", *map(str, arguments)])


def test_a_task_ends_in_a_report(tmp_path) -> None:
    out, board = tmp_path / "report", tmp_path / "results"
    board.mkdir()
    done = run("ellipses", "--methods", "fbp", *QUICK, "--out", out, "--results", board)
    assert done.exit_code == 0, done.output
    assert "published" in done.output
    values = json.loads((out / "results.json").read_text())
    assert values["settings"]["images"] == 2
    assert [row["method"] for row in values["rows"]] == ["fbp"]
    entry = json.loads((board / "ellipses.json").read_text())
    assert entry["command"].startswith("tomolearn")
    again = run("ellipses", "--methods", "fbp", *QUICK, "--out", out)
    assert "fbp: is known" in again.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("ellipses", "--arc", "90"), "--arc: expected it with htc2022 only"),
        (("htc2022",), "--data: expected the folder of htc2022_DISC"),
        (("htc2022", "--search", "2"), "--search: expected none with htc2022"),
        (("ellipses", "--split", "other"), "--split: expected one of train, validation, test"),
        (("elipses",), "ellipses"),
        (
            ("ellipses", "--results", "nowhere"),
            "--results: expected the folder of a leaderboard, got nowhere, which is missing; make",
        ),
        (("ellipses", "--results", "a.txt"), "got a.txt, which is a file; make a folder first"),
        (("ellipses", "--out", "a.txt"), "--out: expected a folder, or a name for one, got"),
    ],
)
def test_mistakes_are_told(arguments, text, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    done = run(*arguments)
    assert done.exit_code == 2
    assert text in " ".join(done.output.split())


def test_commands_of_a_leaderboard_name_nobodys_folders() -> None:
    given = ["benchmark", "ellipses", "--out", "a", "--results=b", "--data", "c", "--images", "3"]
    assert published_command(given) == "tomolearn benchmark ellipses --data DATA --images 3"
