"""The ways to solve, and the predicted cost of one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from daskmgrit.graph.auto_chunks import ChunkPlan
from daskmgrit.graph.chunking import ChunkLayout
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.planning.machine import Machine
from daskmgrit.planning.predict import Prediction

__all__ = [
    "COARSENINGS",
    "DENSE",
    "SPREAD",
    "Coarsening",
    "Plan",
    "Setting",
    "chunk_numbers",
    "fits_threads",
    "on_threads",
    "whole_cycles",
    "worker_numbers",
]

# On level 0, and from level 1 down.
COARSENINGS = tuple((first, rest) for first in (2, 4, 8, 16) for rest in (2, 4, 8) if rest <= first)

# The same, the most different first: there may be no time to try all.
SPREAD = sorted(COARSENINGS, key=lambda m: (m[1], m[0]))

# All numbers of chunks up to this are tried; beyond, round ones.
DENSE = 128

# F-intervals of a chunk up to which it matters where the last C-point is.
SHORT = 16

# Factor of each level, the last repeating.
Coarsening = tuple[int, ...]


class Setting(NamedTuple):
    """A way to solve.

    Attributes
    ----------
    coarsening : tuple of int
        Factor of each level, the last repeating.
    cycle : str
        "V" or "F".
    machine : Machine
        The workers that it uses.
    chunks : int
        Chunks of level 0.
    """

    coarsening: Coarsening
    cycle: str
    machine: Machine
    chunks: int

    def options(self, levels: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Return options of :class:`daskmgrit.MGRIT`; `levels` are further ones."""
        return {"coarsening": _brief(self.coarsening), "cycle": self.cycle} | {
            name: _brief(value) if isinstance(value, list | tuple) else value for name, value in levels.items()
        }

    def python(
        self, steps: int, levels: Mapping[str, Any], guess: str = "zero", storage: str = "full", phi: str = "phi"
    ) -> str:
        """Return the line of Python that solves in this way."""
        options = ", ".join(f"{name}={_quoted(value)}" for name, value in self.options(levels).items())
        how = ([] if guess == "zero" else [f'"{guess}"']) + [f"chunks={self.chunks}"]
        how += [] if storage == "full" else [f'storage="{storage}"']
        return f"dm.MGRIT({phi}, {steps}, {options}).solve(w0, {', '.join(how)})"


