"""Models: networks, learning-rate rules, training-data rules, and the gradient-descent Phi they make up."""

from daskmgrit.models.data import AllExamples, Averaged, Repeat, Serial, Window
from daskmgrit.models.descent import GradientDescent
from daskmgrit.models.mlp import MLP
from daskmgrit.models.rates import CappedRate, ConstantRate
from daskmgrit.models.width import Narrowing

__all__ = [
    "MLP",
    "AllExamples",
    "Averaged",
    "CappedRate",
    "ConstantRate",
    "GradientDescent",
    "Narrowing",
    "Repeat",
    "Serial",
    "Window",
]
