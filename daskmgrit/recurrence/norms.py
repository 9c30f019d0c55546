"""Norms of states, row by row: the same bits for any number of rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from daskmgrit.utils.array_api import Array, device, namespace, to_host

__all__ = ["groups", "row_norms"]


# What is done in several passes is done for so much at a time, which a core's cache holds.
GROUP_BYTES = 1 << 19


def groups(rows: Array, multiple: int = 1) -> Iterator[slice]:
    """Yield slices of rows that hold GROUP_BYTES each, their lengths a multiple of `multiple` but the last."""
    count = rows.shape[0]
    group = max(1, GROUP_BYTES * count // max(1, rows.nbytes) // multiple) * multiple
    for start in range(0, count, group):
        yield slice(start, min(start + group, count))


def row_norms(rows: Array, minus: Array) -> Array:
    """Return the squared 2-norm of each row of the difference, in double precision.

    The bits are the same for any number of rows. Some are taken at a time: to map memory for the differences of a large
    block took longer than the arithmetic. It is a NumPy array whatever the rows are: one number for each of them.
    """
    if not isinstance(rows, np.ndarray):
        return _foreign_row_norms(rows - minus)
    norms = np.empty(len(rows))
    with np.errstate(over="ignore"):
        for part in groups(rows):
            norms[part] = _host_row_norms(rows[part] - minus[part])
    return norms


def _host_row_norms(rows: Array) -> Array:
    if np.iscomplexobj(rows):
        return _host_row_norms(rows.real) + _host_row_norms(rows.imag)
    wide = rows.astype(np.float64, copy=False)
    return np.add.reduce(wide * wide, axis=1)


def _foreign_row_norms(rows: Array) -> Array:
    """Sum where the rows are; on the host if they have no double precision there."""
    xp = namespace(rows)
    if xp.isdtype(rows.dtype, "complex floating"):
        return _foreign_row_norms(xp.real(rows)) + _foreign_row_norms(xp.imag(rows))
    if "float64" not in xp.__array_namespace_info__().dtypes(device=device(rows)):
        return _host_row_norms(to_host(rows))
    wide = xp.astype(rows, xp.float64, copy=False)
    return to_host(xp.sum(wide * wide, axis=1))