def _brief(values: Sequence[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else list(values)


def _quoted(value: Any) -> str:
    return repr(value).replace("'", '"')


@dataclass(frozen=True, slots=True)
class Plan:
    """One way to solve, and its predicted cost.

    Attributes
    ----------
    setting : Setting
        The way to solve.
    hierarchy : Hierarchy
        Levels and cycle.
    chunk_plan : ChunkPlan
        How the levels are cut, and what has tasks of its own.
    iterations : float
        Assumed number of cycles, on average.
    prediction : Prediction
        The predicted cost of a cycle.
    serial : float
        Seconds of serial training.
    """

    setting: Setting
    hierarchy: Hierarchy
    chunk_plan: ChunkPlan
    iterations: float
    prediction: Prediction
    serial: float

    @property
    def cycles(self) -> int:
        """Number of cycles of the solve."""
        return whole_cycles(self.iterations)

    @property
    def seconds(self) -> float:
        """Predicted seconds of the solve."""
        return self.prediction.total(self.cycles)

    @property
    def speedup(self) -> float:
        """Serial seconds over predicted ones."""
        return self.serial / self.seconds

    @property
    def efficiency(self) -> float:
        """Speedup per worker thread."""
        return self.speedup / self.setting.machine.slots

    def cautious(self, doubt: float) -> tuple[int, float]:
        """Return the cycles and the speedup if it takes `doubt` times as many, until MGRIT is exact."""
        most = max(self.hierarchy[0].exact_after, self.cycles)
        cycles = int(min(whole_cycles(doubt * self.iterations), most))
        return cycles, self.serial / self.prediction.total(cycles)

    @property
    def pays_up_to(self) -> int:
        """Maximum number of cycles with which it would beat serial training; 0 if one is too many."""
        cycle = self.prediction.cycle
        return max(0, math.ceil((self.serial - self.prediction.total(1)) / cycle + 1) - 1)


def on_threads(line: str, machine: Machine, cluster: bool) -> str:
    """Return a line of Python as it is to run: for the threads of one process that is no cluster, Dask is told of them.

    Examples
    --------
    >>> on_threads("solver.solve(w0)", Machine(1, 4), cluster=False)
    'with dask.config.set(scheduler="threads", num_workers=4): result = solver.solve(w0)'
    >>> on_threads("solver.solve(w0)", Machine(4), cluster=False)
    'solver.solve(w0)'
    """
    if cluster or machine.workers > 1 or machine.threads == 1:
        return line
    return f'with dask.config.set(scheduler="threads", num_workers={machine.threads}): result = {line}'


def whole_cycles(iterations: float) -> int:
    """Return the number of cycles that a solve does: part of one is done as a whole one.

    Examples
    --------
    >>> whole_cycles(7.004), whole_cycles(7.02)
    (7, 8)
    """
    return math.ceil(iterations - 0.01)


def chunk_numbers(hierarchy: Hierarchy) -> list[int]:
    """Return the numbers of chunks of level 0 that are worth trying, in their order.

    A stage takes as long as its longest chunk: of the numbers with the same longest chunk only the least is returned.
    They do not depend on the number of workers.

    Examples
    --------
    >>> from daskmgrit.multigrid.hierarchy import build_hierarchy
    >>> chunk_numbers(build_hierarchy(1000, 16))
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 21, 31, 32, 62, 63]
    >>> chunk_numbers(build_hierarchy(96, 16))
    [1, 2, 3, 4, 6, 7]
    """
    size = hierarchy[0]
    whole, most = size.steps // size.coarsening, size.intervals
    tried = (*range(1, DENSE), *_round_numbers(DENSE, most), most)
    # The last interval may be partial, and then so short that it costs nothing to put it to another.
    counts = {whole, math.ceil(size.steps / size.coarsening)}
    found = {math.ceil(count / math.ceil(count / chunks)) for chunks in tried for count in counts} | {most}
    found |= {chunks + 1 for chunks in found if chunks < most and _may_be_alone(hierarchy, chunks + 1)}
    return sorted(found)


def worker_numbers(chunks: int, threads: int, hierarchy: Hierarchy) -> set[int]:
    """Return the numbers of workers to try: a thread for each chunk, two, and a process for each.

    A last C-point alone needs no thread of its own.
    """
    fewer = {math.ceil((chunks - 1) / threads)} if _may_be_alone(hierarchy, chunks) else set()
    return {math.ceil(chunks / threads), math.ceil(2 * chunks / threads), chunks} | fewer


def _may_be_alone(hierarchy: Hierarchy, chunks: int) -> bool:
    """Whether one of `chunks` chunks may be the last C-point, and the others are so short that its Phi matters."""
    size = hierarchy[0]
    return chunks > 2 and size.steps % size.coarsening == 0 and size.steps // size.coarsening <= SHORT * (chunks - 1)


def fits_threads(hierarchy: Hierarchy, layout: ChunkLayout, slots: int) -> bool:
    """Whether there is a thread for each chunk; a last C-point alone shares that of the first chunk."""
    if not layout.levels or len(layout.levels[0]) <= slots:
        return True
    level = layout.levels[0]
    shares = _may_be_alone(hierarchy, len(level)) and level.bounds[-1] - level.bounds[-2] == 1
    return len(level) == slots + 1 and shares and level.owners[-1] == level.owners[0]


def _round_numbers(first: int, last: int) -> list[int]:
    """Return round numbers in a range, a tenth apart: binary ones and decimal ones."""
    numbers = []
    for base, leads in ((2, [lead / 4 for lead in range(4, 8)]), (10, [1, 1.2, 1.5, 2, 3, 4, 5, 6, 8])):
        power = 1
        while power <= last:
            numbers += [int(lead * power) for lead in leads]
            power *= base
    return sorted({number for number in numbers if first <= number <= last})
