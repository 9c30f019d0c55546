"""Solving on SLURM, through dask-jobqueue.

:class:`SLURMCluster` is dask-jobqueue's, and also replaces lost jobs, explains why none comes, and encrypts by default.
``daskmgrit solve --slurm`` uses it. dask-jobqueue is imported only when the class is used.
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
