"""Residual histories of another implementation, entry by entry."""

import json
from pathlib import Path

import numpy as np
import pytest

import daskmgrit as dm

REFERENCE = json.loads((Path(__file__).parents[2] / "support" / "data" / "pymgrit_dahlquist.json").read_text())


class Dahlquist:
    """Backward Euler for u' = lam*u with step m**level * dt."""

    def __init__(self, lam, dt, m):
        self.lam, self.dt, self.m = lam, dt, m

    def __call__(self, weights, index, level):
        return weights / (1 - self.lam * self.m**level * self.dt)


def name(case):
    nested = "-nested" if case["nested_iteration"] else ""
    return "nt{nt}-L{levels}-m{m}-{cycle_type}-nu{cf_iter}-w{weight_c}".format(**case) + nested


@pytest.mark.parametrize("chunks", ["auto", 5])
@pytest.mark.parametrize("case", REFERENCE["cases"], ids=name)
def test_history(case, chunks):
    phi = Dahlquist(case["lam"], case["T"] / (case["nt"] - 1), case["m"])
    solver = dm.MGRIT(
        phi,
        case["nt"] - 1,
        coarsening=case["m"],
        max_levels=case["levels"],
        min_coarse=1,
        cycle=case["cycle_type"],
        relaxation=case["cf_iter"],
        weight=case["weight_c"],
    )
    assert len(solver.hierarchy) == case["levels"]
    result = solver.solve(
        np.ones(1),
        initial_guess="nested" if case["nested_iteration"] else "zero",
        tol=case["tol"],
        maxiter=case["max_iter"],
        chunks=chunks,
    )
    assert result.converged
    history = case["history"]
    if history[-1] > case["tol"]:
        # The other implementation does not list a last residual that is exactly zero.
        history = [*history, 0.0]
    assert len(result.residuals) == len(history) + 1
    np.testing.assert_allclose(result.residuals[1:], history, rtol=1e-6, atol=1e-13)


def test_every_case_is_there():
    assert len(REFERENCE["cases"]) == 48
