"""The message of a result: how a solve ended, and which step it was, also of a phi that starts at a later one."""

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.solver import window_iteration

pytestmark = pytest.mark.usefixtures("synchronous")

N, FIRST, BAD = 64, 100, 103


def decay(weights, index, level):
    return weights - 0.1 * 2**level * np.sin(weights)


def breaks(weights, index, level):
    """Step 103 of level 0 is nan."""
    return np.where((index == BAD)[:, None] & (level == 0), np.nan, decay(weights, index, level))


def test_maxiter_names_cycles_residual_and_tolerance(w0):
    result = dm.MGRIT(decay, N).solve(w0, tol=1e-30, maxiter=2)
    assert result.reason == "maxiter"
    assert result.message == f"maxiter=2 reached after cycle 2: residual {result.residuals[-1]:.3e}, tolerance 1.0e-30"
    assert "no tolerance" in dm.MGRIT(decay, N).solve(w0, tol=0, maxiter=1).message


@pytest.mark.parametrize(("reason", "words"), [("callback", "the callback"), ("settled", "the loss"), ("tol", "")])
def test_other_ends(reason, words, w0, monkeypatch):
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.0)
    options = {
        "callback": {"callback": lambda *_: True},
        "settled": {"settled": dm.Settled(lambda final: 1.0, cycles=1)},
        "tol": {},
    }[reason]
    for solver in (dm.MGRIT(decay, N), dm.ParallelNewton(decay, N, window=2)):
        result = solver.solve(w0, tol=1e-10, **options)
        assert result.reason == reason
        assert words in result.message
        assert bool(result.message) == bool(words)


def test_a_step_of_the_solve_and_of_phi(w0):
    """It is the fourth of this solve, and the 104th of phi."""
    phi, both = dm.start_at(breaks, FIRST), "step 3 of this solve, step 103 of phi"
    for solver in (dm.MGRIT(phi, N), dm.ParallelNewton(phi, N, window=4)):
        result = solver.solve(w0)
        assert result.reason == "diverged"
        assert both in result.message
    whole = dm.ParallelNewton(breaks, 2 * N, window=4).solve(w0)
    assert whole.message == "" or "of phi" not in whole.message


def test_errors_of_phi_have_both_steps(w0):
    def fails(weights, index, level):
        if (index == BAD).any():
            raise RuntimeError("no data")
        return decay(weights, index, level)

    # A block of guesses is taken apart where it fails.
    for window in 1, 8:
        with pytest.raises(RuntimeError) as caught:
            dm.ParallelNewton(dm.start_at(fails, FIRST), N, window=window).solve(w0)
        assert "step 3 of this solve, step 103 of phi" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError) as caught:
        dm.MGRIT(dm.start_at(fails, FIRST), N).solve(w0)
    assert "of this solve, from 10" in caught.value.__notes__[0]


def test_advice_names_both_steps(w0):
    def grows(weights, index, level):
        return 1.0 + (weights - 1.0) * np.where(index < 116, -0.9, -1.1)[:, None]

    result = dm.ParallelNewton(dm.start_at(grows, FIRST), 4 * N, window=8).solve(w0, 1e-9)
    assert result.amplification.before == FIRST
    first = result.amplification.first
    assert first > 0
    assert f"step {first} of this solve, step {FIRST + first} of phi" in result.advice
