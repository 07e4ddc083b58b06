"""Options of a command from the settings of the method that its command line names.

A command that takes a method has a parameter ``method: str`` and ``**settings``, and is registered
as a `MethodCommand`::

    @method_command
    def reconstruct(..., method: Annotated[str, typer.Option(...)] = "fbp", **settings: Any): ...

    app.command(cls=MethodCommand)(reconstruct)

``settings`` are those that were given, and `tomolearn.catalogue.get_method` makes a method of them.
Each setting of the method named by ``--method`` is an option, unless the command has a parameter of
that name itself; no other method is imported. With ``--help`` the settings of all are shown. An
option of another method is an error that names the methods it belongs to.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand

from tomolearn._core.errors import TomolearnError

if TYPE_CHECKING:
    from tomolearn.methods import Setting

_WEIGHTS, _PRIORS = "weights", "trained priors"
_Function = TypeVar("_Function", bound=Callable[..., None])


def method_command(function: _Function) -> _Function:
    """Hide the ``**settings`` of a command from typer, which knows no parameters of that kind."""
    signature = inspect.signature(function, eval_str=True)
    function.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    )
    return function


class MethodCommand(TyperCommand):
    """A command with the settings of the method named by ``--method`` as options."""

    def make_context(self, info_name: Any, args: list[str], *more: Any, **extra: Any) -> Any:
        """Add the options, and read the command line."""
        from tomolearn.catalogue import method_kind

        function = inspect.unwrap(self.callback)  # type: ignore[arg-type]
        own = dict(inspect.signature(function).parameters)
        if {"--help", "-h"} & set(args):
            known = _settings_of_all()
        else:
            name = _named(args, own["method"].default)
            known = {name: method_kind(name).settings()}
            _refuse_options_of_others(args, name, {*own, *(one.name for one in known[name])})
        command = _command_with(function, own, known)
        self.params, self.callback = command.params, command.callback
        return super().make_context(info_name, args, *more, **extra)


def _settings_of_all() -> dict[str, tuple[Setting, ...]]:
    from tomolearn.catalogue import Trained, TrainedPrior
    from tomolearn.catalogue.names import COMPOSED
    from tomolearn.methods import METHODS

    settings = {name: kind.settings() for name, kind in {**METHODS, **COMPOSED}.items()}
    return {**settings, _WEIGHTS: Trained.settings(), _PRIORS: TrainedPrior.settings()}


def _named(args: Sequence[str], default: str) -> str:
    for position, argument in enumerate(args):
        option, equals, value = argument.partition("=")
        if option == "--method":
            return value if equals else next(iter(args[position + 1 :]), default)
    return default


def _refuse_options_of_others(args: Sequence[str], name: str, known: set[str]) -> None:
    for argument in args:
        flag = argument.partition("=")[0]
        option = flag.removeprefix("--").replace("-", "_").removeprefix("no_")
        if not flag.startswith("--") or option in known:
            continue
        users = [
            user
            for user, settings in _settings_of_all().items()
            if option in [one.name for one in settings]
        ]
        if users:
            raise TomolearnError(
                f"{flag}: expected with {', '.join(users)} only, got it with {name}"
            )


def _command_with(
    function: Callable[..., None],
    own: dict[str, inspect.Parameter],
    known: dict[str, tuple[Setting, ...]],
) -> Any:
    """Return the command of a function that has one more parameter for each setting."""
    users: dict[str, dict[str, Setting]] = {}
    for method, settings in known.items():
        for one in settings:
            if one.name not in own:
                users.setdefault(one.name, {})[method] = one
    added = [_parameter(name, of_methods) for name, of_methods in users.items()]

    @functools.wraps(function)
    def command(**values: Any) -> None:
        function(**{name: v for name, v in values.items() if name in own or v is not None})

    command.__signature__ = inspect.Signature([*own.values(), *added])  # type: ignore[attr-defined]
    single = typer.Typer(add_completion=False)
    single.command()(command)
    return typer.main.get_command(single)


def _parameter(name: str, of_methods: dict[str, Setting]) -> inspect.Parameter:
    kind: Any = next(iter(of_methods.values())).kind
    flag = "--" + name.replace("_", "-")
    option = typer.Option(
        f"{flag}/--no-{flag[2:]}" if kind is bool else flag,
        help=_help(of_methods),
        show_default=False,
        rich_help_panel=f"Settings of {', '.join(of_methods)}",
    )
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _help(of_methods: dict[str, Setting]) -> str:
    """Return one text for the methods that have a setting, by what they say of it."""
    from tomolearn.methods.method import REQUIRED

    texts: dict[str, list[str]] = {}
    for method, one in of_methods.items():
        text = one.help
        if one.choices:
            text += f": {', '.join(one.choices)}"
        if one.default is REQUIRED:
            text += "; required"
        elif one.default is not None and one.kind is not bool:
            text += f"; default {one.default}"
        texts.setdefault(text, []).append(method)
    if len(texts) == 1:
        (text,) = texts
        return text[0].upper() + text[1:] + "."
    return ". ".join(f"{', '.join(methods)}: {text}" for text, methods in texts.items()) + "."
