"""Models: networks, learning-rate and training-data rules, and the Phi they make up, descent and other optimizers."""

from daskmgrit.models.data import AllExamples, Averaged, Repeat, Serial, Window
from daskmgrit.models.descent import GradientDescent
from daskmgrit.models.mlp import MLP
from daskmgrit.models.optimizers import Adam, Momentum, OptimizerStep
from daskmgrit.models.rates import CappedRate, ConstantRate
from daskmgrit.models.width import Narrowing

__all__ = [
    "MLP",
    "Adam",
    "AllExamples",
    "Averaged",
    "CappedRate",
    "ConstantRate",
    "GradientDescent",
    "Momentum",
    "Narrowing",
    "OptimizerStep",
    "Repeat",
    "Serial",
    "Window",
]
