"""The answer of ``daskmgrit.plan``: the method that pays on a cluster, its setting, and the speedup by workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from daskmgrit.display.html import block, fields, side_by_side, table
from daskmgrit.display.plot_speedup import plot_speedup
from daskmgrit.mgrit import MGRIT
from daskmgrit.parallel_newton import ParallelNewton
from daskmgrit.planning.acceptance import Acceptance
from daskmgrit.planning.break_even import even_words
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.setting import Plan, on_threads
from daskmgrit.planning.window_plan import WindowPlan
from daskmgrit.planning.window_report import (
    at_worst,
    diverges,
    fastest,
    mend,
    pays,
    verdict,
    window_report,
    window_rows,
)
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.step_length import made_for, words_for
from daskmgrit.utils.units import time_in_words

__all__ = ["AtWorkers", "PlanResult"]

NAMES = {"mgrit": "MGRIT", "newton": "parallel Newton", "serial": "serial training"}


class AtWorkers(NamedTuple):
    """Predicted speedups over serial training on a number of workers.

    Attributes
    ----------
    workers : int
        Worker threads in all.
    mgrit, newton : float or None
        Speedup of each method at its best setting; None if it can't be used.
    least_mgrit, least_newton : float or None
        Lower bounds of these: with the maximum number of cycles, and with the minimum acceptance of a sweep.
    """

    workers: int
    mgrit: float | None
    newton: float | None
    least_mgrit: float | None = None
    least_newton: float | None = None


@dataclass(frozen=True)
class PlanResult:
    """The outcome of :func:`daskmgrit.plan`.

    ``print(plan)`` says it in words, a notebook shows it as tables, and :meth:`plot` draws it.

    Attributes
    ----------
    method : str
        The fastest: ``"mgrit"``, ``"newton"``, or ``"serial"`` where serial training is faster than both.
    workers : int
        Worker threads that the plan is for.
    seconds : float
        Predicted time of `method`.
    serial_seconds : float
        Time of serial training.
    curve : list of AtWorkers
        Speedups of both methods by the number of workers.
    break_even : dict
        For ``"mgrit"`` and ``"newton"`` the least number of worker threads with which it beats serial training; None
        if no number does.
    mgrit : Plan or None
        The best setting of MGRIT; None if it converges with none of those tried.
    newton : WindowPlan or None
        The best window of parallel Newton; None for a single worker.
    cost : PhiCost
        Cost of Phi.
    machine : Machine
        The workers and what their tasks cost.
    measured : list of str
        The measurements, in words; the rest is given or assumed.
    remark : str
        Defects of phi that were found, as in :class:`daskmgrit.Result`; empty if there are none.
    iterations_from : str
        Origin of the number of cycles of MGRIT, in words.
    doubt : float
        Factor by which the cycles of MGRIT may be more: 1 if they are given, or were counted on the whole run. Beyond
        the steps that were solved they may grow in proportion to N; at most a factor of five is assumed.
    accepted : Acceptance
        ``accepted(slots)`` steps that a sweep accepts; ``accepted.origin`` is their origin in words,
        ``accepted.edge`` is alpha lambda_max of the first steps, if it was estimated: at 2 training is at the edge of
        stability. ``accepted.growth`` says in words if serial training itself diverges.
    initial_guess : str
        Initial guess of MGRIT's solve.
    cluster : bool
        Whether the workers are those of a client; otherwise threads of one process are Dask's in this process.
    """

    phi: Phi = field(repr=False)
    steps: int
    method: str
    seconds: float
    serial_seconds: float
    curve: list[AtWorkers] = field(repr=False)
    break_even: dict[str, int | None]
    mgrit: Plan | None = field(repr=False)
    newton: WindowPlan | None = field(repr=False)
    cost: PhiCost
    machine: Machine
    measured: list[str]
    remark: str
    iterations_from: str
    doubt: float
    accepted: Acceptance = field(repr=False)
    initial_guess: str
    cluster: bool = False

    @property
    def workers(self) -> int:
        """Worker threads that the plan is for."""
        return self.machine.slots

    @property
    def speedup(self) -> float:
        """Serial seconds over predicted ones; 1 where serial training is faster."""
        return self.serial_seconds / self.seconds

    @property
    def faster_method(self) -> str | None:
        """The faster of the two parallel methods, whether or not it beats serial training; None if neither works."""
        times = {"mgrit": self.mgrit, "newton": self.newton}
        known = {name: found.seconds for name, found in times.items() if found is not None}
        return fastest(known) if known else None

    def setting(self, method: str | None = None) -> dict[str, Any]:
        """Return the options of the solver, and for MGRIT the number of chunks of its solve.

        For example ``{"coarsening": [16, 2], "cycle": "V", "chunks": 63}``, ``{"window": 8, "jacobian": "identity"}``.

        Parameters
        ----------
        method : {"mgrit", "newton"}, optional
            By default the faster of the two.

        Raises
        ------
        ValueError
            If there is no such method, or no setting of it.
        """
        name = method if method is not None else self.faster_method
        if name == "mgrit" and self.mgrit is not None:
            return self.mgrit.setting.options() | {"chunks": self.mgrit.setting.chunks}
        if name == "newton" and self.newton is not None:
            return self.newton.options
        if name in ("mgrit", "newton", None):
            why = {"mgrit": "MGRIT did not converge with any setting that was tried"}.get(
                str(name), "parallel Newton needs two workers at least"
            )
            raise ValueError(f"method={name!r} has no setting: {why}; daskmgrit.train_serially(phi, w0, steps) trains")
        raise ValueError(f'method={method!r} is unknown: give "mgrit" or "newton"')

    def solver(self, method: str | None = None) -> MGRIT | ParallelNewton:
        """Return the solver to use, with its best setting.

        Parameters are those of :meth:`setting`. A plan for several threads of one process is for
        ``dask.config.set(scheduler="threads", num_workers=threads)``, see :meth:`python`. MGRIT's number of chunks is
        an argument of its solve: ``plan.solver("mgrit").solve(w0, chunks=plan.setting("mgrit")["chunks"])``; by default
        it chooses one itself.
        """
        options = self.setting(method)
        if "window" in options:
            return ParallelNewton(self.phi, self.steps, **options)
        options.pop("chunks")
        return MGRIT(made_for(self.phi, options["coarsening"]), self.steps, **options)

    def python(self, method: str | None = None) -> str:
        """Return the same as a line of Python; parameters are those of :meth:`setting`."""
        newton = "window" in self.setting(method)
        if newton and self.newton is not None:
            return on_threads(self.newton.python(self.steps), self.machine, self.cluster)
        assert self.mgrit is not None
        phi = words_for(self.phi, self.setting("mgrit")["coarsening"])
        line = self.mgrit.setting.python(self.steps, {}, self.initial_guess, phi=phi)
        return on_threads(line, self.machine, self.cluster)

    def summary(self) -> list[tuple[str, str]]:
        """Return the facts worth knowing, as pairs of a name and a text; ``print(plan)`` shows them."""
        mgrit, cost, machine = self.mgrit, self.cost, self.machine
        called = f" and {time_in_words(cost.call)} per call" if cost.call else ""
        cluster = machine.in_words
        cluster += " (threads= puts several into each)" if machine.threads == 1 < machine.workers else ""
        most, least = (None, None) if mgrit is None else mgrit.cautious(self.doubt)
        found: dict[str, Any] = {
            "faster": self.method,
            "speedup": None if mgrit is None else mgrit.speedup,
            "iterations": None if mgrit is None else mgrit.iterations,
            "most_iterations": most,
            "least_speedup": least,
            "optimizer": None,
            "remark": self.remark,
            "newton": window_report(self.steps, self.newton, self.accepted),
        }
        rows = [
            ("verdict", verdict(found)),
            *([("phi", self.remark)] if self.remark else []),
            ("problem", f"{self.steps} steps; Phi takes {time_in_words(cost.state)} per state{called}"),
            ("cluster", cluster),
            ("serial training", time_in_words(self.serial_seconds)),
        ]
        if mgrit is None:
            rows.append(("MGRIT", diverges(found)))
        else:
            how = mgrit.setting
            chunks = f"{how.chunks} chunk{'s' * (how.chunks > 1)}"
            words = f"{how.cycle}-cycle, coarsening {_factors(how.coarsening)}, {chunks}"
            rows += [
                ("MGRIT", f"{time_in_words(mgrit.seconds)} predicted: speedup {mgrit.speedup:.3g}, {words}"),
                ("cycles", f"{mgrit.cycles}, {self.iterations_from}{at_worst(found)}"),
                ("pays", pays(mgrit.pays_up_to, mgrit.speedup)),
            ]
        rows += window_rows(found)
        rows.append(
            ("break-even", "; ".join(even_words(NAMES[name], self.break_even[name]) for name in ("mgrit", "newton")))
        )
        rows.append(("measured", "; ".join(self.measured) if self.measured else "nothing"))
        if self.remark:
            rows.append(("in Python", mend(found)))
        elif self.faster_method is not None and self.method != "serial":
            rows.append(("in Python", self.python()))
        return rows

    def __str__(self) -> str:
        return "\n".join(f"{name:16s} {words}" for name, words in self.summary())

    def _repr_html_(self) -> str:
        rows = [(str(point.workers), _number(point.mgrit), _number(point.newton)) for point in self.curve]
        best = f"{self.speedup:.3g} times" if self.method != "serial" else "faster than both methods"
        if self.method == "mgrit" and self.mgrit and (least := self.mgrit.cautious(self.doubt)[1]) < 1:
            best = f"{least:.2g} to {best}"
        if self.method == "newton" and self.newton and self.newton.least_speedup < 1:
            best = f"{self.newton.least_speedup:.2g} to {best}"
        if self.remark:
            best += ", but uncertain because of phi"
        return block(
            f"Plan for {self.steps} steps on {self.workers} workers: {NAMES[self.method]}, {best}",
            side_by_side(
                fields(self.summary()),
                block("speedup", table(("workers", "MGRIT", "parallel Newton"), rows)),
            ),
        )

    def plot(self, ax: Any = None) -> Any:
        """Plot the speedup of both methods over serial training against the number of workers.

        The line at 1 is serial training; the points where a method begins to beat it are marked. The shaded range of a
        speedup is its uncertainty, because cycles or accepted steps were not counted on the whole run.

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
        numbers = [point.workers for point in self.curve]
        curves = {
            "MGRIT": (
                [point.mgrit for point in self.curve],
                self.break_even["mgrit"],
                [point.least_mgrit for point in self.curve],
            ),
            "parallel Newton": (
                [point.newton for point in self.curve],
                self.break_even["newton"],
                [point.least_newton for point in self.curve],
            ),
        }
        title = f"N = {self.steps}, Phi takes {time_in_words(self.cost.call + self.cost.state)}"
        return plot_speedup(numbers, curves, title, self.workers, ax)


def _factors(coarsening: tuple[int, ...]) -> str:
    return ", ".join(map(str, coarsening if len(set(coarsening)) > 1 else coarsening[:1]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
