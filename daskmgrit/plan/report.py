"""What ``daskmgrit plan`` says: one object with all of it, and the same in words."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass, replace
from typing import Any

from daskmgrit.graph.chunking import most_chunks
from daskmgrit.plan.machine import Machine
from daskmgrit.plan.memory import STORAGES, memory_of, share
from daskmgrit.plan.search import Planner
from daskmgrit.plan.setting import Plan, worker_numbers
from daskmgrit.plan.source import Source

__all__ = ["Asked", "report", "text"]

# Predictions are no better than this.
SAME = 1.02


@dataclass(frozen=True, slots=True)
class Asked:
    """What the plan is for.

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
    """

    machine: Machine
    memory: int | None
    source: Source
    problem: str | None
    scheduler: str | None
    keys: str | None


def report(planner: Planner, asked: Asked) -> dict[str, Any]:
    """Return the best plan, and what else is known of the cluster."""
    plan = planner.best(asked.machine)
    setting, prediction, seconds = plan.setting, plan.prediction, plan.seconds
    part, slots = setting.machine, asked.machine.slots
    limit = planner.limit(asked.machine)
    if part.slots < slots:
        limit = min(limit or slots, part.slots)
    free = planner.best(replace(asked.machine, scheduler=0.0)) if prediction.scheduler_busy > 0.2 or limit else plan
    even = planner.break_even(asked.machine)
    whole = _on_all(plan, planner, asked.machine)
    return {
        "steps": plan.hierarchy[0].steps,
        "phi": asdict(planner.cost(setting.coarsening)),
        "workers": slots,
        "machine": asdict(asked.machine),
        "workers_used": part.slots,
        "seconds_on_all": max(seconds, whole.seconds),
        "serial_seconds": plan.serial,
        "seconds": seconds,
        "speedup": plan.speedup,
        "efficiency": plan.efficiency,
        "faster": "mgrit" if seconds < plan.serial else "serial",
        "coarsening": list(setting.coarsening),
        "cycle": setting.cycle,
        "levels": plan.hierarchy.steps,
        "chunks": setting.chunks,
        "gathered": plan.chunk_plan.layout.gathered,
        "iterations": plan.iterations,
        "iterations_from": asked.source.origin,
        "pays_up_to_iterations": plan.pays_up_to,
        "cycle_seconds": prediction.cycle,
        "tasks_per_cycle": prediction.tasks,
        "bytes_per_cycle": prediction.moved,
        "scheduler_busy": prediction.scheduler_busy,
        "seconds_without_scheduler": min(free.seconds, seconds),
        "break_even_workers": even and even * asked.machine.threads,
        "limit_workers": limit,
        "limit": _limit(plan, free, planner),
    } | _memory_and_options(plan, whole, planner, asked, start_fewer=whole.seconds > SAME * seconds)


def _on_all(plan: Plan, planner: Planner, machine: Machine) -> Plan:
    """Predict the same setting where the solve is given all workers of a cluster."""
    setting = plan.setting
    # More than one for every other chunk's task make no difference.
    workers = min(machine.workers, max(setting.machine.workers, 4 * setting.chunks))
    return planner.plan(setting._replace(machine=replace(machine, workers=workers)))


def _limit(best: Plan, free: Plan, planner: Planner) -> str:
    """Say what keeps more workers from being of use."""
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
        needed = {
            name: asdict(memory_of(used.hierarchy, cut.layout, workers, planner.row_bytes, name, cut.apart))
            for name in STORAGES
        }
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
    arguments = f"coarsening={_python(setting.coarsening)}, cycle={setting.cycle!r}"
    for name, value in asked.source.levels.items():
        options += [f"--{name.replace('_', '-')}", _listed(value)]
        arguments += f", {name}={_python(value)}"
    options += ["--chunks", str(setting.chunks)]
    how = f"chunks={setting.chunks}"
    if storage != "full":
        options += ["--storage", storage]
        how += f", storage={storage!r}"
    options = [*asked.source.options, *options]
    if asked.scheduler:
        options += ["--scheduler", asked.scheduler, *(["--keys", asked.keys] if asked.keys else [])]
    elif asked.machine.threads == 1:
        options += ["--workers", str(setting.machine.workers)]
    return {
        "memory": memory,
        "storage": storage,
        "start_workers": setting.machine.workers if start_fewer else asked.machine.workers,
        "command": shlex.join(["daskmgrit", "solve", asked.problem or "PROBLEM", *options]),
        "python": f"dm.MGRIT(phi, {planner.steps}, {arguments}).solve(w0, {how})",
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


def _python(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return repr(value)
    return repr(value[0]) if len(set(value)) == 1 else repr(list(value))


# -- in words --------------------------------------------------------------------------------------------------------


def text(found: dict[str, Any]) -> str:
    """Return a report in words."""
    phi, machine = found["phi"], found["machine"]
    cost = f"{_time(phi['state'])} per state" + (f" and {_time(phi['call'])} per call" if phi["call"] else "")
    even, limit = found["break_even_workers"], found["limit_workers"]
    pays = found["faster"] == "mgrit"
    verdict = (
        f"MGRIT is faster: {found['speedup']:.3g} times"
        if pays
        else f"serial is faster: MGRIT would take {1 / found['speedup']:.3g} times as long"
    )
    factors = ",".join(map(str, found["coarsening"]))
    limits = {
        "scheduler": (
            f"Dask's scheduler: {_time(machine['scheduler'])} for each task, one after another. It is busy "
            f"{found['scheduler_busy']:.0%} of a cycle; without that the solve would take "
            f"{_time(found['seconds_without_scheduler'])}"
        ),
        "critical path": "the chain of Phi, which no number of workers shortens",
        "work": "Phi, shared out in whole F-intervals: the longest chunk gets shorter with many more workers only",
        "overheads": "what tasks and messages take beside Phi: longer Phi, or a faster network, would help",
    }
    rows = [
        ("verdict", verdict),
        ("problem", f"{found['steps']} steps; Phi takes {cost}"),
        ("cluster", f"{found['workers']} threads in {machine['workers']} worker processes"),
        ("serial training", _time(found["serial_seconds"])),
        (
            "MGRIT",
            f"{_time(found['seconds'])} predicted: speedup {found['speedup']:.3g}, "
            f"efficiency {found['efficiency']:.1%}",
        ),
        ("best setting", f"{found['cycle']}-cycle, coarsening {factors}, chunks {found['chunks']}"),
    ]
    if found["workers_used"] < found["workers"]:
        rows.append(("workers", _fewer(found)))
    rows += [
        ("levels", ", ".join(map(str, found["levels"]))),
        ("iterations", f"{found['iterations']:.3g}, {found['iterations_from']}"),
        ("pays", _pays(found["pays_up_to_iterations"], pays=pays)),
        (
            "a cycle",
            f"{_time(found['cycle_seconds'])}, {found['tasks_per_cycle']} tasks"
            + (f", {_size(found['bytes_per_cycle'])} between workers" if found["memory"] else ""),
        ),
        *_memory(found),
        (
            "break-even",
            f"{even} worker thread{'s' * (even > 1)}"
            if even
            else "serial training is faster than any number of these workers",
        ),
        (
            "limit",
            f"more than about {limit} workers gain little: {limits[found['limit']]}"
            if limit
            else f"none reached with {found['workers']}; beyond: {limits[found['limit']]}",
        ),
        ("command", found["command"]),
        ("or in Python", found["python"]),
    ]
    cores = machine["cores"]
    if cores and found["workers_used"] > cores:
        rows.append(("note", f"{found['workers_used']} threads on {cores} cores: this holds for a Phi that waits"))
    return "\n".join(f"{name:16s} {words}" for name, words in rows)


def _fewer(found: dict[str, Any]) -> str:
    words = f"use {found['workers_used']} of the {found['workers']} threads: more would not be faster"
    if found["start_workers"] == found["machine"]["workers"]:
        return f"{words}; --chunks {found['chunks']} leaves the others idle"
    return (
        f"{words}; start {found['start_workers']} worker processes: on all {found['machine']['workers']} the same "
        f"setting takes {_time(found['seconds_on_all'])}"
    )


def _pays(most: int, *, pays: bool) -> str:
    if pays:
        return f"up to {most} cycles with this setting"
    return f"only if {most} cycle{'s' * (most > 1)} were enough" if most else "not even if one cycle were enough"


def _memory(found: dict[str, Any]) -> list[tuple[str, str]]:
    memory = found["memory"]
    if memory is None:
        words = "left out, as is what travels between workers: give --bytes, 8 per weight in double precision"
        return [("memory", words)]
    rows = [
        (
            "memory" if name == "full" else "",
            f"storage {name}: a worker holds {_size(memory[name]['held'])} of states between cycles and takes about "
            f"{_size(memory[name]['peak'])} at its peak; all hold {_size(memory[name]['held_in_all'])}",
        )
        for name in STORAGES
    ]
    if memory["limit"] is None:
        return rows
    of = f"the {_size(memory['usable'])} that Dask uses of {_size(memory['limit'])} per worker"
    if not memory["fits"]:
        more = memory["workers_needed"]
        least = memory["c-points"]
        words = f"does not fit into {of}, not even with storage c-points: "
        if least["at_work"] > memory["limit"]:
            words += f"tasks at work take {_size(least['at_work'])} alone, so workers would run out of memory"
        else:
            words += "workers would write blocks to their disks, which takes time that is not in this prediction"
        words += f"; from {more} worker processes it fits" if more else "; give workers more memory"
    elif found["storage"] == "full":
        words = f"fits into {of}"
    else:
        words = f"fits into {of} with storage c-points only"
    return [*rows, ("", words)]


def _size(number: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{float(f'{number / size:.3g}'):g} {unit}"
    return f"{number:.0f} B"


def _time(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, size, least in (("days", 86400, 2), ("h", 3600, 2), ("s", 1, 1), ("ms", 1e-3, 1)):
        if seconds >= least * size:
            # Not in powers of ten.
            return f"{float(f'{seconds / size:.3g}'):g} {unit}"
    return f"{seconds * 1e6:.3g} us"
