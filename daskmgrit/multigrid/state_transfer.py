"""Coarsening of the state besides that of the steps: a level may have states of another size (paper, Remark 2).

With restriction R and interpolation P of states between a level and the next coarser one, v the values at the
C-points and r their residual, the coarse problem of FAS is ``w_c[i] = Phi_c(w_c[i-1]) + g_c[i]``,
``g_c[i] = R r[i] + R v[i] - Phi_c(R v[i-1])``, and the correction ``w += P (w_c - R v)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from daskmgrit.recurrence.propagator import Phi
from daskmgrit.recurrence.state import InitialState
from daskmgrit.utils.array_api import Array, Origin, as_block, namespace, origin, to_host
from daskmgrit.utils.per_level import spread

__all__ = [
    "StateTransfer",
    "TransferredPhi",
    "check_transfers",
    "restricted",
    "start_of",
    "transfer_of",
    "with_transfers",
]


class StateTransfer(Protocol):
    """Takes states from a level to the next coarser one and back. Both ways are linear, row by row."""

    def restrict(self, weights: Array, level: int) -> Array:
        """Return states (k, s_c) of level + 1, from states (k, s) of `level`."""

    def interpolate(self, weights: Array, level: int) -> Array:
        """Return states (k, s) of `level`, from states (k, s_c) of level + 1."""


@dataclass(frozen=True, slots=True)
class TransferredPhi:
    """A propagator on levels whose states differ in size.

    Attributes
    ----------
    phi : callable
        The propagator; it sees the level's size by the weights that it is given.
    transfers : tuple of StateTransfer or None
        From each level to the next coarser one; None where the size stays.
    starts : tuple of ndarray or Origin
        The initial value on each level.
    """

    phi: Phi
    transfers: tuple[StateTransfer | None, ...]
    starts: tuple[Array | Origin, ...]

    def __call__(self, weights: Array, index: Array, level: int) -> Array:
        """Apply the propagator."""
        return self.phi(weights, index, level)

    def __getattr__(self, name: str) -> Any:
        # All other attributes of the propagator.
        if name.startswith("__") or name in self.__slots__:
            raise AttributeError(name)
        return getattr(self.phi, name)


def check_transfers(transfer: Any, coarse_levels: int) -> tuple[StateTransfer | None, ...]:
    """Return the transfer of each level: `transfer` is one for all, or a list whose last entry repeats.

    Raises
    ------
    TypeError
        If one has no restrict and interpolate.
    ValueError
        If the list is empty.
    """
    given = transfer if isinstance(transfer, Sequence) else [transfer]
    if not given:
        raise ValueError("transfer=[] is empty: give one transfer, or a list with one entry, or None, per level")
    for one in given:
        if one is not None and not all(callable(getattr(one, name, None)) for name in ("restrict", "interpolate")):
            raise TypeError(
                f"transfer={one!r} does not transfer states: give an object with restrict(weights, level) and "
                "interpolate(weights, level), or None for a level whose states have the size of the finer one's"
            )
    return tuple(spread(given, coarse_levels))


def with_transfers(phi: Phi, transfers: Sequence[StateTransfer | None], w0: InitialState) -> Phi:
    """Return the propagator for levels with transfers: `phi` itself if there are none.

    Raises
    ------
    ValueError
        If a transfer does not take the initial value to the next level and back: wrong shape or dtype, not finite, or
        not zero for zero.
    """
    if not any(transfers):
        return phi
    starts = [w0.origin]
    block = w0.block(phi)
    for level, transfer in enumerate(transfers):
        if transfer is not None:
            block = _restricted(transfer, block, level)
        starts.append(starts[-1] if transfer is None else origin(block, np.array(to_host(block))))
    return TransferredPhi(phi, tuple(transfers), tuple(starts))


def _restricted(transfer: StateTransfer, start: Array, level: int) -> Array:
    """Return a level's initial value on the next level, after trying the transfer on it."""
    # Zero, the initial value and twice that: the least that shows a transfer which is not linear.
    xp = namespace(start)
    fine = xp.stack((0 * start, start, 2 * start))
    coarse = transfer.restrict(fine, level)
    back = transfer.interpolate(coarse, level)
    for name, before, after, columns in (
        ("restrict", fine, coarse, None),
        ("interpolate", coarse, back, fine.shape[1]),
    ):
        shape, want = getattr(after, "shape", None), f"(3, {'s_c' if columns is None else columns})"
        if shape is None or len(shape) != 2 or shape[0] != 3 or (columns is not None and shape[1] != columns):
            raise ValueError(
                f"transfer.{name} of level {level} returned shape {shape} for states of shape {tuple(before.shape)}: "
                f"return {want}, a row for each state"
            )
        if after.dtype != start.dtype:
            raise ValueError(
                f"transfer.{name} of level {level} returned dtype {after.dtype} for states of {start.dtype}: return "
                "states of the given dtype"
            )
        after = to_host(after)
        if not np.isfinite(after).all():
            raise ValueError(
                f"transfer.{name} of level {level} returned nan or inf for the initial value: return finite states"
            )
        scale = float(np.abs(after).max())
        tolerance = 1e3 * np.finfo(after.dtype).eps * scale
        if np.abs(after[0]).max() > tolerance or np.abs(after[2] - 2 * after[1]).max() > tolerance:
            raise ValueError(
                f"transfer.{name} of level {level} is not linear: corrections pass it, too, so return zero for zero "
                "and twice the result for twice the input"
            )
    return coarse[1, ...]


def transfer_of(phi: Phi, level: int) -> StateTransfer | None:
    """Return the transfer of states from `level` to the next; None if they stay as they are."""
    return phi.transfers[level] if isinstance(phi, TransferredPhi) else None


def restricted(phi: Phi, rows: Array, level: int) -> Array:
    """Return states of `level`, shape (k, s), on the next level."""
    transfer = transfer_of(phi, level)
    return rows if transfer is None else transfer.restrict(rows, level)


def start_of(phi: Phi, level: int) -> Array | None:
    """Return the initial value on `level`, shape (1, s_l); None without transfers."""
    return as_block(phi, phi.starts[level])[None, ...] if isinstance(phi, TransferredPhi) else None
