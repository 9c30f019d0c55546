"""One solve, from a guess or a checkpoint, on the requested executor."""

from __future__ import annotations

import time
import uuid
from contextlib import ExitStack
from typing import Any, Protocol

import numpy as np
from dask.delayed import Delayed

from daskmgrit.checkpoint.policy import Checkpoint
from daskmgrit.checkpoint.saver import Saved, open_saver
from daskmgrit.dashboard.cycle_reporter import CycleReporter
from daskmgrit.executors.choose import choose_executor
from daskmgrit.executors.room import check_room
from daskmgrit.graph.auto_chunks import check_chunks
from daskmgrit.graph.builder import GraphContext
from daskmgrit.graph.weights_array import as_array
from daskmgrit.models.rates import takes_fine_steps
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.multigrid.state_transfer import StateTransfer, with_transfers
from daskmgrit.recurrence.propagator import Phi, preparation_of
from daskmgrit.recurrence.state import InitialState, check_length
from daskmgrit.solver.advice import is_unclear
from daskmgrit.solver.examination import examine, phi_allowed
from daskmgrit.solver.first_look import first_look
from daskmgrit.solver.initial_guess import Guess
from daskmgrit.solver.iteration import Iteration
from daskmgrit.solver.options import Request, asks_to_stop
from daskmgrit.solver.progress import Progress
from daskmgrit.solver.remedies import Facts
from daskmgrit.solver.result import Result
from daskmgrit.solver.stagnation import Stagnation

__all__ = ["Solvable", "run_solve"]


class Solvable(Protocol):
    """A problem to solve: the propagator, the hierarchy, and transfers of states between its levels."""

    phi: Phi
    hierarchy: Hierarchy
    transfers: tuple[StateTransfer | None, ...]


def run_solve(
    problem: Solvable,
    ask: Request,
    begin: float,
    w0: InitialState,
    guess: Guess,
    policy: Checkpoint | None,
    saved: Saved | None,
) -> Result:
    """Solve.

    Parameters
    ----------
    problem : Solvable
        The problem to solve.
    ask : Request
        The request for the solve.
    begin : float
        Time of the request, by ``time.perf_counter``.
    w0 : InitialState
        The initial state.
    guess : Guess
        The initial guess.
    policy : Checkpoint or None
        Where and how often to save.
    saved : Saved or None
        The checkpoint to resume from.
    """
    check_length(problem.phi, w0)
    hierarchy = problem.hierarchy
    wanted = check_chunks(ask.chunks, hierarchy)
    propagator = with_transfers(problem.phi, problem.transfers, w0)
    executor = choose_executor(ask.client, ask.patience)
    if executor.client is None:
        check_room(hierarchy[0].steps, hierarchy[0].coarsening, w0.nbytes, ask.storage)
    executor.check(propagator)

    run = f"0{uuid.uuid4().hex[:11]}"  # Dask groups keys by what comes before the first word that is no name
    done = saved.cycle if saved else 0
    with (
        executor.session(),
        open_saver(
            policy, saved, executor, w0, {"tol": ask.tol, "maxiter": ask.maxiter, "storage": ask.storage}
        ) as saver,
        Progress(ask.progress, ask.tol, ask.maxiter, begin) as lines,
        ExitStack() as stack,
    ):
        c_points = ask.storage == "c-points"
        phi_task = executor.share(propagator, f"propagator-{run}", problem.phi)
        start = executor.put(w0.origin, f"w0-{run}")
        remark = "" if saved else first_look(problem.phi, executor, phi_task, start, hierarchy[0].steps, run)
        context = GraphContext(hierarchy, phi_task, start, run, c_points, executor.in_memory)
        if saver is not None:
            saver.identify(executor, context)
        iteration = Iteration(context, w0.nbytes, executor, saver)
        watch = stack.enter_context(
            CycleReporter(
                executor, run, hierarchy, iteration.first_layout(guess.kind, wanted), problem.phi, ask.tol, ask.maxiter
            )
        )

        def array(state: list[Delayed], name: str) -> Any:
            return as_array(state, iteration.plan.layout, hierarchy, w0, name, phi_task if c_points else None)

        losses = saved.losses_before(done) if saved and ask.settled else []
        stagnation = Stagnation.of(ask.tol, ask.maxiter, hierarchy, w0, bool(remark))
        history = list(saved.residuals[:-1]) if saved else []
        if saver is not None:
            saver.losses = losses

        def listener(cycle: int, residual: float, state: list[Delayed]) -> str:
            lines.line(cycle, residual)
            watch.cycle(cycle, residual, iteration.plan.layout, iteration.records)
            if ask.settled is not None:
                losses.append(ask.settled.measure(iteration.final(cycle)))
            if ask.callback is not None and cycle != done:
                answer = ask.callback(cycle, residual, array(state, f"weights-{run}-{cycle}"))
                if asks_to_stop(answer):
                    return "callback"
            if ask.settled is not None and ask.settled.holds(losses):
                return "settled"
            history.append(residual)
            return "stagnated" if stagnation.words(history) else ""

        outcome = iteration.solve(guess, wanted, ask.tol, ask.maxiter, listener)
        weights = array(outcome.state, f"weights-{run}")
        if not c_points and iteration.store is None:
            weights = executor.keep(weights)
        message = stagnation.words(outcome.residuals) if outcome.reason == "stagnated" else outcome.message
        watch.end(outcome.reason, message)
        amplification = None
        if not remark and is_unclear(outcome.reason, message, outcome.residuals, ask.tol):
            levels = hierarchy.steps
            allowed = phi_allowed(iteration.depth, len(levels), outcome.reason == "diverged")
            seconds = time.perf_counter() - begin
            amplification = examine(executor, phi_task, start, run, levels, allowed, seconds)
    iterations = len(outcome.residuals) - 1
    facts = Facts(
        exact=hierarchy[0].exact_after,
        short=takes_fine_steps(problem.phi),
        single=bool(np.finfo(w0.dtype).eps > np.finfo(float).eps),
        worth=iterations * hierarchy[0].steps / max(1, iteration.depth),
        levels=len(hierarchy),
        guess=guess.kind,
    )
    phi_seconds = [0.0] * len(hierarchy)
    for record in iteration.records:
        phi_seconds[record.level] += record.phi_seconds
    total = time.perf_counter() - begin
    prepared = preparation_of(problem.phi)
    return Result(
        weights=weights,
        final=outcome.final,
        residuals=outcome.residuals,
        iterations=iterations,
        converged=outcome.reason == "tol",
        reason=outcome.reason,
        message=message,
        tol=ask.tol,
        levels=hierarchy.steps,
        cycle=hierarchy.cycle,
        phi_evaluations=[prepared.evaluations + iteration.evaluations[0], *iteration.evaluations[1:]],
        critical_path=prepared.path + iteration.depth,
        preparation=prepared,
        tasks=iteration.tasks,
        timings={
            "total": total,
            "setup": iteration.began - begin,
            "cycles": iteration.cycle_seconds,
            "phi": phi_seconds,
        },
        records=iteration.records,
        losses=losses,
        storage=ask.storage,
        remark=remark,
        amplification=amplification,
        facts=facts,
    )
