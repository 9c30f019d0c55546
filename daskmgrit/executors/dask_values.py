"""The values of Dask collections that a user gives, from the cluster that holds them."""

from __future__ import annotations

import sys
from typing import Any

from daskmgrit.errors import ClusterError
from daskmgrit.executors.executor import Executor
from daskmgrit.graph.submission import stand_in

__all__ = ["computed", "owner_elsewhere"]


def owner_elsewhere(values: Any, executor: Executor, name: str) -> Any:
    """Return the client of the cluster that holds a collection; None if it is the executor's, or there is none.

    Raises
    ------
    ClusterError
        If that client is closed or asynchronous.
    """
    if "distributed" not in sys.modules:
        return None
    from distributed import futures_of

    try:
        others = {future.client for future in futures_of(values) if future.client is not executor.client}
    except ClusterError as error:
        raise ClusterError(f"{name}: {error}") from None
    if any(client.status != "running" for client in others):
        raise ClusterError(f"{name} is on a cluster whose client is closed: compute() it before closing")
    if any(client.asynchronous for client in others):
        raise ClusterError(
            f"{name} is on the cluster of an asynchronous client: solve with that client, or give "
            "`await client.compute(result.weights)`"
        )
    return others.pop() if others else None


def computed(values: Any, executor: Executor, name: str) -> Any:
    """Compute a collection on the cluster that holds it, else where the solve runs."""
    owner = owner_elsewhere(values, executor, name)
    if owner is not None:
        return owner.compute(values).result()
    if executor.client is None:
        return values.compute()
    future = executor.client.compute(values)
    return executor.fetch(stand_in(future.key, future), name)
