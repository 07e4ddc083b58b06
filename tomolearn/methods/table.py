"""The table of methods, to which other packages add, and methods made of a user's functions."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.tables import Table
from tomolearn.methods.method import REQUIRED, Method, make_method, setting

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
        return method_from_dict, (self.to_dict(),)


def method_of(spec: str, function: Callable[..., Any]) -> type[Method]:
    """Return a class of methods that call a function; they are found by `spec`.

    It is called as ``function(sinogram, operator, **settings)``. Its settings are the keyword
    parameters of the function that are, by their annotation or their default, of type bool, int,
    float or str; all others must have a default.
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


def _method(where: str, value: Any) -> type[Method]:
    if isinstance(value, type):
        if not issubclass(value, Method):
            raise TomolearnTypeError(f"{where}: expected a class of Method, got {value.__name__}")
        return value
    return method_of(where, value)


METHODS: Table[type[Method]] = Table(
    "method",
    {
        "fbp": "tomolearn.methods.analytic.fbp:FBP",
        "tv": "tomolearn.methods.variational.total_variation:TotalVariation",
        "sirt": "tomolearn.methods.iterative.sirt:SIRT",
        "cgls": "tomolearn.methods.iterative.conjugate_gradients:CGLS",
        "landweber": "tomolearn.methods.iterative.landweber:Landweber",
        "tikhonov": "tomolearn.methods.iterative.conjugate_gradients:Tikhonov",
        "variational": "tomolearn.methods.variational.variational:Variational",
        "tsvd": "tomolearn.methods.analytic.singular_values:TSVD",
        "pnp": "tomolearn.methods.variational.plug_and_play:PlugAndPlay",
        "generative": "tomolearn.methods.variational.generative:Generative",
        "dip": "tomolearn.methods.variational.deep_image_prior:DeepImagePrior",
        "kaczmarz": "tomolearn.methods.iterative.kaczmarz:Kaczmarz",
        "dds": "tomolearn.methods.sampling.dds:DDS",
        "dps": "tomolearn.methods.sampling.dps:DPS",
        "diffpir": "tomolearn.methods.sampling.diffpir:DiffPIR",
        "mlem": "tomolearn.methods.iterative.mlem:MLEM",
    },
    group="tomolearn.methods",
    check=_method,
)
"""Classes of `Method` by name.

`find` also takes ``module:name`` and ``file.py:name``, of a class of methods, or of a function
``f(sinogram, operator) -> image`` whose keywords become settings.
"""


def method_from_dict(values: Mapping[str, Any]) -> Method:
    """Return the method that `Method.to_dict` wrote down, as `METHODS` finds it.

    Raises
    ------
    TypeError, ValueError
        If name or settings are unknown, or a value will not do.
    """
    settings = dict(values)
    return make_method(METHODS.find(settings.pop("name", None)), settings)
