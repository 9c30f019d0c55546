"""The arguments of a solve, checked before anything is computed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskmgrit.recurrence.norms import row_lengths
from daskmgrit.recurrence.state import InitialState
from daskmgrit.solver.stagnation import rounding_of
from daskmgrit.solver.stopping import Settled, check_settled
from daskmgrit.utils.units import time_option
from daskmgrit.utils.validation import brief, callable_option, integer_option, number_option, switch_option

__all__ = [
    "Arguments",
    "Callback",
    "CommonRequest",
    "Request",
    "WindowArguments",
    "WindowRequest",
    "asks_to_stop",
    "default_tolerance",
]

logger = logging.getLogger("daskmgrit")

# Types with a larger epsilon than double precision's need a larger tolerance.
DOUBLE = 1e-12

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
            tol=tol if self.tol is None else self.tol,
            maxiter=maxiter if self.maxiter is None else self.maxiter,
            chunks=self.chunks,
            client=self.client,
            callback=self.callback,
            progress=self.progress,
            timeout=self.timeout,
            storage=storage if self.storage is None else self.storage,
            settled=self.settled,
        )


@dataclass(frozen=True)
class WindowArguments:
    """The arguments of :meth:`daskmgrit.ParallelNewton.solve`, as given: None stands for a default."""

    tol: float | None
    client: Any
    callback: Callback | None
    checkpoint: Any
    progress: bool
    timeout: float | str | None
    settled: Settled | None
    keep: str

    def complete(self, tol: float) -> WindowRequest:
        """Return them, checked, with this tolerance if none was given."""
        return WindowRequest(
            tol=tol if self.tol is None else self.tol,
            client=self.client,
            callback=self.callback,
            progress=self.progress,
            timeout=self.timeout,
            settled=self.settled,
            keep=self.keep,
        )


@dataclass(frozen=True, kw_only=True)
class CommonRequest:
    """A request for a solve by either method, checked before anything is computed.

    Raises
    ------
    ValueError, TypeError
        If a value is of the wrong kind or out of range.
    """

    tol: float
    client: Any
    callback: Callback | None
    progress: bool
    timeout: float | str | None
    settled: Settled | None

    def __post_init__(self) -> None:
        number_option(
            "tol",
            self.tol,
            f"it is absolute and >= 0 ({self._zero}); None is 1e-9*sqrt(N), in float32 1e-5*sqrt(N)",
            least=0,
        )
        if self.callback is not None:
            callable_option("callback", self.callback, 3, "give callback(iteration, residual, weights)")
        switch_option("progress", self.progress, "True shows a line per cycle or sweep")
        if self.timeout is not None:
            time_option("timeout", self.timeout)
        check_settled(self.settled)

    @property
    def _zero(self) -> str:
        return "0 gives the bits of serial training"

    @property
    def patience(self) -> float | None:
        """The timeout in seconds, None if none was given."""
        return None if self.timeout is None else time_option("timeout", self.timeout)


@dataclass(frozen=True, kw_only=True)
class Request(CommonRequest):
    """A request for a solve by MGRIT."""

    maxiter: int
    chunks: int | str
    storage: str

    def __post_init__(self) -> None:
        super().__post_init__()
        integer_option("maxiter", self.maxiter, 0, "it is the largest number of cycles")
        if self.storage not in ("full", "c-points"):
            raise ValueError(f'storage={brief(self.storage)} is not known: give "full", or "c-points" for less memory')

    @property
    def _zero(self) -> str:
        return "0 does exactly maxiter cycles"


@dataclass(frozen=True, kw_only=True)
class WindowRequest(CommonRequest):
    """A request for a solve by parallel Newton."""

    keep: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep not in ("final", "all"):
            raise ValueError(
                f'keep={brief(self.keep)} is not known: give "final" for the trained weights, "all" for those of all '
                "steps"
            )


def default_tolerance(steps: int, w0: InitialState) -> float:
    """Return the default tolerance of a solve: ``1e-9*sqrt(N)``, in single precision ``1e-5*sqrt(N)``.

    In single precision and below it is at least ten times the rounding of a state. In double precision it is fixed; a
    warning is logged if rounding keeps the residual above it, and in both precisions if the states are smaller.
    """
    rounding = rounding_of(w0)
    single = np.finfo(w0.dtype).eps > DOUBLE
    step = 1e-5 if single else 1e-9
    size = float(row_lengths(w0.host[None])[0])
    if 0 < size < step:
        wanted = size * step
        logger.warning(
            "the 2-norm of w0 is %.0e, and the default tolerance is %.0e*sqrt(N): any states as small as w0 pass for "
            "the solution. %s",
            size,
            step,
            f"Give tol, such as {wanted:.0e}*sqrt(N)" if wanted > np.finfo(np.float64).tiny else "Scale the states",
        )
    if single:
        return max(step, 10 * rounding) * math.sqrt(steps)
    tol = step * math.sqrt(steps)
    if not math.isfinite(10 * rounding):
        logger.warning("the 2-norm of w0 is beyond the range of %s: scale the states", w0.dtype)
    elif tol < rounding * math.sqrt(steps):
        logger.warning(
            "states of %s have a rounding error of about %.1e*sqrt(N), which is above the default tolerance "
            "1e-9*sqrt(N): give tol, such as %.0e*sqrt(N)",
            w0.dtype,
            rounding,
            10 * rounding,
        )
    return tol


def asks_to_stop(answer: Any) -> bool:
    """Return whether the answer of a callback asks for the end of the solve.

    Raises
    ------
    TypeError
        If the answer is neither true nor false, such as an array.
    """
    try:
        return bool(answer)
    except (TypeError, ValueError):
        raise TypeError(
            f"the callback returned {brief(answer)}, which is neither true nor false: return True to stop the solve, "
            "nothing to continue"
        ) from None
