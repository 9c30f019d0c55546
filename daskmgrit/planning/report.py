"""The report of ``daskmgrit plan``: one object with all of it, and the same in words."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from daskmgrit.graph.chunking import most_chunks
from daskmgrit.planning.break_even import even_words, mgrit_pays_from, window_pays_from
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.memory import STORAGES, memory_of, share
from daskmgrit.planning.search import Planner
from daskmgrit.planning.setting import Plan, on_threads, worker_numbers
from daskmgrit.planning.source import Source
from daskmgrit.planning.window_plan import best_window
from daskmgrit.planning.window_report import (
    at_worst,
    commands,
    diverges,
    fastest,
    pays,
    verdict,
    window_report,
    window_rows,
)
from daskmgrit.utils.units import size_in_words, time_in_words

__all__ = ["Asked", "report", "text"]

# Predictions are no better than this.
SAME = 1.02


@dataclass(frozen=True, slots=True)
class Asked:
    """The request for a plan.

    Attributes
    ----------
    machine : Machine
        The cluster.
    memory : int or None
        Bytes of each of its worker processes.
    source : Source
        Phi and the cycles.
    problem, scheduler, keys : str or None
        As they were given.
    options, window_options : sequence of str
        Options that name the problem in the command that solves, by MGRIT and by parallel Newton.
    optimizer : str, optional
        Another optimizer than gradient descent, which parallel Newton alone is planned for.
    initial_guess : str
        That of MGRIT's solve.
    """

    machine: Machine
    memory: int | None
    source: Source
    problem: str | None
    scheduler: str | None
    keys: str | None
    options: Sequence[str] = ()
    window_options: Sequence[str] = ()
    optimizer: str | None = None
    initial_guess: str = "zero"

    def where(self, workers: int) -> list[str]:
        """Return the options for the place of `workers` processes."""
        if self.scheduler:
            return ["--scheduler", self.scheduler, *(["--keys", self.keys] if self.keys else [])]
        threads = self.machine.threads
        processes = ["--workers", str(workers)] if threads == 1 or self.machine.workers > 1 else []
        return processes + (["--threads", str(threads)] if threads > 1 else [])

    def command(self, *options: str) -> str:
        """Return the command that solves."""
        return shlex.join(["daskmgrit", "solve", self.problem or "PROBLEM", *options])


def report(planner: Planner, asked: Asked) -> dict[str, Any]:
    """Return the best plan of each method, and other facts about the cluster."""
    source, steps = asked.source, planner.steps
    plan = planner.best(asked.machine) if planner.converges else None
    window = best_window(steps, asked.machine, source.window_cost, source.accepted, source.window_bytes)
    newton = window_report(steps, window, source.accepted) | {"command": None}
    newton["break_even_workers"] = window_pays_from(steps, source, asked.machine)
    if window is not None and not source.remark:
        how = ["--method", "newton", *asked.window_options, "--steps", str(steps), "--slots", str(window.slots)]
        newton["command"] = asked.command(*how, "--jacobian", "identity", *asked.where(window.workers))
        newton["python"] = on_threads(newton["python"], asked.machine, bool(asked.scheduler))
    times = {"serial": source.window_cost.serial(steps)}
    # With another optimizer, what is planned for MGRIT is gradient descent, another training.
    times |= {"mgrit": plan.seconds} if plan and not asked.optimizer else {}
    times |= {"newton": window.seconds} if window else {}
    found = dict.fromkeys(OF_MGRIT) if plan is None else _mgrit(plan, planner, asked)
    if source.remark:
        # To be mended first, see :func:`daskmgrit.planning.window_report.mend`.
        found |= {"command": None, "python": None}
        newton["python"] = None
    return {
        "steps": steps,
        "phi": asdict(planner.cost(plan.setting.coarsening) if plan else source.window_cost),
        "workers": asked.machine.slots,
        "machine": asdict(asked.machine),
        "serial_seconds": times["serial"],
        "faster": fastest(times),
        "optimizer": asked.optimizer,
        "newton": newton,
        "measured": list(source.measured),
        "remark": source.remark,
        "iterations_from": source.origin,
    } | found


# Entries of the report on MGRIT; None if it does not converge.
OF_MGRIT = (
    "workers_used", "seconds_on_all", "seconds", "speedup", "efficiency", "coarsening", "cycle", "levels", "chunks",
    "gathered", "iterations", "pays_up_to_iterations", "cycle_seconds", "tasks_per_cycle", "bytes_per_cycle",
    "scheduler_busy", "seconds_without_scheduler", "break_even_workers", "limit_workers", "limit", "memory", "storage",
    "start_workers", "command", "python", "most_iterations", "least_speedup",
)  # fmt: skip


def _mgrit(plan: Plan, planner: Planner, asked: Asked) -> dict[str, Any]:
    """Return the report on the best setting of MGRIT."""
    setting, prediction, seconds = plan.setting, plan.prediction, plan.seconds
    part, slots = setting.machine, asked.machine.slots
    limit = planner.limit(asked.machine)
    # That it takes fewer may be a matter of whole F-intervals: three for each of 64 threads are two for each of 96.
    if part.slots < slots and not planner.gains_beyond(asked.machine):
        limit = min(limit or slots, part.slots)
    free = planner.best(replace(asked.machine, scheduler=0.0)) if prediction.scheduler_busy > 0.2 or limit else plan
    whole = _on_all(plan, planner, asked.machine)
    most, least = plan.cautious(asked.source.doubt)
    return {
        "workers_used": part.slots,
        "seconds_on_all": max(seconds, whole.seconds),
        "seconds": seconds,
        "speedup": plan.speedup,
        "efficiency": plan.efficiency,
        "coarsening": list(setting.coarsening),
        "cycle": setting.cycle,
        "levels": plan.hierarchy.steps,
        "chunks": setting.chunks,
        "gathered": plan.chunk_plan.layout.gathered,
        "iterations": plan.iterations,
        "pays_up_to_iterations": plan.pays_up_to,
        "most_iterations": most,
        "least_speedup": least,
        "cycle_seconds": prediction.cycle,
        "tasks_per_cycle": prediction.tasks,
        "bytes_per_cycle": prediction.moved,
        "scheduler_busy": prediction.scheduler_busy,
        "seconds_without_scheduler": min(free.seconds, seconds),
        "break_even_workers": mgrit_pays_from(planner, asked.machine),
        "limit_workers": limit,
        "limit": _limit(plan, free, planner),
    } | _memory_and_options(plan, whole, planner, asked, start_fewer=whole.seconds > SAME * seconds)


def _on_all(plan: Plan, planner: Planner, machine: Machine) -> Plan:
    """Predict the same setting for a solve on all workers of a cluster."""
    setting = plan.setting
    # More than one for every other chunk's task make no difference.
    workers = min(machine.workers, max(setting.machine.workers, 4 * setting.chunks))
    return planner.plan(setting._replace(machine=replace(machine, workers=workers)))


def _limit(best: Plan, free: Plan, planner: Planner) -> str:
    """Return the limit on the use of more workers."""
    if free.seconds < 0.7 * best.seconds:
        return "scheduler"
    phi = planner.phi_seconds(best.setting)
    if phi <= 0.5 * best.seconds:
        return "overheads"
    finest = best.setting._replace(chunks=most_chunks(best.hierarchy))
    return "critical path" if planner.phi_seconds(finest) > 0.7 * phi else "work"


def _memory_and_options(
    plan: Plan, whole: Plan, planner: Planner, asked: Asked, *, start_fewer: bool
) -> dict[str, Any]:
    setting, used = plan.setting, plan if start_fewer else whole
    memory: dict[str, Any] | None = None
    storage = "full"
    if planner.row_bytes:
        cut, workers = used.chunk_plan, used.setting.machine
        needed = {name: asdict(memory_of(used.hierarchy, cut, workers, planner.row_bytes, name)) for name in STORAGES}
        fits = planner.storage_of(setting)
        memory = {
            "limit": asked.memory,
            "usable": int(share() * asked.memory) if asked.memory else None,
            **needed,
            "fits": fits is not None if asked.memory else None,
            "workers_needed": None if fits else _workers_that_fit(plan, planner),
        }
        storage = fits or "c-points"
    factors = ",".join(map(str, setting.coarsening))
    options = ["--steps", str(planner.steps), "--cycle", setting.cycle, "--coarsening", factors]
    for name, value in asked.source.levels.items():
        options += [f"--{name.replace('_', '-')}", _listed(value)]
    options += ["--chunks", str(setting.chunks)]
    if storage != "full":
        options += ["--storage", storage]
    phi = asked.source.phi_in_words(setting.options()["coarsening"])
    return {
        "memory": memory,
        "storage": storage,
        "start_workers": setting.machine.workers if start_fewer else asked.machine.workers,
        "command": asked.command(*asked.options, *options, *asked.where(setting.machine.workers)),
        "python": on_threads(
            setting.python(planner.steps, asked.source.levels, asked.initial_guess, storage, phi),
            asked.machine,
            bool(asked.scheduler),
        ),
    }


def _workers_that_fit(plan: Plan, planner: Planner) -> int | None:
    """Return the least number of worker processes from which the same levels fit into memory, None if none is."""
    setting = plan.setting
    machine = setting.machine
    found = [
        workers
        for chunks in planner.numbers(setting.coarsening, plan.hierarchy[0].intervals)
        for workers in worker_numbers(chunks, machine.threads, plan.hierarchy)
        if workers > machine.workers
        and planner.storage_of(setting._replace(machine=replace(machine, workers=workers), chunks=chunks))
    ]
    return min(found, default=None)


def _listed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


# -- in words --------------------------------------------------------------------------------------------------------


def text(found: dict[str, Any]) -> str:
    """Return a report in words."""
    phi, machine = found["phi"], found["machine"]
    cost = f"{time_in_words(phi['state'])} per state" + (
        f" and {time_in_words(phi['call'])} per call" if phi["call"] else ""
    )
    evens = (
        ("MGRIT", found["break_even_workers"]),
        ("parallel Newton", found["newton"]["break_even_workers"]),
    )
    rows = [
        ("verdict", verdict(found)),
        *([("phi", found["remark"])] if found["remark"] else []),
        ("problem", f"{found['steps']} steps; Phi takes {cost}"),
        (
            "cluster",
            Machine(**machine).in_words
            + (" (--threads puts several into each)" if machine["threads"] == 1 < machine["workers"] else ""),
        ),
        ("serial training", time_in_words(found["serial_seconds"])),
        *([("MGRIT", diverges(found))] if found["seconds"] is None else _mgrit_rows(found)),
        *window_rows(found),
        ("break-even", "; ".join(even_words(*each) for each in evens)),
        *([("measured", "; ".join(found["measured"]))] if found["measured"] else []),
        *commands(found),
    ]
    cores = machine["cores"]
    if cores and (found["workers_used"] or 0) > cores:
        rows.append(("note", f"{found['workers_used']} threads on {cores} cores: this holds for a Phi that waits"))
    return "\n".join(f"{name:16s} {words}" for name, words in rows)


def _mgrit_rows(found: dict[str, Any]) -> list[tuple[str, str]]:
    machine, limit = found["machine"], found["limit_workers"]
    limits = {
        "scheduler": (
            f"Dask's scheduler: {time_in_words(machine['scheduler'])} for each task, one after another. It is busy "
            f"{found['scheduler_busy']:.0%} of a cycle; without that the solve would take "
            f"{time_in_words(found['seconds_without_scheduler'])}"
        ),
        "critical path": "the chain of Phi, which no number of workers shortens",
        "work": "Phi, shared out in whole F-intervals: the longest chunk gets shorter only with many more workers",
        "overheads": "the time of tasks and messages in addition to Phi: longer Phi, or a faster network, would help",
    }
    factors = ",".join(map(str, found["coarsening"]))
    rows = [
        (
            "MGRIT",
            f"{time_in_words(found['seconds'])} predicted: speedup {found['speedup']:.3g}, "
            f"efficiency {found['efficiency']:.1%}"
            + (f"; by gradient descent, not {found['optimizer']}" if found["optimizer"] else ""),
        ),
        ("best setting", f"{found['cycle']}-cycle, coarsening {factors}, chunks {found['chunks']}"),
    ]
    if found["workers_used"] < found["workers"]:
        rows.append(("workers", _fewer(found)))
    return [
        *rows,
        ("levels", ", ".join(map(str, found["levels"]))),
        ("cycles", f"{found['iterations']:.3g}, {found['iterations_from']}{at_worst(found)}"),
        ("pays", pays(found["pays_up_to_iterations"], found["speedup"])),
        (
            "a cycle",
            f"{time_in_words(found['cycle_seconds'])}, {found['tasks_per_cycle']} tasks"
            + (f", {size_in_words(found['bytes_per_cycle'])} between workers" if found["memory"] else ""),
        ),
        *_memory(found),
        (
            "limit",
            f"more than about {limit} worker{'s' * (limit > 1)} gain little: {limits[found['limit']]}"
            if limit
            else f"none reached with {found['workers']}; beyond: {limits[found['limit']]}",
        ),
    ]


def _fewer(found: dict[str, Any]) -> str:
    words = f"use {found['workers_used']} of the {found['workers']} threads: with all of them it would not be faster"
    if found["start_workers"] == found["machine"]["workers"]:
        return f"{words}; --chunks {found['chunks']} leaves the others idle"
    return (
        f"{words}; start {found['start_workers']} worker processes: on all {found['machine']['workers']} the same "
        f"setting takes {time_in_words(found['seconds_on_all'])}"
    )


def _memory(found: dict[str, Any]) -> list[tuple[str, str]]:
    memory = found["memory"]
    if memory is None:
        words = "left out, like transfers between workers: give --bytes, 8 per weight in double precision"
        return [("memory", words)]
    rows = []
    for name in STORAGES:
        held, peak, all_of_it = (size_in_words(memory[name][part]) for part in ("held", "peak", "held_in_all"))
        words = f"a worker holds {held} of states between cycles and takes about {peak} at its peak"
        rows.append(("memory" if name == "full" else "", f"storage {name}: {words}; all hold {all_of_it}"))
    if memory["limit"] is None:
        return rows
    of = f"the {size_in_words(memory['usable'])} that Dask uses of {size_in_words(memory['limit'])} per worker"
    if not memory["fits"]:
        more = memory["workers_needed"]
        least = memory["c-points"]
        words = f"does not fit into {of}, not even with storage c-points: "
        if least["at_work"] > memory["limit"]:
            words += f"tasks at work take {size_in_words(least['at_work'])} alone, so workers would run out of memory"
        else:
            words += "workers would write blocks to their disks, which takes time that is not in this prediction"
        words += f"; from {more} worker processes it fits" if more else "; give workers more memory"
    elif found["storage"] == "full":
        words = f"fits into {of}"
    else:
        words = f"fits into {of} with storage c-points only"
    return [*rows, ("", words)]
