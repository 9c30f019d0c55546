"""The check of a user's Phi, which reports its defects in words."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from daskmgrit.display.html import block, fields
from daskmgrit.errors import PropagatorError
from daskmgrit.models.rates import takes_fine_steps
from daskmgrit.recurrence.amplification import same_steps
from daskmgrit.recurrence.propagator import Phi, apply_phi, failed_row, is_held, read_only, stages_of
from daskmgrit.recurrence.state import InitialState, check_length, initial_state
from daskmgrit.recurrence.trial import check_arguments, one_state_fault, parts_fault, states_near
from daskmgrit.utils.array_api import Array, call_purely, may_change, move_like, to_host
from daskmgrit.utils.pickling import check_picklable

__all__ = ["CheckReport", "check_propagator"]


KEPT = "the propagator keeps its contract"


@dataclass(frozen=True, slots=True)
class CheckReport:
    """The findings of :func:`check_propagator`.

    Attributes
    ----------
    ok : bool
        Whether there are no problems.
    problems : list of str
        Defects that must be fixed, in words.
    remarks : list of str
        Properties that are allowed but worth knowing.
    """

    problems: list[str]
    remarks: list[str]

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def __str__(self) -> str:
        lines = [f"problem: {text}" for text in self.problems] + [f"remark: {text}" for text in self.remarks]
        return "\n".join(lines) if lines else KEPT

    def _repr_html_(self) -> str:
        rows = [("problem", text) for text in self.problems] + [("remark", text) for text in self.remarks]
        if self.ok:
            return block(f"\u2713 {KEPT}", fields(rows))
        return block("the propagator breaks its contract", fields(rows), failed="problem")


def check_propagator(phi: Phi, w0: Any, steps: int = 8, levels: int = 2, raises: bool = True) -> CheckReport:
    """Test a propagator: shape, dtype, finiteness, purity, determinism, batch == loop, picklability.

    Parameters
    ----------
    phi : callable
        The propagator.
    w0 : array_like, shape (s,)
        A state to start from.
    steps : int, default 8
        Source steps 0 … steps-1 are tried.
    levels : int, default 2
        Levels 0 … levels-1 are tried.
    raises : bool, default True
        Whether to raise on a problem; if not, only the report names it.

    Returns
    -------
    CheckReport

    Raises
    ------
    PropagatorError
        If there is a problem and `raises` is true.

    Examples
    --------
    >>> import numpy as np
    >>> def wrong(weights, index, level):
    ...     weights *= 0.9
    ...     return weights
    >>> print(check_propagator(wrong, np.ones(2), raises=False))  # doctest: +ELLIPSIS
    problem: phi wrote to its input (level 0): ...
    """
    state = initial_state(w0)
    check_length(phi, state)
    problems: list[str] = []
    remarks: list[str] = []
    if not callable(phi):
        problems.append(f"phi={phi!r} is not callable: give a function phi(weights, index, level) -> new weights")
    elif wrong := _wrong_arguments(phi):
        problems.append(wrong)
    else:
        results: list[np.ndarray | None] = []
        for level in range(levels):
            results.append(_check_level(phi, state, steps, level, problems, remarks))
            if problems:
                break
        known = [rows for rows in results[:2] if rows is not None]
        if len(known) == 2 and not takes_fine_steps(phi) and same_steps(states_near(state.host, steps), *known):
            remarks.append(
                "a step of level 1 is one of level 0, as if phi made no use of the level: MGRIT takes fewer cycles if "
                "coarse steps are as long as the fine steps that they stand for, as far as that is stable; parallel "
                "Newton needs none"
            )
        try:
            check_picklable(phi)
        except PropagatorError as error:
            problems.append(str(error))
    report = CheckReport(problems, remarks)
    if raises and problems:
        raise PropagatorError(str(report))
    return report


def _wrong_arguments(phi: Phi) -> str:
    try:
        check_arguments(phi)
    except PropagatorError as error:
        return str(error)
    return ""


def _check_level(
    phi: Phi, w0: InitialState, steps: int, level: int, problems: list[str], remarks: list[str]
) -> np.ndarray | None:
    """Try one level and return its results; stop at the first problem, because later calls would repeat it."""
    try:
        stages_of(phi, level)
    except PropagatorError as error:
        problems.append(str(error))
        return None
    index = np.arange(steps)
    try:
        block = w0.block(phi)
        # Near the user's own.
        kept = states_near(to_host(block), steps)
        states = move_like(kept.copy(), block)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            batch = np.array(to_host(apply_phi(phi, states, index, level)))
            again = to_host(apply_phi(phi, states, index, level))
            rows = [apply_phi(phi, states[i : i + 1, ...], index[i : i + 1], level) for i in range(steps)]
            loop = np.concatenate([to_host(row) for row in rows])
            if _keeps_its_result(phi, states, index, level):
                remarks.append(
                    f"phi keeps the array that it returned (level {level}): if it writes to it again, threads will "
                    "spoil each other's results; return a new array"
                )
    except PropagatorError as error:
        problems.append(str(error))
        return None
    except Exception as error:
        row = failed_row(error, steps)
        where = f"for {steps} states" if row is None else f"at step {index[row]}"
        found = one_state_fault(phi, states, index, error) if level == 0 else ""
        given = f" (w0 has length {w0.size})"
        problems.append(found or f"phi raised {type(error).__name__} on level {level} {where}{given}: {error}")
        return None
    if not np.array_equal(kept, to_host(states)):
        problems.append(f"phi changed the weights it was given (level {level}): return new ones")
    if not np.isfinite(batch).all():
        row = int(np.argmin(np.isfinite(batch).all(axis=1)))
        problems.append(f"phi returned nan or inf on level {level}, step {row}: lower the learning rate there")
        return None
    if not np.array_equal(batch, again):
        problems.append(
            f"phi gives different results for the same input on level {level}: draw random numbers from a generator "
            "seeded with the step index, and keep no state between calls: momenta and the like belong in the state"
        )
        return None
    if level == 0 and (fault := parts_fault(phi, states, index, batch)):
        problems.append(fault)
        return None
    precision = np.finfo(batch.dtype)
    scale = max(float(np.abs(batch).max()), precision.tiny)
    worst = float(np.abs(batch - loop).max())
    if worst > 1e3 * precision.eps * scale:
        problems.append(
            f"phi treats a block of {steps} states differently from one state at a time on level {level} (difference "
            f"{worst:.1e}): each row must depend on its own weights and index only"
        )
    elif worst > 0:
        remarks.append(
            f"a block and single states differ by rounding on level {level} ({worst:.1e}): results will depend on the "
            "number of chunks in their last bits"
        )
    return batch


def _keeps_its_result(phi: Phi, states: Array, index: Array, level: int) -> bool:
    """Whether phi keeps a reference to an array that it returned, other than its input."""
    if isinstance(states, np.ndarray):
        first = phi(read_only(states), read_only(index), level)
        return isinstance(first, np.ndarray) and is_held(first) and not np.shares_memory(first, states)
    first, _ = call_purely(phi, states, read_only(index), level)
    return is_held(first) and may_change(first)
