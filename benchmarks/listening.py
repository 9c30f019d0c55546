"""What the dashboard's listening costs: solves with and without it in turn, on one cluster, in one process.

Run with ``python benchmarks/listening.py [PAIRS]``. Prints two readings:

* the ratio of the median times of solves with and without listening, which on a busy machine is mostly noise;
* the seconds spent within the hooks themselves, on the scheduler and at the client, over those of the solve. Client and
  scheduler share this process, so these are seconds that the solve might have had.
"""

from __future__ import annotations

import functools
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import dask
from distributed import Client, LocalCluster

import daskmgrit as dm
from daskmgrit.dashboard import listen, plugin
from daskmgrit.problems import digits

spent: dict[str, float] = {}


def timed(owner: Any, name: str) -> None:
    """Add up the processor seconds of a function."""
    function: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] = spent.get(name, 0.0) + time.thread_time() - clock

    setattr(owner, name, wrapper)


def main(pairs: int) -> None:
    """Measure."""
    problem = digits()
    solver = dm.MGRIT(problem.propagator(), steps=400)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        # All levels in tasks of their own: the most tasks for the least work.
        dask.config.set({"daskmgrit.agglomerate": 99}),
    ):

        def solve(listening: bool) -> Any:
            with dask.config.set({"daskmgrit.dashboard": listening}):
                return solver.solve(problem.w0, "constant", client=client, chunks=4, tol=0, maxiter=12)

        for listening in (False, True):  # the first solves import and build the page
            solve(listening)
        for name in ("update_graph", "transition", "hear", "attach"):
            timed(plugin.MgritPlugin, name)
        timed(listen.Listener, "_event")
        seconds: dict[bool, list[float]] = {False: [], True: []}
        tasks = 0
        for pair in range(pairs):
            for listening in (True, False) if pair % 2 else (False, True):
                result = solve(listening)
                seconds[listening].append(result.timings["total"])
                tasks += result.tasks * listening
    on, off = statistics.median(seconds[True]), statistics.median(seconds[False])
    print(f"{tasks // pairs} tasks a solve; median {on:.2f} s with and {off:.2f} s without listening: {on / off:.3f}")
    for name, value in spent.items():
        print(f"  {name:14s} {value / tasks * 1e6:7.1f} µs a task  {value / sum(seconds[True]):7.3%} of the solve")
    print(f"  {'all hooks':14s} {'':18s} {sum(spent.values()) / sum(seconds[True]):7.3%} of the solve")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)
