"""Solver, result and propagators as a notebook shows them."""

from __future__ import annotations

import inspect
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from daskmgrit.notebook.html import Markup, bar, block, fields, fold, side_by_side, table
from daskmgrit.notebook.residuals import residual_svg

if TYPE_CHECKING:
    from daskmgrit.mgrit import MGRIT
    from daskmgrit.models.descent import GradientDescent
    from daskmgrit.propagators.function import vectorize
    from daskmgrit.result import Result

__all__ = ["descent_view", "function_view", "result_view", "solver_view"]

# Learning rates of so many levels are shown.
LEVELS_SHOWN = 8


def solver_view(solver: MGRIT) -> Markup:
    """Return the table of levels, the options and the propagator."""
    hierarchy = solver.hierarchy
    rows = []
    for number, level in enumerate(hierarchy.levels):
        how = (
            ("", "serial", "")
            if number == hierarchy.last
            else (level.coarsening, level.relaxation, f"{level.weight:g}")
        )
        rows.append((number, level.steps, bar(level.steps / solver.steps), *how))
    total = sum(hierarchy.steps) / solver.steps
    return block(
        f"MGRIT, {hierarchy.cycle}-cycle on {len(hierarchy)} levels",
        side_by_side(
            table(("level", "steps", "", "m", "relaxation", "weight"), rows, left=(2, 4)),
            fields(
                [
                    ("training steps", solver.steps),
                    ("step complexity", f"{total:.2f}: steps of all levels over those of level 0"),
                    ("phi", _name(solver.phi)),
                ]
            ),
        ),
        _inner(solver.phi),
    )


def _name(phi: Any) -> str:
    """Return a short name: a class's, or a function's."""
    return str(getattr(phi, "__qualname__", type(phi).__name__))


def _inner(phi: Any) -> Markup:
    """Return the propagator's own view, folded, where it has one."""
    view = getattr(phi, "_repr_html_", None)
    text = view() if callable(view) and not isinstance(phi, type) else None
    return fold(f"phi: {_name(phi)}", Markup(text)) if isinstance(text, str) else Markup()


def result_view(result: Result) -> Markup:
    """Return the outcome, the residuals and where the time went."""
    timings = result.timings
    cycles = timings["cycles"]
    spans = [
        ("in all", timings["total"]),
        ("up to the first cycle", timings["setup"]),
        ("in cycles", math.fsum(cycles)),
    ]
    if cycles:
        spans.append(("a cycle, on average", math.fsum(cycles) / len(cycles)))
    spent = math.fsum(timings["phi"])
    levels = [
        (level, steps, evaluations, f"{seconds:.3g}", bar(seconds / spent if spent else 0.0))
        for level, (steps, evaluations, seconds) in enumerate(
            zip(result.levels, result.phi_evaluations, timings["phi"], strict=True)
        )
    ]
    return block(
        f"MGRIT result: {result.iterations} {result.cycle}-cycle{'' if result.iterations == 1 else 's'} for "
        f"{result.levels[0]} steps",
        side_by_side(fields(result.summary()), residual_svg(result.residuals, result.tol)),
        fold(
            "timings",
            side_by_side(
                fields((name, f"{seconds:.3g} s") for name, seconds in spans),
                table(("level", "steps", "Phi evaluations", "s of Phi, all workers", ""), levels, left=(4,)),
            ),
        ),
    )


def descent_view(phi: GradientDescent) -> Markup:
    """Return the model, the data and the rules of gradient descent."""
    rates = ", ".join(f"{phi.rate(level):.4g}" for level in range(LEVELS_SHOWN))
    rows = [
        ("model", repr(phi.model)),
        ("weights", getattr(phi.model, "size", "?")),
        ("examples", f"{len(phi.x)}: inputs {phi.x.shape}, targets {phi.y.shape}, {phi.x.dtype}"),
        ("a step sees", repr(phi.data)),
        ("learning rate", repr(phi.rate)),
        ("… on level 0, 1, …", f"{rates}, …"),
    ]
    if phi.repeats > 1:
        rows.append(("descents per step", phi.repeats))
    return block("GradientDescent", fields(rows))


def function_view(phi: vectorize) -> Markup:
    """Return what is known of a wrapped function."""
    inner = phi.phi
    # A function's repr has its address, which tells nobody anything.
    place = f"{inner.__module__}." if getattr(inner, "__module__", None) else ""
    rows = [("phi", f"{place}{_name(inner)}" if inspect.isroutine(inner) else repr(inner))]
    # A function that is not Python's may have none.
    with suppress(TypeError, ValueError):
        rows.append(("signature", f"{_name(inner)}{inspect.signature(inner)}"))
    about = inspect.getdoc(inner) if inspect.isroutine(inner) else None
    if about:
        rows.append(("about", about.splitlines()[0]))
    rows.append(("states", "one after another, in a Python loop; a phi that takes many at once is faster"))
    return block("vectorize", fields(rows))
