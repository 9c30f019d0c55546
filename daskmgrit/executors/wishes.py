"""Where a solve's tasks may run, as ``dask.annotate`` says: on which workers, and with which resources."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dask

from daskmgrit.utils.validation import brief

__all__ = ["Wishes", "find_allowed"]


@dataclass(frozen=True, slots=True)
class Wishes:
    """Requirements on workers.

    Attributes
    ----------
    workers : tuple of str
        Addresses, names or hosts; empty if all may be used.
    others : bool
        Whether other workers may be used if these are missing.
    resources : dict
        Amount of each resource that a task needs.
    """

    workers: tuple[str, ...]
    others: bool
    resources: dict[str, float]

    @classmethod
    def current(cls) -> Wishes:
        """Return the wishes of the annotations that are set.

        Raises
        ------
        ValueError
            If an annotation is a function of the task, names no workers, or has an amount that is not positive.
        """
        asked = dask.get_annotations()
        workers, resources = asked.get("workers"), asked.get("resources") or {}
        if workers is not None and not callable(workers) and not workers:
            raise ValueError(f"dask.annotate(workers={workers!r}) names no worker: name at least one, or leave it out")
        workers = workers or ()
        for name, value in (("workers", workers), ("resources", resources)):
            if callable(value):
                raise ValueError(
                    f"dask.annotate({name}={value!r}) is a function of the task, but a solve plans all of its tasks "
                    f"alike: give the {name} themselves"
                )
        for name, need in resources.items():
            if not (isinstance(need, numbers.Real) and 0 < float(need) < math.inf):
                raise ValueError(
                    f"dask.annotate(resources={brief(resources)}): the amount of {name!r} is not a number above 0; "
                    "leave it out if a task needs none of it"
                )
        workers = (workers,) if isinstance(workers, str) else tuple(map(str, workers))
        return cls(workers, bool(asked.get("allow_other_workers")), dict(resources))

    def __bool__(self) -> bool:
        return bool(self.workers or self.resources)

    def __str__(self) -> str:
        parts = [f"workers={list(self.workers)}"] if self.workers else []
        parts += [f"resources={self.resources}"] if self.resources else []
        return f"dask.annotate({', '.join(parts)})"


def find_allowed() -> Callable[..., tuple[dict[str, int], list[str]]]:
    """Return a function for the scheduler; it is nested, so that it travels by value."""

    def find(
        workers: tuple[str, ...], others: bool, resources: dict[str, float], dask_scheduler: Any
    ) -> tuple[dict[str, int], list[str]]:
        """Return the tasks that each allowed worker may run at a time, and descriptions of all workers."""
        there = list(dask_scheduler.workers.values())
        named = [ws for ws in there if {ws.address, str(ws.name), ws.host} & set(workers)]
        allowed = {}
        for ws in named if named or (workers and not others) else there:
            slots = [ws.nthreads, *(int(ws.resources.get(name, 0) / need) for name, need in resources.items() if need)]
            if min(slots) > 0:
                allowed[ws.address] = min(slots)
        return allowed, [f"{ws.address} (name {ws.name!r}, resources {dict(ws.resources)})" for ws in there[:5]]

    return find
