"""What a solve is asked for: its arguments, checked before anything is computed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskmgrit.recurrence.state import InitialState
from daskmgrit.solver.stopping import Settled, check_settled
from daskmgrit.utils.units import time_option
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["Arguments", "Callback", "Request", "default_tolerance"]

logger = logging.getLogger("daskmgrit")

Callback = Callable[[int, float, Any], Any]


@dataclass(frozen=True)
class Arguments:
    """The arguments of :meth:`daskmgrit.MGRIT.solve` that say how to solve, as given: None stands for a default."""

    tol: float | None
    maxiter: int | None
    chunks: int | str
    client: Any
    callback: Callback | None
    checkpoint: Any
    progress: bool
    timeout: float | str | None
    storage: str | None
    settled: Settled | None

    def complete(self, tol: float, maxiter: int, storage: str) -> Request:
        """Return them, checked, with these values in place of those that are None."""
        return Request(
            tol if self.tol is None else self.tol,
            maxiter if self.maxiter is None else self.maxiter,
            self.chunks,
            self.client,
            self.callback,
            self.progress,
            self.timeout,
            storage if self.storage is None else self.storage,
            self.settled,
        )


@dataclass(frozen=True)
class Request:
    """How to solve: what was asked for, with defaults filled in, checked before anything is computed.

    Raises
    ------
    ValueError, TypeError
        If one of them is of the wrong kind or out of range.
    """

    tol: float
    maxiter: int
    chunks: int | str
    client: Any
    callback: Callback | None
    progress: bool
    timeout: float | str | None
    storage: str
    settled: Settled | None

    def __post_init__(self) -> None:
        remedy = "it is absolute and >= 0 (0 does exactly maxiter cycles); None is 1e-9*sqrt(N)"
        number_option("tol", self.tol, remedy, least=0)
        integer_option("maxiter", self.maxiter, 0, "it is the largest number of cycles")
        if self.storage not in ("full", "c-points"):
            raise ValueError(f'storage={self.storage!r} is not known: give "full", or "c-points" for less memory')
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback={self.callback!r} is not callable: give callback(iteration, residual, weights)")
        if self.timeout is not None:
            time_option("timeout", self.timeout)
        check_settled(self.settled)

    @property
    def patience(self) -> float | None:
        """The timeout in seconds, None if none was given."""
        return None if self.timeout is None else time_option("timeout", self.timeout)


def default_tolerance(steps: int, w0: InitialState) -> float:
    """Return the tolerance of a solve that is given none, with a warning if rounding keeps the residual above it."""
    tol = 1e-9 * math.sqrt(steps)
    rounding = float(np.finfo(w0.dtype).eps * np.linalg.norm(w0.host.astype(np.result_type(w0.dtype, float))))
    if tol < rounding * math.sqrt(steps):
        logger.warning(
            "states of %s have a rounding error of about %.1e*sqrt(N), which the default tolerance 1e-9*sqrt(N) is "
            "below: give tol, such as %.0e*sqrt(N)",
            w0.dtype,
            rounding,
            max(1e-5, 10 * rounding),
        )
    return tol
