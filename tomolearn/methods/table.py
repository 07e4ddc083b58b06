"""The table of methods, to which other packages add."""

from __future__ import annotations

from typing import Any

from tomolearn._core.errors import TomolearnTypeError
from tomolearn._core.tables import Table
from tomolearn.methods.function import method_of
from tomolearn.methods.method import Method


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
        "kaczmarz": "tomolearn.methods.iterative.kaczmarz:Kaczmarz",
    },
    group="tomolearn.methods",
    check=_method,
)
"""Classes of `Method` by name.

`find` also takes ``module:name`` and ``file.py:name``, of a class of methods, or of a function
``f(sinogram, operator) -> image`` whose keywords become settings.
"""
