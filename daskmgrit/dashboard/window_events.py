"""Events of a parallel Newton solve's client for the scheduler: a row per sweep, or per run of quick sweeps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from daskmgrit.dashboard.events import short_name
from daskmgrit.display.spans import by_round, span
from daskmgrit.newton.settings import NewtonSettings
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
    steps: int  # of these slots
    accepted: int  # steps, by all of them
    residual: float  # over the window of the last
    start: float  # seconds since the epoch
    stop: float
    phi: float  # seconds, summed over threads


def describe_window(
    run: str, client: str, phi: Any, settings: NewtonSettings, threads: Sequence[int], first: int
) -> dict[str, Any]:
    """Return the page's description of a run that begins at step `first` and has these threads in each process."""
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
    reports: Sequence[SweepReport], number: int, records: Sequence[Record], settings: NewtonSettings
) -> list[SweepRow]:
    """Return the rows of successive sweeps, the first of which has this number, from their records."""
    done = by_round(records)
    rows, size = [], max(math.ceil(len(reports) / MOST), 1)
    for begin in range(0, len(reports), size):
        chosen = reports[begin : begin + size]
        end, report = number + begin + len(chosen) - 1, chosen[-1]
        last = min(report.first + settings.interval * report.slots, settings.steps)
        made = [record for sweep in range(number + begin, end + 1) for record in done.get(sweep, ())]
        start, stop = span(made) if made else (math.nan, math.nan)
        rows.append(
            SweepRow(
                end,
                len(chosen),
                chosen[0].first,
                last,
                report.slots,
                last - report.first,
                sum(each.accepted for each in chosen),
                report.residual,
                start,
                stop,
                sum(record.phi_seconds for record in made),
            )
        )
    return rows
