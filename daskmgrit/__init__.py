"""daskmgrit: train neural networks in parallel over the training steps, by multigrid reduction in time on Dask."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskmgrit._version import __version__
    from daskmgrit.checkpoint import Checkpoint
    from daskmgrit.coarse import estimate_max_rate
    from daskmgrit.errors import CheckpointError, ClusterError, CommandError, Diverged, PropagatorError
    from daskmgrit.mgrit import MGRIT
    from daskmgrit.parallel_newton import ParallelNewton
    from daskmgrit.planning import plan
    from daskmgrit.propagators import check_propagator, from_command, from_estimator, from_function, start_at, vectorize
    from daskmgrit.recurrence.serial import train_serially
    from daskmgrit.recurrence.step_length import StepLength
    from daskmgrit.solver.result import Result
    from daskmgrit.solver.stopping import Settled

# All is imported when it is first asked for: most of it needs packages that take a while, some are not there.
_PUBLIC_MODULES = ("coarse", "jax", "models", "planning", "problems", "slurm", "torch", "tune")
_HOMES = {
    "_version": ("__version__",),
    "checkpoint": ("Checkpoint",),
    "coarse": ("estimate_max_rate",),
    "errors": ("CheckpointError", "ClusterError", "CommandError", "Diverged", "PropagatorError"),
    "mgrit": ("MGRIT",),
    "parallel_newton": ("ParallelNewton",),
    "planning": ("plan",),
    "propagators": ("check_propagator", "from_command", "from_estimator", "from_function", "start_at", "vectorize"),
    "recurrence.serial": ("train_serially",),
    "recurrence.step_length": ("StepLength",),
    "solver.result": ("Result",),
    "solver.stopping": ("Settled",),
}

__all__ = [
    "MGRIT",
    "Checkpoint",
    "CheckpointError",
    "ClusterError",
    "CommandError",
    "Diverged",
    "ParallelNewton",
    "PropagatorError",
    "Result",
    "Settled",
    "StepLength",
    "__version__",
    "check_propagator",
    "estimate_max_rate",
    "from_command",
    "from_estimator",
    "from_function",
    "plan",
    "start_at",
    "train_serially",
    "vectorize",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC_MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    for home, names in _HOMES.items():
        if name in names:
            value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{home}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PUBLIC_MODULES])
