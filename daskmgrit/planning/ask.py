"""The function ``daskmgrit.plan``: whether a parallel solve pays, and by which method."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daskmgrit.executors.choose import DaskClient, chosen_client, is_asynchronous
from daskmgrit.planning.break_even import mgrit_pays_from, window_pays_from, with_threads
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.measure import measure_machine
from daskmgrit.planning.memory import memory_limit
from daskmgrit.planning.outcome import AtWorkers, PlanResult
from daskmgrit.planning.phi_source import PhiSource, fixed_coarsening, tried_coarsenings
from daskmgrit.planning.source import make_planner
from daskmgrit.planning.window_plan import WindowPlan, best_window
from daskmgrit.planning.window_report import fastest
from daskmgrit.problems import OwnProblem
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.trial import check_arguments
from daskmgrit.utils.config import setting
from daskmgrit.utils.tracebacks import shorten
from daskmgrit.utils.units import time_option
from daskmgrit.utils.validation import brief, integer_option, number_option, switch_option

__all__ = ["plan"]

# The curve ends at this many times the break-even, or at this many workers where there is none.
BEYOND, MOST = 4, 256
# Parts of the time that measuring may take: of a cluster at most, and of Phi at least.
CLUSTER, LEAST = 0.4, 0.3


def plan(
    phi: Phi,
    w0: Any,
    steps: int,
    workers: Any = None,
    *,
    threads: int = 1,
    cost: float | str | PhiCost | None = None,
    iterations: float | None = None,
    accepted: float | Mapping[int, float] | None = None,
    coarsening: int | Sequence[int] | None = None,
    cycle: str | None = None,
    initial_guess: str = "zero",
    seconds: float | str = 30.0,
    progress: bool = False,
) -> PlanResult:
    """Predict whether MGRIT, parallel Newton or serial training is the fastest for your own Phi on a cluster.

    Measures in this process, within about `seconds`, on the first steps of the run: what Phi costs, how many cycles
    MGRIT takes with some coarsenings and cycles, and how many steps a sweep of parallel Newton accepts. Anything that
    takes longer is assumed, and the plan says so.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : array_like, shape (s,)
        The initial state.
    steps : int
        N, the number of training steps.
    workers : int, sequence of int, distributed.Client or Machine
        Total number of worker threads. With several numbers the plan is for the largest, and the curve is for each. The
        costs of tasks and messages are measured on a client's cluster, given in a :class:`daskmgrit.planning.Machine`,
        or else those on one machine. By default the current client's cluster.
    threads : int, default 1
        Threads of each worker process, where `workers` is a number. ``workers=16, threads=16`` are the threads of one
        process.
    cost : float, str or PhiCost, optional
        Seconds of Phi for a state, or a time such as "100ms", instead of those measured: for another machine or more
        data than here. If `iterations` and `accepted` are given too, phi is not called at all.
    iterations : float, optional
        Cycles that MGRIT takes, instead of those measured.
    accepted : float or dict of int to float, optional
        Steps that a sweep of parallel Newton accepts, instead of those measured: by the slots of the window, as
        ``{8: 2.5}`` from an earlier solve, or one number for windows of four times as many slots and longer ones.
    coarsening : int or sequence of int, optional
        The coarsening factor, or one for each level, that the coarse steps of `phi` are for. By default those that
        `phi` was made for, as far as it tells, else 2. If `phi` has a method ``with_coarsening(factors)``, as the
        package's own have, factors from 2 to 16 are tried.
    cycle : {"V", "F"}, optional
        Try only this cycle.
    initial_guess : {"zero", "constant", "nested"}, default "zero"
        That of the solve.
    seconds : float or str, default 30
        Approximate time that measuring may take, e.g. "5 min" for a slow Phi; a call of Phi in progress is not
        interrupted.
    progress : bool, default False
        Print on standard error what is being measured.

    Returns
    -------
    PlanResult

    Raises
    ------
    ValueError
        If an argument is out of range.
    TypeError
        If `workers` is of another type.
    PropagatorError
        If `phi` breaks its contract.

    Examples
    --------
    >>> import numpy as np
    >>> import daskmgrit as dm
    >>> def phi(weights, index, level):
    ...     return weights * 0.9 ** (2**level)
    >>> plan = dm.plan(phi, np.ones(4), 1000, 64, cost="100ms", iterations=10, accepted=2)
    >>> plan.method, plan.setting()
    ('newton', {'window': 8, 'jacobian': 'identity'})
    >>> plan.solver()
    <ParallelNewton: 1000 steps, window 8, jacobian identity>
    """
    if not callable(phi):
        raise TypeError(f"phi={phi!r} is not callable: give a function phi(weights, index, level) -> new weights")
    check_arguments(phi)
    steps = integer_option("steps", steps, 2, "it is the number of training steps")
    if cost is not None and not isinstance(cost, PhiCost):
        cost = PhiCost(time_option("cost", cost))
    if iterations is not None:
        number_option("iterations", iterations, "it is a number of cycles", least=1)
    if cycle is not None and cycle not in ("V", "F"):
        raise ValueError(f'cycle={cycle!r} is unknown: give "V" or "F", or None to try both')
    if not isinstance(initial_guess, str) or initial_guess not in ("zero", "constant", "nested"):
        raise ValueError(f'initial_guess={brief(initial_guess)}: give "zero", "constant" or "nested"')
    switch_option("progress", progress, "True prints what is being measured")
    limit, clock = time_option("seconds", seconds), time.perf_counter()

    def note(text: str) -> None:
        if progress:
            print(text, file=sys.stderr)

    workers = _current() if workers is None else workers
    cluster = isinstance(workers, DaskClient)
    machine, numbers, memory = _cluster(workers, threads, CLUSTER * limit, note)

    cycles = ("V", "F") if cycle is None else (cycle,)
    factors = tried_coarsenings(phi) if coarsening is None else [fixed_coarsening(coarsening)]
    problem = OwnProblem(phi, w0, steps, initial_guess=initial_guess)
    left = max(limit - (time.perf_counter() - clock), LEAST * limit)
    try:
        source = PhiSource(problem, cost, iterations, accepted, factors, cycles, left, note, threads=machine.threads)
    except Exception as error:
        if not setting("daskmgrit.debug"):
            shorten(error)
        raise
    planner = make_planner(source, steps, cycles, memory, source.row_bytes)
    converges = planner.converges

    def window(part: Machine) -> WindowPlan | None:
        return best_window(steps, part, source.window_cost, source.accepted, source.window_bytes)

    break_even = {
        "mgrit": mgrit_pays_from(planner, machine) if converges else None,
        "newton": window_pays_from(steps, source, machine),
    }
    curve = []
    for number in numbers or _numbers(machine, break_even):
        part = with_threads(machine, number)
        point = AtWorkers(number, None, None)
        if converges:
            by_mgrit = planner.best(part)
            point = point._replace(mgrit=by_mgrit.speedup, least_mgrit=by_mgrit.cautious(source.doubt)[1])
        if by_newton := window(part):
            point = point._replace(newton=by_newton.speedup, least_newton=by_newton.least_speedup)
        curve.append(point)
    mgrit, newton = planner.best(machine) if converges else None, window(machine)
    serial = source.window_cost.serial(steps)
    times = {name: found.seconds for name, found in (("mgrit", mgrit), ("newton", newton)) if found is not None}
    times["serial"] = serial
    method = fastest(times)
    return PlanResult(
        phi=phi,
        steps=steps,
        method=method,
        seconds=times[method],
        serial_seconds=serial,
        curve=curve,
        break_even=break_even,
        mgrit=mgrit,
        newton=newton,
        cost=source.window_cost,
        machine=machine,
        measured=source.measured,
        remark=source.remark,
        iterations_from=source.origin,
        doubt=source.doubt,
        accepted=source.accepted,
        initial_guess=initial_guess,
        cluster=cluster,
    )


def _cluster(
    workers: Any, threads: int, seconds: float, note: Callable[[str], Any]
) -> tuple[Machine, list[int], int | None]:
    """Return the cluster, the requested numbers of worker threads, and the memory of a worker if known."""
    threads = integer_option("threads", threads, 1, "it is the number of threads of each worker process")
    if isinstance(workers, Machine):
        return workers, [], None
    if isinstance(workers, DaskClient):
        if is_asynchronous(workers):
            raise TypeError("workers is an asynchronous client: give a synchronous one, or a number of workers")
        note("measuring the cluster")
        return measure_machine(workers, seconds), [], memory_limit(workers)
    several = isinstance(workers, Sequence) and not isinstance(workers, str)
    if not several and (not isinstance(workers, int) or isinstance(workers, bool)):
        raise TypeError(f"workers={brief(workers)}: give a number of worker threads, several, a Client or a Machine")
    if several and not workers:
        raise ValueError("workers=[] is empty: give numbers of worker threads")
    numbers = [
        integer_option("workers", number, 1, "it is the number of worker threads in all")
        for number in (workers if several else [workers])
    ]
    for number in numbers:
        if number % threads:
            raise ValueError(
                f"workers={number} threads are no whole number of processes with threads={threads}: give a multiple"
            )
    return Machine(max(numbers) // threads, threads), sorted(set(numbers)) if several else [], None


def _current() -> Any:
    client = chosen_client()
    if client is None:
        raise TypeError("workers=None, and no Client is active: give a number of worker threads, or a Client")
    return client


def _numbers(machine: Machine, break_even: dict[str, int | None]) -> list[int]:
    """Return the numbers of worker threads of the curve: powers of two, those requested, and the break-even points.

    If a cluster has one process, the curve ends with its threads, unless a method pays only beyond.
    """
    marked = [number for number in break_even.values() if number is not None]
    most = max([machine.slots, *(BEYOND * number for number in marked)]) if marked else max(machine.slots, MOST)
    if machine.workers == 1 and machine.threads > 1:
        most = max(machine.slots, *(number for number in marked), 1)
    doubled = {2**power for power in range(most.bit_length()) if 2**power < machine.threads}
    doubled |= {machine.threads * 2**power for power in range((most // machine.threads).bit_length())}
    return sorted({*doubled, machine.slots, *marked})
