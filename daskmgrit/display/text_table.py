"""A table in plain text."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["text_table"]


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of cells, aligned right.

    Examples
    --------
    >>> text_table([["N", "cycles"], ["1600", "9"]])
    ['   N  cycles', '1600       9']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
