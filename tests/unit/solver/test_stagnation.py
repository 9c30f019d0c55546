"""Stopping where the residual no longer falls, and nowhere else."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.solver.stagnation import Stagnation

ROOT = Path(__file__).parents[3]


def single(weights, index, level):
    """A recurrence that stays in single precision."""
    rate = np.float32(0.05 * 2**level / (1 + 0.05 * 2**level))
    return (1 - rate) * weights + rate * np.sin(weights + np.float32(1))


def relaxed_only(weights, index, level):
    """Coarse levels correct nothing, so that cycles only carry the initial state on, two F-intervals each."""
    return weights.copy() if level == 0 else np.ones_like(weights)


def paper_columns():
    """Every history that the paper's tables were measured with, converged or not."""
    for name in ("paper.json", "solver4.json"):
        text = json.loads((ROOT / "docs" / name).read_text())
        yield from columns(text)


def columns(value):
    if isinstance(value, dict):
        if "residuals" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from columns(each)


def test_no_history_of_the_paper_is_cut_short():
    seen = {True: 0, False: 0}
    for column in paper_columns():
        residuals = [math.inf if value is None else value for value in column["residuals"]]
        tol = 1e-9 * math.sqrt(column["levels"][0])
        if residuals[-1] > tol:
            continue
        # Neither when few cycles are asked for nor without a bound on how many it takes.
        for maxiter in (50, 200):
            rule = Stagnation(tol, maxiter, math.inf, 1e-15 * math.sqrt(column["levels"][0]), "float64")
            stops = [k for k in range(1, len(residuals) - 1) if rule.words(residuals[: k + 1])]
            assert not stops, (column["levels"], residuals)
        seen[max(residuals[1:]) > residuals[0]] += 1
    # Some of them rise before they fall.
    assert seen[True] > 20
    assert seen[False] > 100


@pytest.mark.parametrize(
    "residuals",
    [
        [0.99**k for k in range(50)],
        [1.05**k for k in range(50)],
        [*(1.02**k for k in range(40)), *(2.2 * 0.5**k for k in range(9))],
        [1 + 0.5 * (k % 2) for k in range(50)],
    ],
    ids=["slow", "rising", "rising, then falling", "swinging"],
)
def test_what_may_yet_converge(residuals):
    rule = Stagnation(1e-9, 50, math.inf, 1e-15, "float64")
    assert not any(rule.words(residuals[: k + 1]) for k in range(1, len(residuals)))


def test_a_fall_that_is_to_come():
    """With relaxation alone a residual stands still until exactness, which is within maxiter here."""
    flat = [1.0] * 30
    assert not Stagnation(1e-9, 50, 40, 1e-15, "float64").words(flat)
    assert Stagnation(1e-9, 50, 60, 1e-15, "float64").words(flat)
    assert Stagnation(1e-9, 50, 20, 1e-15, "float64").words(flat)


def test_a_transient_longer_than_that_is_let_pass_where_maxiter_leaves_time():
    flat = [3.0, *[1.0] * 40]
    assert Stagnation(1e-9, 50, math.inf, 1e-15, "float64").words(flat)
    assert not Stagnation(1e-9, 500, math.inf, 1e-15, "float64").words(flat)


@pytest.mark.usefixtures("synchronous")
class TestSolves:
    """Whole solves."""

    @pytest.mark.parametrize("storage", ["full", "c-points"])
    def test_at_rounding(self, w0, storage):
        result = dm.MGRIT(single, 400).solve(w0.astype(np.float32), tol=1e-12, storage=storage)
        assert (result.reason, result.converged) == ("stagnated", False)
        assert result.iterations < 20
        assert "rounding of float32" in result.message
        assert "tol=" in result.advice
        assert result.message in str(result)
        assert result.advice in str(result)
        assert "rounding of float32" in result._repr_html_()
        # What is advised does.
        tol = float(result.advice.split("tol=")[1].split(",")[0])
        assert dm.MGRIT(single, 400).solve(w0.astype(np.float32), tol=tol).converged

    def test_no_fall(self, w0):
        result = dm.MGRIT(relaxed_only, 1000).solve(w0)
        assert (result.reason, result.converged) == ("stagnated", False)
        assert "for 15 cycles" in result.message
        assert result.iterations == 16
        assert "check_propagator" in result.advice
        # Where maxiter reaches exactness, the solve is let go on to it.
        assert dm.MGRIT(relaxed_only, 150).solve(w0).converged

    def test_zero_tolerance_does_all_cycles(self, w0):
        result = dm.MGRIT(single, 400).solve(w0.astype(np.float32), tol=0, maxiter=30)
        assert (result.reason, result.iterations, result.advice) == ("maxiter", 30, "")

    def test_resuming(self, w0, tmp_path):
        solver = dm.MGRIT(single, 400)
        first = solver.solve(w0.astype(np.float32), tol=1e-12, checkpoint=tmp_path)
        again = solver.resume(tmp_path)
        assert (again.reason, again.message, again.residuals) == ("stagnated", first.message, first.residuals)
        assert solver.resume(tmp_path, tol=2 * min(first.residuals[-1:])).converged

    def test_a_callback_and_a_settled_loss_come_first(self, w0):
        solver, start = dm.MGRIT(single, 400), w0.astype(np.float32)
        stops = solver.solve(start, tol=1e-12).iterations
        result = solver.solve(start, tol=1e-12, callback=lambda cycle, residual, weights: cycle == stops)
        assert (result.reason, result.iterations) == ("callback", stops)


@pytest.mark.parametrize(
    ("dtype", "scale", "expected"),
    [
        (np.float64, 1.0, 1e-9),
        (np.float64, 1e9, 1e-9),
        (np.float32, 1.0, 1e-5),
        (np.float32, 1e3, 1e3 * np.finfo(np.float32).eps * 10),
    ],
)
@pytest.mark.parametrize("method", [dm.MGRIT, dm.ParallelNewton])
@pytest.mark.usefixtures("synchronous")
def test_the_default_tolerance(method, dtype, scale, expected, caplog):
    result = method(lambda weights, index, level: weights, 16).solve(np.array([scale], dtype))
    assert result.tol == pytest.approx(4 * expected, rel=1e-6)
    assert ("give tol" in caplog.text) == (dtype == np.float64 and scale > 1)
    if dtype == np.float64:
        assert result.tol == 1e-9 * 4


@pytest.mark.parametrize("steps", [16, 64, 400])
def test_a_phi_that_draws_ends_before_the_last_cycle(steps):
    rng = np.random.default_rng(0)

    def draws(weights, index, level):
        return 0.9 * weights + 0.01 * rng.normal(size=weights.shape)

    result = dm.MGRIT(draws, steps).solve(np.ones(4))
    assert result.reason == "stagnated"
    assert result.iterations < 50
    assert result.message.startswith("the residual has not fallen below")
    assert "different results" in result.advice


def test_only_where_phi_is_doubted_are_new_minima_counted():
    wavering = [1.0, *(2.0 + (-1) ** k for k in range(15))]
    assert Stagnation(1e-9, 50, math.inf, 1e-14, "float64", doubted=True).words(wavering)
    assert not Stagnation(1e-9, 50, math.inf, 1e-14, "float64").words(wavering)
    assert not Stagnation(1e-9, 50, math.inf, 1e-14, "float64", doubted=True).words(wavering[:-1])
    assert not Stagnation(1e-9, 50, math.inf, 1e-14, "float64", doubted=True).words([*wavering[:-1], 0.9])
