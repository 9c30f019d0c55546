"""V-, F- and two-level cycles as an order of stages (paper, Algorithm 1 and Figure 5).

Nothing here computes: `ops` implements the stages. The same recursion builds a task graph over many chunks
(:mod:`daskmgrit.graph.builder`) and runs the coarse levels within one task (:mod:`daskmgrit.multigrid.whole_levels`).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Protocol

__all__ = [
    "FirstRelaxation",
    "NestedOperations",
    "Operations",
    "SweepOperations",
    "nested_iteration",
    "run_cycle",
    "run_top_cycle",
]

# The state of a level: blocks, or tasks that will make them.
State = Any


class FirstRelaxation(Enum):
    """The role of a cycle's first C-relaxation on level 0 for the residual of the cycle before.

    That residual is the change by this C-relaxation.
    """

    PLAIN = auto()
    """None: the residual is known, but not the arrivals at the C-points."""
    SETTLES = auto()
    """It settles the residual."""
    KNOWN = auto()
    """The arrivals are known with the residual, so that no chunk needs its neighbour."""


class Operations(Protocol):
    """The stages of a cycle."""

    def relax(self, level: int, state: State) -> State:
        """(CF)^nu on an F-relaxed state."""

    def restrict(self, level: int, state: State) -> State:
        """FAS problem of the next level, F-relaxed."""

    def solve(self, level: int, state: State, kind: str) -> State:
        """Solve on `level` within one stage."""

    def correct(self, level: int, state: State, coarse: State) -> State:
        """Coarse correction and F-relaxation."""

    def ends_at(self, level: int) -> bool:
        """Whether `solve` takes over from `level` down."""


class SweepOperations(Operations, Protocol):
    """The stages of a cycle whose first relaxation may also settle the residual."""

    def sweep(self, level: int, state: State, first: FirstRelaxation) -> State:
        """One C-relaxation and one F-relaxation; on level 0 the first of a cycle as `first` says."""


class NestedOperations(Operations, Protocol):
    """The stages of a cycle, and those of a nested initial guess."""

    def solve_coarsest(self) -> tuple[int, State]:
        """Solution of the coarse problem with g = 0; returns the level it is on."""

    def interpolate(self, level: int, coarse: State) -> State:
        """Inject a coarse state to `level`, then F-relaxation."""


def run_cycle(ops: Operations, level: int, kind: str, state: State) -> State:
    """Run one cycle from `level` down and back.

    A V-cycle recurses once. An F-cycle recurses as an F-cycle and then, on every level but 0, runs one
    V-cycle. States come and go F-relaxed: the F-relaxation that ends a cycle is the one that begins the next.
    """
    return _rest_of_cycle(ops, level, kind, ops.relax(level, state))


def _rest_of_cycle(ops: Operations, level: int, kind: str, state: State) -> State:
    """Run the rest of a cycle after the relaxation, from `level` down and back."""
    coarse = ops.restrict(level, state)
    if ops.ends_at(level + 1):
        coarse = ops.solve(level + 1, coarse, kind)
    else:
        coarse = run_cycle(ops, level + 1, kind, coarse)
    state = ops.correct(level, state, coarse)
    if kind == "F" and level > 0:
        state = run_cycle(ops, level, "V", state)
    return state


def run_top_cycle(
    ops: SweepOperations, kind: str, nu: int, state: State, first: FirstRelaxation
) -> tuple[State, State]:
    """Run one cycle from level 0, relaxed by F(CF)^nu there; `first` is the role of its first C-relaxation.

    Returns the state after the cycle, and the state after that first relaxation (with nu = 0, before the cycle).
    """
    relaxed = state
    if nu:
        state = relaxed = ops.sweep(0, state, first)
    for _ in range(nu - 1):
        state = ops.sweep(0, state, FirstRelaxation.PLAIN)
    return _rest_of_cycle(ops, 0, kind, state), relaxed


def nested_iteration(ops: NestedOperations, down_to: int = 0) -> State:
    """Build an initial guess from the coarsest level up, with one V-cycle on each level in between."""
    solved, state = ops.solve_coarsest()
    for level in range(solved - 1, down_to - 1, -1):
        state = ops.interpolate(level, state)
        if level > 0:
            state = run_cycle(ops, level, "V", state)
    return state
