"""Solves on local threads."""

import daskmgrit as dm
from tests.support.recurrences import Decay
from tests.support.reference import FEW, STEPS, assert_same, reference


def test_no_client_needs_nothing_set_up(w0):
    expected, weights = reference(Decay(), w0, "zero", {})
    assert_same(dm.MGRIT(Decay(), STEPS).solve(w0), expected, weights)


def test_overlapping_local_solves_leave_blas_alone(w0):
    from threadpoolctl import threadpool_info

    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    seen = []

    def inner(iteration, residual, weights):
        if iteration == 1:
            dm.MGRIT(Decay(), STEPS).solve(w0, **FEW)
            seen.append(threads())

    dm.MGRIT(Decay(), STEPS).solve(w0, callback=inner, **FEW)
    assert seen == [[1] * len(before)]
    assert threads() == before
