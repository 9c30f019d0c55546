"""Problems to solve: a network, its data, its initial weights, and the rules that make up Naive and Solvers 1-3."""

from daskmgrit.problems.adder import adder
from daskmgrit.problems.digits import digits
from daskmgrit.problems.problem import SOLVERS, Problem
from daskmgrit.problems.xor import xor

PROBLEMS = {"xor": xor, "adder": adder, "digits": digits}

__all__ = ["PROBLEMS", "SOLVERS", "Problem", "adder", "digits", "xor"]
