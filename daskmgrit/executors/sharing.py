"""Futures of large propagators, which are sent to a cluster once, for later solves of the same client."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import dask

__all__ = ["LARGE", "Shared", "shared_by"]

# Bytes from which on a propagator is sent only once for all solves.
LARGE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Held:
    owner: weakref.ref[Any]
    digest: str
    annotations: dict[str, Any]
    future: Any


def _annotations() -> dict[str, Any]:
    """Return the annotations that are set, except the name that a user gives a group of tasks."""
    return {name: value for name, value in dask.get_annotations().items() if name != "span"}


class Shared:
    """Futures of objects that were sent to one cluster, each held as long as its object lives.

    An object that has changed since it was sent is not found any more. (Nor is an equal but different object: the code
    of its class may have changed.)
    """

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}

    def find(self, owner: Any, digest: str) -> Any:
        """Return the future of what was sent for `owner` with this digest; None if there is none that still holds."""
        held = self._held.get(id(owner))
        if held is None or held.owner() is not owner or held.digest != digest:
            return None
        # Dask restricts tasks by annotations: to certain workers, for instance. What was lost with its workers is made
        # again by the scheduler: the client calls it lost until then.
        known = held.annotations == _annotations() and held.future.status in ("pending", "finished", "lost")
        return held.future if known else None

    def hold(self, owner: Any, digest: str, future: Any) -> None:
        """Hold a future as long as `owner` lives; do nothing if its lifetime cannot be observed."""
        identity, held = id(owner), self._held
        try:
            reference = weakref.ref(owner, lambda _: held.pop(identity, None))
        except TypeError:
            return
        held[identity] = _Held(reference, digest, _annotations(), future)


def shared_by(client: Any) -> Shared:
    """Return the objects that a client sent. The client holds them, so that both end together."""
    shared: Shared = client.extensions.setdefault("daskmgrit", Shared())
    return shared
