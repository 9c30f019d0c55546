"""What the dashboard's listening costs: solves with and without it in turn, on one cluster, in one process.

Run with ``python benchmarks/listening.py [PAIRS]``. Client and scheduler share this process, so what the hooks take the
solve might have had. Prints

* the ratio of the times of neighbouring solves with and without listening, its quartiles: on a machine that has other
  work it is mostly noise;
* the processor time of the hooks by task of the solve, once as the sum of all calls, which on a busy machine holds what
  interrupted them, and once as their number times their median.
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
from daskmgrit.dashboard import history, listen, plugin
from daskmgrit.problems import digits

spent: dict[str, list[float]] = {}


class Nothing:
    """Has a function whose time is that of looking at the clock."""

    def nothing(self) -> None:
        """Do nothing."""


def timed(owner: Any, name: str) -> None:
    """Note the processor seconds of every call of a function."""
    function: Callable[..., Any] = getattr(owner, name)
    seconds = spent.setdefault(name, [])

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        clock = time.thread_time()
        try:
            return function(*args, **kwargs)
        finally:
            seconds.append(time.thread_time() - clock)

    setattr(owner, name, wrapper)


def main(pairs: int) -> None:
    """Measure."""
    problem = digits()
    solver = dm.MGRIT(problem.propagator(), steps=200)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        # All levels in tasks of their own: the most tasks for the least work.
        dask.config.set({"daskmgrit.agglomerate": 99}),
    ):

        def solve(listening: bool) -> Any:
            with dask.config.set({"daskmgrit.dashboard": listening}):
                return solver.solve(problem.w0, "constant", client=client, chunks=4, tol=0, maxiter=3)

        for listening in (False, True):  # the first solves import and build the page
            solve(listening)
        for name in ("attach", "update_graph", "transition", "hear"):
            timed(plugin.MgritPlugin, name)
        timed(history.Run, "task")  # within transition, which has nothing to do in its other calls
        timed(listen.Listener, "_event")
        seconds: dict[bool, list[float]] = {False: [], True: []}
        tasks = 0
        for pair in range(pairs):
            for listening in (True, False) if pair % 2 else (False, True):
                result = solve(listening)
                seconds[listening].append(result.timings["total"])
                tasks += result.tasks * listening
    timed(Nothing, "nothing")
    for _ in range(20_000):
        Nothing().nothing()
    look = statistics.median(spent.pop("nothing"))
    wall = sum(seconds[True])
    ratios = [on / off for on, off in zip(seconds[True], seconds[False], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(
        f"{tasks // pairs} tasks a solve; with listening over without: {middle:.2f} (quartiles {low:.2f}, {high:.2f})"
    )
    print(f"a task takes {wall / tasks * 1e6:.0f} µs of the solve, and of that in µs (less {look * 1e6:.1f} per call):")
    print("                 calls      sum  number x median")
    totals = [0.0, 0.0]
    for name, values in spent.items():
        whole, typical = sum(values) - look * len(values), (statistics.median(values) - look) * len(values)
        totals = [totals[0] + whole * (name != "task"), totals[1] + typical]
        print(f"  {name:12s} {len(values) / tasks:8.2f} {whole / tasks * 1e6:8.1f} {typical / tasks * 1e6:8.1f}")
    print(f"  {'all hooks':21s} {totals[0] / tasks * 1e6:8.1f} {totals[1] / tasks * 1e6:8.1f}")
    print(f"  {'of the solve':21s} {totals[0] / wall:8.2%} {totals[1] / wall:8.2%}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16)
