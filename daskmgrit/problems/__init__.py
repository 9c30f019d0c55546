"""Problems to solve: networks with their data, initial weights and rules; evolution problems besides training."""

from daskmgrit.problems.adder import adder
from daskmgrit.problems.cnn import cnn
from daskmgrit.problems.diffusion import Brusselator, GridTransfer, HeatEquation
from daskmgrit.problems.digits import digits
from daskmgrit.problems.own import OwnProblem
from daskmgrit.problems.pinn import pinn
from daskmgrit.problems.problem import COARSE_DATA, SOLVERS, Problem, Tuned
from daskmgrit.problems.xor import xor

PROBLEMS = {"xor": xor, "adder": adder, "digits": digits}
# PyTorch training loops: their Phi is whole, so a solver or an optimizer of this package means nothing to them.
LOOPS = {"pinn": pinn, "cnn": cnn}

__all__ = [
    "COARSE_DATA",
    "LOOPS",
    "PROBLEMS",
    "SOLVERS",
    "Brusselator",
    "GridTransfer",
    "HeatEquation",
    "OwnProblem",
    "Problem",
    "Tuned",
    "adder",
    "cnn",
    "digits",
    "pinn",
    "xor",
]
