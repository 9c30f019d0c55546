"""The result of a solve."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from daskmgrit.display.html import Markup, bar, block, fields, fold, side_by_side, table
from daskmgrit.display.plot_residuals import plot_residuals
from daskmgrit.display.plot_sweeps import plot_sweeps, plot_window
from daskmgrit.display.plot_timeline import plot_traversal
from daskmgrit.display.residual_svg import residual_svg
from daskmgrit.recurrence.amplification import Amplification
from daskmgrit.recurrence.meter import Record
from daskmgrit.recurrence.norms import row_lengths
from daskmgrit.recurrence.propagator import NOT_PREPARED, Preparation
from daskmgrit.solver.advice import advise
from daskmgrit.solver.remedies import IN_PYTHON, Facts, Words
from daskmgrit.solver.sweep_advice import advise_on_sweeps

__all__ = ["Result"]

# An error that is larger than the residual by this factor is explained.
GROWN = 10.0


@dataclass(frozen=True)
class Result:
    """The outcome of a solve, by :class:`daskmgrit.MGRIT` or :class:`daskmgrit.ParallelNewton`.

    Attributes
    ----------
    weights : dask.array.Array, shape (N+1, s)
        The state at every training step; on a cluster it lives there.
    final : ndarray, shape (s,)
        The state after the last step: the trained weights.
    residuals : list of float
        ``residuals[0]`` is the 2-norm of the initial guess's residual over all points, ``residuals[k]`` that over
        the C-points of level 0 after k cycles (F-points have none then).
    iterations : int
        Cycles done.
    converged : bool
        Whether the tolerance was reached.
    reason : str
        ``"tol"``, ``"settled"``, ``"maxiter"``, ``"stagnated"``, ``"callback"`` or ``"diverged"``. After
        ``"diverged"``, `weights` are the last state whose residual is finite.
    message : str
        The end of the solve in words; empty for ``"tol"``. For ``"diverged"``: what became nan or inf, on which level,
        in which cycle. For ``"stagnated"``: whether the residual is at its rounding, or for how many cycles it has not
        fallen. For ``"maxiter"``: the cycles, the residual and the tolerance.
    tol : float
        The absolute tolerance.
    levels : list of int
        N_l of every level.
    cycle : str
        ``"V"`` or ``"F"``.
    phi_evaluations : list of int
        State updates done on each level: evaluation of the guess, `iterations` cycles, and the C-relaxation that found
        the last residual. Work that a cluster did ahead in vain is not counted. Level 0 has those of `preparation`,
        too.
    critical_path : int
        Longest chain of Phi applications in the task graph, at one F-interval per task. With ``storage="c-points"`` it
        is one longer because of the F-points of the initial guess, except for ``"nested"``. `preparation` is part of
        it.
    preparation : Preparation
        For MGRIT: the gradients that phi took before the solve, for the curvatures of deflated coarse steps: their
        number, `evaluations`, and how many were taken one after another, `path`.
    tasks : int
        Tasks submitted, including those done ahead in vain.
    timings : dict
        Seconds: ``total``, ``setup`` (up to the first cycle), ``cycles`` (list), and ``phi`` (list by level, summed
        over workers).
    storage : str
        ``"full"`` or ``"c-points"``, as requested, or as in the checkpoint.
    losses : list of float
        Losses of the final weights for :class:`daskmgrit.Settled`, that of the initial guess first; empty without it.
    method : str
        ``"MGRIT"`` or ``"parallel Newton"``.
    accepted : list of int
        Steps that each sweep of parallel Newton accepted; empty for MGRIT.
    windows : list of int
        Steps in the window of each sweep of parallel Newton; empty for MGRIT.
    strict_path : int or None
        For parallel Newton: `critical_path` if each doubling of the scan over the window also counts as a Phi.
    error : float or None
        For parallel Newton: an estimate of the 2-norm of the error of `final`, which the residual alone doesn't bound
        where training does not contract. It is too small where training is chaotic, unless ``jacobian="full"``; nan
        after a checkpoint of version 0.2.0. The page on parallel Newton says where it is wrong.
    remark : str
        Defects of phi found by the trial before the solve: its rows are not independent, or it gives different results
        for the same input. Empty if there are none.
    amplification : Amplification or None
        After a solve that failed, or whose sweeps gained nothing, if only later ones: the finest level whose steps
        amplify a small change of the state, or have another defect, if some steps from w0 show one; or for parallel
        Newton the last steps, from the final state. If it is level 0, serial training itself does.
    facts : Facts
        For MGRIT: further facts that advice depends on.
    records : list of Record
        Every stage that ran: kind, level, cycle, first F-interval, start, seconds, Phi seconds, calls, evaluations.
    """

    weights: Any = field(repr=False)
    final: np.ndarray = field(repr=False)
    residuals: list[float]
    iterations: int
    converged: bool
    reason: str
    message: str
    tol: float
    levels: list[int]
    cycle: str
    phi_evaluations: list[int]
    critical_path: int
    tasks: int
    timings: dict[str, Any] = field(repr=False)
    records: list[Record] = field(repr=False)
    losses: list[float] = field(default_factory=list)
    storage: str = "full"
    method: str = "MGRIT"
    accepted: list[int] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    strict_path: int | None = None
    preparation: Preparation = NOT_PREPARED
    error: float | None = None
    remark: str = ""
    amplification: Amplification | None = None
    facts: Facts = field(default=Facts(), repr=False)

    @property
    def convergence_factor(self) -> float:
        """The paper's rho, ``(r_k/r_1)**(1/k)``: its r_0 is the residual after the first cycle. nan before cycle 1."""
        return self._factor(1)

    @property
    def mean_factor(self) -> float:
        """Geometric mean of the reduction per cycle from the initial guess, ``(r_k/r_0)**(1/k)``."""
        return self._factor(0)

    def _factor(self, start: int) -> float:
        k = self.iterations
        # The residuals of parallel Newton are of windows, each of other steps than the one before.
        if self.accepted or k < 1 or not self.residuals[start] > 0:
            return math.nan
        return float((self.residuals[k] / self.residuals[start]) ** (1 / k))

    @property
    def advice(self) -> str:
        """Advice on a solve that did not converge, or whose sweeps gained nothing; empty if none is needed."""
        return self.advise(IN_PYTHON)

    def advise(self, words: Words) -> str:
        """Return :attr:`advice` with remedies named in other words than Python's."""
        if self.method != "MGRIT":
            return advise_on_sweeps(self.reason, self.accepted, self.windows, self.tol, self.remark, self.amplification)
        words = replace(words, cycle=self.cycle, facts=self.facts)
        return advise(self.reason, self.message, self.residuals, self.tol, self.remark, words, self.amplification)

    def summary(self, words: Words = IN_PYTHON) -> list[tuple[str, str]]:
        """Return the facts worth knowing, as pairs of a name and a text; ``print(result)`` shows them."""
        advice = self.advise(words)
        steps = self.levels[0]
        ends = {
            "tol": "converged",
            "maxiter": "NOT converged: maxiter reached",
            "callback": "stopped by the callback",
            "settled": "settled: the loss no longer changes",
            "stagnated": f"NOT converged: {self.message}",
            "diverged": f"DIVERGED: {self.message}",
        }
        phi, before = sum(self.phi_evaluations), ""
        if self.preparation.evaluations:
            before = f"; {self.preparation.evaluations} of them before the solve, to find curvatures"
        if self.converged and not self.iterations:
            ends["tol"] += (
                ": the initial guess is already the solution, as if phi leaves w0 unchanged; nothing was trained"
            )
        speedup = steps / self.critical_path if self.converged and self.critical_path and self.iterations else 0.0
        path = f"{self.critical_path} Phi" + (f": potential speedup {speedup:.2f}" if speedup else "")
        if self.strict_path is not None and self.strict_path > self.critical_path:
            path += f" ({self.strict_path} Phi if each doubling of the scan over the window counts as one, too)"
        return [
            ("outcome", ends[self.reason]),
            *([("advice", advice)] if advice else []),
            *(self._sweeps() if self.method != "MGRIT" else self._cycles()),
            (
                "Phi evaluations",
                f"{phi} = {phi / steps:.1f} x serial, {sum(self.timings['phi']):.3g} s of Phi{before}",
            ),
            ("critical path", path),
            ("time", f"{self.timings['total']:.3g} s in {self.tasks} tasks"),
        ]

    def _cycles(self) -> list[tuple[str, str]]:
        plural = "" if self.iterations == 1 else "s"
        return [
            ("cycles", f"{self.iterations} {self.cycle}-cycle{plural} on {len(self.levels)} levels"),
            (
                "residual",
                f"{self.residuals[-1]:.3e} (tolerance {self.tol:.1e}, initially {self.residuals[0]:.3e})",
            ),
            *self._loss(),
            *self._factors(),
        ]

    def _factors(self) -> list[tuple[str, str]]:
        """Return the speed of convergence in words; empty if a residual was 0 or infinite."""
        if not math.isfinite(self.convergence_factor):
            return []
        words = f"{self.mean_factor:.3f} per cycle on average; {self.convergence_factor:.3f} without the first cycle"
        return [("convergence factor", f"{words}, as in the paper's tables")]

    def _sweeps(self) -> list[tuple[str, str]]:
        done, residual = sum(self.accepted), self.residuals[-1]
        rows = [
            (
                "sweeps",
                str(self.iterations)
                + (f", each accepted {done / self.iterations:.2f} steps on average" if self.iterations else ""),
            ),
            ("residual", f"{residual:.3e} over {done} accepted step{'s' * (done != 1)} (tolerance {self.tol:.1e})"),
            *self._loss(),
        ]
        if self.error is not None and self.error != 0:
            rows.append(("error of weights", self._error(self.error, residual)))
        return rows

    def _error(self, error: float, residual: float) -> str:
        """Return the estimated error of the final weights in words."""
        size, grown = float(row_lengths(self.final[None])[0]), error > GROWN * residual > 0
        if math.isnan(error):
            return "unknown"
        if grown and error >= size / 2:
            return "unknown: by estimate it is as large as the weights, because this training does not contract"
        rounding = float(np.finfo(self.final.dtype).eps) * size
        words = f"about {max(error, rounding):.1e}, an estimate unless training is chaotic"
        if grown:
            words += (
                f": {error / residual:.3g} times the residual, because this training does not contract; it also "
                "amplifies any last bit of serial training"
            )
        return words

    def _loss(self) -> list[tuple[str, str]]:
        if not self.losses:
            return []
        change = (
            abs(self.losses[-1] - self.losses[-2]) / max(abs(self.losses[-1]), 1e-300)
            if len(self.losses) > 1
            else math.nan
        )
        return [("loss", f"{self.losses[-1]:.6g} (last change {change:.1e}, initially {self.losses[0]:.6g})")]

    def __str__(self) -> str:
        return "\n".join(f"{name:19s} {value}" for name, value in self.summary())

    def _repr_html_(self) -> str:
        return _view(self)

    def plot(self, ax: Any = None) -> Any:
        """Plot the residual after each cycle, with the tolerance; as bars, each residual over the one before.

        For parallel Newton: the residual of each sweep's window before it was corrected, and the steps it accepted.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return plot_residuals(self, ax) if self.method == "MGRIT" else plot_sweeps(self, ax)

    def plot_levels(self, cycles: int | tuple[int, int] | None = None, ax: Any = None) -> Any:
        """Plot how the run visited the levels: its tasks against time, by level and kind, from `records`.

        Tasks of a level that ran in parallel lie one above the other, each process in a lane of its own where possible.
        A gap is time in which no Phi or array was at work on that level. Tasks thinner than a few pixels are drawn as
        one, in the colour of the kind that took most of their time.

        Parameters
        ----------
        cycles : int or (int, int), optional
            The cycle to show, or the first and the last; 0 is the initial guess. By default the first two.
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there was no such cycle, or if this is a result of parallel Newton, which has no levels.

        Notes
        -----
        Times are those of the workers' clocks. If these differ between machines, so do the places of their tasks.
        """
        return plot_traversal(self, cycles, ax)

    def plot_window(self, ax: Any = None) -> Any:
        """Plot how the window of parallel Newton moved over the training steps: a bar per sweep, against time.

        A bar is as high as the window and as wide as the time that Phi took; the steps that the sweep accepted have
        another colour. A gap between two bars is time without Phi. Sweeps before a checkpoint are not shown.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If this is a result of MGRIT, which has no window, or if nothing was swept.
        """
        return plot_window(self, ax)


def _view(result: Result) -> Markup:
    """Return the outcome, the residuals and the use of time."""
    timings = result.timings
    cycles = timings["cycles"]
    spans = [
        ("in all", timings["total"]),
        (f"up to the first {_round_of(result, short=True)}", timings["setup"]),
        (f"in {_round_of(result, short=True)}s", math.fsum(cycles)),
    ]
    if cycles:
        spans.append((f"a {_round_of(result, short=True)}, on average", math.fsum(cycles) / len(cycles)))
    spent = math.fsum(timings["phi"])
    levels = [
        (level, steps, evaluations, f"{seconds:.3g}", bar(seconds / spent if spent else 0.0))
        for level, (steps, evaluations, seconds) in enumerate(
            zip(result.levels, result.phi_evaluations, timings["phi"], strict=True)
        )
    ]
    return block(
        f"{result.method} result: {result.iterations} {_round_of(result)}{'' if result.iterations == 1 else 's'} for "
        f"{result.levels[0]} steps",
        side_by_side(fields(result.summary()), _picture(result)),
        fold(
            "timings",
            side_by_side(
                fields((name, f"{seconds:.3g} s") for name, seconds in spans),
                table(("level", "steps", "Phi evaluations", "s of Phi, all workers", ""), levels, left=(4,)),
            ),
        ),
        failed=_failure(result),
    )


def _failure(result: Result) -> str:
    """Return the failure of a solve, in a word or two; empty if it did not fail."""
    if result.reason == "maxiter" and not result.tol > 0:
        return ""
    return {"maxiter": "not converged", "stagnated": "not converged", "diverged": "diverged"}.get(result.reason, "")


def _picture(result: Result) -> Markup:
    if result.method == "MGRIT":
        return residual_svg(result.residuals, result.tol)
    # The last one is not of a window.
    residuals = result.residuals[:-1]
    measured = any(0 < residual < math.inf for residual in residuals)
    return residual_svg(residuals, result.tol, of="sweep") if measured else Markup("")


def _round_of(result: Result, short: bool = False) -> str:
    """Return the name of an iteration of the method."""
    if result.method != "MGRIT":
        return "sweep"
    return "cycle" if short else f"{result.cycle}-cycle"
