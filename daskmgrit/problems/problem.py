"""A problem, and Naive and Solvers 1-4 as combinations of rules (paper, sections 3.1 to 3.4.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from daskmgrit.coarse.chebyshev import DAMPING
from daskmgrit.coarse.curvatures import Curvatures, find_curvatures
from daskmgrit.models.data import AllExamples, Averaged, DataRule, Repeat, Serial, Window
from daskmgrit.models.descent import GradientDescent
from daskmgrit.models.mlp import MLP
from daskmgrit.models.optimizers import OptimizerStep, make_rule
from daskmgrit.models.rates import CappedRate, ConstantRate, RateRule
from daskmgrit.recurrence.step_length import StepLength
from daskmgrit.utils.validation import number_option

__all__ = ["COARSE_DATA", "SOLVERS", "Problem", "Tuned"]

SOLVERS = {
    "naive": "all examples in every step, the same learning rate on every level",
    "1": "all examples in every step, rate growing with the level up to a maximum",
    "2": "one batch after another, rate growing with the level up to a maximum",
    "3": "each batch twice in a row, rate growing with the level up to a maximum",
    "4": "1, 2 or 3, as suits the problem, with stabilised coarse steps that see a window of the data",
}

COARSE_DATA = {
    "step": "examples of the step's own number",
    "window": "the examples of the fine steps that it stands for, and takes the mean of their gradients",
    "injected": "examples of the first of the fine steps that it stands for (Remark 1)",
    "averaged": "the mean of the examples of the fine steps that it stands for (Remark 1)",
}


@dataclass(frozen=True, slots=True)
class Tuned:
    """Settings of Solver 4 that suit a problem, as ``daskmgrit tune`` finds them.

    Attributes
    ----------
    base : {"1", "2", "3"}
        The solver whose data it uses.
    max_learning_rate : float
        alpha_max.
    max_stages : int or None
        Maximum number of stages, see :class:`daskmgrit.coarse.CoarseRule`.
    window : int
        B, see :class:`daskmgrit.models.Window`; without effect if steps see all examples.
    coarsening, relaxation, min_coarse
        The hierarchy, see :class:`daskmgrit.MGRIT`.
    initial_guess : str
        The initial guess.
    """

    base: str
    max_learning_rate: float
    max_stages: int | None = None
    window: int = 128
    coarsening: tuple[int, ...] = (2,)
    relaxation: tuple[str, ...] = ("FCF",)
    min_coarse: int = 10
    initial_guess: str = "constant"


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
        Default alpha_b and alpha_max.
    batch : int
        Examples per step of serialized data (Solvers 2 and 3).
    solver : str
        The solver that suits it.
    initial_guess : str
        The initial guess that suits it.
    steps : int
        Default number of steps.
    metrics : callable
        ``metrics(final weights) -> dict`` of numbers to report.
    tuned : Tuned
        Settings of Solver 4.
    remark : str
        Remark to print with the numbers.
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
    tuned: Tuned
    remark: str = ""

    def hierarchy(self, solver: str | None = None, **given: Any) -> dict[str, Any]:
        """Return options of :class:`daskmgrit.MGRIT` that suit a solver.

        Parameters
        ----------
        solver : str, optional
            By default the problem's own.
        **given
            Any of coarsening, relaxation, min_coarse and max_levels; None for what is not given. With another
            coarsening than Solver 4's own the rest are MGRIT's defaults: these are tuned together.
        """
        chosen = {name: value for name, value in given.items() if value is not None}
        if (self.solver if solver is None else solver) != "4":
            return chosen
        tuned = self.tuned
        m = chosen.get("coarsening", tuned.coarsening)
        if (tuple(m) if isinstance(m, Sequence) else (m,)) != tuned.coarsening:
            return chosen
        own = {
            "coarsening": list(tuned.coarsening),
            "relaxation": list(tuned.relaxation),
            "min_coarse": tuned.min_coarse,
        }
        return own | chosen

    def guess(self, solver: str | None = None) -> str:
        """Return the initial guess that suits a solver, by default the problem's own."""
        return self.tuned.initial_guess if (self.solver if solver is None else solver) == "4" else self.initial_guess

    def propagator(
        self,
        solver: str | None = None,
        learning_rate: float | None = None,
        max_learning_rate: float | None = None,
        coarsening: int | Sequence[int] = 2,
        batch: int | None = None,
        offset: int | tuple[int, ...] = 0,
        injection: int = 1,
        averaged: bool = False,
        fine_only: bool = False,
        repeats: int = 1,
        dtype: Any = np.float64,
        coarse: str | Sequence[str] | None = None,
        data: str | None = None,
        window: int | None = None,
        damping: float = DAMPING,
        max_stages: int | None = None,
        rank: int | None = None,
        steps: int | None = None,
    ) -> GradientDescent:
        """Make the propagator.

        Parameters
        ----------
        solver : {"naive", "1", "2", "3", "4"}, optional
            By default the problem's own.
        learning_rate, max_learning_rate : float, optional
            alpha_b and alpha_max, by default the problem's own. A cap below the rate is raised to it.
        coarsening : int or sequence of int, default 2
            The solver's coarsening factor, or one per level: the growth of the rate per level.
        batch : int, optional
            Examples per step of Solvers 2 and 3, by default the problem's own.
        offset : int or tuple of int, default 0
        injection : int, default 1
            See :class:`daskmgrit.models.Serial`.
        averaged : bool, default False
            The same as ``data="averaged"``.
        fine_only : bool, default False
            Whether Solver 3 repeats examples on level 0 only, see :class:`daskmgrit.models.Repeat`.
        repeats : int, default 1
            See :class:`daskmgrit.models.GradientDescent`.
        dtype : dtype, default float64
            Dtype of the training data.
        coarse : str or sequence of str, optional
            Method for coarse steps beyond alpha_max: "capped" (Solvers 1-3), "substeps", "chebyshev" (Solver 4),
            "exponential" or "deflated"; see :class:`daskmgrit.coarse.CoarseRule`.
        data : {"step", "window", "injected", "averaged"}, optional
            Serialized data that a coarse step sees: "step" with Solvers 2 and 3, "window" with 4.
        window : int, optional
            B of ``data="window"``, by default the problem's own.
        damping : float, default 0.05
            eps of the Chebyshev step.
        max_stages : int, optional
            Maximum number of stages of a coarse step, with Solver 4 by default the problem's own.
        rank : int, optional
            With "deflated": the number of curvatures, by default 32.
        steps : int, optional
            With "deflated": N, the steps along which they are found, by default the problem's own.

        Raises
        ------
        ValueError
            If `solver` is unknown or a value is out of range.
        """
        solver = self.solver if solver is None else solver
        if solver not in SOLVERS:
            raise ValueError(f"solver={solver!r} is not known: give one of {', '.join(SOLVERS)}")
        for option, given in (("learning_rate", learning_rate), ("max_learning_rate", max_learning_rate)):
            if given is not None:
                number_option(option, given, "a learning rate is a positive number", above=0)
        base = self.learning_rate if learning_rate is None else learning_rate
        growth = tuple(coarsening) if isinstance(coarsening, Sequence) else coarsening
        rate: RateRule
        if solver == "naive":
            for name, value in (("max_learning_rate", max_learning_rate), ("coarse", coarse)):
                if value is not None:
                    raise ValueError(
                        f"{name}={value} has no effect with solver='naive', whose rate is constant: leave it out, or "
                        "use another solver"
                    )
            rate = ConstantRate(base)
        else:
            usual = self.tuned.max_learning_rate if solver == "4" else self.max_learning_rate
            top = max(usual, base) if max_learning_rate is None else max_learning_rate
            if top < base:
                raise ValueError(
                    f"max_learning_rate={top} is below learning_rate={base}: it caps the rate of coarse levels, so it "
                    "must be at least the rate of level 0"
                )
            rate = CappedRate(base, top, growth)
        if coarse is None:
            coarse = "chebyshev" if solver == "4" else "capped"
        if max_stages is not None and (
            solver == "naive" or set([coarse] if isinstance(coarse, str) else coarse) == {"capped"}
        ):
            raise ValueError(
                f"max_stages={max_stages} has no effect if coarse steps are capped: leave it out, or give "
                'coarse="chebyshev" or "substeps"'
            )
        if max_stages is None and solver == "4":
            max_stages = self.tuned.max_stages
        data = "averaged" if averaged else data
        rule = self._data(solver, growth, batch, offset, injection, data, window, fine_only)
        x, y = self.x.astype(dtype, copy=False), self.y.astype(dtype, copy=False)
        found = None
        if "deflated" in ([coarse] if isinstance(coarse, str) else coarse):
            seen = rule(np.zeros(1, int), 0)
            share = 1.0 if seen is None or self.model.reduction == "mean" else seen.shape[1] / len(self.x)
            length = rate.length(0) * repeats * (self.steps if steps is None else steps)
            found = self._curvatures(share, length, rate.maximum, 32 if rank is None else rank).astype(dtype)
        elif rank is not None:
            raise ValueError(f'rank={rank} has no effect with coarse={coarse!r}: leave it out, or give "deflated"')
        return GradientDescent(self.model, x, y, rate, rule, repeats, coarse, damping, max_stages, found)

    def _curvatures(self, share: float, length: float, max_rate: float, rank: int) -> Curvatures:
        """Return the largest curvatures of what fine steps see on average, along a training of a length."""

        def gradient(weights: NDArray) -> NDArray:
            return self.model.gradient(weights, self.x, self.y) * share

        return find_curvatures(gradient, self.w0, length, max_rate, rank)

    def optimizer(
        self,
        name: str,
        learning_rate: float | None = None,
        batch: int | None = None,
        coarsening: int | Sequence[int] = 2,
        cap: int | None = None,
        dtype: Any = np.float64,
        **settings: Any,
    ) -> OptimizerStep:
        """Make the propagator of an optimizer with moments.

        Parameters
        ----------
        name : {"momentum", "nesterov", "adam", "adamw"}
            The optimizer.
        learning_rate : float, optional
            By default 1e-3 for Adam and AdamW, else the rate that moves weights as far as
            the problem's without momentum.
        batch : int, optional
            Examples per step, one batch after another; by default the problem's own, or all for a problem whose solver
            takes all.
        coarsening : int or sequence of int, default 2
            That of the solver, if coarse steps are taken.
        cap : int, optional
            Most fine steps that a coarse step takes at once.
        dtype : dtype, default float64
            Dtype of training data and states.
        **settings
            See :class:`daskmgrit.models.Momentum` and :class:`daskmgrit.models.Adam`.

        Returns
        -------
        OptimizerStep
            ``phi.w0`` is the state to start from.

        Raises
        ------
        ValueError
            If the optimizer is unknown or a value is out of range.
        """
        if learning_rate is None:
            usual = self.learning_rate * (1 - settings.get("momentum", 0.9))
            learning_rate = round(usual, 12) if name in ("momentum", "nesterov") else 1e-3
        rule = make_rule(name, learning_rate, **settings)
        base = self.tuned.base if batch is None else "2"
        data = self._data(base, 2, batch, 0, 1, None, None, False)
        x, y, weights = (part.astype(dtype, copy=False) for part in (self.x, self.y, self.w0))
        length = StepLength(tuple(coarsening) if isinstance(coarsening, Sequence) else coarsening, cap)
        return OptimizerStep(self.model, weights, x, y, rule, data, length)

    def _data(
        self,
        solver: str,
        coarsening: int | tuple[int, ...],
        batch: int | None,
        offset: int | tuple[int, ...],
        injection: int | tuple[int, ...],
        data: str | None,
        window: int | None,
        fine_only: bool,
    ) -> DataRule:
        """Make the training-data rule."""
        base = self.tuned.base if solver == "4" else solver
        if base in ("naive", "1"):
            for name, value in (("batch", batch), ("data", data), ("window", window)):
                if value is not None:
                    raise ValueError(
                        f"{name}={value} has no effect with solver={solver!r} on {self.name}, whose steps see all "
                        'examples: leave it out, or use solver 2 or 3, with coarse="chebyshev" as in Solver 4'
                    )
            return AllExamples()
        if data is None:
            data = "window" if solver == "4" else "step"
        if data not in COARSE_DATA:
            raise ValueError(f"data={data!r} is not known: give one of {', '.join(COARSE_DATA)}")
        if window is not None and data != "window":
            raise ValueError(f'window={window} has no effect with data={data!r}: leave it out, or give data="window"')
        if data == "injected":
            injection = coarsening
        given = (len(self.x), self.batch if batch is None else batch, offset, injection)
        rule = Serial(*given) if base == "2" else Repeat(*given, fine_only)
        if data == "window":
            return Window(rule, coarsening, self.tuned.window if window is None else window)
        return Averaged(rule, coarsening) if data == "averaged" else rule
