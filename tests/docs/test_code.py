"""Code on pages: Python runs, or is at least Python, and commands have the named options."""

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from tomolearn.cli import app
from tomolearn.cli.method_options import MethodCommand, _settings_of_all

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Every line of Python on these pages runs, from the top of the page to its end.
RUN = ("concepts.md", "own_network.md", "own_task.md", "start_research.md")
CODE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(tomolearn [^`]+)`")


def python(page: Path) -> list[str]:
    return [code for kind, code in CODE.findall(page.read_text("utf-8")) if kind == "python"]


def commands(page: Path) -> list[str]:
    """Return the commands of this package, a line each, as they stand in blocks and in the text."""
    text = page.read_text("utf-8")
    lines = []
    for kind, code in CODE.findall(text):
        if kind in ("", "bash"):
            # R="tomolearn train ..." begins what other lines go on with
            joined = code.replace("\\\n", " ")
            lines += re.findall(
                r'^tomolearn .*|(?<=^# )tomolearn .*|(?<=^R=")tomolearn [^"]*', joined, re.M
            )
    prose = re.sub(r"\s+", " ", CODE.sub("", text))
    return lines + INLINE.findall(prose)


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """Return the command that the first words name, and the others."""
    found: Any = typer.main.get_command(app)
    while words and words[0] in getattr(found, "commands", {}):
        found, words = found.commands[words[0]], words[1:]
    return found, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_on_pages_is_python(page):
    for code in python(page):
        ast.parse(code)


@pytest.mark.parametrize("page", RUN)
def test_python_of_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for code in python(ROOT / "docs" / page):
        exec(compile(code, page, "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_pages_have_their_options(page):
    for line in commands(page):
        if "..." in line or "|" in line:
            continue
        command, arguments = command_of(shlex.split(line, comments=True)[1:])
        given = {word.partition("=")[0] for word in arguments if word.startswith("--")}
        if hasattr(command, "commands"):
            assert not set(arguments) - given, f"{page.name}: {line}: no such command"
        context = command.context_class(command)
        known = {
            option
            for parameter in command.get_params(context)
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        if isinstance(command, MethodCommand):
            for settings in _settings_of_all().values():
                known |= {f"--{one.name.replace('_', '-')}" for one in settings}
        assert given <= known, f"{page.name}: {line}: no option {given - known}"
