"""Bilevel learning: parameters of variational problems from data, as exactly as is needed."""

from tomolearn.numerics.bilevel.derivative_free import derivative_free
from tomolearn.numerics.bilevel.dfols import dfo_ls
from tomolearn.numerics.bilevel.hoag import hoag
from tomolearn.numerics.bilevel.lower_level import LowerLevel, LowerSolution, solve_lower_level
from tomolearn.numerics.bilevel.maid import maid
from tomolearn.numerics.bilevel.problem import BilevelProblem, BilevelResult, Evaluation, Evaluator
from tomolearn.numerics.bilevel.quasi_newton import lbfgsb
from tomolearn.numerics.bilevel.smoothed_variation import SmoothedVariation

__all__ = [
    "BilevelProblem",
    "BilevelResult",
    "Evaluation",
    "Evaluator",
    "LowerLevel",
    "LowerSolution",
    "SmoothedVariation",
    "derivative_free",
    "dfo_ls",
    "hoag",
    "lbfgsb",
    "maid",
    "solve_lower_level",
]
