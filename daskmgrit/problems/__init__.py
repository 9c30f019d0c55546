"""Problems to solve: networks with their data, initial weights and rules; evolution problems besides training."""

from daskmgrit.problems.adder import adder
from daskmgrit.problems.diffusion import Brusselator, GridTransfer, HeatEquation
from daskmgrit.problems.digits import digits
from daskmgrit.problems.problem import SOLVERS, Problem
from daskmgrit.problems.xor import xor

PROBLEMS = {"xor": xor, "adder": adder, "digits": digits}

__all__ = ["PROBLEMS", "SOLVERS", "Brusselator", "GridTransfer", "HeatEquation", "Problem", "adder", "digits", "xor"]
