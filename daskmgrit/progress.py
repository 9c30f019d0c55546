"""A line per cycle while a solve runs."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from rich.console import Console

__all__ = ["Progress"]


class Progress:
    """Prints iteration, residual, factor and elapsed time; on a terminal a spinner says what is being waited for.

    Parameters
    ----------
    enabled : bool
        Whether to print at all.
    tol : float
        The tolerance, shown in the heading.
    maxiter : int
        Most cycles.
    begin : float
        When the solve began, by ``time.perf_counter``.
    """

    def __init__(self, enabled: bool, tol: float, maxiter: int, begin: float) -> None:
        self.enabled, self.tol, self.maxiter = enabled, tol, maxiter
        self._begin = begin
        self._before = 0.0

    def __enter__(self) -> Progress:
        if self.enabled:
            self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
            self._console.print(f" cycle    residual  factor   elapsed   (tolerance {self.tol:.1e})")
            self._status = self._console.status("evaluating the initial guess", spinner="dots")
            self._status.start()
        return self

    def line(self, cycle: int, residual: float) -> None:
        """Print the line of a cycle; 0 is the initial guess."""
        if not self.enabled:
            return
        factor = f"{residual / self._before:6.3f}" if cycle and self._before else 6 * " "
        elapsed = time.perf_counter() - self._begin
        self._console.print(f"{cycle:6d}  {residual:10.3e}  {factor}  {elapsed:6.2f} s")
        self._status.update(f"cycle {cycle + 1} of at most {self.maxiter}")
        self._before = residual

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.enabled:
            self._status.stop()
