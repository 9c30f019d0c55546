"""Solver 4 compared with Solvers 1-3 on the same data: iterations, critical path and agreement of the loss."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from daskmgrit.mgrit import MGRIT
from daskmgrit.models.descent import GradientDescent
from daskmgrit.paper.report import iterations_text, markdown_table, rho_text
from daskmgrit.paper.run import MAXITER, Measurements, write_whole
from daskmgrit.paper.tables import Reading
from daskmgrit.problems import PROBLEMS, Problem
from daskmgrit.tune.path import critical_path

__all__ = ["GROUPS", "Group", "Variant", "columns", "measure", "splice", "tables", "write"]

BEGIN, END = "<!-- tables: made by daskmgrit paper --solver4 -->", "<!-- end of tables -->"


@dataclass(frozen=True)
class Variant(Reading):
    """Settings of a column, in addition to those of the paper's tables.

    Attributes
    ----------
    coarse, data, window, max_stages, rank
        See :meth:`daskmgrit.problems.Problem.propagator`; None for the solver's own.
    initial_guess : str
        "rough" for the run in which curvatures are found.
    coarsening, relaxation, min_coarse
        The hierarchy; None for the solver's own.
    only : tuple of int
        The N to solve; all of the table if empty.
    """

    rate: float = 0.0
    initial_guess: str = "constant"
    coarse: str | None = None
    data: str | None = None
    window: int | None = None
    max_stages: int | None = None
    rank: int | None = None
    coarsening: tuple[int, ...] | None = None
    relaxation: tuple[str, ...] | None = None
    min_coarse: int | None = None
    only: tuple[int, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Return the identity of a measurement: all given settings except its place and its name."""
        given = {
            name: value for name, value in asdict(self).items() if value is not None and name not in ("label", "only")
        }
        if self.solver == "4":
            # Settings that are not given are the problem's own, which may change.
            given["tuned"] = asdict(_problem(self.problem, self.seed).tuned)
        return given

    def hierarchy(self) -> dict[str, Any]:
        """Return the options of the solver."""
        options = _problem(self.problem, self.seed).hierarchy(
            self.solver, coarsening=self.coarsening, relaxation=self.relaxation, min_coarse=self.min_coarse
        )
        return {"cycle": self.cycle, **options}

    def propagator(self, steps: int | None = None) -> GradientDescent:
        """Return the propagator, for a number of steps."""
        return _problem(self.problem, self.seed).propagator(
            self.solver,
            self.rate or None,
            self.cap,
            coarsening=self.hierarchy().get("coarsening", 2),
            coarse=self.coarse,
            data=self.data,
            window=self.window,
            max_stages=self.max_stages,
            rank=self.rank,
            steps=steps,
        )

    def make(self, steps: int) -> tuple[MGRIT, Problem]:
        """Return the solver of a column, and its problem."""
        return MGRIT(self.propagator(steps), steps, **self.hierarchy()), _problem(self.problem, self.seed)


@functools.cache
def _problem(name: str, seed: int) -> Problem:
    return PROBLEMS[name](seed=seed)


@dataclass(frozen=True)
class Group:
    """A table: the columns of one problem."""

    title: str
    columns: tuple[int, ...]
    default: int  # largest N that is solved where nothing is asked for
    variants: list[Variant]


