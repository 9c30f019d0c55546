"""The part of a result that a picture needs."""

from __future__ import annotations

from typing import Protocol

from daskmgrit.recurrence.meter import Record

__all__ = ["Shown"]


class Shown(Protocol):
    """A result as pictures see it; see :class:`daskmgrit.Result`."""

    @property
    def residuals(self) -> list[float]:
        """Residual of the initial guess, then after each cycle."""

    @property
    def iterations(self) -> int:
        """Cycles done."""

    @property
    def reason(self) -> str:
        """Why the solve ended."""

    @property
    def tol(self) -> float:
        """The tolerance."""

    @property
    def levels(self) -> list[int]:
        """N_l of every level."""

    @property
    def cycle(self) -> str:
        """Kind of cycle."""

    @property
    def records(self) -> list[Record]:
        """Every stage as it ran."""

    @property
    def convergence_factor(self) -> float:
        """Reduction of the residual per cycle."""

    @property
    def method(self) -> str:
        """``"MGRIT"`` or ``"parallel Newton"``."""

    @property
    def accepted(self) -> list[int]:
        """Steps that each sweep of parallel Newton accepted."""

    @property
    def windows(self) -> list[int]:
        """Steps in the window of each sweep."""
