"""Propagators: the Phi contract, its check, and adapters that make a Phi of something else."""

from daskmgrit.propagators.check import check_propagator
from daskmgrit.propagators.function import vectorize

__all__ = ["check_propagator", "vectorize"]