def _xor() -> Group:
    def variant(label: str, solver: str, **options: Any) -> Variant:
        return Variant(label, "xor", solver, **options)

    return Group(
        "XOR, all four examples in every step or one after another, alpha_b = 1",
        (400, 1600, 6400, 25600),
        1600,
        [
            variant("Solver 1, V, guess zero", "1", initial_guess="zero"),
            variant("Solver 1, V", "1"),
            variant("Solver 1, V, alpha_max 24", "1", cap=24.0),
            variant("Solver 1, F", "1", cycle="F"),
            variant("Solver 2, V", "2", only=(400, 1600, 6400)),
            variant("Solver 2, F", "2", cycle="F", only=(400, 1600, 6400)),
            variant("Solver 3, V", "3", only=(400, 1600, 6400)),
            variant("Solver 3, F", "3", cycle="F", only=(400, 1600, 6400)),
            variant("substeps, alpha_max 8", "1", coarse="substeps"),
            variant("Chebyshev, alpha_max 8", "1", coarse="chebyshev"),
            variant("Chebyshev, alpha_max 8, m = 4", "1", coarse="chebyshev", coarsening=(4,)),
            variant("exponential", "1", coarse="exponential"),
            *(variant(f"exponential, seed {seed}", "1", coarse="exponential", seed=seed) for seed in (2, 3, 4, 5)),
            variant("exponential, m = 4", "1", coarse="exponential", coarsening=(4,)),
            variant("exponential with Solver 2's data", "2", coarse="exponential", data="window"),
            variant("**Solver 4**", "4"),
            variant("Solver 4, guess zero", "4", initial_guess="zero"),
            variant("Solver 4, m = 4", "4", coarsening=(4,)),
            variant("Solver 4, alpha_max 12, 6 stages", "4", cap=12.0, max_stages=6),
            variant("Solver 4, alpha_max 10, 3 stages", "4", cap=10.0, max_stages=3),
            *(variant(f"Solver 4, seed {seed}", "4", seed=seed) for seed in (2, 3, 4, 5)),
            *(
                variant(f"Solver 4, alpha_max 12, 6 stages, seed {seed}", "4", cap=12.0, max_stages=6, seed=seed)
                for seed in (2, 3, 4, 5)
            ),
            variant("Solver 4, F", "4", cycle="F"),
            variant("Solver 4 with Solver 2's data", "2", cap=32.0, coarse="chebyshev", data="window", max_stages=6),
            variant("Solver 4 with Solver 3's data", "3", cap=32.0, coarse="chebyshev", data="window", max_stages=6),
        ],
    )


def _adder() -> Group:
    def variant(label: str, solver: str, **options: Any) -> Variant:
        return Variant(label, "adder", solver, **options)

    return Group(
        "Four-layer network, one example after another, alpha_b = 0.025",
        (400, 1600, 3200, 6400, 12800),
        400,
        [
            variant("Solver 2, V", "2", only=(400, 1600, 3200, 6400)),
            variant("Solver 2, F", "2", cycle="F", only=(400, 1600, 6400)),
            variant("Solver 3, V", "3", only=(400, 1600, 3200, 6400)),
            variant("Solver 3, F", "3", cycle="F", only=(400, 1600)),
            variant("Solver 2, V, data injected (Remark 1)", "2", data="injected", only=(400, 1600, 6400)),
            variant("Solver 2, V, examples averaged (Remark 1)", "2", data="averaged", only=(400, 1600)),
            variant("Chebyshev alone, alpha_max 0.2", "2", coarse="chebyshev", only=(400, 1600)),
            variant("window alone, capped at 0.2", "2", data="window", only=(400, 1600)),
            variant("window and Chebyshev, alpha_max 0.2", "2", data="window", coarse="chebyshev", only=(400, 1600)),
            variant("window and Chebyshev, alpha_max 3.2", "4", cap=3.2, only=(400, 1600, 6400)),
            variant("**Solver 4**", "4"),
            variant("Solver 4, B = 32", "4", window=32, only=(400, 1600, 6400)),
            variant("Solver 4, B = 512", "4", window=512, only=(400, 1600, 6400)),
            variant("Solver 4, m = 4", "4", coarsening=(4,), only=(400, 1600, 6400)),
            variant("Solver 4, FCF", "4", relaxation=("FCF",), only=(400, 1600, 6400)),
            variant("Solver 4, FCF on level 0, F below", "4", relaxation=("FCF", "F"), only=(400, 1600, 6400)),
            variant(
                "Solver 4, each example twice", "3", cap=28.0, data="window", coarse="chebyshev", only=(400, 1600, 6400)
            ),
        ],
    )


