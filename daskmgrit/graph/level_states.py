"""States of a level while the graph of a cycle is built, where they are not just a task for each chunk's block."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dask.delayed import Delayed

from daskmgrit.multigrid.cycle import FirstRelaxation

__all__ = ["CycleTasks", "GatheredLevel", "PendingCorrection", "PendingRelaxation"]


@dataclass(frozen=True, slots=True)
class GatheredLevel:
    """State of a level that one task computes: its result, and the parts that were cut for other workers."""

    whole: Delayed
    owner: int
    parts: dict[tuple[int, int], Delayed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PendingCorrection:
    """Corrections without tasks yet, of successive levels with the same chunks: one task per chunk will do them all.

    Attributes
    ----------
    blocks : list of Delayed
        Relaxed blocks of the coarsest of the levels. They hold those of the finer levels.
    level : int
        That level.
    coarse : list of Delayed or GatheredLevel
        The state that it is corrected by.
    """

    blocks: list[Delayed]
    level: int
    coarse: Any


@dataclass(slots=True)
class PendingRelaxation:
    """A relaxation without tasks yet: if a restriction comes next, one task per chunk will do both.

    Attributes
    ----------
    blocks : list of Delayed
        The state before.
    first : FirstRelaxation
        The role of its C-relaxation.
    done : list of Delayed
        The results of its tasks, once there are any.
    """

    blocks: list[Delayed]
    first: FirstRelaxation
    done: list[Delayed] = field(default_factory=list)


class CycleTasks(NamedTuple):
    """The tasks of a cycle: its result, and that of its first relaxation, which may report on the cycle before."""

    state: list[Delayed]
    relaxed: list[Delayed]
