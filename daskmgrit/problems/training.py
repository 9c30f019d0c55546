"""A problem as it is solved: the Phi of a solver or an optimizer, and suitable levels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from daskmgrit.models import optimizers
from daskmgrit.problems.own import OwnProblem
from daskmgrit.problems.problem import Problem
from daskmgrit.recurrence.step_length import made_for

__all__ = ["OPTIMIZERS", "training"]

# "sgd" is the gradient descent of a problem's solver.
OPTIMIZERS = ("sgd", *optimizers.OPTIMIZERS)


def training(
    task: Problem | OwnProblem,
    optimizer: str = "sgd",
    solver: str | None = None,
    *,
    steps: int | None = None,
    levels: Mapping[str, Any] | None = None,
    learning_rate: float | None = None,
    batch: int | None = None,
    dtype: Any = np.float64,
    **descent: Any,
) -> OwnProblem:
    """Return a problem with its propagator, initial state, steps and levels.

    Parameters
    ----------
    task : Problem or OwnProblem
        The problem. One of the user's own has its Phi: all options except `steps` and `levels` are for the others.
    optimizer : str, default "sgd"
        One of ``OPTIMIZERS``.
    solver : str, optional
        With "sgd", by default the problem's own.
    steps : int, optional
        N, by default the problem's own.
    levels : mapping, optional
        Any of coarsening, relaxation and min_coarse; None for those not given.
    learning_rate, batch, dtype
        See :meth:`daskmgrit.problems.Problem.propagator`; `dtype` is also that of states.
    **descent
        Further arguments of that method, without effect on other optimizers than "sgd".
    """
    given = {name: value for name, value in (levels or {}).items() if value is not None}
    if isinstance(task, OwnProblem):
        if "coarsening" in given:
            given["phi"] = made_for(task.phi, given["coarsening"])
        return replace(task, **given if steps is None else {"steps": steps, **given})
    hierarchy = task.hierarchy(solver, **given)
    w0 = task.w0.astype(dtype)
    if optimizer == "sgd":
        coarsening = hierarchy.get("coarsening", 2)
        descent = {"coarsening": coarsening, "batch": batch, "dtype": dtype, "steps": steps, **descent}
        phi: Any = task.propagator(solver, learning_rate, **descent)
    else:
        phi = replace(task, w0=w0).optimizer(optimizer, learning_rate, batch=batch, dtype=dtype)
        w0 = phi.w0
    return OwnProblem(
        phi,
        w0,
        task.steps if steps is None else steps,
        task.name,
        # Moments are behind the weights.
        metrics=lambda final: task.metrics(final[: task.w0.size]),
        initial_guess=task.guess(solver),
        # It is of the problem as it is in the paper.
        remark=task.remark if optimizer == "sgd" and learning_rate is None else "",
        **hierarchy,
    )
