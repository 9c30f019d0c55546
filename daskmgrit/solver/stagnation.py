"""The stopping rule for a residual that no longer falls: at its rounding, or for many cycles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daskmgrit.multigrid.hierarchy import Hierarchy
from daskmgrit.recurrence.norms import row_lengths
from daskmgrit.recurrence.state import InitialState

__all__ = ["Stagnation", "rounding_of"]

# At rounding a residual moves up and down. This many cycles without a fall by a fifth show that it is no slow fall.
AT_ROUNDING = 4
STEADY = 0.8
# How far above eps*norm(w0)*sqrt(N) rounding may keep a residual.
ABOVE = 10.0
# Elsewhere it must stand still for this many cycles, or this part of maxiter: the peak of a transient is flat, too.
CYCLES = 15
PART = 0.3
# Standing still is to stay within this factor, and in the later half within what the earlier half has shown.
RANGE = 1.1
SLACK = 1.02


def rounding_of(w0: InitialState) -> float:
    """Return the rounding error of a state, as a 2-norm."""
    return float(np.finfo(w0.dtype).eps) * float(row_lengths(w0.host[None])[0])


@dataclass(frozen=True, slots=True)
class Stagnation:
    """A rule that tells when a residual above the tolerance will not fall any further.

    Attributes
    ----------
    tol : float
        The tolerance; 0 asks for exactly `maxiter` cycles.
    maxiter : int
        The largest number of cycles.
    exact : float
        Cycles after which MGRIT is exact except for rounding, with any coarse steps: until then a residual may stand
        still and yet fall to rounding at once.
    rounding : float
        Norm of the rounding error of the states at all steps.
    dtype : str
        Dtype of the states.
    doubted : bool
        Whether a trial of phi has found that its rows depend on each other or its results do not repeat. Then nothing
        guarantees that cycles become exact, and 15 cycles without a new minimum end the solve.
    """

    tol: float
    maxiter: int
    exact: float
    rounding: float
    dtype: str
    doubted: bool = False

    @classmethod
    def of(cls, tol: float, maxiter: int, hierarchy: Hierarchy, w0: InitialState, doubted: bool) -> Stagnation:
        """Return the rule for a solve."""
        finest = hierarchy[0]
        return cls(tol, maxiter, finest.exact_after, rounding_of(w0) * math.sqrt(finest.steps), w0.dtype.name, doubted)

    def words(self, residuals: Sequence[float]) -> str:
        """Return why these residuals, that of the initial guess first, will fall no further; empty if they may.

        Examples
        --------
        >>> rule = Stagnation(1e-9, 50, math.inf, 1e-14, "float64")
        >>> rule.words([3.0] + [0.5] * 16), rule.words([0.98**k for k in range(40)])
        ('the residual has stayed at 5.0e-01 for 15 cycles', '')
        """
        cycle = len(residuals) - 1
        if not self.tol > 0 or cycle >= self.maxiter:
            return ""
        last = residuals[-AT_ROUNDING:]
        if (
            cycle > AT_ROUNDING
            and max(last) <= ABOVE * self.rounding
            and min(last) > STEADY * min(residuals[:-AT_ROUNDING])
        ):
            return f"the residual stays at {min(last):.1e}, which is the rounding of {self.dtype}"
        if self.doubted and cycle >= CYCLES and min(residuals[-CYCLES:]) >= min(residuals[:-CYCLES]):
            return f"the residual has not fallen below {min(residuals):.1e} for {CYCLES} cycles"
        count = max(CYCLES, int(PART * self.maxiter))
        # If `exact` cycles are possible, those decide.
        if cycle <= count or cycle <= self.exact <= self.maxiter:
            return ""
        last = residuals[-count:]
        early, late = last[: count // 2], last[count // 2 :]
        still = max(last) <= RANGE * min(last) and min(late) * SLACK >= min(early) and max(late) <= SLACK * max(early)
        return f"the residual has stayed at {residuals[-1]:.1e} for {count} cycles" if still else ""
