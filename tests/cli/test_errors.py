"""A user's mistake is one line and exit code 2; a bug keeps its traceback."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import tomolearn
from tomolearn._core.checks import check_int
from tomolearn._core.optional import optional_import
from tomolearn.cli import COMMANDS, app
from tomolearn.cli.errors import CleanErrors
from tomolearn.cli.output import complete_file

ROOT = Path(__file__).resolve().parents[2]


def run_command(body: Callable[[], object]) -> tuple[int, str, BaseException | None]:
    """Run a function as a command of an application like ours."""
    application = typer.Typer(cls=CleanErrors, pretty_exceptions_enable=False)
    application.callback()(lambda: None)
    application.command("go")(lambda: body() and None)
    result = CliRunner().invoke(application, ["go"])
    return result.exit_code, result.stderr, result.exception


def raise_within_our_files() -> None:
    # through a with block and a finally clause of ours, as a failing write goes
    with complete_file(Path("never-written.npy")):
        check_int("views", -1, minimum=1)


MISTAKES: dict[str, tuple[Callable[[], object], str]] = {
    "value": (
        lambda: check_int("views", 0, minimum=1),
        "error: views: expected an integer >= 1, got 0\n",
    ),
    "type": (
        lambda: check_int("views", "many", minimum=1),
        "error: views: expected an integer >= 1, got 'many' (str)\n",
    ),
    "file": (
        lambda: open("no/such/file.npy", "rb"),  # noqa: SIM115
        "error: no/such/file.npy: No such file or directory\n",
    ),
    "package": (
        lambda: optional_import("no_such_module", purpose="this", install="pip install it"),
        "error: this needs the package 'no_such_module' (No module named 'no_such_module'); "
        "remedy: pip install it\n",
    ),
    "missing import": (
        lambda: __import__("no_such_module"),
        "error: No module named 'no_such_module'\n",
    ),
}

BUGS: dict[str, Callable[[], object]] = {
    "wrong call": lambda: check_int("views"),  # type: ignore[call-arg]
    "numpy": lambda: np.zeros(2) + np.zeros(3),
    "conversion": lambda: int("seven"),
    "key": lambda: {}["views"],
    "raised elsewhere": lambda: np.load(__file__, allow_pickle=False),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line_and_exit_code_2(name: str) -> None:
    body, message = MISTAKES[name]
    code, stderr, _ = run_command(body)
    assert (code, stderr) == (2, message)


@pytest.mark.parametrize("name", BUGS)
def test_bug_keeps_its_traceback(name: str) -> None:
    code, stderr, error = run_command(BUGS[name])
    assert code == 1
    assert "error:" not in stderr
    assert isinstance(error, (TypeError, ValueError, KeyError))


def test_bug_within_our_own_modules_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    # not raised by a raise statement, although the innermost frame is in tomolearn
    monkeypatch.setattr(tomolearn._core.checks.numbers, "Integral", 3)
    code, _, error = run_command(lambda: check_int("views", 1, minimum=1))
    assert code == 1
    assert isinstance(error, TypeError)


def test_error_through_our_context_manager_is_still_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, stderr, _ = run_command(raise_within_our_files)
    assert (code, stderr) == (2, "error: views: expected an integer >= 1, got -1\n")
    assert list(tmp_path.iterdir()) == []


def test_warning_is_one_line() -> None:
    before = warnings.showwarning
    code, stderr, _ = run_command(lambda: warnings.warn("two\nlines", UserWarning, stacklevel=1))
    assert (code, stderr) == (0, "warning: two lines\n")
    assert warnings.showwarning is before


def python_m_tomolearn(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tomolearn", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_module_runs_as_a_program() -> None:
    result = python_m_tomolearn("--version")
    assert (result.returncode, result.stdout) == (0, f"tomolearn {tomolearn.__version__}\n")
    result = python_m_tomolearn("demo", "--input", "no-such-slice.dcm")
    assert result.returncode == 2
    assert result.stderr == "error: no-such-slice.dcm: No such file or directory\n"


def test_usage_error_has_exit_code_2() -> None:
    for arguments in (["demo", "--views", "0"], ["demo", "--what"], ["what"], ["reconstruct"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, arguments


def test_help_lists_the_commands() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in COMMANDS:
        assert f" {command.__name__} " in result.stdout


def test_the_command_line_itself_loads_nothing_slow() -> None:
    # The package's own __init__ is left out: what it imports is not the command line's doing.
    program = (
        "import sys, types\n"
        "package = types.ModuleType('tomolearn')\n"
        f"package.__path__ = [{str(ROOT / 'tomolearn')!r}]\n"
        "sys.modules['tomolearn'] = package\n"
        "import tomolearn.cli\n"
        "slow = ('torch', 'numpy', 'scipy', 'pydicom', 'matplotlib', 'h5py', 'odl', 'numba')\n"
        "print(*sorted(set(slow) & set(sys.modules)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
