"""Memory that a solve takes: bytes per step between cycles, and the peak of a process, with all points and C-points.

Each solve runs in a process of its own, called as ``python -m benchmarks.memory STEPS STORAGE LIMIT``, which prints one
JSON object.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np

import daskmgrit as dm
from daskmgrit.graph.block_store import load
from daskmgrit.multigrid.block import Block
from daskmgrit.utils.array_api import Array

__all__ = ["QUICK", "WHOLE", "Proximal", "memory"]

WEIGHTS, M = 12_032, 16
GIB = 1 << 30
# Steps, storage, and bytes of blocks to keep in memory (None: all).
QUICK = ((4_000, "full", None), (4_000, "c-points", None), (12_500, "c-points", GIB // 16))
WHOLE = ((4_000, "full", None), (4_000, "c-points", None), (100_000, "c-points", GIB // 2))
PATIENCE = 3600


class Proximal:
    """Proximal descent on a sum of quadratics, one per weight: cheap, and stable for steps of any length."""

    def __init__(self, weights: int) -> None:
        random = np.random.default_rng(0)
        self.curvature, self.target = random.uniform(0.001, 0.1, weights), random.standard_normal(weights)

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Return the states after one step, on coarse levels as long as the fine ones that it stands for."""
        length = M**level * self.curvature
        new = weights + length * self.target
        new /= 1 + length
        return new


def memory(runs: Any = QUICK, note: Any = print) -> list[dict[str, Any]]:
    """Solve in processes of their own.

    Parameters
    ----------
    runs : sequence of (int, str, int or None)
        Steps, storage, and the memory limit for blocks in bytes.
    note : callable
        Called with progress messages.
    """
    rows = []
    for steps, storage, limit in runs:
        note(f"{steps} steps of {WEIGHTS} weights, {storage}" + (f", {limit >> 20} MiB in memory" if limit else ""))
        command = [sys.executable, "-m", "benchmarks.memory", str(steps), storage, str(limit or "")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return rows


def _solve(steps: int, storage: str, limit: int | None) -> dict[str, Any]:
    w0 = np.zeros(WEIGHTS)
    phi = Proximal(WEIGHTS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    with tempfile.TemporaryDirectory() as folder, dask.config.set({"temporary-directory": folder}):
        files = _Watch(Path(folder))
        # The coarse levels are as many states as a task may hold.
        with files, dask.config.set({"scheduler": "threads", "num_workers": 1, "daskmgrit.memory": limit}):
            clock = time.perf_counter()
            result = dm.MGRIT(phi, steps, coarsening=M).solve(
                w0, "constant", storage=storage, chunks="auto" if storage == "c-points" else min(32, steps // M)
            )
            seconds = time.perf_counter() - clock
            held = _held(result)
            expected = phi.target * -np.expm1(-steps * np.log1p(phi.curvature))
            error = float(abs(result.final - expected).max())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    return {
        "steps": steps,
        "weights": WEIGHTS,
        "m": M,
        "storage": storage,
        "limit": limit,
        "iterations": result.iterations,
        "converged": result.converged,
        "error": error,
        "all_states": (steps + 1) * w0.nbytes,
        "held_per_step": held / steps,
        "state_bytes": w0.nbytes,
        "peak": peak,
        "imported": before,
        "files": files.most,
        "seconds": seconds,
    }


def _held(result: Any) -> int:
    """Bytes that a result holds of level 0: all states, or C-points and what the last C-relaxation found."""
    total = 0
    for node in dict(result.weights.dask).values():
        value = load(getattr(node, "value", node))
        if isinstance(value, np.ndarray):
            total += value.nbytes
        elif isinstance(value, Block):
            total += value.__sizeof__()
    return total


class _Watch:
    """Measures the size of a folder every half second."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most, self._end = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._end.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._end.wait(0.5):
            total = 0
            for path in self.folder.rglob("*"):
                try:
                    total += path.stat().st_size
                except FileNotFoundError:
                    continue
            self.most = max(self.most, total)


if __name__ == "__main__":
    limit = int(sys.argv[3]) if sys.argv[3] else None
    print(json.dumps(_solve(int(sys.argv[1]), sys.argv[2], limit)))
