"""Beginning and end of the joint work of several processes."""

from __future__ import annotations

from collections.abc import Sequence

from daskmgrit.recurrence.meter import Record

__all__ = ["by_round", "span"]


def by_round(records: Sequence[Record]) -> dict[int, list[Record]]:
    """Return the records of each cycle or sweep."""
    done: dict[int, list[Record]] = {}
    for record in records:
        done.setdefault(record.cycle, []).append(record)
    return done


def span(records: Sequence[Record]) -> tuple[float, float]:
    """Return the beginning of the first of these records and the end of the last, in seconds since the epoch.

    Clocks of machines differ, so the times are those of the first record's process; others may have taken longer.

    Examples
    --------
    >>> def record(start, seconds, process):
    ...     return Record("window", 0, 1, 0, start, seconds, seconds, 1, 1, process)
    >>> span([record(10.0, 1.0, 7), record(999.0, 3.0, 8)])
    (10.0, 13.0)
    """
    mine = [record for record in records if record.process == records[0].process]
    start = min(record.start for record in mine)
    stop = max(record.start + record.seconds for record in mine)
    return start, max(stop, *(start + record.seconds for record in records))
