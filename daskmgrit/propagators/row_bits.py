"""Blocks at once if that has the bits of one row at a time, as parallel Newton needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from daskmgrit.utils.array_api import Array, namespace, to_host

__all__ = ["RowBits"]


class RowBits:
    """Calls a function on blocks so that a row's bits don't depend on the other rows.

    Kernels of matrix products and convolutions may differ with the number of rows. So a block of a size that is new
    here is computed both ways: at once and row by row. Later ones are computed at once if both had the same bits.

    Examples
    --------
    >>> rows = RowBits()
    >>> rows(lambda block, index: block + block.shape[0], np.ones((3, 1)), np.arange(3)).ravel().tolist()
    [2.0, 2.0, 2.0]
    """

    def __init__(self) -> None:
        self._alike: dict[int, bool] = {}

    def __call__(
        self, function: Callable[[Any, np.ndarray], Any], block: Any, index: np.ndarray, size: int | None = None
    ) -> Array:
        """Return ``function(block, index)``, a row for each state.

        Parameters
        ----------
        function : callable
            Takes states (k, s) and steps (k,).
        block : Array, shape (k, s)
            States.
        index : ndarray of int, shape (k,)
            Their steps.
        size : int, optional
            The number of rows that kernels see, by default k.
        """
        count = int(block.shape[0])
        size = count if size is None else size
        if count == 1 or self._alike.get(size, False):
            return function(block, index)
        rows = [function(block[i : i + 1], index[i : i + 1]) for i in range(count)]
        apart = namespace(rows[0]).concat(rows, axis=0)
        if size not in self._alike:
            host = to_host(apart)
            # Values that are not finite show little about the kernels.
            if np.isfinite(host).all():
                self._alike[size] = np.array_equal(host, to_host(function(block, index)))
        return apart
