"""Propagators with a latency: they wait, like a call of a simulator, an accelerator or a remote service."""

from __future__ import annotations

import time
from typing import Any

from daskmgrit.recurrence.propagator import stages_of
from daskmgrit.utils.array_api import Array

__all__ = ["Idle", "Waits", "WaitsForGradient"]


class Waits:
    """A propagator that gives the result of another after a given time.

    Parameters
    ----------
    phi : callable
        The other propagator.
    seconds : float
        Time for each state and stage.
    together : bool, default False
        Whether a block of states waits no longer than one.
    """

    def __init__(self, phi: Any, seconds: float, together: bool = False) -> None:
        self.phi, self.seconds, self.together = phi, seconds, together

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Apply the other propagator, and wait for the rest of the time."""
        end = time.perf_counter() + self.seconds * (1 if self.together else len(weights)) * self.stages(level)
        new = self.phi(weights, index, level)
        time.sleep(max(0.0, end - time.perf_counter()))
        return new

    def stages(self, level: int) -> int:
        """Return the stages of the other propagator."""
        return stages_of(self.phi, level)


class Idle:
    """A step that does nothing."""

    def __call__(self, weights: Array, index: Array, level: int) -> Any:
        """Return a copy."""
        return weights.copy()


class WaitsForGradient(Waits):
    """The same for a propagator with separate gradient and update: its gradients take the time."""

    def gradient(self, weights: Array, index: Array) -> Array:
        """Compute gradients, and wait for the rest of the time."""
        end = time.perf_counter() + self.seconds * (1 if self.together else len(weights))
        new = self.phi.gradient(weights, index)
        time.sleep(max(0.0, end - time.perf_counter()))
        return new

    def advance(self, state: Array, gradient: Array, index: Array) -> Array:
        """Make the update of the other propagator."""
        return self.phi.advance(state, gradient, index)
