"""The remedies that advice names: their names, which of them can help, and those against steps that amplify errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from daskmgrit.errors import name_step
from daskmgrit.recurrence.amplification import Amplification, nan_in_words
from daskmgrit.recurrence.trial import DIFFERS

__all__ = ["IN_PYTHON", "Facts", "Words", "on_amplification"]


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a solve by MGRIT that its residuals do not tell.

    Attributes
    ----------
    exact : float
        Cycles after which MGRIT is exact except for rounding, with any coarse steps.
    short : bool
        Whether a coarse step takes no more than one fine step: then there is nothing left to cap.
    single : bool
        Whether states are of single precision.
    worth : float
        Cycles beyond which their longest chain of Phi is longer than serial training.
    levels : float
        Number of levels.
    guess : str
        Kind of the initial guess.
    """

    exact: float = math.inf
    short: bool = False
    single: bool = False
    worth: float = math.inf
    levels: float = math.inf
    guess: str = "zero"


@dataclass(frozen=True, slots=True)
class Words:
    """Names of remedies for the reader of the advice, by default in Python.

    Attributes
    ----------
    tol, maxiter, levels : str
        Formats of these options.
    relaxation, guess : str
        These options with the values that help.
    cap : str
        Name of the limit on the rates of coarse steps.
    cap_at, rate_at : str
        Formats of that limit: as a number of fine steps, and as a learning rate.
    stable : str
        Name of stable coarse steps.
    newton : str
        The other method.
    double : str
        Double precision.
    cycle : str
        The cycle of the solve.
    facts : Facts
        Facts about the solve.
    """

    tol: str = "tol={}"
    maxiter: str = "maxiter={}"
    levels: str = "max_levels={}"
    relaxation: str = 'relaxation="FCFCF"'
    guess: str = 'initial_guess="constant" or "nested"'
    cap: str = (
        "cap= of from_function and of the torch and JAX propagators, max_learning_rate= of the problems that come with "
        "the package"
    )
    cap_at: str = "cap={}"
    rate_at: str = "max_learning_rate={:.4g}"
    stable: str = "daskmgrit.coarse.stabilise, Solver 4"
    newton: str = "ParallelNewton"
    double: str = "states of double precision"
    cycle: str = "V"
    facts: Facts = Facts()

    @property
    def closer(self) -> str:
        """Remedies that bring coarse levels closer to the fine one."""
        take = "use F-cycles, more relaxation" if self.cycle == "V" else "use more relaxation"
        if self.facts.short:
            take = f"let coarse steps be longer where that is stable ({self.cap}), or {take}"
        return (
            f"{take} ({self.relaxation}), {self.fewer(2, ' shows whether coarse steps are at fault')}or stable coarse "
            f"steps ({self.stable}); or parallel Newton ({self.newton}), which needs none{self.precision}"
        )

    def fewer(self, levels: int, why: str = "") -> str:
        """Return the remedy of that many levels; empty if there are no more."""
        return f"fewer levels ({self.levels.format(levels)}{why}), " if levels < self.facts.levels else ""

    @property
    def precision(self) -> str:
        """A further remedy, where rounding may be what coarse steps amplify."""
        return f"; or {self.double}: in single, coarse steps may amplify rounding" if self.facts.single else ""

    @property
    def limit(self) -> str:
        """Finding that coarse steps are at fault, with the remedies."""
        if self.facts.short:
            return f"coarse steps, which take no more than a fine one, lag behind: {self.closer}"
        return f"coarse steps are too long for the problem; limit them ({self.cap}), or {self.closer}"


IN_PYTHON = Words()


def on_amplification(amplified: Amplification, words: Words) -> str:
    """Return advice on steps that an examination found to amplify errors, or to have another defect."""
    level, steps, first, before = amplified.level, amplified.steps, amplified.first, amplified.before
    if amplified.cause == "noise":
        return DIFFERS.replace(":", f" (level {level}, {name_step(first, before)}):", 1)
    if amplified.cause == "short":
        return (
            "a step of level 1 is one of level 0, as if phi made no use of the level, so coarse steps lag behind: let "
            "phi take m**level fine steps at once, up to what is stable, as from_function(f, cap=…) does for f(w, i); "
            f"or {words.closer}"
        )
    if amplified.cause == "nan" and not level:
        return nan_in_words(0, first, before)
    many = (
        f"{amplified.total:.3g}-fold within {steps} steps"
        if math.isfinite(amplified.total)
        else f"beyond all bounds within {steps} step{'s' * (steps > 1)}"
    )
    if not level:
        where = f"of the weights from {name_step(first, before)} on" if first else "of w0"
        where = "of the final weights" if amplified.at_end else where
        return (
            f"serial training itself amplifies small changes {where}, {many}: it diverges, oscillates or is chaotic, "
            "and its steps cannot be computed in parallel; lower the learning rate"
        )
    if amplified.cause == "nan":
        found = (
            f"phi returns nan or inf on level {level}, {name_step(steps - 1, before)}, for weights that are finite and "
            "have not grown, and the first steps of finer levels do not: a long step may lead to where phi is not "
            "defined, so give "
        )
        end = "; or check the data of that step"
    else:
        found = (
            f"steps of level {level} are too long: the first of them amplify errors, {many}, and the first of finer "
            "levels do not; give "
        )
        end = ""
    remedies = [f"fewer levels ({words.levels.format(level)})"] if level > 1 else []
    cap = words.cap
    if amplified.cap is not None:
        cap = words.cap_at.format(amplified.cap)
    elif amplified.rate is not None:
        cap = words.rate_at.format(amplified.rate)
    # Steps that are no longer than the fine ones converge slowly.
    if (level > 1 or cap == words.cap) and not words.facts.short:
        remedies.insert(0, f"a cap of coarse rates ({cap}){' or less' * (cap != words.cap)}")
    remedies += [f"stable coarse steps ({words.stable})", f"parallel Newton ({words.newton}), which needs none"]
    return f"{found}{', '.join(remedies[:-1])}, or {remedies[-1]}{words.precision}{end}"
