"""Advice on a solve by MGRIT that did not converge, from its residuals."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from daskmgrit.recurrence.amplification import Amplification
from daskmgrit.solver.remedies import IN_PYTHON, Words, on_amplification

__all__ = ["advise", "is_unclear"]

# Factors per cycle: below the first a residual falls well; above the second it grows.
WELL, GROWS = 0.9, 1.05
# Cycles that a factor is taken from, so that a single one decides nothing.
RECENT = 5
# Cycles before which a residual that grows tells little, and those after which it tells enough.
EARLY, TELLING = 4, 10
# A residual that has risen by more than this before it fell: coarse steps amplified errors.
ROSE = 100
# A residual that has fallen to less than this part of the first, and never rose: no level amplifies errors.
FELL = 1e-6
# The initial guess is no result of steps.
AT_GUESS = "during the evaluation of the initial guess"


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
        return on_amplification(amplified, words)
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
    if factor > GROWS and done < min(EARLY, words.facts.exact):
        ends = words.maxiter.format(min(TELLING, words.facts.exact))
        return f"the residual has not fallen in {done} cycle{'s' * (done > 1)}, which tells little: give more, {ends}"
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
    falls = f"the residual falls by a factor of {factor:.3g} per cycle: "
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
