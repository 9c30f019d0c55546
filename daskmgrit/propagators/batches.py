"""The examples that a step of an adapter sees: all, batches in turn, or those of a rule."""

from __future__ import annotations

from typing import Any

import numpy as np

from daskmgrit.models.data import AllExamples, DataRule, Serial
from daskmgrit.utils.validation import integer_option

__all__ = ["data_rule", "fine_batch"]


def data_rule(batch: Any, examples: int) -> DataRule:
    """Return the data rule for a user's `batch`.

    Parameters
    ----------
    batch : int, data rule or None
        Examples per step, taken in turn; a rule of :mod:`daskmgrit.models`; or None for all examples.
    examples : int
        K.

    Raises
    ------
    ValueError
        If `batch` is out of range, or a rule that averages examples instead of their gradients.
    """
    if batch is None:
        return AllExamples()
    if not callable(batch):
        remedy = "it is the number of examples per step; None is all of them"
        return Serial(examples, integer_option("batch", batch, 1, remedy, examples))
    if getattr(batch, "average", False):
        raise ValueError(
            f"batch={batch!r} averages examples, which works for built-in networks only: give a rule that takes more "
            "examples on coarse levels, such as daskmgrit.models.Window"
        )
    rule: DataRule = batch
    return rule


def fine_batch(data: DataRule, examples: int) -> np.ndarray:
    """Return the numbers of the examples of the first step of level 0."""
    numbers = data(np.zeros(1, int), 0)
    return np.arange(examples) if numbers is None else numbers[0]
