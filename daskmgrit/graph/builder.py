"""One cycle as ``dask.delayed`` tasks on chunks: keys, rows passed on, placement, agglomeration.

The graph knows levels and chunks, nothing of networks. It is the same for the synchronous, the threaded and the
distributed scheduler. A chunk needs a few rows of its left neighbour. If the neighbour is planned on the same worker,
the task takes its block by reference; otherwise a separate task cuts the rows out, and only they travel.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dask.delayed import Delayed

from daskmgrit.graph import tasks
from daskmgrit.graph.auto_chunks import ChunkPlan
from daskmgrit.graph.level_states import CycleTasks, GatheredLevel, PendingCorrection, PendingRelaxation
from daskmgrit.graph.submission import TaskBook
from daskmgrit.multigrid import c_point_kernels, chunk_kernels, whole_levels
from daskmgrit.multigrid.block import Keep
from daskmgrit.multigrid.cycle import FirstRelaxation, nested_iteration, run_top_cycle
from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.multigrid.intervals import Span
from daskmgrit.utils.collector import collector_paused

__all__ = ["GraphBuilder", "GraphContext"]

# They take no time and other workers wait for them: behind a long task of the same worker they would hold those up.
URGENT = ("edge", "part", "report", "residual", "final")


@dataclass(frozen=True, slots=True)
class GraphContext:
    """Common data of all graphs of a solve.

    Attributes
    ----------
    hierarchy : Hierarchy
        The levels.
    phi_task, w0_task : Delayed
        Stand-ins for the propagator and the initial state.
    run : str
        Token that sets this solve's keys apart.
    c_points : bool
        Whether level 0 holds its C-points only.
    in_memory : bool, default True
        Whether a task's result is passed to the next task of its chunk in memory, not from process to process.
    numbers : iterator of int
        Numbers the stages of the solve: with them its keys are unique.
    """

    hierarchy: Hierarchy
    phi_task: Delayed
    w0_task: Delayed
    run: str
    c_points: bool = False
    in_memory: bool = True
    numbers: Iterator[int] = field(default_factory=itertools.count)


class GraphBuilder:
    """Builds the tasks of a cycle: the operations of :func:`daskmgrit.multigrid.cycle.run_cycle` on chunks.

    A level's state is a list with the ``Delayed`` block of each chunk.

    Parameters
    ----------
    context : GraphContext
        What all graphs of the solve have in common.
    plan : ChunkPlan
        How the levels are cut, and what has tasks of its own.
    book : TaskBook
        Where tasks go.
    cycle : int
        Number of the cycle; 0 for the initial guess.
    """

    def __init__(self, context: GraphContext, plan: ChunkPlan, book: TaskBook, cycle: int) -> None:
        self.hierarchy, self.run, self.c_points = context.hierarchy, context.run, context.c_points
        self.phi_task, self.w0_task = context.phi_task, context.w0_task
        self.plan, self.layout, self.beside = plan, plan.layout, plan.beside
        self.book, self.cycle = book, cycle
        # Levels that this cycle has been restricted from.
        self._restricted: set[int] = set()
        # From files or another process all that a coarse block holds of finer ones would come along to each stage.
        self._joins = context.in_memory and book.store is None
        self._numbers, self._stage = context.numbers, next(context.numbers)
        self._runs_of: dict[int, list[tuple[int, int]]] = {}
        # By the key of a block that was probed: the block before that.
        self._unprobed: dict[str, Delayed] = {}

    # -- tasks ---------------------------------------------------------------------------------------------------

    def _add(self, name: str, level: int, chunk: int, owner: int, function: Any, *args: Any) -> Delayed:
        key = f"{name}.L{level}-{self.run}-{self.cycle}-{self._stage}-{chunk}"
        return self.book.add(key, tasks.attempt, function, *args, owner=owner, urgent=name in URGENT)

    def _left(self, level: int, blocks: Sequence[Delayed], chunk: int, ghost: bool = False) -> Delayed | None:
        """Return a chunk's input from its left neighbour: its block, or only the edge, or the ghost."""
        if chunk == 0:
            return None
        owners, block = self.layout.levels[level].owners, blocks[chunk - 1]
        # Blocks in a store are not to be fetched for a row.
        if owners[chunk] == owners[chunk - 1] and self.book.store is None:
            return block
        cut: Any = (tasks.ghost, block, self.hierarchy[level].weight) if ghost else (tasks.edge, block)
        return self._add("edge", level, chunk - 1, owners[chunk - 1], *cut)

    # -- operations of a cycle -----------------------------------------------------------------------------------

    def relax(self, level: int, state: Any) -> Any:
        """(CF)^nu."""
        state = self._corrected(level, state)
        for _ in range(self.hierarchy[level].nu):
            state = self.sweep(level, state, FirstRelaxation.PLAIN)
        return state

    def sweep(self, level: int, state: Any, first: FirstRelaxation) -> Any:
        """One C-relaxation and one F-relaxation: a task per chunk, deferred if it may be one with the restriction."""
        state = self._relaxed(level, state)
        if self._joins and self.plan.has_ghosts(self.hierarchy, level):
            return PendingRelaxation(state, first)
        return self._relax(level, state, first)

    def _relaxed(self, level: int, state: Any) -> Any:
        """Return the state of a level after a relaxation, adding its tasks if it was deferred and has none."""
        if not isinstance(state, PendingRelaxation):
            return state
        if not state.done:
            state.done = self._relax(level, state.blocks, state.first)
        return state.done

    def _relax(self, level: int, state: list[Delayed], first: FirstRelaxation) -> list[Delayed]:
        self._stage = next(self._numbers)
        kernel = chunk_kernels.settle_and_relax if first is FirstRelaxation.SETTLES else chunk_kernels.relax
        relaxed = []
        for j, owner in enumerate(self.layout.levels[level].owners):
            left = None if first is FirstRelaxation.KNOWN else self._left(level, state, j)
            args = (self.phi_task, state[j], left, self.hierarchy[level].weight, self.cycle)
            relaxed.append(self._add("relax", level, j, owner, kernel, *args))
        return relaxed

    def restrict(self, level: int, state: Any) -> Any:
        """Restrict every chunk; where a coarse chunk has one finer chunk, in one task with its first relaxation."""
        self._stage = next(self._numbers)
        if isinstance(state, PendingRelaxation):
            return self._relax_and_restrict(level, state)
        chunks, coarse_level = self.layout.levels[level], level + 1
        gathered = coarse_level == self.layout.gathered
        m, keep = self.hierarchy.places(coarse_level), self._kept(level)
        if not gathered and not self.beside and len(self.layout.levels[coarse_level]) == len(chunks):
            entered = []
            for j, owner in enumerate(chunks.owners):
                args = (self.phi_task, state[j], self._left(level, state, j), coarse_level, m, self.cycle, keep)
                entered.append(self._add("restrict", level, j, owner, tasks.restrict_and_enter, *args))
            return entered
        # Phi_c(v) does not wait for what arrives at the C-points.
        bare = [self._unprobed.get(block.key, block) for block in state]
        pairs = []
        for j, owner in enumerate(chunks.owners):
            left = self._left(level, bare, j)
            given = (self.phi_task, state[j], left)
            if self.beside:
                piece = self._add("restrict", level, j, owner, chunk_kernels.restrict, *given, m, self.cycle, keep)
                points = (self.phi_task, bare[j], left, self.cycle)
                step = self._add("coarse_step", coarse_level, j, owner, chunk_kernels.coarse_step, *points)
                pairs.append([piece, step])
            else:
                pairs.append([self._add("restrict", level, j, owner, tasks.restrict_and_step, *given, m, self.cycle)])
        return pairs if gathered else self._enter(coarse_level, pairs)

    def _enter(self, level: int, pairs: list[Any], held: bool = False) -> list[Delayed]:
        """Make coarse chunks of several finer ones each; `held` says whether those are held for their correction."""
        coarse, entered = self.layout.levels[level], []
        for j, (children, owner) in enumerate(zip(coarse.children, coarse.owners, strict=True)):
            finer = self._pieces(level - 1, pairs, children, owner) if held else [pairs[i] for i in children]
            rest = (level, self.hierarchy.places(level), self.cycle)
            entered.append(self._add("enter", level, j, owner, tasks.enter_pairs, self.phi_task, finer, *rest))
        return entered

    def _relax_and_restrict(self, level: int, state: PendingRelaxation) -> Any:
        """Relax every chunk, and its left neighbour's last F-interval, and restrict it, in one task."""
        coarse_level, weight, keep = level + 1, self.hierarchy[level].weight, self._keep(level)
        joined, m = self._joined(coarse_level), self.hierarchy.places(coarse_level)
        function, more = (tasks.relax_and_enter, (coarse_level,)) if joined else (tasks.relax_and_restrict, ())
        settles = state.first is FirstRelaxation.SETTLES
        for j, owner in enumerate(self.layout.levels[level].owners):
            left = self._left(level, state.blocks, j, ghost=True)
            args = (self.phi_task, state.blocks[j], left, weight, self.cycle, settles, m, keep, *more)
            state.done.append(self._add("relax_restrict", level, j, owner, function, *args))
        if joined:
            return state.done
        if coarse_level == self.layout.gathered:
            return self._pieces(level, state.done, range(len(state.done)), self._gathering_owner())
        return self._enter(coarse_level, state.done, held=True)

    def _pieces(self, level: int, restricted: list[Delayed], chunks: range, owner: int) -> list[Any]:
        """Return what the coarse level takes of these chunks: those on other workers hold more than that."""
        owners, taken = self.layout.levels[level].owners, list[Any]()
        for place, run in itertools.groupby(chunks, owners.__getitem__):
            numbers = list(run)
            these, first = [restricted[j] for j in numbers], numbers[0]
            taken.append(these if place == owner else self._add("part", level + 1, first, place, tasks.pieces, these))
        return taken

    def ends_at(self, level: int) -> bool:
        """Whether the rest of the cycle runs within one task."""
        return level == self.layout.gathered

    def _gathering_owner(self) -> int:
        """Return the worker that the gathered levels are planned on."""
        owners = self.layout.levels[-1].owners
        return owners[len(owners) // 2]

    def solve(self, level: int, state: Any, kind: str) -> GatheredLevel:
        """Run the rest of the cycle within one task."""
        self._stage = next(self._numbers)
        owner = self._gathering_owner()
        name = "coarse_solve" if level == self.hierarchy.last else f"{kind}_cycle"
        whole = self._add(
            name, level, 0, owner, tasks.solve_pairs, self.phi_task, state, self.hierarchy, level, kind, self.cycle
        )
        return GatheredLevel(whole, owner)

    def _runs(self, level: int) -> list[tuple[int, int]]:
        """Split a level's chunks into runs with one owner each: the first chunk, and the one after the last."""
        if level not in self._runs_of:
            owners = self.layout.levels[level].owners
            ends = [j for j, (a, b) in enumerate(itertools.pairwise(owners), 1) if a != b]
            self._runs_of[level] = list(itertools.pairwise((0, *ends, len(owners))))
        return self._runs_of[level]

    def _coarse(self, level: int, coarse: Any, chunk: int) -> tuple[Delayed, bool]:
        """Return the coarse state that a chunk needs, and whether this chunk passes its records on."""
        chunks = self.layout.levels[level]
        owner = chunks.owners[chunk]
        if isinstance(coarse, GatheredLevel):
            if owner == coarse.owner:
                return coarse.whole, chunk == 0
            # One for a run of chunks with the same owner.
            runs = self._runs(level)
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
        args = (coarse[parent], chunks.bounds[chunk], chunks.bounds[chunk + 1], first)
        return self._add("part", level + 1, chunk, above.owners[parent], chunk_kernels.take, *args), first

    def _joined(self, level: int) -> bool:
        """Whether a level is corrected in one task with the next finer one."""
        return self._joins and self.layout.joined(level)

    def _kept(self, level: int) -> Keep | None:
        """Return the part of a level that its coarse blocks hold."""
        return self._keep(level) if self._joined(level + 1) else None

    def _keep(self, level: int) -> Keep:
        """Return the part of a level that its correction needs."""
        # An F-cycle relaxes a level again when it has come back to it for the first time.
        again = self.hierarchy.cycle == "F" and level not in self._restricted
        self._restricted.add(level)
        return Keep.TO_RELAX if again else Keep.TO_CORRECT

    def correct(self, level: int, state: Any, coarse: Any) -> Any:
        """Coarse correction and F-relaxation; deferred if they share a task with the next level's."""
        pending = coarse
        if not isinstance(coarse, PendingCorrection):
            pending = PendingCorrection(self._relaxed(level, state), level, coarse)
        return pending if self._joined(level) else self._corrected(level, pending)

    def _corrected(self, level: int, state: Any) -> Any:
        """Return the state of a level, adding its tasks if they were deferred."""
        if not isinstance(state, PendingCorrection):
            return state
        self._stage = next(self._numbers)
        corrected = []
        for j, owner in enumerate(self.layout.levels[level].owners):
            rows, carry = self._coarse(state.level, state.coarse, j)
            args = (self.phi_task, state.blocks[j], rows, self.cycle, carry, level)
            corrected.append(self._add("correct", level, j, owner, tasks.correct, *args))
        return corrected

    def solve_coarsest(self) -> tuple[int, GatheredLevel]:
        """Nested iteration on the gathered levels, within one task."""
        self._stage = next(self._numbers)
        level = self.layout.gathered
        owner = self._gathering_owner()
        whole = self._add(
            "nested", level, 0, owner, whole_levels.nested, self.phi_task, self.w0_task, self.hierarchy, level
        )
        return level, GatheredLevel(whole, owner)

    def interpolate(self, level: int, coarse: Any) -> list[Delayed]:
        """Inject a coarse guess and F-relax."""
        coarse = self._corrected(level + 1, coarse)
        self._stage = next(self._numbers)
        chunks = self.layout.levels[level]
        made = []
        for j, span in enumerate(self.hierarchy[level].spans(chunks.bounds)):
            rows, carry = self._coarse(level, coarse, j)
            function: Any
            args: tuple[Any, ...]
            if level == 0 and self.c_points:
                function, args = c_point_kernels.interpolate, (self.phi_task, rows, span, carry)
            else:
                function, args = chunk_kernels.interpolate, (self.phi_task, rows, level, span, carry)
            made.append(self._add("interpolate", level, j, chunks.owners[j], function, *args))
        return made

    # -- what the iteration asks for --------------------------------------------------------------------------------

    @collector_paused()
    def cycle_tasks(
        self,
        state: list[Delayed],
        first: FirstRelaxation = FirstRelaxation.PLAIN,
        unprobed: Sequence[Delayed] = (),
    ) -> CycleTasks:
        """Add one cycle; `first` is the task of its first C-relaxation of level 0, if it has one.

        `unprobed` are the blocks of the state before they were probed, if they are still there.
        """
        self._unprobed = dict(zip((block.key for block in state), unprobed, strict=False))
        if self.layout.gathered == 0:
            args = (self.phi_task, state[0], self.hierarchy, self.cycle)
            whole = [self._add("whole_cycle", 0, 0, 0, whole_levels.whole_cycle, *args)]
            return CycleTasks(whole, whole)
        end, relaxed = run_top_cycle(self, self.hierarchy.cycle, self.hierarchy[0].nu, state, first)
        return CycleTasks(end, self._relaxed(0, relaxed))

    def probe(self, state: list[Delayed]) -> list[Delayed]:
        """Add the tasks that settle this cycle's residual: the next C-relaxation's Phi."""
        if self.layout.gathered == 0:
            return state
        self._stage = next(self._numbers)
        return self._chunkwise("probe", state, chunk_kernels.probe, self.cycle)

    def initial(self, state: list[Delayed]) -> list[Delayed]:
        """Add the evaluation of an initial guess."""
        self._stage = next(self._numbers)
        return self._chunkwise("initial", state, chunk_kernels.evaluate)

    def nested_guess(self) -> list[Delayed]:
        """Add the nested initial guess, and the tasks that settle its residual."""
        return self.probe(nested_iteration(self))

    def chunk_task(self, name: str, chunk: int, function: Any, *args: Any) -> Delayed:
        """Add a task that belongs to a chunk of level 0."""
        owner = self.layout.levels[0].owners[chunk] if self.layout.levels else 0
        return self._add(name, 0, chunk, owner, function, *args)

    def spans(self) -> list[Span]:
        """Return the F-intervals of each chunk of level 0."""
        return self.hierarchy[0].spans(self.layout.bounds(self.hierarchy))

    def regroup(self, state: list[Delayed], bounds: Sequence[int]) -> list[Delayed]:
        """Add the tasks that bring level 0 from other chunk bounds to those of the layout."""
        wanted = self.layout.bounds(self.hierarchy)
        owners = self.layout.levels[0].owners if self.layout.levels else (0,)
        made = []
        for j, (lo, hi) in enumerate(itertools.pairwise(wanted)):
            pieces = state[bisect.bisect_right(bounds, lo) - 1 : bisect.bisect_left(bounds, hi)]
            made.append(self._add("regroup", 0, j, owners[j], chunk_kernels.regroup, pieces, lo, hi))
        return made

    def _chunkwise(self, name: str, state: list[Delayed], function: Any, *args: Any) -> list[Delayed]:
        return [
            self._add(name, 0, j, owner, function, self.phi_task, state[j], self._left(0, state, j), *args)
            for j, owner in enumerate(self.layout.levels[0].owners)
        ]

    def final(self, state: list[Delayed]) -> Delayed:
        """Add the task that cuts out the state after the last step, with the records of its work."""
        self._stage = next(self._numbers)
        makes_f = [self.phi_task] if self.c_points else []
        return self.chunk_task("final", len(state) - 1, tasks.final, state[-1], *makes_f)

    def report(self, blocks: list[Delayed]) -> Delayed:
        """Add the report on the residual: norms travel from each worker, blocks stay."""
        self._stage = next(self._numbers)
        if self.layout.gathered == 0:
            return self._add("residual", 0, 0, 0, tasks.report, blocks)
        owners = self.layout.levels[0].owners
        runs = self._runs(0)
        if len(runs) == 1:
            return self._add("residual", 0, 0, owners[0], tasks.report, blocks)
        parts = [self._add("report", 0, lo, owners[lo], tasks.report, blocks[lo:hi]) for lo, hi in runs]
        return self._add("residual", 0, 0, owners[0], chunk_kernels.join, parts)
