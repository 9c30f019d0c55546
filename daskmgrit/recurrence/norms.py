"""Norms of states, row by row: the same bits for any number of rows, and right at any magnitude.

Squares leave the range of double precision earlier than norms. Then they are taken in units of a power of four, which
changes no bit of the root of their sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from daskmgrit.utils.array_api import Array, device, namespace, to_host

__all__ = ["Squares", "align", "groups", "join", "row_lengths", "row_norms", "row_squares"]


# Bytes that several passes take at a time: a core's cache holds them.
GROUP_BYTES = 1 << 19

# Sums of squares between these have neither lost bits to underflow nor can overflow in a sum of many.
_LEAST, _MOST = 1e-200, 1e280


class Squares(NamedTuple):
    """Squared 2-norms of rows, in units of ``4**exponent``; that is 1 unless they would leave double precision."""

    values: np.ndarray
    exponent: int = 0

    def root_of_sum(self) -> float:
        """Return the 2-norm over all rows."""
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.ldexp(np.sqrt(self.values.sum()), self.exponent))


def align(parts: Sequence[Squares]) -> list[Squares]:
    """Return the squares of several runs of rows in the same unit, that of the largest."""
    if not any(part.exponent for part in parts):
        return list(parts)
    unit = max((part.exponent for part in parts if part.values.any()), default=0)
    return [Squares(np.ldexp(part.values, 2 * (part.exponent - unit)), unit) for part in parts]


def join(parts: Sequence[Squares]) -> Squares:
    """Return the squares of successive runs of rows as one."""
    parts = align(parts)
    return Squares(np.concatenate([part.values for part in parts]), parts[0].exponent)


def groups(rows: Array, multiple: int = 1) -> Iterator[slice]:
    """Yield slices of rows that hold GROUP_BYTES each, their lengths a multiple of `multiple` but the last."""
    count = rows.shape[0]
    group = max(1, GROUP_BYTES * count // max(1, rows.nbytes) // multiple) * multiple
    for start in range(0, count, group):
        yield slice(start, min(start + group, count))


def row_squares(rows: Array, minus: Array) -> Squares:
    """Return the squared 2-norm of each row of the difference, in a unit in which the largest has its bits."""
    values = row_norms(rows, minus)
    if len(values) and not _LEAST <= values.max() <= _MOST:
        with np.errstate(over="ignore", invalid="ignore"):
            xp = namespace(rows)
            peak = float(xp.max(xp.abs(rows - minus))) if rows.shape[1] else 0.0
        if peak and math.isfinite(peak):
            exponent = math.frexp(peak)[1]
            return Squares(row_norms(rows, minus, exponent), exponent)
    return Squares(values)


def row_lengths(rows: Array, minus: Array | None = None) -> np.ndarray:
    """Return the 2-norm of each row, or of the difference."""
    minus = namespace(rows).zeros_like(rows) if minus is None else minus
    values = row_norms(rows, minus)
    lengths, outside = np.sqrt(values), ~((values >= _LEAST) & (values <= _MOST))
    if outside.any():
        with np.errstate(over="ignore", invalid="ignore"):
            peaks = to_host(namespace(rows).max(namespace(rows).abs(rows - minus), axis=1))
        # Most of them are zero.
        for row in np.flatnonzero(outside & (peaks > 0)):
            lengths[row] = row_squares(rows[row : row + 1, ...], minus[row : row + 1, ...]).root_of_sum()
    return lengths


def row_norms(rows: Array, minus: Array, exponent: int = 0) -> np.ndarray:
    """Return the squared 2-norm of each row of the difference, in double precision and in units of ``4**exponent``.

    The bits are the same for any number of rows. The rows are taken in groups, because mapping memory for the
    differences of a large block took longer than the arithmetic. The result is a NumPy array for rows of any library:
    one number for each row.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if not isinstance(rows, np.ndarray):
            return _foreign_row_norms(rows - minus, exponent)
        norms = np.empty(len(rows))
        for part in groups(rows):
            norms[part] = _host_row_norms(rows[part] - minus[part], exponent)
    return norms


def _host_row_norms(rows: Array, exponent: int) -> Array:
    if np.iscomplexobj(rows):
        return _host_row_norms(rows.real, exponent) + _host_row_norms(rows.imag, exponent)
    wide = rows.astype(np.float64, copy=False)
    if exponent:
        wide = np.ldexp(wide, -exponent)
    return np.add.reduce(wide * wide, axis=1)


def _foreign_row_norms(rows: Array, exponent: int) -> Array:
    """Sum on the device of the rows; on the host if the device has no double precision."""
    xp = namespace(rows)
    if xp.isdtype(rows.dtype, "complex floating"):
        return _foreign_row_norms(xp.real(rows), exponent) + _foreign_row_norms(xp.imag(rows), exponent)
    if "float64" not in xp.__array_namespace_info__().dtypes(device=device(rows)):
        return _host_row_norms(to_host(rows), exponent)
    wide = xp.astype(rows, xp.float64, copy=False)
    if exponent:
        # In two steps, since a power of two may leave the range where neither half of it does.
        wide = wide * 2.0 ** (-exponent // 2) * 2.0 ** (-exponent - -exponent // 2)
    return to_host(xp.sum(wide * wide, axis=1))
