"""The training examples that the steps of a block see, gathered state by state."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.data import DataRule
from daskmgrit.models.workspace import scratch

__all__ = ["Examples"]

Array = NDArray

# States are taken in groups whose weights and layer values a core's cache holds: blocks of 50 to 800 states of 12,032
# or 2,410 weights ran 1.3 to 1.5 times faster so than at once.
GROUP_BYTES = 1 << 22


class Examples:
    """Training data and the rule for the examples of a step.

    Parameters
    ----------
    x : ndarray, shape (K, n_in)
        Inputs.
    y : ndarray, shape (K, n_out)
        Targets.
    rule : DataRule
        Examples of a step. Where it has a true attribute ``average``, a step sees their average instead. Where it has
        ``per_step``, as :class:`~daskmgrit.models.Window` has, a step takes the mean of the gradients of fine steps
        with that many examples each.
    """

    def __init__(self, x: Array, y: Array, rule: DataRule) -> None:
        self.x, self.y, self.rule = x, y, rule
        self._average = bool(getattr(rule, "average", False))
        self._per_step: int | None = getattr(rule, "per_step", None)
        self._groups: dict[tuple[int, Any], int] = {}

    def __call__(self, index: Array, level: int) -> tuple[Array, Array]:
        """Return the inputs and targets that steps of a level see, shared (B, n) or one batch a step (k, B, n).

        The latter are valid until this thread's next call.
        """
        chosen = self.rule(index, level)
        if chosen is None:
            return self.x, self.y
        x, y = self._take("inputs", self.x, chosen), self._take("targets", self.y, chosen)
        if self._average:
            return x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
        return x, y

    def _take(self, name: str, rows: Array, chosen: Array) -> Array:
        shape = (*chosen.shape, rows.shape[1])
        return np.take(rows, chosen, axis=0, out=scratch(name, shape, rows.dtype), mode="clip")

    def groups(self, model: Any, index: Array, level: int, dtype: Any) -> Iterator[tuple[slice, Array, Array]]:
        """Yield slices of a block's rows, a cache full of states each, with the inputs and targets that they see."""
        k, group = len(index), self._group(model, index, level, dtype)
        for start in range(0, k, group):
            rows = slice(start, min(start + group, k))
            yield rows, *self(index[rows], level)

    def _group(self, model: Any, index: Array, level: int, dtype: Any) -> int:
        """Return the number of states to take at a time."""
        group = self._groups.get((level, dtype))
        if group is None:
            sample = self.rule(index[:1], level)
            batch = len(self.x) if sample is None else sample.shape[1]
            group = self._groups[level, dtype] = max(1, GROUP_BYTES // (model.footprint(batch) * dtype.itemsize))
        return group

    def share(self, model: Any, x: Array) -> float:
        """Return the factor on a gradient that turns a sum over several fine steps' examples into their mean."""
        if self._per_step is None or model.reduction == "mean":
            return 1.0
        return self._per_step / x.shape[-2]

    def fingerprint(self, text: str) -> str:
        """Return a fingerprint of `text` and the training data, the same in every process."""
        # An object of the user's without a repr of its own shows where it is in memory.
        total = hashlib.blake2b(re.sub(" at 0x[0-9a-fA-F]+", "", text).encode(), digest_size=16)
        for rows in (self.x, self.y):
            total.update(f"{rows.dtype.str} {rows.shape}".encode())
            total.update(np.ascontiguousarray(rows).tobytes())
        return total.hexdigest()
