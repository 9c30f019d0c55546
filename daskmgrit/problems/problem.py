"""What a problem is, and how Naive and Solvers 1-3 are put together from rules (paper, sections 3.1 to 3.4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.models.data import AllExamples, Averaged, DataRule, Repeat, Serial
from daskmgrit.models.descent import GradientDescent
from daskmgrit.models.mlp import MLP
from daskmgrit.models.rates import CappedRate, ConstantRate, RateRule

__all__ = ["SOLVERS", "Problem"]

SOLVERS = {
    "naive": "all examples in every step, the same learning rate on every level",
    "1": "all examples in every step, rate growing with the level up to a maximum",
    "2": "one batch after another, rate growing with the level up to a maximum",
    "3": "each batch twice in a row, rate growing with the level up to a maximum",
}


@dataclass(frozen=True)
class Problem:
    """A training problem.

    Attributes
    ----------
    name : str
        Its name.
    model : MLP
        The network.
    x, y : ndarray, shape (K, n)
        Training inputs and targets.
    w0 : ndarray, shape (s,)
        Initial weights.
    learning_rate, max_learning_rate : float
        alpha_b and alpha_max where the user gives none.
    batch : int
        Examples per step where data are serialized (Solvers 2 and 3).
    solver : str
        The solver that suits it.
    initial_guess : str
        The initial guess that suits it.
    steps : int
        A number of steps to try it with.
    metrics : callable
        ``metrics(final weights) -> dict`` of figures worth reporting.
    """

    name: str
    model: MLP
    x: NDArray = field(repr=False)
    y: NDArray = field(repr=False)
    w0: NDArray = field(repr=False)
    learning_rate: float
    max_learning_rate: float
    batch: int
    solver: str
    initial_guess: str
    steps: int
    metrics: Callable[[NDArray], dict[str, float]] = field(repr=False)

    def propagator(
        self,
        solver: str | None = None,
        learning_rate: float | None = None,
        max_learning_rate: float | None = None,
        factor: float | Sequence[float] = 2,
        batch: int | None = None,
        offset: int | tuple[int, ...] = 0,
        injection: int = 1,
        averaged: bool = False,
        fine_only: bool = False,
        repeats: int = 1,
        dtype: Any = np.float64,
    ) -> GradientDescent:
        """Make up the propagator.

        Parameters
        ----------
        solver : {"naive", "1", "2", "3"}, optional
            By default the problem's own.
        learning_rate, max_learning_rate : float, optional
            alpha_b and alpha_max, by default the problem's own. A cap below the rate is raised to it.
        factor : float or sequence of float, default 2
            Growth of the rate per level: the coarsening factor, or factors.
        batch : int, optional
            Examples per step of Solvers 2 and 3, by default the problem's own.
        offset : int or tuple of int, default 0
        injection : int, default 1
            See :class:`daskmgrit.models.Serial`.
        averaged : bool, default False
            Whether coarse steps see averaged examples, see :class:`daskmgrit.models.Averaged`.
        fine_only : bool, default False
            Whether Solver 3 repeats examples on level 0 only, see :class:`daskmgrit.models.Repeat`.
        repeats : int, default 1
            See :class:`daskmgrit.models.GradientDescent`.
        dtype : dtype, default float64
            Of the training data.

        Raises
        ------
        ValueError
            If `solver` is unknown or a value is out of range.
        """
        solver = self.solver if solver is None else solver
        if solver not in SOLVERS:
            raise ValueError(f"solver={solver!r} is not known: give one of {', '.join(SOLVERS)}")
        base = self.learning_rate if learning_rate is None else learning_rate
        rate: RateRule
        if solver == "naive":
            if max_learning_rate is not None:
                raise ValueError(
                    f"max_learning_rate={max_learning_rate} has no effect with solver='naive', whose rate is constant: "
                    "leave it out, or take another solver"
                )
            rate = ConstantRate(base)
        else:
            top = max(self.max_learning_rate, base) if max_learning_rate is None else max_learning_rate
            if top < base:
                raise ValueError(
                    f"max_learning_rate={top} is below learning_rate={base}: it caps the rate of coarse levels, so it "
                    "must be at least the rate of level 0"
                )
            rate = CappedRate(base, top, tuple(factor) if isinstance(factor, Sequence) else factor)
        data: DataRule
        if solver in ("naive", "1"):
            if batch is not None:
                raise ValueError(
                    f"batch={batch} has no effect with solver={solver!r}, whose steps see all examples: leave it out, "
                    "or take solver 2 or 3"
                )
            data = AllExamples()
        else:
            given = (len(self.x), self.batch if batch is None else batch, offset, injection)
            serial = Serial(*given) if solver == "2" else Repeat(*given, fine_only)
            data = Averaged(serial) if averaged else serial
        x, y = self.x.astype(dtype, copy=False), self.y.astype(dtype, copy=False)
        return GradientDescent(self.model, x, y, rate, data, repeats)
