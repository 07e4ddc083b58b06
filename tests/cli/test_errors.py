"""A user's mistake is one line and exit code 2; a bug keeps its traceback."""

import errno
import inspect
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import tomolearn
from tomolearn._core.checks import check_int
from tomolearn._core.errors import DivergenceError, TomolearnError
from tomolearn._core.optional import optional_import
from tomolearn.cli import COMMANDS, app
from tomolearn.cli.errors import CleanErrors

ROOT = Path(__file__).resolve().parents[2]


def run_command(body: Callable[[], object]) -> tuple[int, str, BaseException | None]:
    """Run a function as a command of an application like ours."""
    application = typer.Typer(cls=CleanErrors, pretty_exceptions_enable=False)
    application.callback()(lambda: None)
    application.command("go")(lambda: body() and None)
    result = CliRunner().invoke(application, ["go"])
    return result.exit_code, result.stderr, result.exception


def raise_(error: BaseException) -> None:
    raise error


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All commands of the application, with those within others."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


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
    "divergence": (
        lambda: raise_(DivergenceError("landweber: the misfit rises\nafter 3 iterations")),
        "error: landweber: the misfit rises after 3 iterations\n",
    ),
    "memory": (lambda: raise_(MemoryError()), "error: out of memory\n"),
    "memory of torch": (
        lambda: raise_(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 8 TB")),
        "error: out of memory: DefaultCPUAllocator: can't allocate memory: you tried 8 TB\n",
    ),
    "memory of a GPU": (
        lambda: raise_(RuntimeError("CUDA out of memory. Tried to allocate 8 TB")),
        "error: out of memory: CUDA out of memory. Tried to allocate 8 TB\n",
    ),
    "recursion": (
        lambda: raise_(RecursionError("maximum recursion depth exceeded")),
        "error: nested too deeply: maximum recursion depth exceeded\n",
    ),
}

BUGS: dict[str, Callable[[], object]] = {
    "wrong call": lambda: check_int("views"),  # type: ignore[call-arg]
    "numpy": lambda: np.zeros(2) + np.zeros(3),
    "conversion": lambda: int("seven"),
    "key": lambda: {}["views"],
    "end of a file": lambda: raise_(EOFError("Ran out of input")),
    "of torch": lambda: raise_(RuntimeError("shapes cannot be multiplied")),
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
    assert code == 70
    assert "\nerror:" not in stderr
    assert stderr.startswith("Traceback (most recent call last):")
    assert "please report it" in stderr
    assert isinstance(error, SystemExit)
    assert type(error.__context__.__cause__).__name__ in stderr


def test_error_of_python_within_our_own_modules_keeps_its_traceback() -> None:
    # not a TomolearnError, although the innermost frame is in tomolearn
    code, stderr, _ = run_command(lambda: check_int("views", 0, minimum="many"))
    assert code == 70
    assert "\nTypeError: " in stderr


def test_nobody_who_reads_is_no_error() -> None:
    code, stderr, error = run_command(lambda: raise_(BrokenPipeError(errno.EPIPE, "Broken pipe")))
    assert (code, stderr) == (1, "")
    assert isinstance(error, SystemExit)


@pytest.mark.parametrize("kind", ["error", "warning"])
@pytest.mark.parametrize("path", list(commands(typer.main.get_command(app))), ids="-".join)
def test_messages_name_what_the_user_types(
    path: tuple[str, ...],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    application: Any = typer.main.get_command(app)
    command = application
    for name in path:
        command = command.commands[name]
    callback = command.callback
    # what it needs before its own code runs
    given = ["1" for one in command.params if one.param_type_name == "argument"]
    given += [
        word
        for one in command.params
        if one.required and one.opts[0].startswith("--")
        for word in (one.opts[0], "1")
    ]
    for parameter in command.params:
        text = f"{parameter.name}: expected: another"

        def body(text: str = text, **_: object) -> None:
            if kind == "warning":
                warnings.warn(text, stacklevel=1)
            else:
                raise TomolearnError(text)

        body.__signature__ = inspect.signature(callback)  # where the options of methods are added
        monkeypatch.setattr(command, "callback", body)
        with pytest.raises(SystemExit):
            application.main([*path, *given], prog_name="tomolearn")
        said = parameter.opts[0] if parameter.opts[0].startswith("--") else parameter.name.upper()
        assert capsys.readouterr().err == f"{kind}: {said}: expected: another\n"


def test_warning_is_one_line() -> None:
    before = warnings.showwarning
    code, stderr, _ = run_command(lambda: warnings.warn("two\nlines", UserWarning, stacklevel=1))
    assert (code, stderr) == (0, "warning: two lines\n")
    assert warnings.showwarning is before


EVALUATE = ("evaluate", "--task", "ellipses", "--methods")
TRAIN = ("train", "fbp-unet", "--task", "ellipses")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dicom", ".", "out", "--kev", "-5"), "error: --kev: expected a positive number, got"),
        (("dicom", ".", "out", "--method", "none"), "error: --method: expected one of fbp, tv"),
        (("evaluate", "--task", "ellipses", "--methods", "none"), "error: --methods: expected one"),
        (("evaluate", "--task", "ellipse"), "error: --task: expected one of ellipses"),
        ((*EVALUATE, "cgls(iterations=0)"), "error: --methods: cgls(iterations=0): iterations: ex"),
        ((*EVALUATE, "sirt(iters=1)"), "error: --methods: sirt(iters=1): settings of sirt: expec"),
        ((*EVALUATE, "fbp(filter=1)"), "error: --methods: fbp(filter=1): filter: expected one of"),
        ((*EVALUATE, "fbp", "--metrics", "rms"), "error: --metrics: expected one of rmse"),
        ((*EVALUATE, "fbp", "--metrics", "rmse,"), "error: --metrics: expected names with commas"),
        ((*TRAIN, "--set", "lr=1"), "error: --set: expected one of model"),
    ],
)
def test_arguments_of_other_names_are_options_too(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)


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
        assert f" {command.__name__.replace('_', '-')} " in result.stdout


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
