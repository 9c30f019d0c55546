"""Advice on a solve by parallel Newton whose sweeps gained nothing, all of them or only later ones."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from daskmgrit.graph.window_tasks import LATE, UNLIKE, Apart, Failures
from daskmgrit.recurrence.amplification import Amplification
from daskmgrit.solver.remedies import IN_PYTHON, on_amplification

__all__ = ["advise_on_sweeps", "gained_nothing", "on_apart", "on_failures", "slow_from"]

# A sweep that accepts fewer steps has hardly gained on serial training, with windows of 4 slots or more.
FEW = 1.25
# Sweeps whose mean decides whether they gain, and those at least that are worth advice, if later ones do not.
BLOCK, MANY = 8, 32
# Slots below which a window is what keeps a sweep from accepting more.
SHORT = 4


def _few(windows: Sequence[int]) -> float:
    """Return the accepted steps of a sweep that are hardly more than one: of 2 slots, 7 in 6 sweeps are a gain."""
    return min(FEW, 1 + (max(windows, default=1) - 1) * (FEW - 1) / (SHORT - 1))


def gained_nothing(accepted: Sequence[int], windows: Sequence[int]) -> bool:
    """Whether sweeps of parallel Newton accepted hardly more steps than one each."""
    return len(accepted) >= 2 and max(windows, default=1) >= 2 and sum(accepted) < _few(windows) * len(accepted)


def slow_from(accepted: Sequence[int], windows: Sequence[int]) -> int | None:
    """Return the sweep from which on sweeps accepted hardly more steps than one each; None if they are few.

    Examples
    --------
    >>> slow_from([4] * 60 + [1] * 40, [8] * 100), slow_from([4] * 90 + [1] * 10, [8] * 100)
    (60, None)
    """
    first, few = len(accepted), _few(windows)
    while first and sum(accepted[max(0, first - BLOCK) : first]) < few * min(BLOCK, first):
        first = max(0, first - BLOCK)
    # The block before may be slow in part.
    while first and accepted[first - 1] < few:
        first -= 1
    count = len(accepted) - first
    enough = count >= max(MANY, len(accepted) / 4)
    return first if enough and gained_nothing(accepted[first:], windows[first:]) else None


def on_apart(rounds: Mapping[Apart, int], missing: int = 0) -> str:
    """Return a remark on workers that rounds were done without, from the number of these; empty for none.

    One that was late once and has come again since is not worth a remark: `missing` are those that have not.

    Examples
    --------
    >>> on_apart({Apart("tcp://10.0.0.2:40001", UNLIKE): 3}).partition(", so")[0]
    'the results of tcp://10.0.0.2:40001 differed from those of the others in the last bits'
    """
    unlike, late = (
        {each.address: count for each, count in rounds.items() if each.why == why} for why in (UNLIKE, LATE)
    )
    remarks = []
    if unlike:
        remarks.append(
            f"the results of {_some(unlike)} differed from those of the others in the last bits, so the others did the "
            "work: use workers with one type of processor and the same libraries"
        )
    if late and (missing or max(late.values()) > 1):
        many = max(late.values())
        often = "a round" if many == 1 else f"{many} rounds"
        remarks.append(
            f"{_some(late)} took more than ten times as long as the others in {often} of sweeps, so "
            "the others did that work: see what else runs there, or where phi waits"
        )
    return "; ".join(remarks)


def _some(addresses: Collection[str]) -> str:
    named = ", ".join(sorted(addresses)[:3])
    return f"{named} and {len(addresses) - 3} more workers" if len(addresses) > 3 else named


def on_failures(failures: Failures) -> str:
    """Return a remark on guesses for which phi raised an error; empty for none.

    Examples
    --------
    >>> print(on_failures(Failures(1, "ValueError: negative mass", 7)).partition(":")[0])
    phi raised an error for 1 guess (ValueError
    """
    if not failures.guesses:
        return ""
    guesses = "1 guess" if failures.guesses == 1 else f"{failures.guesses} guesses, the first"
    return (
        f"phi raised an error for {guesses} ({failures.error}, at step {failures.step}), which the solve did without: "
        "such weights are not those of serial training, or one worker alone fails (its files, its libraries). Sweeps "
        "accept more without such errors"
    )


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
        return found + on_amplification(amplified, IN_PYTHON)
    if not tol > 0:
        found += "tol=0 accepts the bits of serial training only; a tolerance takes fewer sweeps, unless training "
        return found + "amplifies small changes"
    if max(windows) < SHORT:
        found += f"a window of {max(windows)} is short, and grows with the number of workers or threads; "
    return found + (
        "serial training is as fast, or faster. Steps that change the weights less, a larger tolerance, or another "
        'jacobian ("full" for few weights) may let a sweep accept more'
    )
