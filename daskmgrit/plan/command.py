"""The command ``daskmgrit plan``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import click
from dask.utils import parse_bytes, parse_timedelta

from daskmgrit.connect import CannotRun
from daskmgrit.errors import ClusterError
from daskmgrit.plan.cost import PhiCost
from daskmgrit.plan.machine import Machine
from daskmgrit.plan.replay import Replay, replay
from daskmgrit.plan.search import Plan, Planner
from daskmgrit.plan.source import GivenCost, MeasuredCost
from daskmgrit.plan.trace import trace
from daskmgrit.problems import PROBLEMS, SOLVERS

__all__ = ["plan"]

# A plan of more tasks per cycle is not replayed one by one.
MOST_TASKS = 3000


def _seconds(context: Any, parameter: Any, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(parse_timedelta(value if not value.replace(".", "", 1).isdigit() else f"{value}s"))
        if not 0 <= seconds < 1e15:
            raise ValueError
        return seconds
    except (KeyError, ValueError, TypeError, OverflowError):
        raise click.BadParameter(f"{value!r}: give seconds, or a time as 250ms") from None


def _bytes(context: Any, parameter: Any, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        size = int(parse_bytes(value))
        if size < 0:
            raise ValueError
        return size
    except (ValueError, TypeError, OverflowError):
        raise click.BadParameter(f"{value!r}: give bytes, or a size as 100kB") from None


def _numbers(convert: Callable[[str], Any]) -> Callable[..., tuple[Any, ...] | None]:
    def read(context: Any, parameter: Any, value: str | None) -> tuple[Any, ...] | None:
        try:
            return None if value is None else tuple(convert(part) for part in value.split(","))
        except ValueError:
            raise click.BadParameter(f"{value!r}: give one value, or several with commas, one per level") from None

    return read


@click.command()
@click.option("--steps", type=click.IntRange(2, 10**9), required=True, help="N, the number of training steps.")
@click.option("--phi-cost", callback=_seconds, help="Seconds that Phi takes for a state, or a time as 5ms.")
@click.option("--problem", type=click.Choice(list(PROBLEMS)), help="Measure Phi, and the cycles, of this problem.")
@click.option("--solver", type=click.Choice(list(SOLVERS)), help="With --problem: its solver.")
@click.option("--workers", type=click.IntRange(1, 10**7), help="P, worker threads in all; default: the cluster's.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of each worker process.  [default: 1]")
@click.option("--bytes", "row_bytes", callback=_bytes, help="Bytes of a state (8 per weight), or a size as 100kB.")
@click.option("--iterations", type=click.FloatRange(min=1), help="Cycles to convergence.")
@click.option("--call-cost", callback=_seconds, help="What each call of Phi takes beside, for however many states.")
@click.option("--stages", callback=_numbers(float), help="Phi per step of each level, e.g. 1,1,2.  [default: 1]")
@click.option("--coarsening", callback=_numbers(int), help="Only this factor, or these, one per level.")
@click.option("--cycle", type=click.Choice(["V", "F"], case_sensitive=False), help="Only this cycle.")
@click.option("--chunks", type=click.IntRange(min=1), help="Only so many chunks.")
@click.option("--scheduler", metavar="ADDRESS", help="With --measure: the cluster.")
@click.option("--keys", metavar="FOLDER", help="For a tls:// ADDRESS: the keys that `python -m daskmgrit.tls` made.")
@click.option("--measure", is_flag=True, help="Measure overheads on the cluster at --scheduler.")
@click.option("--scheduler-overhead", callback=_seconds, help="Of the scheduler, per task.  [default: 1.6ms]")
@click.option("--worker-overhead", callback=_seconds, help="Of a worker process, per task.  [default: 3.5ms]")
@click.option("--latency", callback=_seconds, help="Of a message.  [default: 1.2ms]")
@click.option("--bandwidth", callback=_bytes, help="Bytes per second between workers.  [default: 1GB]")
@click.option("--cores", type=click.IntRange(min=1), help="All processes are on one machine with so many cores.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on standard output.")
def plan(
    steps: int,
    phi_cost: float | None,
    problem: str | None,
    solver: str | None,
    workers: int | None,
    threads: int | None,
    row_bytes: int | None,
    iterations: float | None,
    call_cost: float | None,
    stages: tuple[float, ...] | None,
    coarsening: tuple[int, ...] | None,
    cycle: str | None,
    chunks: int | None,
    scheduler: str | None,
    keys: str | None,
    measure: bool,
    as_json: bool,
    **overheads: Any,
) -> None:
    """Predict whether MGRIT pays on a cluster, by a replay of its task graph.

    Searches coarsening factors, cycles and numbers of chunks for N steps on P worker threads; serial training is what
    it compares with.
    """
    if (phi_cost is None) == (problem is None):
        raise click.UsageError(
            "give either --phi-cost, the seconds of Phi for a state, or --problem to have it measured"
        )
    if problem and (call_cost is not None or stages is not None):
        raise click.UsageError("--call-cost and --stages go with --phi-cost; with --problem they are measured")
    if iterations is not None and not math.isfinite(iterations):
        raise click.UsageError(f"--iterations {iterations}: give a number of cycles")
    if solver and not problem:
        raise click.UsageError("--solver goes with --problem")
    if measure != bool(scheduler):
        raise click.UsageError("--measure and --scheduler go together: the cluster to measure overheads on")
    if keys and not (scheduler or "").startswith("tls://"):
        raise click.UsageError(f"--keys {keys}: they are for --scheduler tls://HOST:PORT")
    if not measure and workers is None:
        raise click.UsageError("give --workers, the number of worker threads; or a cluster by --measure --scheduler")
    try:
        machine = _machine(scheduler, keys, workers, threads, overheads)
        if chunks is not None and chunks > machine.slots:
            raise ValueError(f"chunks={chunks} is more than one per thread: give at most {machine.slots}")
        source: GivenCost | MeasuredCost = (
            MeasuredCost(problem, solver, steps, iterations)
            if problem
            else GivenCost(PhiCost(phi_cost or 0.0, call_cost or 0.0, stages or (1.0,)), iterations)
        )
        planner = Planner(
            steps,
            source.cost,
            source.iterations,
            row_bytes if row_bytes is not None else source.row_bytes,
            coarsenings=[coarsening] if coarsening else source.coarsenings,
            cycles=[cycle.upper()] if cycle else ["V", "F"],
            chunks=chunks,
            **source.levels,
        )
        # Threads beyond one for every second step have nothing to do.
        asked = machine.slots
        machine = replace(machine, workers=min(machine.workers, math.ceil(steps / 2 / machine.threads)))
        best, exact = planner.best(machine), None
        if best.prediction.tasks <= MOST_TASKS:
            click.echo("replaying the best plans task by task", err=True)
            near = [plan for plan in planner.candidates(machine) if plan.prediction.tasks <= MOST_TASKS]
            best, exact = min(((plan, _replayed(plan, planner)) for plan in near), key=_replayed_seconds)
        click.echo("looking at other numbers of workers", err=True)
        report = _report(best, exact, planner, source, asked)
    except ClusterError as error:
        raise CannotRun(str(error)) from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(json.dumps(report) if as_json else _text(report))


def _machine(
    scheduler: str | None, keys: str | None, workers: int | None, threads: int | None, overheads: dict[str, Any]
) -> Machine:
    names = {
        "scheduler_overhead": "scheduler",
        "worker_overhead": "worker",
        "latency": "latency",
        "bandwidth": "bandwidth",
        "cores": "cores",
    }
    given = {names[name]: value for name, value in overheads.items() if value is not None}
    if scheduler:
        from daskmgrit.connect import connect
        from daskmgrit.plan.measure import measure_machine

        with connect(scheduler, keys) as client:
            click.echo(f"measuring the cluster {scheduler}", err=True)
            machine = measure_machine(client)
        given = asdict(machine) | given
    threads = threads or given.get("threads", 1)
    if workers is None:
        workers = given["workers"] * given["threads"]
    if workers % threads:
        raise ValueError(
            f"--workers {workers} threads do not make processes of --threads {threads} each: give a multiple of it"
        )
    return Machine(**given | {"workers": workers // threads, "threads": threads})


def _replayed(best: Plan, planner: Planner) -> Replay:
    machine, cost = best.machine, planner.cost(best.coarsening)
    hosts = 1 if machine.cores else machine.workers
    traced = trace(
        best.hierarchy,
        [machine.threads] * machine.workers,
        cost,
        best.chunks,
        cycles=4,
        row_bytes=planner.row_bytes,
        hosts=hosts,
    )
    return replay(traced, machine, cost, planner.row_bytes)


def _replayed_seconds(pair: tuple[Plan, Replay]) -> float:
    """Return the seconds of a plan by its replay; a part of a cycle is done as a whole one."""
    plan, exact = pair
    return exact.total(math.ceil(plan.iterations - 0.01))


def _report(
    best: Plan, exact: Replay | None, planner: Planner, source: GivenCost | MeasuredCost, asked: int
) -> dict[str, Any]:
    machine, cost = best.machine, planner.cost(best.coarsening)
    seconds = _replayed_seconds((best, exact)) if exact else best.seconds
    busy = exact.scheduler_busy if exact else best.prediction.scheduler_busy
    limit = planner.limit(machine)
    free = planner.best(replace(machine, scheduler=0.0)) if busy > 0.2 or limit else best
    even = planner.break_even(machine)
    if seconds < best.serial:
        # Found stage by stage, it may be more than what the replay says is enough.
        even = min(even or asked, asked)
    return {
        "steps": best.hierarchy[0].steps,
        "phi": asdict(cost),
        "workers": asked,
        "machine": asdict(machine),
        "serial_seconds": best.serial,
        "seconds": seconds,
        "speedup": best.serial / seconds,
        "efficiency": best.serial / seconds / asked,
        "faster": "mgrit" if seconds < best.serial else "serial",
        "coarsening": list(best.coarsening),
        "cycle": best.hierarchy.cycle,
        "levels": best.hierarchy.steps,
        "chunks": best.chunks,
        "gathered": best.layout.gathered,
        "iterations": best.iterations,
        "iterations_from": source.origin,
        "cycle_seconds": exact.cycle if exact else best.prediction.cycle,
        "tasks_per_cycle": best.prediction.tasks,
        "bytes_per_cycle": best.prediction.moved,
        "scheduler_busy": busy,
        "seconds_without_scheduler": min(free.seconds, seconds),
        "break_even_workers": even,
        "limit_workers": limit,
        "limit": _limit(best, free, planner),
        "replayed": "task by task" if exact else "stage by stage",
    }


def _limit(best: Plan, free: Plan, planner: Planner) -> str:
    """Say what keeps more workers from being of use."""
    if free.seconds < 0.7 * best.seconds:
        return "scheduler"
    least = planner.least_seconds(best.coarsening, best.hierarchy.cycle, replace(best.machine, latency=0.0))
    return "critical path" if least > 0.5 * best.seconds else "overheads"


def _text(report: dict[str, Any]) -> str:
    phi, machine = report["phi"], report["machine"]
    cost = f"{_time(phi['state'])} per state" + (f" and {_time(phi['call'])} per call" if phi["call"] else "")
    even, limit = report["break_even_workers"], report["limit_workers"]
    pays = report["faster"] == "mgrit"
    verdict = (
        f"MGRIT is faster: {report['speedup']:.3g} times"
        if pays
        else f"serial is faster: MGRIT would take {1 / report['speedup']:.3g} times as long"
    )
    factors = ",".join(map(str, report["coarsening"]))
    limits = {
        "scheduler": (
            f"Dask's scheduler: {_time(machine['scheduler'])} for each task, one after another. It is busy "
            f"{report['scheduler_busy']:.0%} of a cycle; without that the solve would take "
            f"{_time(report['seconds_without_scheduler'])}"
        ),
        "critical path": "the chain of Phi, which no number of workers shortens",
        "overheads": "what tasks and messages take beside Phi: longer Phi, or a faster network, would help",
    }
    rows = [
        ("verdict", verdict),
        ("problem", f"{report['steps']} steps; Phi takes {cost}"),
        ("cluster", f"{report['workers']} threads in {report['workers'] // machine['threads']} worker processes"),
        ("serial training", _time(report["serial_seconds"])),
        (
            "MGRIT",
            f"{_time(report['seconds'])} predicted ({report['replayed']}): speedup {report['speedup']:.3g}, "
            f"efficiency {report['efficiency']:.1%}",
        ),
        ("best setting", f"{report['cycle']}-cycle, coarsening {factors}, chunks {report['chunks']}"),
        ("levels", ", ".join(map(str, report["levels"]))),
        ("iterations", f"{report['iterations']:.3g}, {report['iterations_from']}"),
        (
            "a cycle",
            f"{_time(report['cycle_seconds'])}, {report['tasks_per_cycle']} tasks, "
            f"{report['bytes_per_cycle'] / 1e6:.3g} MB between workers",
        ),
        (
            "break-even",
            f"{even} worker thread{'s' * (even > 1)}"
            if even
            else "serial training is faster than any number of these workers",
        ),
        (
            "limit",
            f"more than about {limit} workers gain little: {limits[report['limit']]}"
            if limit
            else f"none reached with {report['workers']}; beyond: {limits[report['limit']]}",
        ),
    ]
    cores = machine["cores"]
    if cores and report["workers"] > cores:
        rows.append(
            (
                "note",
                f"{report['workers']} threads on {cores} cores: this holds for a Phi that waits",
            )
        )
    return "\n".join(f"{name:16s} {text}" for name, text in rows)


def _time(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size, least in (("days", 86400, 2), ("h", 3600, 2), ("s", 1, 1), ("ms", 1e-3, 1)):
        if seconds >= least * size:
            # Not in powers of ten.
            return f"{float(f'{seconds / size:.3g}'):g} {unit}"
    return f"{seconds * 1e6:.3g} us"
