"""Methods made of functions ``f(sinogram, operator, *, ...) -> image`` of a user."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from tomolearn._core.errors import TomolearnError
from tomolearn.methods.method import REQUIRED, Method, setting

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator

_KINDS = (bool, int, float, str)


class FunctionMethod(Method):
    """Base of methods that call a function; `method_of` makes them."""

    spec: ClassVar[str]
    function: ClassVar[Callable[..., torch.Tensor]]

    @property
    def name(self) -> str:
        """Where the function stands: ``path/to/file.py:function`` or ``module:function``."""
        return self.spec

    def __call__(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct."""
        settings = {one.name: getattr(self, one.name) for one in self.settings()}
        return type(self).function(sinogram, operator, **settings)

    def __reduce__(self) -> tuple[Any, ...]:
        # the class exists in this process only
        return Method.from_dict, (self.to_dict(),)


def method_of(spec: str, function: Callable[..., Any]) -> type[Method]:
    """Return a class of methods that call a function.

    Its settings are the keyword parameters of the function that are, by their annotation or their
    default, of type bool, int, float or str; all others must have a default.

    Parameters
    ----------
    spec : str
        What it is found by.
    function : callable
        Called as ``function(sinogram, operator, **settings)``.
    """
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(function).parameters.values()) if callable(function) else []
    if len(parameters) < 2 or any(one.kind not in by_position for one in parameters[:2]):
        raise TomolearnError(
            f"{spec}: expected a Method or a function f(sinogram, operator) -> image, "
            f"got {function!r}"
        )
    fields = [field for one in parameters[2:] if (field := _field(spec, one)) is not None]
    return dataclasses.make_dataclass(
        getattr(function, "__name__", "function"),
        fields,
        bases=(FunctionMethod,),
        namespace={"spec": spec, "function": staticmethod(function), "__doc__": function.__doc__},
        frozen=True,
        kw_only=True,
    )


def _field(spec: str, parameter: inspect.Parameter) -> tuple[str, str, Any] | None:
    if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        return None
    required = parameter.default is inspect.Parameter.empty
    annotation = parameter.annotation
    if annotation is inspect.Parameter.empty:
        annotation = type(parameter.default)
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    kinds = {part.strip() for part in text.split("|")} - {"None"}
    if len(kinds) != 1 or not kinds <= {kind.__name__ for kind in _KINDS}:
        if required:
            raise TomolearnError(
                f"{spec}: expected a default of {parameter.name}, or an annotation as one of "
                f"{', '.join(kind.__name__ for kind in _KINDS)}"
            )
        return None
    default = REQUIRED if required else parameter.default
    return parameter.name, text, setting(default, help=f"{parameter.name} of {spec}")
