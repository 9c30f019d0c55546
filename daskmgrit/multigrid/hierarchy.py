"""The hierarchy of levels: sizes, coarsening factors and relaxation (paper, section 2.3.1 and Figure 3)."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.multigrid.intervals import Span, chunk_points
from daskmgrit.utils.per_level import spread
from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["Hierarchy", "Level", "build_hierarchy", "parse_relaxation"]


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the hierarchy.

    Attributes
    ----------
    steps : int
        N_l: the level has points ``0 … steps``.
    coarsening : int
        m_l: point ``m*i`` is a C-point. 1 on the coarsest level, which is solved serially.
    nu : int
        Relaxation is F(CF)^nu.
    weight : float
        Weight of the C-relaxation.
    """

    steps: int
    coarsening: int
    nu: int
    weight: float

    @property
    def intervals(self) -> int:
        """Number of F-intervals: a C-point and the F-points after it (the last may be partial)."""
        return self.steps // self.coarsening + 1

    @property
    def exact_after(self) -> float:
        """Cycles after which MGRIT is exact except for rounding, if this is level 0, with any coarse steps."""
        # Each makes the F-intervals exact that its relaxation goes through, one after another from the first on.
        return math.ceil(self.intervals / (self.nu + 1)) if self.weight == 1 else math.inf

    @property
    def whole(self) -> Span:
        """All its F-intervals."""
        return Span(0, self.intervals, self.coarsening, self.steps)

    def spans(self, bounds: Sequence[int]) -> list[Span]:
        """Return the F-intervals of each chunk: chunk j holds ``bounds[j] … bounds[j+1]-1``."""
        return [Span(first, last, self.coarsening, self.steps) for first, last in itertools.pairwise(bounds)]

    def chunk_points(self, bounds: Sequence[int] | NDArray[np.integer]) -> NDArray[np.integer]:
        """Return the number of points of each chunk."""
        return chunk_points(self.coarsening, self.steps, bounds)

    @property
    def relaxation(self) -> str:
        """The relaxation's name in the field's notation, e.g. ``"FCF"``."""
        return "F" + "CF" * self.nu


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """The levels, finest first, and the cycle that traverses them."""

    levels: tuple[Level, ...]
    cycle: str

    def __len__(self) -> int:
        return len(self.levels)

    def __getitem__(self, level: int) -> Level:
        return self.levels[level]

    @property
    def last(self) -> int:
        """Number of the coarsest level."""
        return len(self.levels) - 1

    def places(self, level: int) -> int:
        """Number of places of a level's F-interval; on the coarsest level all points are one interval."""
        return self[level].coarsening if level < self.last else self[level].steps + 1

    @property
    def steps(self) -> list[int]:
        """N_l of every level."""
        return [level.steps for level in self.levels]

    def __str__(self) -> str:
        return self.table()

    def table(self, stages: Sequence[int] | None = None) -> str:
        """Return the levels as a table, with the stages of a step on each if they are given."""
        total = sum(self.steps) / self.steps[0]
        lines = [
            f"MGRIT hierarchy: {len(self)} levels, {self.cycle}-cycle, step complexity {total:.2f}",
            "  level     steps    m  relaxation  weight" + ("  stages" if stages else ""),
        ]
        for number, level in enumerate(self.levels):
            if number == self.last:
                line = f"  {number:5d}  {level.steps:8d}       serial"
            else:
                line = (
                    f"  {number:5d}  {level.steps:8d}  {level.coarsening:3d}  {level.relaxation:10s}  {level.weight:6g}"
                )
            lines.append(f"{line:43s}{stages[number]:7d}" if stages else line)
        return "\n".join(lines)


# More in a row converge no faster than as many cycles, and serial training is done before.
MOST_SWEEPS = 100


