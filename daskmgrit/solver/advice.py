"""Advice on a solve that did not converge, from its residuals."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from daskmgrit.errors import name_step
from daskmgrit.recurrence.amplification import Amplification, nan_in_words
from daskmgrit.recurrence.trial import DIFFERS

__all__ = ["IN_PYTHON", "Words", "advise", "advise_on_sweeps", "gained_nothing", "is_unclear", "slow_from"]

# Factors per cycle: below the first a residual falls well; above the second it grows.
WELL, GROWS = 0.9, 1.05
# Cycles that a factor is taken from, so that a single one decides nothing.
RECENT = 5
# A sweep that accepts fewer steps has hardly gained on serial training.
FEW = 1.5
# Sweeps whose mean decides whether they gain, and those at least that are worth advice, if later ones do not.
BLOCK, MANY = 8, 32
# Slots below which a window is what keeps a sweep from accepting more.
SHORT = 4
# A residual that has risen by more than this before it fell: coarse steps amplified errors.
ROSE = 100
# A residual that has fallen to less than this part of the first, and never rose: no level amplifies errors.
FELL = 1e-6
# The initial guess is no result of steps.
AT_GUESS = "during the evaluation of the initial guess"


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


def advise(
    reason: str,
    message: str,
    residuals: Sequence[float],
    tol: float,
    remark: str = "",
    words: Words = IN_PYTHON,
    amplified: Amplification | None = None,
) -> str:
    """Return advice on a solve by MGRIT; empty if none is needed.

    Parameters
    ----------
    reason, message : str
        The end of the solve, as in :class:`daskmgrit.Result`.
    residuals : sequence of float
        Residuals of the initial guess and after each cycle.
    tol : float
        The tolerance.
    remark : str
        The finding of a trial of phi.
    words : Words, optional
        Names of remedies.
    amplified : Amplification, optional
        The finding of an examination after the solve.

    Examples
    --------
    >>> print(advise("maxiter", "", [1.0, 0.1, 0.01, 0.001], 1e-6))
    the residual falls by a factor of 0.1 per cycle: about 3 more would do, maxiter=6
    """
    if reason not in ("maxiter", "stagnated", "diverged"):
        return ""
    if remark and (tol > 0 or reason == "diverged"):
        return remark
    if amplified is not None:
        return _on_amplification(amplified, words)
    if reason == "diverged":
        return _on_divergence(message, words)
    if not tol > 0 or len(residuals) < 2:
        return ""
    if reason == "stagnated":
        return _on_stagnation(message, residuals, words)
    return _on_factor(residuals, tol, words)


def is_unclear(reason: str, message: str, residuals: Sequence[float], tol: float) -> bool:
    """Whether residuals alone do not tell why a solve by MGRIT failed.

    Examples
    --------
    >>> is_unclear("maxiter", "", [1.0, 0.1, 0.01, 0.001], 1e-6), is_unclear("maxiter", "", [1.0, 2.0, 4.0, 8.0], 1e-6)
    (False, True)
    """
    if reason == "diverged":
        return not (AT_GUESS in message and _level(message) == 0)
    if reason == "stagnated":
        fell = min(residuals) < FELL * residuals[0] and max(residuals) <= ROSE * residuals[0]
        return "rounding" not in message and not fell
    if reason != "maxiter" or not tol > 0 or len(residuals) < 2:
        return False
    return (_recent_factor(residuals) or 0.0) >= WELL or _has_risen(residuals)


def gained_nothing(accepted: Sequence[int], windows: Sequence[int]) -> bool:
    """Whether sweeps of parallel Newton accepted hardly more steps than one each."""
    return len(accepted) >= 2 and max(windows, default=1) >= 2 and sum(accepted) < FEW * len(accepted)


def slow_from(accepted: Sequence[int], windows: Sequence[int]) -> int | None:
    """Return the sweep from which on sweeps accepted hardly more steps than one each; None if they are few.

    Examples
    --------
    >>> slow_from([4] * 60 + [1] * 40, [8] * 100), slow_from([4] * 90 + [1] * 10, [8] * 100)
    (60, None)
    """
    first = len(accepted)
    while first and sum(accepted[max(0, first - BLOCK) : first]) < FEW * min(BLOCK, first):
        first = max(0, first - BLOCK)
    # The block before may be slow in part.
    while first and accepted[first - 1] < FEW:
        first -= 1
    count = len(accepted) - first
    enough = count >= max(MANY, len(accepted) / 4)
    return first if enough and gained_nothing(accepted[first:], windows[first:]) else None


def advise_on_sweeps(
    reason: str,
    accepted: Sequence[int],
    windows: Sequence[int],
    tol: float,
    remark: str = "",
    amplified: Amplification | None = None,
) -> str:
    """Return advice on a solve by parallel Newton that diverged, or took nearly as many sweeps as there are steps.

    With nearly N sweeps it converges for any phi, so nothing else shows the defect.

    Examples
    --------
    >>> advise_on_sweeps("tol", [3, 4, 4], [8, 8, 8], 1e-9)
    ''
    >>> advise_on_sweeps("tol", [1, 1, 1, 1], [8, 8, 8, 8], 1e-9).split(":")[0]
    'a sweep accepted 1.0 steps of up to 8'
    """
    if reason == "diverged":
        return remark or (
            "serial training ends there, too: check the result of phi for the weights and the data of that step, or "
            "lower the learning rate"
        )
    begin = 0 if gained_nothing(accepted, windows) else slow_from(accepted, windows)
    if begin is None:
        # Where a trial of phi found something, the solve has converged to what serial training does not give.
        return remark
    found = f"from step {sum(accepted[:begin])} on " if begin else ""
    accepted, windows = accepted[begin:], windows[begin:]
    found += f"a sweep accepted {sum(accepted) / len(accepted):.1f} steps of up to {max(windows)}: "
    if remark:
        return found + remark
    if amplified is not None:
        return found + _on_amplification(amplified, IN_PYTHON)
    if not tol > 0:
        return found + "tol=0 accepts the bits of serial training only; a tolerance takes fewer sweeps"
    if max(windows) < SHORT:
        found += f"a window of {max(windows)} is short, and grows with the number of workers or threads; "
    return found + (
        "serial training is as fast, or faster. Steps that change the weights less, a larger tolerance, or another "
        "jacobian let a sweep accept more"
    )


def _on_amplification(amplified: Amplification, words: Words) -> str:
    level, steps, first, before = amplified.level, amplified.steps, amplified.first, amplified.before
    if amplified.cause == "noise":
        return DIFFERS.replace(":", f" (level {level}, {name_step(first, before)}):", 1)
    if amplified.cause == "short":
        return (
            "a step of level 1 is one of level 0, as if phi made no use of the level, so coarse steps lag behind: let "
            "phi take m**level fine steps at once, up to what is stable, as from_function(f, cap=…) does for f(w, i); "
            f"or {words.closer}"
        )
    if amplified.cause == "nan":
        return nan_in_words(level, steps - 1 if level else first, before)
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
    found = (
        f"steps of level {level} are too long: the first of them amplify errors, {many}, and the first of finer levels "
        "do not; give "
    )
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
    return f"{found}{', '.join(remedies[:-1])}, or {remedies[-1]}{words.precision}"


def _level(message: str) -> int:
    """Return the level that a divergence names."""
    found = re.search(r"on level (\d+), step", message)
    return int(found.group(1)) if found else 0


def _on_divergence(message: str, words: Words) -> str:
    level = _level(message)
    if level:
        found, first = "are too long", "a cap of coarse rates"
        if words.facts.short:
            found, first = (
                "amplify errors, although none takes more than a fine one",
                "longer ones where that is stable",
            )
        return (
            f"steps of level {level} {found}: give {first} ({words.cap}), {words.fewer(max(2, level))}stable coarse "
            f"steps ({words.stable}), or parallel Newton ({words.newton}){words.precision}. Or a correction made "
            "negative what must stay positive, such as second moments: let the state hold their square roots"
        )
    begin = f"begin closer ({words.guess})" if words.facts.guess == "zero" else ""
    if AT_GUESS in message:
        return (
            "there weights are those of the initial guess: check the result of phi for them and for the data of that "
            f"step{begin and f', or {begin}'}"
        )
    remedies = [remedy for remedy in (begin, "" if words.facts.short else "cap the rates of coarse steps") if remedy]
    return (
        "weights became nan or inf on level 0: if daskmgrit.train_serially ends so, too, check the data of that step, "
        f"or lower the learning rate; else {' and '.join(remedies) or f'use parallel Newton ({words.newton})'}"
    )


def _on_stagnation(message: str, residuals: Sequence[float], words: Words) -> str:
    if "rounding" in message:
        best = min(residuals)
        return f"the weights are as accurate as this precision allows: give {_tol(3 * best, words)}, or {words.double}"
    if max(residuals) > ROSE * residuals[0]:
        return _on_rise(residuals, words)
    if min(residuals) < 1e-3 * max(residuals):
        return (
            f"the residual fell by a factor of {max(residuals) / min(residuals):.0e} and then stood still: if "
            f"rounding within phi keeps it, {_tol(3 * min(residuals), words)} is enough"
            f"{f', or {words.double}' if words.facts.single else ''}; else check by "
            "daskmgrit.check_propagator(phi, w0) that rows are independent and results repeat"
        )
    return (
        "coarse levels do not correct the fine one: check by daskmgrit.check_propagator(phi, w0) that rows are "
        f"independent and results repeat; if so, {'' if words.facts.short else 'lower the rates of coarse steps, or '}"
        f"{words.closer}"
    )


def _on_rise(residuals: Sequence[float], words: Words) -> str:
    return f"the residual rose from {residuals[0]:.0e} to {max(residuals):.0e} first: {words.limit}"


def _on_factor(residuals: Sequence[float], tol: float, words: Words) -> str:
    done, now = len(residuals) - 1, residuals[-1]
    factor = _recent_factor(residuals)
    if factor is None:
        return ""
    if factor > GROWS:
        return f"the residual grows by a factor of {factor:.3g} per cycle: {words.limit}"
    if _has_risen(residuals):
        return _on_rise(residuals, words)
    if factor >= 1:
        return f"the residual does not fall (factor {factor:.3f} per cycle): {words.closer}"
    more, exact = math.ceil(math.log(tol / now) / math.log(factor)), words.facts.exact
    if done >= exact:
        found = f"MGRIT is exact after {exact} cycles except for rounding, which coarse steps amplify"
        return f"{found}: give a larger tolerance, or {words.closer}"
    falls = f"the residual falls by a factor of {factor:.2g} per cycle: "
    if exact < done + more:
        falls += f"{words.maxiter.format(exact)} would do, because MGRIT is exact then"
    else:
        falls += f"about {more} more would do, {words.maxiter.format(done + more)}"
    if exact < done + more or words.facts.worth < done + more:
        return f"{falls}, but that is slower than serial training; {words.closer}"
    if factor < WELL:
        return falls
    slowly = f"factor {factor:.3f} per cycle, some {more} more cycles at that rate"
    return f"the residual falls slowly ({slowly}): {words.closer}"


def _recent_factor(residuals: Sequence[float]) -> float | None:
    """Return the factor per cycle of the last cycles; None if it is not known."""
    recent = min(RECENT, max(1, len(residuals) - 2))
    before, now = residuals[-1 - recent], residuals[-1]
    if not (0 < before < math.inf and 0 < now < math.inf):
        return None
    return (now / before) ** (1 / recent)


def _has_risen(residuals: Sequence[float]) -> bool:
    """Whether what falls is the error of coarse steps, which need not fall below the first residual."""
    return max(residuals) > ROSE * residuals[0] and residuals[-1] > residuals[0]


def _tol(value: float, words: Words) -> str:
    return words.tol.format(f"{_round_up(value):.0e}")


def _round_up(value: float) -> float:
    """Return the value with one digit, rounded up."""
    if not 0 < value < math.inf:
        return value
    unit = 10.0 ** math.floor(math.log10(value))
    return math.ceil(value / unit) * unit
