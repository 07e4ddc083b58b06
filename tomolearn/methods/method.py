"""Reconstruction methods as values: settings that can be written down, and a call.

A method is a frozen dataclass called as ``method(sinogram, operator) -> image``. Its fields are
made by `setting`, which says what they are for and which values will do; everything else follows
from them: checks, JSON, options of the command line, documentation. A module that defines a method
imports torch in functions only, so that methods can be listed and chosen without it.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tomolearn._core.checks import check_choice, check_flag, check_float, check_int, check_known
from tomolearn._core.errors import TomolearnError, TomolearnTypeError
from tomolearn._core.memory import Arrays

if TYPE_CHECKING:
    import torch

    from tomolearn.operators import LinearOperator

REQUIRED: Any = dataclasses.MISSING
"""Default of a setting that has to be given."""

_KINDS: dict[str, type] = {"bool": bool, "int": int, "float": float, "str": str}
_METADATA = "setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of one setting.

    Parameters
    ----------
    name : str
        Its name in Python and in JSON.
    kind : type
        bool, int, float or str.
    optional : bool
        Whether it may be None.
    named : bool
        Whether the string is the name of an object, which may be given itself.
    default : object
        Its value if it is not given; `REQUIRED`: it has to be.
    help : str
        What it is for, as a phrase that begins with a small letter and has no full stop.
    choices : tuple of str
        What a string may be; empty: anything.
    minimum, maximum, above, below : float, optional
        What a number may be, bounds included (`minimum`, `maximum`) or not. An integer's minimum
        is 0 by default.
    """

    name: str
    kind: type
    optional: bool = False
    named: bool = False
    default: Any = REQUIRED
    help: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None

    def check(self, value: Any) -> Any:
        """Return a value as its kind.

        Raises
        ------
        TypeError, ValueError
            If it is of another kind, or out of its range.
        """
        if value is None and self.optional:
            return None
        if self.kind is bool:
            return check_flag(self.name, value)
        if self.choices:
            return check_choice(self.name, value, self.choices)
        if self.kind is int:
            return check_int(self.name, value, minimum=int(self.minimum or 0))
        if self.kind is float:
            return self._check_float(value)
        if not isinstance(value, str) and not self.named:
            raise TomolearnTypeError(
                f"{self.name}: expected a str, got {value!r} ({type(value).__name__})"
            )
        return value

    def parse(self, text: str) -> Any:
        """Return the value that a text stands for; it is not checked.

        Raises
        ------
        ValueError
            If it is no number or flag where one is expected.
        """
        if self.optional and text.lower() == "none":
            return None
        if self.kind is str:
            return text
        flags = {"true": True, "yes": True, "false": False, "no": False}
        try:
            return flags[text.lower()] if self.kind is bool else self.kind(text)
        except (KeyError, ValueError):
            expected = {bool: "true or false", int: "an integer", float: "a number"}[self.kind]
            raise TomolearnError(f"{self.name}: expected {expected}, got {text!r}") from None

    def _check_float(self, value: Any) -> float:
        number = check_float(
            self.name, value, positive=self.above == 0, nonnegative=self.minimum == 0
        )
        low = -float("inf") if self.minimum is None else self.minimum
        high = float("inf") if self.maximum is None else self.maximum
        inside = low <= number <= high
        if self.above is not None:
            inside, low = inside and number > self.above, self.above
        if self.below is not None:
            inside, high = inside and number < self.below, self.below
        if not inside:
            left = "[" if self.above is None and self.minimum is not None else "("
            right = "]" if self.below is None and self.maximum is not None else ")"
            raise TomolearnError(
                f"{self.name}: expected a number in {left}{low:g}, {high:g}{right}, got {number}"
            )
        return number