def _digits() -> Group:
    def variant(label: str, solver: str, **options: Any) -> Variant:
        return Variant(label, "digits", solver, **options)

    return Group(
        "Handwritten digits, minibatches of 32, alpha_b = 0.05",
        (400, 1600, 6400),
        0,
        [
            variant("Solver 2, V", "2"),
            variant("Solver 2, F", "2", cycle="F", only=(400, 1600)),
            variant("Solver 3, V", "3"),
            variant("**Solver 4**", "4"),
            variant("Solver 4, m = 4", "4", coarsening=(4,)),
            variant("deflated, r = 32", "4", coarse="deflated", rank=32, initial_guess="rough"),
            *(
                variant(
                    f"deflated, r = {rank}, m = 4",
                    "4",
                    coarse="deflated",
                    rank=rank,
                    initial_guess="rough",
                    coarsening=(4,),
                )
                for rank in (16, 32, 48)
            ),
            variant(
                "deflated, r = 48, m = 4, guess w0", "4", coarse="deflated", rank=48, coarsening=(4,), only=(400, 1600)
            ),
        ],
    )


GROUPS: tuple[Callable[[], Group], ...] = (_xor, _adder, _digits)


def columns(max_steps: int | None, full: bool) -> list[tuple[str, Variant, int]]:
    """Return the columns to solve: name, settings, N."""
    found = []
    for group in (make() for make in GROUPS):
        most = max_steps if max_steps is not None else (max(group.columns) if full else group.default)
        found += [
            (f"{variant.problem}, {variant.label.strip('*')}", variant, steps)
            for variant in group.variants
            for steps in group.columns
            if steps <= most and (not variant.only or steps in variant.only)
        ]
    return found


@functools.lru_cache(maxsize=4)
def _serial_loss(problem: str, seed: int, solver: str, rate: float, steps: int) -> float:
    """Return the loss after serial training on a solver's level 0."""
    task = _problem(problem, seed)
    phi, states = task.propagator(solver, rate or None), task.w0[None]
    for i in range(steps):
        states = phi(states, np.array([i]), 0)
    return task.metrics(states[0])["loss"]


def _agreed(losses: Sequence[float], serial: float) -> int | None:
    """Return the cycle from which on the loss is the serial one to three digits; None if it never is."""
    agreed = None
    for cycle in range(len(losses), 0, -1):
        if not abs(losses[cycle - 1] - serial) <= 5e-4 * abs(serial):
            break
        agreed = cycle
    return agreed


