"""Realistic nets in real time: parallel Newton on threads of one process against PyTorch's own loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import dask
import numpy as np

import daskmgrit as dm
from benchmarks import newton_nets

__all__ = ["timed_nets"]

THREADS = (4, 8)


def timed_nets(
    nets: tuple[str, ...] = newton_nets.NETS,
    steps: int = 60,
    seconds: float = 0.1,
    rate: float = 1e-3,
    note: Callable[[str], Any] = print,
) -> list[dict[str, Any]]:
    """Train each net by PyTorch's own loop and by parallel Newton on threads, by Adam, to 1e-6 per step.

    Parameters
    ----------
    nets : tuple of str
        Their names.
    steps : int
        N.
    seconds : float
        Minimum time of a step on one thread: examples are repeated until a step takes it.
    rate : float
        Adam's.
    note : callable
        Called with progress messages.

    Returns
    -------
    list of dict
        Seconds of the loop on one thread, of the loop with P threads for each operation, and of parallel Newton with P
        slots on P threads.
    """
    import torch

    from benchmarks.training import flat

    rows, before = [], torch.get_num_threads()
    try:
        for net in nets:
            torch.set_num_threads(1)
            phi, training = _enlarged(net, steps, seconds, rate)
            note(f"{net}: PyTorch's own loop, N = {steps}")
            module, serial = _timed(lambda: training.loop(training.make()))  # noqa: B023
            expected = flat(module)
            for threads in THREADS:
                note(f"{net}, {threads} threads")
                torch.set_num_threads(threads)
                _, inside = _timed(lambda: training.loop(training.make()))  # noqa: B023
                torch.set_num_threads(1)
                solver = dm.ParallelNewton(phi, steps, window=threads)
                with dask.config.set(scheduler="threads", num_workers=threads):
                    result = solver.solve(phi.w0, tol=newton_nets.PER_STEP * math.sqrt(steps))
                taken = result.timings["total"]
                rows.append(
                    {
                        "net": net,
                        "weights": phi.layout.size,
                        "steps": steps,
                        "threads": threads,
                        "step_seconds": serial / steps,
                        "serial_seconds": serial,
                        "inside_seconds": inside,
                        "sweeps": result.iterations,
                        "allowed": steps / result.iterations,
                        "newton_seconds": taken,
                        "speedup": serial / taken,
                        "error": float(np.abs(result.final[: phi.layout.size] - expected).max()),
                    }
                )
    finally:
        torch.set_num_threads(before)
    return rows


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    clock = time.perf_counter()
    value = work()
    return value, time.perf_counter() - clock


def _enlarged(net: str, steps: int, seconds: float, rate: float) -> tuple[Any, Any]:
    """Return the propagator of a net and its training, with examples repeated until a step takes that many seconds."""
    import torch

    import daskmgrit.torch
    from benchmarks.training import training_of

    torch.manual_seed(0)
    module, loss, data, batch = newton_nets.MAKE[net]()
    module, times = module.double(), 1
    while True:
        if batch is None:
            more: Any = {name: np.concatenate([part] * times) for name, part in data.items()}
        else:
            more = tuple(np.concatenate([part] * times) for part in data)
        size = None if batch is None else batch * times
        phi = daskmgrit.torch.propagator(module, loss, partial(torch.optim.Adam, lr=rate), more, batch=size)
        trial = training_of(phi, module, loss, rate, 3)
        trial.loop(trial.make())
        _, taken = _timed(lambda: trial.loop(trial.make()))  # noqa: B023
        if taken / 3 >= seconds:
            return phi, training_of(phi, module, loss, rate, steps)
        times = max(times + 1, math.ceil(1.05 * times * seconds / (taken / 3)))
