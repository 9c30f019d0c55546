"""Problems to solve: networks with their data, initial weights and rules; evolution problems besides training."""

from daskmgrit.problems.adder import adder
from daskmgrit.problems.diffusion import Brusselator, GridTransfer, HeatEquation
from daskmgrit.problems.digits import digits
from daskmgrit.problems.own import OwnProblem
from daskmgrit.problems.problem import COARSE_DATA, SOLVERS, Problem, Tuned
from daskmgrit.problems.xor import xor

PROBLEMS = {"xor": xor, "adder": adder, "digits": digits}

__all__ = [
    "COARSE_DATA",
    "PROBLEMS",
    "SOLVERS",
    "Brusselator",
    "GridTransfer",
    "HeatEquation",
    "OwnProblem",
    "Problem",
    "Tuned",
    "adder",
    "digits",
    "xor",
]
