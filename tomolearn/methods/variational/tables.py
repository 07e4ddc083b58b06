"""The tables of algorithms and data terms of variational methods, listed without torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tomolearn._core.errors import TomolearnError
from tomolearn._core.tables import Table, subclass_of

if TYPE_CHECKING:
    from tomolearn.methods.variational.algorithms.algorithm import Algorithm
    from tomolearn.methods.variational.problem import Problem

_HERE = "tomolearn.methods.variational"


def _algorithm(where: str, value: Any) -> type[Algorithm]:
    from tomolearn.methods.variational.algorithms.algorithm import Algorithm

    kind: type[Algorithm] = subclass_of("algorithm", Algorithm)(where, value)
    return kind


ALGORITHMS: Table[type[Algorithm]] = Table(
    "algorithm",
    {
        "fista": f"{_HERE}.algorithms.fista:Fista",
        "chambolle-pock": f"{_HERE}.algorithms.chambolle_pock:ChambollePock",
        "data-proximal": f"{_HERE}.algorithms.data_proximal:DataProximal",
        "nmapg": f"{_HERE}.algorithms.nmapg:NonMonotone",
        "lbfgs": f"{_HERE}.algorithms.lbfgs:LBFGS",
        "admm": f"{_HERE}.algorithms.admm:ADMM",
        "condat-vu": f"{_HERE}.algorithms.condat_vu:CondatVu",
        "bregman": f"{_HERE}.algorithms.bregman:LinearisedBregman",
        "fixed-step": f"{_HERE}.algorithms.fixed_step:FixedStep",
    },
    group="tomolearn.algorithms",
    check=_algorithm,
)
"""Algorithms by name, in the order in which ``algorithm="auto"`` tries them."""

DATA_TERMS: Mapping[str, str] = MappingProxyType(
    {
        "least-squares": f"{_HERE}.data_terms:LeastSquares",
        "poisson-transmission": f"{_HERE}.data_terms:PoissonTransmission",
        "poisson-emission": f"{_HERE}.data_terms:PoissonEmission",
    }
)
"""Where data terms stand, by name."""


def suitable_algorithm(name: str, problem: Problem) -> Algorithm:
    """Return an algorithm for a problem, for ``"auto"`` the first of the table that will do.

    Raises
    ------
    ValueError
        If the algorithm lacks something; the message names those that do not.
    """
    chosen = tuple(ALGORITHMS) if name == "auto" else (name,)
    obstacles: list[str | None] = []
    for one in chosen:
        algorithm = ALGORITHMS.find(one)()
        obstacle = algorithm.obstacle(problem)
        if obstacle is None and (name != "auto" or algorithm.is_preferred(problem)):
            return algorithm
        obstacles.append(obstacle)
    others = [one for one in ALGORITHMS if one not in chosen]
    suitable = [one for one in others if ALGORITHMS[one]().obstacle(problem) is None]
    remedy = f"{' or '.join(suitable)} would do" if suitable else "no algorithm would do"
    raise TomolearnError(f"{obstacles[0]}, for algorithm={name!r}; {remedy}")
