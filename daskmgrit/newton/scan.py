"""The linear recurrences ``d[j+1] = J[j] d[j] + R[j]`` of a sweep as scans: in fixed groups of steps.

A scan has three parts. Within a group, sums (or composed maps) run from step to step; each chunk does this by itself.
The groups' totals are then scanned one after another; this is small. Last, the total from the left is added within each
group; again each chunk does this by itself. The groups are cut by the number of the slot, not by chunks or workers, so
the bits are the same for every chunking into whole groups.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from daskmgrit.utils.array_api import Array, device, namespace

__all__ = [
    "Maps",
    "apply_maps",
    "compose_maps",
    "doublings",
    "group_length",
    "group_sums",
    "running_sums",
    "scan_maps",
    "scan_sums",
    "times",
]


def group_length(slots: int) -> int:
    """Return the number of slots of a group in a window of `slots`: a power of two, a quarter of the root."""
    return 1 << max(0, (slots.bit_length() - 1) // 2 - 2)


def _by_position(rows: Array, first: int, group: int, fill: Array) -> list[Array]:
    """Return the first, second, … entry of every group, (c, …) each; incomplete groups are padded."""
    xp = namespace(rows)
    before = first % group
    after = -(before + rows.shape[0]) % group
    rows = xp.concat([*[fill] * before, rows, *[fill] * after], axis=0)
    rows = xp.reshape(rows, (-1, group, *rows.shape[1:]))
    return [rows[:, place, ...] for place in range(group)]


def _in_a_row(places: list[Array], first: int, group: int, count: int) -> Array:
    """Invert :func:`_by_position`."""
    rows = namespace(places[0]).stack(places, axis=1)
    before = first % group
    return namespace(rows).reshape(rows, (-1, *rows.shape[2:]))[before : before + count, ...]


def group_sums(rows: Array, first: int, group: int) -> list[Array]:
    """Return sums within groups: for each place in a group the sum up to it, (c, s) for all c groups.

    Parameters
    ----------
    rows : Array, shape (k, s)
        Residuals of successive slots.
    first : int
        Number of the first of them: groups begin where it is a multiple of `group`.
    group : int
        Slots of a group.
    """
    places = _by_position(rows, first, group, namespace(rows).zeros_like(rows[:1, ...]))
    for place in range(1, group):
        places[place] = places[place - 1] + places[place]
    return places


def scan_sums(totals: Array, before: Array | None = None) -> list[Array]:
    """Return the sum before each group and after the last one, (1, s) each, from the groups' totals (c, s)."""
    sums = [namespace(totals).zeros_like(totals[:1, ...]) if before is None else before]
    for number in range(totals.shape[0]):
        sums.append(sums[-1] + totals[number : number + 1, ...])
    return sums


def running_sums(rows: Array, first: int, group: int) -> Array:
    """Return the sum of the rows up to each, shape (k, s), for a single chunk; see :func:`group_sums`."""
    if isinstance(rows, np.ndarray):
        return _sums_in_place(rows.copy(), first, group)
    places = group_sums(rows, first, group)
    before = namespace(rows).concat(scan_sums(places[-1])[:-1], axis=0)
    return _in_a_row([place + before for place in places], first, group, int(rows.shape[0]))


def _sums_in_place(rows: np.ndarray, first: int, group: int) -> np.ndarray:
    """Do the same, with the same bits, in the memory of the rows: windows may be as large as memory."""
    start = 0
    before = np.zeros_like(rows[:1])
    while start < len(rows):
        end = min(start + group - (first + start) % group, len(rows))
        for row in range(start + 1, end):
            rows[row] += rows[row - 1]
        total = before + rows[end - 1 : end]
        rows[start:end] += before
        start, before = end, total
    return rows


class Maps(NamedTuple):
    """Affine maps ``d -> linear d + constant``, one for each entry."""

    linear: Array  # (c, r, r)
    constant: Array  # (c, r)

    def __call__(self, vectors: Array) -> Array:
        """Apply each to its vector (c, r)."""
        return times(self.linear, vectors) + self.constant


def times(matrices: Array, vectors: Array) -> Array:
    """Return matrices (c, r, r) times vectors (c, r), row by row: the bits of a BLAS product may depend on c."""
    return namespace(vectors).sum(matrices * vectors[:, None, :], axis=2)


def compose_maps(maps: Maps, first: int, group: int) -> list[Maps]:
    """Return maps composed within groups: for each place in a group the map from its beginning; see `group_sums`."""
    xp = namespace(maps.constant)
    identity = xp.eye(maps.constant.shape[1], dtype=maps.constant.dtype, device=device(maps.constant))[None, ...]
    linear = _by_position(maps.linear, first, group, identity)
    constant = _by_position(maps.constant, first, group, xp.zeros_like(maps.constant[:1, ...]))
    places = [Maps(linear[0], constant[0])]
    for place in range(1, group):
        step, before = Maps(linear[place], constant[place]), places[-1]
        places.append(Maps(step.linear @ before.linear, step(before.constant)))
    return places


def scan_maps(totals: Maps, before: Array | None = None) -> list[Array]:
    """Return the vector before each group and after the last one, (1, r) each, from the groups' composed maps."""
    first = totals.constant[:1, ...]
    vectors = [namespace(first).zeros_like(first) if before is None else before]
    for number in range(totals.constant.shape[0]):
        each = Maps(totals.linear[number : number + 1, ...], totals.constant[number : number + 1, ...])
        vectors.append(each(vectors[-1]))
    return vectors


def apply_maps(maps: Maps, first: int, group: int) -> Array:
    """Return the vector after each map, shape (k, r), from zero on, for a single chunk."""
    places = compose_maps(maps, first, group)
    before = namespace(maps.constant).concat(scan_maps(places[-1])[:-1], axis=0)
    count = int(maps.constant.shape[0])
    return _in_a_row([place(before) for place in places], first, group, count)


def doublings(slots: int) -> int:
    """Return the number of doublings of a scan over `slots` slots: the length of its critical path."""
    return math.ceil(math.log2(slots)) if slots > 1 else 0
