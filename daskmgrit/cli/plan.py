"""The command ``daskmgrit plan``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from daskmgrit.cli.connection import connect
from daskmgrit.cli.ends import Command, note, say, usage_errors
from daskmgrit.cli.problem import asked_problem, completed, explained, try_own
from daskmgrit.cli.values import ACCEPTED, AT_LEAST_1, BYTES, CYCLE, SECONDS, PerLevel
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.measure import measure_machine
from daskmgrit.planning.memory import memory_limit
from daskmgrit.planning.phi_source import PhiSource, fixed_coarsening, tried_coarsenings
from daskmgrit.planning.report import Asked, report, text
from daskmgrit.planning.setting import SPREAD, Coarsening
from daskmgrit.planning.source import GivenSource, Source, make_planner
from daskmgrit.problems import SOLVERS, OwnProblem, Problem
from daskmgrit.problems.training import OPTIMIZERS, training

__all__ = ["plan"]

# Chunks from which on a search takes more than some seconds.
MANY = 20_000


@click.command(cls=Command, context_settings={"allow_extra_args": True})
@click.option(
    "--steps", type=click.IntRange(2, 10**9), help="N, the number of training steps; by default those of --problem."
)
@click.option(
    "--phi-cost",
    type=SECONDS,
    help="Seconds of Phi for a state, or a time such as 5ms; with --problem instead of measured ones.",
)
@click.option(
    "--problem",
    metavar="PROBLEM",
    shell_complete=completed,
    help="Measure Phi, and the cycles, of xor, adder or digits, or of FILE.py:NAME or MODULE:NAME as for `solve`.",
)
@click.option("--w0", metavar="STATE", help="With --problem: initial state of a Phi of your own, as for `solve`.")
@click.option("--solver", type=click.Choice(list(SOLVERS)), help="With --problem: its solver.")
@click.option("--workers", type=click.IntRange(1, 10**7), help="P, worker threads in all; default: the cluster's.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of each worker process.  [default: 1]")
@click.option("--bytes", "row_bytes", type=BYTES, help="Bytes of a state (8 per weight), or a size such as 100kB.")
@click.option("--memory", type=BYTES, help="Memory of each worker process, e.g. 8GB; with --measure the cluster's.")
@click.option("--iterations", type=AT_LEAST_1, help="Cycles to convergence.")
@click.option(
    "--accepted",
    type=ACCEPTED,
    help="Steps that a sweep of parallel Newton accepts: by slots of the window, as 8:2.5,16:3.1, or one number "
    "for long windows.",
)
@click.option(
    "--optimizer",
    type=click.Choice(OPTIMIZERS),
    help="With --problem: others than sgd are for parallel Newton only.  [default: sgd]",
)
@click.option("--call-cost", type=SECONDS, help="Cost of a call of Phi besides that of its states.")
@click.option("--stages", type=PerLevel(float), help="Phi per step of each level, e.g. 1,1,2.  [default: 1]")
@click.option("--coarsening", type=PerLevel(int), help="Only this factor, or these, one per level.")
@click.option("--cycle", type=CYCLE, help="Only this cycle.")
@click.option("--chunks", type=click.IntRange(min=1), help="Only this number of chunks.")
@click.option("--scheduler", metavar="ADDRESS", help="With --measure: the cluster.")
@click.option("--keys", metavar="FOLDER", help="For a tls:// ADDRESS: the keys that `python -m daskmgrit.tls` made.")
@click.option("--measure", is_flag=True, help="Measure overheads on the cluster at --scheduler.")
@click.option("--scheduler-overhead", type=SECONDS, help="Time of the scheduler per task.  [default: 0.9ms]")
@click.option("--worker-overhead", type=SECONDS, help="Time of a worker process per task.  [default: 1.8ms]")
@click.option("--latency", type=SECONDS, help="Latency of a message.  [default: 1.6ms]")
@click.option("--bandwidth", type=BYTES, help="Bytes per second between workers.  [default: 1GB]")
@click.option("--cores", type=click.IntRange(min=1), help="All processes are on one machine with this number of cores.")
@click.option(
    "--seconds", type=SECONDS, default=30.0, help="With --problem: about how long to measure.  [default: 30 s]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def plan(
    steps: int | None,
    phi_cost: float | None,
    problem: str | None,
    w0: str | None,
    solver: str | None,
    workers: int | None,
    threads: int | None,
    row_bytes: int | None,
    memory: int | None,
    iterations: float | None,
    accepted: float | dict[int, float] | None,
    optimizer: str | None,
    call_cost: float | None,
    stages: tuple[float, ...] | None,
    coarsening: tuple[int, ...] | None,
    cycle: str | None,
    chunks: int | None,
    scheduler: str | None,
    keys: str | None,
    measure: bool,
    seconds: float,
    as_json: bool,
    **overheads: Any,
) -> None:
    """Predict which method pays on a cluster: MGRIT, parallel Newton, or serial training.

    Searches coarsening factors, cycles and numbers of chunks of MGRIT, and slots of parallel Newton's window, for N
    steps on P worker threads.
    """
    # The other commands take it as an argument.
    if extra := click.get_current_context().args:
        raise click.UsageError(f"{' '.join(extra)}: give the problem by an option, --problem {extra[0]}")
    if phi_cost is None and problem is None:
        raise click.UsageError("give --phi-cost, the seconds of Phi for a state, or --problem to measure it")
    if steps is None and problem is None:
        raise click.UsageError("give --steps, the number of training steps")
    if phi_cost is None and (call_cost is not None or stages is not None):
        raise click.UsageError("--call-cost and --stages need --phi-cost; with --problem alone they are measured")
    for option, value in (("solver", solver), ("optimizer", optimizer), ("w0", w0)):
        if value and not problem:
            raise click.UsageError(f"--{option} needs --problem")
    if measure != bool(scheduler):
        raise click.UsageError("--measure and --scheduler need each other: give the cluster to measure overheads on")
    if keys and not (scheduler or "").startswith("tls://"):
        raise click.UsageError(f"--keys {keys}: they are for --scheduler tls://HOST:PORT")
    if not measure and workers is None:
        raise click.UsageError("give --workers, the number of worker threads; or a cluster by --measure --scheduler")
    if memory is not None and not memory:
        raise click.UsageError("--memory 0: give the memory of a worker process, e.g. 8GB")
    if memory is not None and row_bytes is None and not problem:
        raise click.UsageError("--memory needs --bytes, the bytes of a state (8 per weight)")
    cycles = [cycle.upper()] if cycle else ["V", "F"]
    with usage_errors(as_json):
        cost = None if phi_cost is None else PhiCost(phi_cost, call_cost or 0.0, stages or (1.0,))
        task = None if problem is None else asked_problem(problem, w0, steps, argument="--problem")
        if steps is None:
            assert task is not None
            steps = task.steps
        tried = try_own(task, problem or "") if isinstance(task, OwnProblem) else None
        machine, limit = _cluster(scheduler, keys, workers, threads, overheads)
        # One more may be for the last C-point.
        if chunks is not None and chunks > machine.slots + 1:
            raise ValueError(f"chunks={chunks} is more than one chunk per thread: give at most {machine.slots}")
        with explained(task, problem or ""):
            about: dict[str, Any] = {}
            if task is None:
                assert cost is not None
                source: Source = GivenSource(cost, iterations, accepted)
                source.coarsenings = [coarsening] if coarsening else source.coarsenings
            else:
                known = {"cost": cost, "iterations": iterations, "accepted": accepted}
                how = {"cycles": cycles, "seconds": seconds, "note": note, "tried": tried}
                how["threads"] = machine.threads
                source, about = _measured(task, solver, optimizer, w0, steps, coarsening, known | how)
            size = row_bytes if row_bytes is not None else source.row_bytes
            memory = memory if memory is not None else limit
            planner = make_planner(source, steps, cycles, memory, size, chunks)
            most = min(machine.slots, steps // 2)
            if most > MANY:
                note(f"searching settings of up to {most} chunks for minutes; less with --chunks, or fewer --workers")
            found = report(planner, Asked(machine, memory, source, problem, scheduler, keys, **about))
    say(json.dumps(found) if as_json else text(found))


def _measured(
    task: Problem | OwnProblem,
    solver: str | None,
    optimizer: str | None,
    w0: str | None,
    steps: int,
    coarsening: tuple[int, ...] | None,
    how: dict[str, Any],
) -> tuple[PhiSource, dict[str, Any]]:
    """Return the source of measurements on a problem, and the options that name the problem."""
    factors = None if coarsening is None else fixed_coarsening(coarsening)
    if isinstance(task, OwnProblem):
        of = [] if w0 is None else ["--w0", w0]
        own = training(task, steps=steps)
        about: dict[str, Any] = {"options": of, "window_options": of, "initial_guess": own.initial_guess}
        tried = [factors] if factors else tried_coarsenings(own.phi, own.coarsening)
        return PhiSource(own, coarsenings=tried, **how), about
    solver, other = solver or task.solver, optimizer if optimizer != "sgd" else None
    usual = task.hierarchy(solver).get("coarsening")
    tried = (
        list(dict.fromkeys([*([fixed_coarsening(usual)] if usual else []), *SPREAD])) if factors is None else [factors]
    )

    def made(m: Coarsening) -> OwnProblem:
        return training(task, solver=solver, steps=steps, levels={"coarsening": m})

    window = training(task, other, steps=steps) if other else None
    about = {
        "options": ["--solver", solver],
        "window_options": ["--optimizer", other] if other else ["--solver", solver],
        "optimizer": other,
        "initial_guess": task.guess(solver),
    }
    return PhiSource(made(tried[0]), coarsenings=tried, phi_for=lambda m: made(m).phi, window=window, **how), about


def _cluster(
    scheduler: str | None, keys: str | None, workers: int | None, threads: int | None, overheads: dict[str, Any]
) -> tuple[Machine, int | None]:
    """Return the cluster, and the memory limit of its workers if it is connected and has one."""
    limit = None
    names = {
        "scheduler_overhead": "scheduler",
        "worker_overhead": "worker",
        "latency": "latency",
        "bandwidth": "bandwidth",
        "cores": "cores",
    }
    given = {names[name]: value for name, value in overheads.items() if value is not None}
    if scheduler:
        with connect(scheduler, keys) as client:
            note(f"measuring the cluster {scheduler}")
            machine, limit = measure_machine(client), memory_limit(client)
        given = asdict(machine) | given
    threads = threads or given.get("threads", 1)
    if workers is None:
        workers = given["workers"] * given["threads"]
    if workers % threads:
        raise ValueError(
            f"--workers {workers} threads are no whole number of processes with --threads {threads}: give a multiple"
        )
    return Machine(**given | {"workers": workers // threads, "threads": threads}), limit
