"""From a user's arguments to a solve: from an initial guess, from a checkpoint, in a thread of its own."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from dask.base import is_dask_collection

from daskmgrit.checkpoint.place import find
from daskmgrit.checkpoint.policy import Checkpoint, as_checkpoint
from daskmgrit.checkpoint.saver import Saved
from daskmgrit.checkpoint.window_saver import USUAL_SECONDS, SavedWindow, load_window
from daskmgrit.executors.choose import choose_executor, chosen_client, is_asynchronous
from daskmgrit.executors.dask_values import computed
from daskmgrit.recurrence.state import InitialState, initial_state
from daskmgrit.solver.in_thread import solve_in_thread
from daskmgrit.solver.initial_guess import Guess, check_guess
from daskmgrit.solver.options import Arguments, WindowArguments, default_tolerance
from daskmgrit.solver.result import Result
from daskmgrit.solver.solve import Solvable, run_solve
from daskmgrit.solver.window_solve import WindowMethod, run_window_solve
from daskmgrit.utils.config import setting
from daskmgrit.utils.tracebacks import shorten
from daskmgrit.utils.units import time_option

__all__ = ["resume_from_checkpoint", "resume_window", "run_or_await", "solve_by_window", "solve_from_guess"]

A = TypeVar("A", Arguments, WindowArguments)


def run_or_await(solve: Callable[[A], Result], arguments: A) -> Result | Coroutine[Any, Any, Result]:
    """Solve; if the chosen client is asynchronous, return a coroutine that solves in a thread.

    Parameters
    ----------
    solve : callable
        ``solve(arguments)``; it blocks.
    arguments : Arguments or WindowArguments
        Arguments of the solve.

    Raises
    ------
    TypeError
        If the callback is a coroutine function and the client is not asynchronous.
    """

    def shown(arguments: A) -> Result:
        try:
            return solve(arguments)
        except Exception as error:
            if not setting("daskmgrit.debug"):
                shorten(error)
            raise

    client = chosen_client(arguments.client)
    if is_asynchronous(client):
        return solve_in_thread(shown, replace(arguments, client=client))
    if inspect.iscoroutinefunction(arguments.callback):
        raise TypeError(
            f"callback={arguments.callback!r} is a coroutine function, which only a solve through an asynchronous "
            "client can await: give a plain function"
        )
    return shown(arguments)


def solve_from_guess(problem: Solvable, w0: Any, initial_guess: Any, arguments: Arguments) -> Result:
    """Solve from an initial guess; see :meth:`daskmgrit.MGRIT.solve`."""
    begin = time.perf_counter()
    state, steps = _initial(w0, arguments), problem.hierarchy[0].steps
    tol = default_tolerance(steps, state) if arguments.tol is None else arguments.tol
    request = arguments.complete(tol, 50, "full")
    guess = check_guess(initial_guess, steps, state)
    return run_solve(problem, request, begin, state, guess, as_checkpoint(arguments.checkpoint), None)


def resume_from_checkpoint(problem: Solvable, w0: Any, arguments: Arguments) -> Result:
    """Resume a solve from its last checkpoint; see :meth:`daskmgrit.MGRIT.resume`."""
    begin = time.perf_counter()
    policy = as_checkpoint(arguments.checkpoint)
    if policy is None:
        raise ValueError("checkpoint=None: give the directory of the checkpoint to resume from")
    saved = Saved.load(find(policy.directory))
    if not isinstance(arguments.checkpoint, Checkpoint):
        policy = Checkpoint(policy.path, saved.solve["every"], saved.solve["seconds"])
    state = _initial(saved.w0 if w0 is None else w0, arguments)
    request = arguments.complete(saved.solve["tol"], saved.solve["maxiter"], saved.solve.get("storage", "full"))
    return run_solve(problem, request, begin, state, Guess("checkpoint"), policy, saved)


def solve_by_window(method: WindowMethod, w0: Any, arguments: WindowArguments) -> Result:
    """Solve by parallel Newton from the initial state; see :meth:`daskmgrit.ParallelNewton.solve`."""
    begin = time.perf_counter()
    state = _initial(w0, arguments)
    request = arguments.complete(default_tolerance(method.steps, state) if arguments.tol is None else arguments.tol)
    return run_window_solve(method, request, begin, state, _window_policy(arguments.checkpoint, None))


def resume_window(method: WindowMethod, w0: Any, arguments: WindowArguments) -> Result:
    """Resume a solve by parallel Newton; see :meth:`daskmgrit.ParallelNewton.resume`."""
    begin = time.perf_counter()
    policy = as_checkpoint(arguments.checkpoint)
    if policy is None:
        raise ValueError("checkpoint=None: give the directory of the checkpoint to resume from")
    saved = load_window(policy.directory)
    if arguments.tol is not None and 0 <= arguments.tol < saved.tol:
        raise ValueError(
            f"tol={arguments.tol!r} is below that of the checkpoint, {saved.tol!r}: its steps were accepted with that "
            "and are not checked again; give at least that, or start a new solve"
        )
    state = _initial(saved.w0 if w0 is None else w0, arguments)
    policy = _window_policy(arguments.checkpoint, saved)
    return run_window_solve(method, arguments.complete(saved.tol), begin, state, policy, saved)


def _initial(w0: Any, arguments: Arguments | WindowArguments) -> InitialState:
    """Return the initial state; a dask collection, such as ``result.weights[-1]``, is computed first."""
    if is_dask_collection(w0):
        patience = None if arguments.timeout is None else time_option("timeout", arguments.timeout)
        w0 = computed(w0, choose_executor(arguments.client, patience), "w0")
    return initial_state(w0)


def _window_policy(checkpoint: Any, saved: SavedWindow | None) -> Checkpoint | None:
    """Return where and how often to save: by time alone if only a directory is given, because sweeps are short."""
    policy = as_checkpoint(checkpoint)
    if policy is None or isinstance(checkpoint, Checkpoint):
        return policy
    if saved is not None:
        return Checkpoint(policy.path, saved.content["every"], saved.content["seconds"])
    return Checkpoint(policy.path, None, USUAL_SECONDS)