def measure(variant: Variant, steps: int, on_cycle: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Solve one column.

    Returns
    -------
    dict
        What :func:`daskmgrit.paper.run.measure` gives, and: stages of each level, examples (gradients of single
        examples), agreed (the cycle from which on the loss agrees with the serial one to three digits) and agreed_path
        (the critical path up to there). Gradients that found curvatures, `before`, are in all of these.
    """
    solver, problem = variant.make(steps)
    losses: list[float] = []

    def callback(iteration: int, residual: float, weights: Any) -> None:
        last = np.asarray(weights[-1])
        losses.append(float(problem.metrics(last)["loss"]) if np.isfinite(last).all() else np.inf)
        if on_cycle is not None:
            on_cycle(iteration)

    phi: Any = solver.phi
    rough = variant.initial_guess == "rough"
    guess = phi.rough_guess(steps) if rough else variant.initial_guess
    result = solver.solve(problem.w0, guess, maxiter=MAXITER, callback=callback)
    base = problem.tuned.base if variant.solver == "4" else variant.solver
    before = result.preparation
    agreed = _agreed(losses, _serial_loss(variant.problem, variant.seed, base, variant.rate, steps))
    examples = [_examples(variant, level) for level in range(len(result.levels))]
    path = None
    if agreed is not None:
        kind = "constant" if rough else variant.initial_guess
        path = before.path + critical_path(steps, solver.stages, agreed, kind, **variant.hierarchy())
    factor = result.convergence_factor
    return {
        "iterations": result.iterations,
        "converged": result.converged,
        "reason": result.reason,
        "rho": factor if np.isfinite(factor) else None,
        "residuals": [value if np.isfinite(value) else None for value in result.residuals],
        "levels": result.levels,
        "stages": solver.stages,
        "phi_evaluations": result.phi_evaluations,
        "before": before.evaluations,
        # Each of those before the solve is of all examples.
        "examples": before.evaluations * (len(problem.x) - examples[0])
        + sum(count * each for count, each in zip(result.phi_evaluations, examples, strict=True)),
        "critical_path": result.critical_path,
        "agreed": agreed,
        "agreed_path": path,
        "seconds": round(result.timings["total"], 3),
    }


def _examples(variant: Variant, level: int) -> int:
    """Return the number of examples in the gradients of a stage on `level`, together."""
    if variant.coarse == "deflated":
        # A step takes one gradient of the same data; there are no curvatures to find for that.
        variant = replace(variant, coarse=None, rank=None)
    phi = variant.propagator()
    numbers = phi.data(np.zeros(1, int), level)
    examples = len(phi.x) if numbers is None else int(numbers.shape[1])
    # A Hessian is of differences of gradients.
    hessian = phi.coarse.on(level) == "exponential" and not phi.plain(level)
    return examples * (2 * _problem(variant.problem, variant.seed).w0.size + 1) if hessian else examples


def _row(variant: Variant, steps: int, cell: dict[str, Any]) -> list[str]:
    agreed = ["-", "-"]
    if cell["agreed"]:
        agreed = [str(cell["agreed"]), f"{steps / cell['agreed_path']:.2f}"]
    done = cell["converged"]
    return [
        iterations_text(cell),
        rho_text(cell),
        str(cell["critical_path"]) if done else "-",
        f"{steps / cell['critical_path']:.2f}" if done else "-",
        *agreed,
        f"{sum(cell['phi_evaluations']) / steps:.1f}",
        f"{cell['examples'] / (steps * _examples(variant, 0)):.0f}",
    ]


def tables(store: Measurements) -> str:
    """Return the tables as Markdown: the solved columns of each group, by N."""
    made = []
    head = ["N", "iterations", "factor", "critical path", "N/critical path"]
    head += ["3 digits after", "N/its path", "Phi/N", "examples/N"]
    for group in (make() for make in GROUPS):
        lines = []
        for variant in group.variants:
            rows = [
                [str(steps), *_row(variant, steps, cell)]
                for steps in group.columns
                if (cell := store.get(variant, steps)) is not None
            ]
            for number, row in enumerate(rows):
                lines.append([variant.label if not number else "", *row])
        if lines:
            made += [f"### {group.title}", "", _left(markdown_table(["", *head], lines)), ""]
    return "\n".join(made)


def _left(table: str) -> str:
    """Align the first column to the left."""
    return table.replace("|---:|", "|:---|", 1).replace("\n|:---|", "\n|:---|", 1)


def splice(text: str, made: str) -> str:
    """Return a document with the tables between its two marks replaced; tables alone if it has no marks."""
    body = f"{BEGIN}\n\n{made}\n{END}\n"
    if BEGIN not in text or END not in text:
        return f"# Solver 4 compared with Solvers 1-3\n\n{body}"
    before, rest = text.split(BEGIN, 1)
    return before + body.rstrip("\n") + rest.split(END, 1)[1]


def write(folder: Path, store: Measurements) -> Path:
    """Write the tables into ``solver4.md`` of a folder; the text around them is unchanged."""
    path = folder / "solver4.md"
    write_whole(path, splice(path.read_text(encoding="utf-8") if path.exists() else "", tables(store)))
    return path
