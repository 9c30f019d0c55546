"""What the client of a parallel Newton solve tells the scheduler: a row per sweep, or per run of quick sweeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from daskmgrit.dashboard.events import short_name
from daskmgrit.newton.settings import Settings
from daskmgrit.newton.sweep import SweepReport
from daskmgrit.recurrence.meter import Record

__all__ = ["MOST", "SweepRow", "describe_window", "sweep_rows"]

# Rows of one round at most: quick sweeps are told several as one.
MOST = 40


class SweepRow(NamedTuple):
    """A sweep, or a run of successive sweeps, for the wire."""

    sweep: int  # number of the last
    sweeps: int  # how many
    first: int  # p before the first of them
    last: int  # step where the window of the last ends
    slots: int  # of the last
    accepted: int  # steps, by all of them
    residual: float  # over the window of the last
    start: float  # seconds since the epoch
    stop: float
    phi: float  # seconds, summed over threads


def describe_window(
    run: str, client: str, phi: Any, settings: Settings, threads: Sequence[int], first: int
) -> dict[str, Any]:
    """Return what the page says of a run that begins at step `first` and has so many threads of each process."""
    return {
        "run": run,
        "client": client,
        "phi": short_name(phi),
        "steps": [settings.steps],
        "tol": settings.tol,
        "maxiter": settings.steps,
        "window": {"jacobian": settings.jacobian, "threads": list(threads), "first": first},
    }


def sweep_rows(
    reports: Sequence[SweepReport], number: int, records: Sequence[Record], settings: Settings
) -> list[SweepRow]:
    """Return the rows of successive sweeps, the first of which has this number, from what was done in them.

    Clocks of machines differ, so the time of a sweep is that of the process that worked first in it.
    """
    done: dict[int, list[Record]] = {}
    for record in records:
        done.setdefault(record.cycle, []).append(record)
    rows, size = [], math.ceil(len(reports) / MOST)
    for begin in range(0, len(reports), max(size, 1)):
        chosen = reports[begin : begin + size]
        end, report = number + begin + len(chosen) - 1, chosen[-1]
        made = [record for sweep in range(number + begin, end + 1) for record in done.get(sweep, ())]
        mine = [record for record in made if record.process == made[0].process]
        start = min((record.start for record in mine), default=math.nan)
        stop = max((record.start + record.seconds for record in mine), default=math.nan)
        rows.append(
            SweepRow(
                end,
                len(chosen),
                chosen[0].first,
                min(report.first + settings.interval * report.slots, settings.steps),
                report.slots,
                sum(each.accepted for each in chosen),
                report.residual,
                start,
                # Others may have taken longer.
                max([stop, *(start + record.seconds for record in made)]),
                sum(record.phi_seconds for record in made),
            )
        )
    return rows
