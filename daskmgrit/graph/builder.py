"""One cycle as ``dask.delayed`` tasks on chunks: keys, rows passed on, placement, agglomeration.

The graph knows levels and chunks, nothing of networks. It is the same for the synchronous, the threaded and the
distributed scheduler. A chunk needs one row of its left neighbour: where that is planned on the same worker the task
takes the neighbour's block by reference, elsewhere a task of its own cuts the row out and only that travels.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from dask.delayed import Delayed

from daskmgrit.graph import tasks
from daskmgrit.graph.chunking import ChunkLayout, chunk_points
from daskmgrit.graph.submission import TaskBook
from daskmgrit.multigrid import c_point_kernels, chunk_kernels, whole_levels
from daskmgrit.multigrid.cycle import nested_iteration, run_cycle
from daskmgrit.multigrid.hierarchy import Hierarchy

__all__ = ["GraphBuilder"]

# They take no time and other workers wait for them: behind a long task of the same worker they would hold those up.
URGENT = ("edge", "part", "report", "residual", "final")


@dataclass(slots=True)
class _Gathered:
    """State of a level that one task computes: its result, and the parts that were cut for other workers."""

    whole: Delayed
    owner: int
    parts: dict[tuple[int, int], Delayed]


class GraphBuilder:
    """Builds the tasks of a cycle: the operations of :func:`daskmgrit.multigrid.cycle.run_cycle` on chunks.

    A level's state is a list with the ``Delayed`` block of each chunk.

    Parameters
    ----------
    book : TaskBook
        Where tasks go.
    hierarchy, layout
        The levels, and how they are cut.
    phi, w0 : Delayed
        The propagator and the initial value.
    run : str
        Token that sets this solve's keys apart.
    numbers : iterator of int
        Numbers the stages of the solve: with them its keys are unique.
    cycle : int
        Number of the cycle; 0 for the initial guess.
    beside : bool
        Whether ``Phi_c(v)`` gets a task of its own, beside the fine residual: worth it where Phi costs far more than
        a task.
    c_points : bool
        Whether level 0 holds its C-points only.
    """

    def __init__(
        self,
        book: TaskBook,
        hierarchy: Hierarchy,
        layout: ChunkLayout,
        phi: Delayed,
        w0: Delayed,
        run: str,
        numbers: Iterator[int],
        cycle: int,
        beside: bool = False,
        c_points: bool = False,
    ) -> None:
        self.book, self.hierarchy, self.layout, self.c_points = book, hierarchy, layout, c_points
        self.phi, self.w0, self.run, self.cycle, self.beside = phi, w0, run, cycle, beside
        self._numbers, self._stage = numbers, next(numbers)
        self._edges: dict[tuple[str, int], Delayed] = {}
        self._settle = self._probed = False
        self.relaxed: list[Delayed] = []

    # -- tasks ---------------------------------------------------------------------------------------------------

    def _add(self, name: str, level: int, chunk: int, owner: int, function: Any, *args: Any) -> Delayed:
        key = f"{name}.L{level}-{self.run}-{self.cycle}-{self._stage}-{chunk}"
        return self.book.add(key, tasks.attempt, function, *args, owner=owner, urgent=name in URGENT)

    def _left(self, level: int, blocks: Sequence[Delayed], chunk: int) -> Delayed | None:
        """What chunk needs of its left neighbour: its block on the same worker, else only the edge."""
        if chunk == 0:
            return None
        owners, block = self.layout.levels[level].owners, blocks[chunk - 1]
        # Blocks in a store are not to be fetched for a row.
        if owners[chunk] == owners[chunk - 1] and self.book.store is None:
            return block
        name = (block.key, owners[chunk])
        if name not in self._edges:
            self._edges[name] = self._add("edge", level, chunk - 1, owners[chunk - 1], tasks.edge, block)
        return self._edges[name]

    # -- operations of a cycle -----------------------------------------------------------------------------------

    def relax(self, level: int, state: list[Delayed]) -> list[Delayed]:
        """(CF)^nu: one task per chunk and sweep."""
        size, chunks = self.hierarchy[level], self.layout.levels[level]
        for _ in range(size.nu):
            self._stage = next(self._numbers)
            alone = level == 0 and self._probed
            self._probed = False
            state = [
                self._add(
                    "relax",
                    level,
                    j,
                    chunks.owners[j],
                    chunk_kernels.relax,
                    self.phi,
                    state[j],
                    None if alone else self._left(level, state, j),
                    size.weight,
                    self.cycle,
                    self._settle,
                )
                for j in range(len(chunks))
            ]
            if self._settle:
                self._settle, self.relaxed = False, state
        return state

    def restrict(self, level: int, state: list[Delayed]) -> Any:
        """Restrict every chunk; where a coarse chunk has one finer chunk, in one task with its first relaxation."""
        self._stage = next(self._numbers)
        chunks = self.layout.levels[level]
        coarse_level = level + 1
        gathered = coarse_level == self.layout.gathered
        size = self.hierarchy[coarse_level]
        m = size.coarsening if coarse_level < self.hierarchy.last else size.steps + 1
        if not gathered and not self.beside and len(self.layout.levels[coarse_level]) == len(chunks):
            return [
                self._add(
                    "restrict",
                    level,
                    j,
                    chunks.owners[j],
                    tasks.restrict_and_enter,
                    self.phi,
                    state[j],
                    self._left(level, state, j),
                    coarse_level,
                    m,
                    self.cycle,
                )
                for j in range(len(chunks))
            ]
        pairs = []
        for j in range(len(chunks)):
            args = (self.phi, state[j], self._left(level, state, j))
            owner = chunks.owners[j]
            if self.beside:
                piece = self._add("restrict", level, j, owner, chunk_kernels.restrict, *args, m, self.cycle)
                step = self._add("coarse_step", coarse_level, j, owner, chunk_kernels.coarse_step, *args, self.cycle)
                pairs.append([piece, step])
            else:
                pairs.append([self._add("restrict", level, j, owner, tasks.restrict, *args, m, self.cycle)])
        if gathered:
            return pairs
        coarse = self.layout.levels[coarse_level]
        return [
            self._add(
                "enter",
                coarse_level,
                j,
                coarse.owners[j],
                tasks.enter,
                self.phi,
                pairs[children.start : children.stop],
                coarse_level,
                m,
                self.cycle,
            )
            for j, children in enumerate(coarse.children)
        ]

    def ends_at(self, level: int) -> bool:
        """Whether the rest of the cycle runs within one task."""
        return level == self.layout.gathered

    def solve(self, level: int, state: Any, kind: str) -> _Gathered:
        """Run the rest of the cycle within one task."""
        self._stage = next(self._numbers)
        owners = self.layout.levels[level - 1].owners
        owner = owners[len(owners) // 2]
        name = "coarse_solve" if level == self.hierarchy.last else f"{kind}_cycle"
        whole = self._add(name, level, 0, owner, tasks.solve, self.phi, state, self.hierarchy, level, kind, self.cycle)
        return _Gathered(whole, owner, {})

    def _coarse(self, level: int, coarse: Any, chunk: int) -> tuple[Delayed, bool]:
        """The coarse state that a chunk needs, and whether it is the one to carry its records on."""
        chunks = self.layout.levels[level]
        owner = chunks.owners[chunk]
        if isinstance(coarse, _Gathered):
            if owner == coarse.owner:
                return coarse.whole, chunk == 0
            # One for a run of chunks with the same owner.
            runs = _runs(chunks.owners)
            run = runs[bisect.bisect_right(runs, (chunk, len(chunks))) - 1]
            if run not in coarse.parts:
                lo, hi = chunks.bounds[run[0]], chunks.bounds[run[1]]
                coarse.parts[run] = self._add(
                    "part", level + 1, run[0], coarse.owner, chunk_kernels.take, coarse.whole, lo, hi, chunk == 0
                )
            return coarse.parts[run], chunk == 0
        above = self.layout.levels[level + 1]
        parent = above.parents[chunk]
        first = chunk == above.children[parent].start
        if owner == above.owners[parent]:
            return coarse[parent], first
        part = self._add(
            "part",
            level + 1,
            chunk,
            above.owners[parent],
            chunk_kernels.take,
            coarse[parent],
            chunks.bounds[chunk],
            chunks.bounds[chunk + 1],
            first,
        )
        return part, first

    def correct(self, level: int, state: list[Delayed], coarse: Any) -> list[Delayed]:
        """Coarse correction and F-relaxation."""
        self._stage = next(self._numbers)
        chunks = self.layout.levels[level]
        corrected = []
        for j in range(len(chunks)):
            rows, carry = self._coarse(level, coarse, j)
            corrected.append(
                self._add(
                    "correct",
                    level,
                    j,
                    chunks.owners[j],
                    chunk_kernels.correct,
                    self.phi,
                    state[j],
                    rows,
                    self.cycle,
                    carry,
                )
            )
        return corrected

    def solve_coarsest(self) -> tuple[int, _Gathered]:
        """Nested iteration on the gathered levels, within one task."""
        self._stage = next(self._numbers)
        level = self.layout.gathered
        owners = self.layout.levels[level - 1].owners
        owner = owners[len(owners) // 2]
        whole = self._add("nested", level, 0, owner, whole_levels.nested, self.phi, self.w0, self.hierarchy, level)
        return level, _Gathered(whole, owner, {})

    def interpolate(self, level: int, coarse: Any) -> list[Delayed]:
        """Inject a coarse guess and F-relax."""
        self._stage = next(self._numbers)
        chunks, size = self.layout.levels[level], self.hierarchy[level]
        made = []
        for j in range(len(chunks)):
            rows, carry = self._coarse(level, coarse, j)
            span = chunk_points(size.coarsening, size.steps, chunks.bounds, j)
            function: Any
            args: tuple[Any, ...]
            if level == 0 and self.c_points:
                function, args = (
                    c_point_kernels.interpolate,
                    (self.phi, rows, *span, size.coarsening, size.steps, carry),
                )
            else:
                function, args = chunk_kernels.interpolate, (self.phi, rows, level, *span, size.coarsening, carry)
            made.append(self._add("interpolate", level, j, chunks.owners[j], function, *args))
        return made

    # -- what the driver asks for --------------------------------------------------------------------------------

    def cycle_tasks(self, state: list[Delayed], settle: bool, probed: bool = False) -> list[Delayed]:
        """Add one cycle.

        With `settle` its first C-relaxation settles the residual of the cycle before. If the state is `probed`, that
        C-relaxation has been computed, and needs no row of a neighbour.
        """
        if self.layout.gathered == 0:
            return [
                self._add(
                    "whole_cycle", 0, 0, 0, whole_levels.whole_cycle, self.phi, state[0], self.hierarchy, self.cycle
                )
            ]
        self._settle, self._probed = settle, probed
        return run_cycle(self, 0, self.hierarchy.cycle, state)

    def probe(self, state: list[Delayed]) -> list[Delayed]:
        """Add what settles this cycle's residual: the next C-relaxation's Phi."""
        if self.layout.gathered == 0:
            return state
        self._stage = next(self._numbers)
        return self._chunkwise("probe", state, chunk_kernels.probe, self.cycle)

    def initial(self, state: list[Delayed]) -> list[Delayed]:
        """Add the evaluation of an initial guess."""
        self._stage = next(self._numbers)
        return self._chunkwise("initial", state, chunk_kernels.initial)

    def nested_guess(self) -> list[Delayed]:
        """Add the nested initial guess, and what settles its residual."""
        return self.probe(nested_iteration(self))

    def chunk_task(self, name: str, chunk: int, function: Any, *args: Any) -> Delayed:
        """Add a task that belongs to a chunk of level 0."""
        owner = self.layout.levels[0].owners[chunk] if self.layout.levels else 0
        return self._add(name, 0, chunk, owner, function, *args)

    def regroup(self, state: list[Delayed], bounds: Sequence[int]) -> list[Delayed]:
        """Add what brings level 0 from other chunk bounds to those of the layout."""
        wanted = self.layout.bounds(self.hierarchy)
        owners = self.layout.levels[0].owners if self.layout.levels else (0,)
        made = []
        for j, (lo, hi) in enumerate(itertools.pairwise(wanted)):
            pieces = state[bisect.bisect_right(bounds, lo) - 1 : bisect.bisect_left(bounds, hi)]
            made.append(self._add("regroup", 0, j, owners[j], chunk_kernels.regroup, pieces, lo, hi))
        return made

    def _chunkwise(self, name: str, state: list[Delayed], function: Any, *args: Any) -> list[Delayed]:
        return [
            self._add(name, 0, j, owner, function, self.phi, state[j], self._left(0, state, j), *args)
            for j, owner in enumerate(self.layout.levels[0].owners)
        ]

    def final(self, state: list[Delayed]) -> Delayed:
        """Add what cuts out the state after the last step, with the records of what that took."""
        self._stage = next(self._numbers)
        makes_f = [self.phi] if self.c_points else []
        return self.chunk_task("final", len(state) - 1, tasks.final, state[-1], *makes_f)

    def report(self, blocks: list[Delayed]) -> Delayed:
        """Add the report on the residual: norms travel from each worker, blocks stay."""
        self._stage = next(self._numbers)
        if self.layout.gathered == 0:
            return self._add("residual", 0, 0, 0, tasks.report, blocks)
        owners = self.layout.levels[0].owners
        runs = _runs(owners)
        if len(runs) == 1:
            return self._add("residual", 0, 0, owners[0], tasks.report, blocks)
        parts = [self._add("report", 0, lo, owners[lo], tasks.report, blocks[lo:hi]) for lo, hi in runs]
        return self._add("residual", 0, 0, owners[0], chunk_kernels.join, parts)


@functools.cache
def _runs(owners: tuple[int, ...]) -> list[tuple[int, int]]:
    """Split chunks into runs with one owner each: the first chunk, and the one after the last."""
    ends = [j for j, (a, b) in enumerate(itertools.pairwise(owners), 1) if a != b]
    return list(itertools.pairwise((0, *ends, len(owners))))
