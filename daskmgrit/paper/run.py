"""Runs of columns of tables, with every result kept in a file so that an interrupted run resumes where it stopped."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from daskmgrit.paper.tables import Reading

__all__ = ["Measurements", "column_key", "measure", "write_whole"]

MAXITER = 50


def write_whole(path: Path, text: str) -> None:
    """Write a file completely or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def column_key(reading: Reading, steps: int) -> str:
    """Return the key of a measurement: the settings and the number of steps."""
    return json.dumps({**reading.settings(), "steps": steps}, sort_keys=True)


def measure(
    reading: Reading, steps: int, maxiter: int = MAXITER, on_cycle: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Solve one column.

    Returns
    -------
    dict
        iterations, converged, reason, rho, residuals, levels, phi_evaluations, critical_path, seconds and loss;
        everything that JSON can hold.
    """
    solver, problem = reading.make(steps)

    def callback(iteration: int, residual: float, weights: Any) -> None:
        if on_cycle is not None:
            on_cycle(iteration)

    w0 = problem.w0 * reading.weight_scale
    result = solver.solve(w0, initial_guess=reading.initial_guess, maxiter=maxiter, callback=callback)
    final = result.final
    return {
        "iterations": result.iterations,
        "converged": result.converged,
        "reason": result.reason,
        "rho": result.convergence_factor if np.isfinite(result.convergence_factor) else None,
        "residuals": [value if np.isfinite(value) else None for value in result.residuals],
        "levels": result.levels,
        "phi_evaluations": result.phi_evaluations,
        "critical_path": result.critical_path,
        "seconds": round(result.timings["total"], 3),
        "loss": problem.metrics(final)["loss"] if np.isfinite(final).all() else None,
    }


def _check_column(column: dict[str, Any]) -> None:
    """Raise KeyError or TypeError if a column lacks an entry that a report needs."""
    kinds = {
        "iterations": int,
        "converged": bool,
        "reason": str,
        "rho": float | int | None,
        "levels": list,
        "phi_evaluations": list,
        "critical_path": int,
        "seconds": float | int,
    }
    for name, kind in kinds.items():
        if not isinstance(column[name], kind):
            raise TypeError(f"{name}={column[name]!r} of a column is no {kind}")
    if not column["levels"]:
        raise TypeError("a column has no levels")
    for name in ("date", "python", "daskmgrit", "dask", "numpy", "cores"):
        if not isinstance(column["made"][name], str):
            raise TypeError(f"a column's {name} is no text")


class Measurements:
    """The measurements of a run, in one JSON file that is rewritten after each.

    Parameters
    ----------
    path : Path
        The file; it is read if it exists.

    Raises
    ------
    ValueError
        If the file holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: dict[str, dict[str, Any]] = self._read()

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        try:
            columns: dict[str, dict[str, Any]] = json.loads(self.path.read_text(encoding="utf-8"))["columns"]
            for column in columns.values():
                _check_column(column)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self.path} is not a record of this command ({error!r}): move it away, or choose another folder"
            ) from error
        return columns

    def get(self, reading: Reading, steps: int) -> dict[str, Any] | None:
        """Return a measurement, None if there is none yet."""
        return self.columns.get(column_key(reading, steps))

    def put(self, reading: Reading, steps: int, measured: dict[str, Any]) -> None:
        """Keep a measurement."""
        # Another run into the same folder may have added to the file meanwhile.
        self.columns = {**self._read(), **self.columns, column_key(reading, steps): {**measured, "made": stamp()}}
        write_whole(self.path, json.dumps({"columns": self.columns}, indent=1) + "\n")


def stamp() -> dict[str, str]:
    """Return the time and the versions of a measurement."""
    packages = {name: version(name) for name in ("daskmgrit", "dask", "numpy")}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        **packages,
        "cores": str(len(os.sched_getaffinity(0))),
    }