def parse_relaxation(value: Any) -> int:
    """Return nu of F(CF)^nu from ``"F"``, ``"FCF"``, ``"FCFCF"`` … or the integer nu itself.

    Examples
    --------
    >>> [parse_relaxation(r) for r in ("F", "FCF", "FCFCF", 3)]
    [0, 1, 2, 3]
    """
    nu = None
    if isinstance(value, str):
        count, rest = divmod(len(value) - 1, 2)
        if value and not rest and value.upper() == "F" + "CF" * count:
            nu = count
    elif isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= 0:
        nu = int(value)
    if nu is not None and nu <= MOST_SWEEPS:
        return nu
    if nu is not None:
        raise ValueError(f"relaxation with nu={nu} takes {nu} sweeps in each cycle: give nu <= {MOST_SWEEPS}")
    raise ValueError(
        f'relaxation={value!r} is not known: give "F", "FCF", "FCFCF" … or the integer nu >= 0 of F(CF)^nu, '
        "or a list of these with one entry per level"
    )


def _option_per_level(name: str, value: Any, count: int) -> list[Any]:
    """Spread an option over `count` levels: one value for all, or a list whose last entry repeats."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * count
    if not value:
        raise ValueError(f"{name}=[] is empty: give one value, or a list with one entry per level")
    return spread(value, count)


def build_hierarchy(
    steps: int,
    coarsening: int | Sequence[int] = 2,
    max_levels: int | None = None,
    min_coarse: int = 10,
    cycle: str = "V",
    relaxation: Any = "FCF",
    weight: float | Sequence[float] = 1.0,
) -> Hierarchy:
    """Build the hierarchy of levels ``N_{l+1} = N_l // m_l``.

    Level 0 is always coarsened; a further level is added while the coarsest has more than
    `min_coarse` steps. Parameters are those of :class:`daskmgrit.MGRIT`.

    Raises
    ------
    ValueError
        If an option is out of range or `steps` is below the coarsening factor.

    Examples
    --------
    >>> build_hierarchy(100).steps
    [100, 50, 25, 12, 6]
    >>> print(build_hierarchy(100, coarsening=[4, 2], relaxation=["FCF", "F"]))
    MGRIT hierarchy: 4 levels, V-cycle, step complexity 1.43
      level     steps    m  relaxation  weight
          0       100    4  FCF              1
          1        25    2  F                1
          2        12    2  F                1
          3         6       serial
    """
    steps = integer_option("steps", steps, 1, "it is the number of training steps")
    min_coarse = integer_option("min_coarse", min_coarse, 1, "it is the largest size of the coarsest level")
    if max_levels is not None:
        max_levels = integer_option(
            "max_levels", max_levels, 2, "2 is the two-level method; for serial training call train_serially"
        )
    if not isinstance(cycle, str) or cycle.upper() not in ("V", "F"):
        raise ValueError(f'cycle={cycle!r} is not known: give "V" or "F" (two-level is max_levels=2)')
    most = min(max_levels or steps.bit_length() + 1, steps.bit_length() + 1)
    factors = [
        integer_option("coarsening", m, 2, "a C-point stands for this many steps")
        for m in _option_per_level("coarsening", coarsening, most)
    ]
    sweeps = [parse_relaxation(value) for value in _option_per_level("relaxation", relaxation, most)]
    weights = [
        number_option("weight", value, "a C-relaxation's weight is a number in (0, 2)", above=0, below=2)
        for value in _option_per_level("weight", weight, most)
    ]
    if steps < factors[0]:
        raise ValueError(
            f"steps={steps} is below coarsening={factors[0]}: there is nothing to coarsen; "
            "take more steps or a smaller coarsening factor"
        )
    sizes = [steps]
    while len(sizes) < most:
        m = factors[len(sizes) - 1]
        if sizes[-1] < m or (len(sizes) > 1 and sizes[-1] <= min_coarse):
            break
        sizes.append(sizes[-1] // m)
    levels = [
        Level(size, m, nu, omega) for size, m, nu, omega in zip(sizes[:-1], factors, sweeps, weights, strict=False)
    ]
    levels.append(Level(sizes[-1], 1, 0, 1.0))
    return Hierarchy(tuple(levels), cycle.upper())
