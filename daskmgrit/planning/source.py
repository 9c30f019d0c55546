"""The data for a plan on Phi, cycles and sweeps: those of the user, or usual values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from daskmgrit.planning.acceptance import Acceptance, assumed, given
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.memory import storage_that_fits
from daskmgrit.planning.search import Planner
from daskmgrit.planning.setting import COARSENINGS, Coarsening

__all__ = ["ASSUMED", "GivenSource", "Source", "make_planner"]

# Observed needs of stabilised coarse steps, for any number of steps.
ASSUMED = {"V": 10.0, "F": 7.0}


class Source(Protocol):
    """The data for a plan, from any source.

    Attributes
    ----------
    row_bytes, window_bytes : int
        Bytes of a state of MGRIT and of parallel Newton.
    coarsenings : sequence of tuple of int
        The factors to try.
    levels : mapping
        Further options of :class:`daskmgrit.MGRIT`.
    window_cost : PhiCost
        Cost of Phi for parallel Newton.
    accepted : Acceptance
        Steps that a sweep accepts.
    remark : str
        Defects of Phi.
    doubt : float
        Factor by which the cycles may be more: 1 if they are given, or of the whole run.
    """

    row_bytes: int
    window_bytes: int
    coarsenings: Sequence[Coarsening]
    levels: Mapping[str, Any]
    window_cost: PhiCost
    accepted: Acceptance
    remark: str

    @property
    def doubt(self) -> float:
        """Factor by which the cycles may be more."""
        ...

    @property
    def measured(self) -> Sequence[str]:
        """The measurements, in words."""
        ...

    def cost(self, coarsening: Coarsening) -> PhiCost:
        """Return the cost of Phi with these coarsening factors."""
        ...

    def phi_in_words(self, coarsening: int | Sequence[int]) -> str:
        """Return the Phi for these factors, as Python."""
        ...

    def iterations(self, coarsening: Coarsening, cycle: str) -> float:
        """Return the cycles to convergence, nan where it does not converge."""
        ...

    @property
    def origin(self) -> str:
        """Where the numbers of cycles are from, in words."""
        ...


class GivenSource:
    """Phi, cycles and sweeps by the options."""

    row_bytes = 0
    coarsenings: Sequence[Coarsening] = COARSENINGS
    levels: Mapping[str, Any] = MappingProxyType({})
    doubt = 1.0
    measured: Sequence[str] = ()
    remark = ""

    def __init__(
        self, cost: PhiCost, iterations: float | None, accepted: float | Mapping[int, float] | None = None
    ) -> None:
        self._cost, self._iterations = cost, iterations
        self.accepted: Acceptance = given(accepted) if accepted is not None else assumed()
        self.window_cost, self.window_bytes = cost, 0

    def cost(self, coarsening: Coarsening) -> PhiCost:
        """Return the cost of Phi with these coarsening factors."""
        return self._cost

    def phi_in_words(self, coarsening: int | Sequence[int]) -> str:
        """Return the Phi for these factors, as Python."""
        return "phi"

    def iterations(self, coarsening: Coarsening, cycle: str) -> float:
        """Return the cycles to convergence, nan where it does not converge."""
        return self._iterations or ASSUMED[cycle]

    @property
    def origin(self) -> str:
        """Where the numbers of cycles are from, in words."""
        if self._iterations:
            return "as given, for every setting"
        return (
            f"assumed: {ASSUMED['V']:.0f} V-cycles or {ASSUMED['F']:.0f} F-cycles for any N, which holds for coarse "
            "steps that are stable; give --iterations"
        )


def make_planner(
    source: Source, steps: int, cycles: Sequence[str], memory: int | None, row_bytes: int, chunks: int | None = None
) -> Planner:
    """Return the search for the best setting of MGRIT.

    Parameters
    ----------
    source : Source
        The data for the plan.
    steps : int
        N.
    cycles : sequence of str
        The cycles to try.
    memory : int, optional
        Bytes of each worker process.
    row_bytes : int
        Bytes of a state, 0 if they are not known.
    chunks : int, optional
        The only number of chunks.
    """
    return Planner(
        steps,
        source.cost,
        source.iterations,
        row_bytes,
        coarsenings=source.coarsenings,
        cycles=cycles,
        chunks=chunks,
        storage=storage_that_fits(memory, row_bytes) if memory and row_bytes else None,
        **source.levels,
    )
