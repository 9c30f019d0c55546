"""Solving on SLURM, through dask-jobqueue.

:class:`SLURMCluster` is that of dask-jobqueue, which replaces lost jobs, says why none comes, and encrypts unless told
not to. ``daskmgrit solve --slurm`` uses it. Nothing of dask-jobqueue is imported before the class is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from daskmgrit.slurm.cluster import SLURMCluster

__all__ = ["SLURMCluster"]


def __getattr__(name: str) -> Any:
    if name == "SLURMCluster":
        from daskmgrit.slurm.cluster import SLURMCluster

        return SLURMCluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
