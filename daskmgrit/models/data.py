"""Training-data rules: which examples step i of a level sees (paper, equations 11, 15 and 16)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daskmgrit.coarse.window import window_steps
from daskmgrit.utils.per_level import growth, per_level
from daskmgrit.utils.validation import integer_option

__all__ = ["AllExamples", "Averaged", "DataRule", "Repeat", "Serial", "Window"]

Index = NDArray[np.integer]


class DataRule(Protocol):
    """A rule gives the numbers of the examples of each step."""

    def __call__(self, index: Index, level: int) -> Index | None:
        """Return example numbers, shape (k, B), of source steps (k,) on `level`; None for all examples."""


@dataclass(frozen=True, slots=True)
class AllExamples:
    """Every step sees all examples (equation 11)."""

    def __call__(self, index: Index, level: int) -> Index | None:
        """Return None: all examples."""
        return None


@dataclass(frozen=True, slots=True)
class Serial:
    """Step i sees example, or batch, ``(i + offset) mod K`` (equation 15).

    Parameters
    ----------
    examples : int
        Number of examples.
    batch : int, default 1
        Examples per step; ``K = examples // batch``, and a last incomplete batch is left out.
    offset : int or tuple of int, default 0
        Added to the source step; one value, or one per level, the last repeating. 1 gives a step the data of the point
        that it produces.
    injection : int or tuple of int, default 1
        Step i of level l sees the examples of step ``injection**l * i`` of level 0. 1 uses the step's own number; the
        coarsening factor, or factors, inject the training data of level 0 (Remark 1).

    Examples
    --------
    >>> Serial(4)(np.array([0, 1, 4]), level=0).ravel().tolist()
    [0, 1, 0]
    """

    examples: int
    batch: int = 1
    offset: int | tuple[int, ...] = 0
    injection: int | tuple[int, ...] = 1

    def __post_init__(self) -> None:
        if min(np.atleast_1d(self.injection)) < 1:
            raise ValueError(f"injection={self.injection}: give 1 for none, or the coarsening factor")
        if not 1 <= self.batch <= self.examples:
            raise ValueError(f"batch={self.batch} is out of range: give 1 to {self.examples}, the number of examples")

    @property
    def period(self) -> int:
        """Number of steps after which the same examples repeat."""
        return self.examples // self.batch

    def _place(self, index: Index, level: int) -> Index:
        offset = self.offset
        if isinstance(offset, tuple):
            offset = per_level(offset, level)
        return index * int(growth(self.injection, level)) + offset

    def _take(self, number: Index) -> Index:
        batch = number % (self.examples // self.batch)
        return batch[:, None] * self.batch + np.arange(self.batch)

    def __call__(self, index: Index, level: int) -> Index:
        """Return example numbers, shape (k, batch)."""
        return self._take(self._place(index, level))


@dataclass(frozen=True, slots=True)
class Repeat(Serial):
    """Each example, or batch, is used for two steps in a row: ``((i + offset) // 2) mod K`` (equation 16).

    Parameters are those of :class:`Serial`, and

    Parameters
    ----------
    fine_only : bool, default False
        Only on level 0: coarse steps see examples as by :class:`Serial`, so that with m = 2 step i of level 1 sees what
        the fine steps 2i and 2i+1 see.

    Examples
    --------
    >>> Repeat(4)(np.arange(6), level=0).ravel().tolist()
    [0, 0, 1, 1, 2, 2]
    >>> Repeat(4, fine_only=True)(np.arange(6), level=1).ravel().tolist()
    [0, 1, 2, 3, 0, 1]
    """

    fine_only: bool = False

    @property
    def period(self) -> int:
        """Number of steps of level 0 after which the same examples repeat."""
        return 2 * (self.examples // self.batch)

    def __call__(self, index: Index, level: int) -> Index:
        """Return example numbers, shape (k, batch)."""
        if self.fine_only and level:
            return self._take(self._place(index, level))
        return self._take(self._place(index, level) // 2)


@dataclass(frozen=True, slots=True)
class Averaged:
    """A coarse step sees the average, input and target, of the examples of the fine steps it stands for (Remark 1).

    Step i of level l sees the mean over the examples of the steps ``M*i … M*i + M-1`` of level 0, M the product of the
    coarsening factors above l.

    Parameters
    ----------
    rule : Serial
        The rule of level 0, with one example per step.
    coarsening : int or tuple of int, default 2
        The coarsening factor, or one per level.

    Examples
    --------
    >>> Averaged(Serial(4))(np.array([1]), level=1).tolist()
    [[2, 3]]
    """

    rule: Serial
    coarsening: int | tuple[int, ...] = 2
    average = True

    def __call__(self, index: Index, level: int) -> Index:
        """Return the numbers of the examples to average, shape (k, M)."""
        steps = window_steps(index, level, self.coarsening)
        return self.rule(steps.ravel(), 0).reshape(steps.shape)


@dataclass(frozen=True, slots=True)
class Window:
    """A coarse step sees the examples of the fine steps it stands for, and takes the mean of their gradients.

    Step i of level l stands for the steps ``M*i … M*i + M-1`` of level 0, M the product of the coarsening factors above
    l; it sees what at most `size` of them see, evenly spread. (Not :class:`Averaged`, which takes the gradient of a
    mean example.)

    Parameters
    ----------
    rule : Serial
        The rule of level 0.
    coarsening : int or tuple of int, default 2
        The coarsening factor, or one per level.
    size : int, default 128
        B, the most fine steps whose examples a coarse step sees.

    Examples
    --------
    >>> window = Window(Repeat(6), size=2)
    >>> [window(np.array([1]), level).tolist() for level in range(4)]
    [[[0]], [[1, 1]], [[2, 3]], [[4, 1]]]
    """

    rule: Serial
    coarsening: int | tuple[int, ...] = 2
    size: int = 128

    def __post_init__(self) -> None:
        integer_option(
            "window", self.size, 1, "B is the maximum number of fine steps whose examples a coarse step sees"
        )

    @property
    def per_step(self) -> int:
        """Examples that a fine step sees: a summed gradient over more is divided accordingly."""
        return self.rule.batch

    def __call__(self, index: Index, level: int) -> Index:
        """Return example numbers, shape (k, min(M, size) * batch)."""
        steps = window_steps(index, level, self.coarsening, self.size, self.rule.period)
        return self.rule(steps.ravel(), 0).reshape(len(steps), -1)
