"""The paper's model of potential speedup: the dominant sequential component (section 3.4.4)."""

from __future__ import annotations

import math

__all__ = ["bounded_speedup", "potential_speedup", "sigma_f", "sigma_v", "sigma_v_on"]


def sigma_v(levels: int, iterations: int = 1) -> int:
    """Return the paper's count of consecutive Phi for V-cycles (equation 18).

    7 on level 0, 8 on every coarser level, about 10 on the coarsest.

    Examples
    --------
    >>> sigma_v(5)
    41
    """
    return iterations * (17 + 8 * max(levels - 2, 0))


def sigma_f(levels: int, iterations: int = 1) -> int:
    """Return the paper's count for F-cycles (equation 19): V-cycles that start on ever finer levels.

    The iterations count once: equation (19) as printed would have them in the sum again.

    Examples
    --------
    >>> sigma_f(5)
    59
    """
    return iterations * sum(sigma_v(level) for level in range(1, levels - 1))


def potential_speedup(steps: int, levels: int, cycle: str, iterations: int) -> float:
    """Return N/sigma, the paper's potential speedup; nan if equation (19) has nothing to sum."""
    sigma = sigma_v(levels, iterations) if cycle == "V" else sigma_f(levels, iterations)
    return steps / sigma if sigma else math.nan


def sigma_v_on(steps: list[int], processors: int) -> int:
    """Return sigma_V of one V-cycle on P processors (Remark 3), m = 2.

    A processor then holds several intervals of two rows on the fine levels and works through them one by one.

    Parameters
    ----------
    steps : list of int
        N_l of every level.
    processors : int
        P. From N/2 on this is equation (18), except for its "about 10" on the coarsest level, which is N_L here.

    Examples
    --------
    >>> [sigma_v_on([100, 50, 25, 12, 6], p) for p in (1, 10, 50)]
    [700, 89, 37]
    """
    count = 0
    for level, size in enumerate(steps[:-1]):
        count += (8 if level else 7) * math.ceil(size // 2 / processors)
    return count + steps[-1]


def bounded_speedup(steps: int, evaluations: int, critical_path: int, processors: int) -> float:
    """Return a lower bound of the speedup of P processors with a greedy schedule, from the counts of a run.

    By Brent's theorem it takes no longer than ``evaluations/P + critical_path`` Phi.

    Examples
    --------
    >>> bounded_speedup(1000, 5000, 50, 100)
    10.0
    """
    return steps / (evaluations / processors + critical_path)
