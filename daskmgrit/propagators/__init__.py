"""Propagators: the Phi contract, its check, and adapters that make a Phi of other objects."""

from daskmgrit.propagators.check import check_propagator
from daskmgrit.propagators.command import from_command
from daskmgrit.propagators.estimator import from_estimator
from daskmgrit.propagators.function import from_function, vectorize
from daskmgrit.propagators.start import start_at

__all__ = ["check_propagator", "from_command", "from_estimator", "from_function", "start_at", "vectorize"]