def setting(
    default: Any = REQUIRED,
    *,
    help: str,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """Return a field of a dataclass that is a setting: bool, int, float or str, or also None.

    The parameters are those of `Setting`.
    """
    limits = {"minimum": minimum, "maximum": maximum, "above": above, "below": below}
    known = {"help": help, "choices": choices, **limits}
    return dataclasses.field(default=default, metadata={_METADATA: known})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of frozen dataclasses whose fields are settings: checks and JSON."""

    def __post_init__(self) -> None:
        for one in self.settings():
            object.__setattr__(self, one.name, one.check(getattr(self, one.name)))

    @classmethod
    def settings(cls) -> tuple[Setting, ...]:
        """Return what is known of the settings, in the order of the fields."""
        kind: Any = cls  # mypy takes the hash of its values for that of the class
        return _settings_of(kind)


@cache
def _settings_of(cls: type[Settings]) -> tuple[Setting, ...]:
    return tuple(
        Setting(name=field.name, default=field.default, **_kind(field), **known)
        for field in dataclasses.fields(cls)
        if (known := field.metadata.get(_METADATA)) is not None
    )


@dataclass(frozen=True, kw_only=True)
class Method(Settings):
    """Base of all methods: ``method(sinogram, operator) -> image``.

    A subclass is decorated by ``@dataclass(frozen=True, kw_only=True)``, has a class variable
    ``name`` and fields made by `setting`, and defines `__call__`. A line in
    `tomolearn.methods.METHODS`, or an entry point ``tomolearn.methods`` of another package, makes
    it known everywhere.

    Examples
    --------
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Backprojection(Method):
    ...     '''Back-projection, scaled.'''
    ...
    ...     name: ClassVar[str] = "backprojection"
    ...     scale: float = setting(1.0, help="factor of the image", above=0)
    ...
    ...     def __call__(self, sinogram, operator):
    ...         return self.scale * operator.adjoint(sinogram)
    """

    memory: ClassVar[Arrays | None] = None
    """What the method holds at its peak besides the data; None: nobody knows."""

    @property
    def name(self) -> str:
        """What the method is found by."""
        raise NotImplementedError(f"{type(self).__name__} has no name")

    def __call__(self, sinogram: torch.Tensor, operator: LinearOperator) -> torch.Tensor:
        """Reconstruct.

        Parameters
        ----------
        sinogram : torch.Tensor, shape (..., *operator.range_shape)
            Line integrals, dimensionless.
        operator : LinearOperator
            The scanner.

        Returns
        -------
        torch.Tensor, shape (..., *operator.domain_shape)
            In 1/mm for line integrals.
        """
        raise NotImplementedError(f"{type(self).__name__} does not reconstruct")

    def weighting(self, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the keywords of the call that tell the method what each measured value counts.

        Methods that iterate take the weights, filtered back-projection a mask.

        Raises
        ------
        ValueError
            If it takes neither.
        """
        raise TomolearnError(
            f"weights: expected none with {self.name}, which counts all values alike; methods that "
            "iterate take them"
        )

    def informed(self, noise: Any) -> Self:
        """Return the method with what the noise of an acquisition tells it: here, nothing.

        Parameters
        ----------
        noise : object or None
            A noise model of `tomolearn.simulation`, None: no noise.

        Raises
        ------
        ValueError
            If a setting is missing that the noise does not tell.
        """
        return self

    @property
    def side_by_side(self) -> bool:
        """Whether an image of a batch does not depend on the others, but for their number."""
        return False

    def prepare(self) -> None:
        """Load what is needed before the first image, such as weights: here, nothing."""

    def denoiser(self, unit: float = 1.0) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the method as a map of images to images, for those that are there already.

        Parameters
        ----------
        unit : float
            Image value that settings have as unit: a Hounsfield unit in 1/mm, for example.

        Returns
        -------
        callable
            Maps images (batch, 1, *spatial axes) to such.

        Raises
        ------
        ValueError
            If the method makes images of sinograms only, or lacks a setting.
        """
        raise TomolearnError(
            f"method: expected one that works on images, such as tv or weights, got {self.name}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return name and settings, ready for JSON.

        Raises
        ------
        ValueError
            If the method has something that is no setting, and cannot be written down.
        """
        known = {one.name: getattr(self, one.name) for one in self.settings()}
        for field in dataclasses.fields(self):
            if field.name not in known and getattr(self, field.name) != field.default:
                raise TomolearnError(
                    f"{field.name}: expected {field.default!r} in a method that is written down, "
                    f"got {getattr(self, field.name)!r}"
                )
        return {"name": self.name, **known}

    def __str__(self) -> str:
        given = [
            f"{one.name} {value:g}" if isinstance(value, float) else f"{one.name} {value}"
            for one in self.settings()
            if (value := getattr(self, one.name)) != one.default
        ]
        return f"{self.name} ({', '.join(given)})" if given else self.name


def make_method(kind: type[Method], settings: Mapping[str, Any]) -> Method:
    """Return a method of a class with some settings."""
    known = kind.settings()
    for name in settings:
        check_known(f"settings of {kind.__name__}", name, [one.name for one in known])
    for one in known:
        if one.default is REQUIRED and one.name not in settings:
            raise TomolearnError(f"{one.name}: expected a value with {kind.__name__}, got none")
    return kind(**settings)


def _kind(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """Return kind and optionality of an annotation, which may be a string."""
    if isinstance(field.type, str):
        parts = [part.strip() for part in field.type.split("|")]
    elif isinstance(field.type, types.UnionType) or typing.get_origin(field.type) is typing.Union:
        parts = [getattr(part, "__name__", "") for part in typing.get_args(field.type)]
    else:
        parts = [getattr(field.type, "__name__", "")]
    given = [part for part in parts if part not in ("None", "NoneType")]
    kinds = [part for part in given if part in _KINDS]
    # of others the string is the name
    if len(kinds) != 1 or (len(given) > 1 and kinds != ["str"]):
        raise TypeError(f"{field.name}: expected one of {', '.join(_KINDS)}, got {field.type!r}")
    return {
        "kind": _KINDS[kinds[0]],
        "optional": len(given) < len(parts),
        "named": len(given) > 1,
    }


def check_written_prior(prior: Any) -> None:
    """Check that the prior of a method that is written down is named."""
    if not isinstance(prior, str):
        raise TomolearnError(
            "prior: expected the name or path of weights in a method that is written down, "
            f"got a {type(prior).__name__}; tomolearn.save writes one"
        )
