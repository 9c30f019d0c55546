"""A line per cycle while a solve runs, in a terminal or in a notebook."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console

from daskmgrit.display.html import Markup, table

__all__ = ["Progress"]

# Of a table: what is counted by sweeps has no factor, since each residual is of other steps.
HEADINGS = {
    "cycle": ("cycle", "residual", "factor", "elapsed"),
    "sweep": ("sweep", "residual", "steps", "elapsed"),
}
# A further remark: the tolerance is not for a sweep's residual.
TITLES = {
    "cycle": "{}",
    "sweep": "of all steps in the window, most of them not accepted yet; accepted steps: {}",
}

Row = tuple[str, str, str, str]


class Screen(Protocol):
    """A place for the progress of a solve."""

    def wait(self, rows: Sequence[Row], what: str, share: float | None) -> None:
        """Show the rows, of which the last is new, the current wait, and the share of the way that is done."""

    def end(self) -> None:
        """Remove the display of the wait."""


class Lines(Console):
    """A console that falls silent when its output can no longer be read, because a solve continues then."""

    def on_broken_pipe(self) -> None:
        """Stop printing; Rich would end the process."""
        self.quiet = True

    def print(self, *objects: Any, **options: Any) -> None:
        """Print if possible."""
        try:
            super().print(*objects, **options)
        except OSError:
            self.quiet = True


class Terminal:
    """Lines on standard error; on a terminal a spinner shows the current wait."""

    def __init__(self, console: Console, title: str, headings: Row) -> None:
        self._console = console
        console.print(f"{_line(headings)}   ({title})")
        self._status = console.status("", spinner="dots")
        self._status.start()

    def wait(self, rows: Sequence[Row], what: str, share: float | None) -> None:
        """Print the last row."""
        if rows:
            self._console.print(_line(rows[-1]))
        self._status.update(what if share is None else f"{what}, {share:.0%} of the way to the tolerance")

    def end(self) -> None:
        """Stop the spinner."""
        self._status.stop()


class Notebook:
    """One output that is updated in place; only the table stays."""

    def __init__(self, title: str, headings: Row) -> None:
        from IPython.display import display

        self._title, self._headings = title, headings
        self._rows: Sequence[Row] = ()
        self._handle = display(self._bundle(""), raw=True, display_id=True)

    def _bundle(self, bar: str) -> dict[str, str]:
        title = self._title
        shown = table(self._headings, self._rows)
        lines = [_line(row) for row in (self._headings, *self._rows)]
        return {
            "text/html": f"<div>{shown}<div>{title}{bar}</div></div>",
            "text/plain": "\n".join([*lines, title]),
        }

    def wait(self, rows: Sequence[Row], what: str, share: float | None) -> None:
        """Show all rows and a bar."""
        self._rows = rows
        value = "" if share is None else f' value="{share:.3f}"'
        self._handle.update(self._bundle(Markup(f", {what} <progress{value}></progress>")), raw=True)

    def end(self) -> None:
        """Remove the bar."""
        self._handle.update(self._bundle(""), raw=True)


def _line(row: Row) -> str:
    first, residual, third, elapsed = row
    return f"{first:>6s}  {residual:>10s}  {third:>6s}  {elapsed:>8s}"


class Progress:
    """Shows iteration, residual, factor and elapsed time.

    Parameters
    ----------
    enabled : bool
        Whether to show anything.
    tol : float
        The tolerance, shown in the heading.
    maxiter : int
        Maximum number of cycles, or of training steps for parallel Newton.
    begin : float
        Start of the solve, by ``time.perf_counter``.
    of : {"cycle", "sweep"}, default "cycle"
        Unit of a line.
    """

    def __init__(self, enabled: bool, tol: float, maxiter: int, begin: float, of: str = "cycle") -> None:
        self.enabled, self.tol, self.maxiter = enabled, tol, maxiter
        self._begin = begin
        self._residuals: list[float] = []
        self._rows: list[Row] = []
        self._headings, self._title = HEADINGS[of], TITLES[of].format(f"tolerance {tol:.1e}")
        self._screen: Any = None

    def __enter__(self) -> Progress:
        if self.enabled:
            console = Lines(file=sys.stderr, highlight=False, soft_wrap=True)
            screen: Screen = (
                Notebook(self._title, self._headings)
                if console.is_jupyter
                else Terminal(console, self._title, self._headings)
            )
            screen.wait((), "evaluating the initial guess", None)
            self._screen = screen
        return self

    def line(self, cycle: int, residual: float) -> None:
        """Show the line of a cycle; 0 is the initial guess."""
        if not self.enabled:
            return
        before = self._residuals[-1] if self._residuals else 0.0
        self._residuals.append(residual)
        factor = f"{residual / before:.3f}" if before else ""
        elapsed = f"{time.perf_counter() - self._begin:.2f} s"
        self._rows.append((str(cycle), f"{residual:.3e}", factor, elapsed))
        self._screen.wait(self._rows, f"cycle {cycle + 1} of at most {self.maxiter}", self._share())

    def sweep(self, sweeps: int, residual: float, steps: int) -> None:
        """Show the line of a sweep of parallel Newton after which `steps` steps are accepted."""
        if not self.enabled:
            return
        elapsed = f"{time.perf_counter() - self._begin:.2f} s"
        self._rows.append((str(sweeps), f"{residual:.3e}", str(steps), elapsed))
        self._screen.wait(self._rows, f"step {steps} of {self.maxiter}", None)

    def _share(self) -> float | None:
        """Return the share of the reduction to the tolerance that is done, on a log scale; None if it is undefined."""
        first, last = self._residuals[0], self._residuals[-1]
        if not 0 < self.tol < first or last == 0:
            return None
        share = (math.log(first) - math.log(last)) / (math.log(first) - math.log(self.tol))
        return min(max(share, 0.0), 1.0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.enabled:
            self._screen.end()
