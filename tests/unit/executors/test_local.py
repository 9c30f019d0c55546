"""Solves on local threads."""

import sys

import dask
from threadpoolctl import ThreadpoolController

import daskmgrit as dm
from daskmgrit.executors import local
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


def test_libraries_are_looked_for_once(w0, monkeypatch):
    """To look takes as long as a small solve; again only after modules were imported, which may bring more."""
    looked = []

    class Counted(ThreadpoolController):
        def __init__(self):
            looked.append(1)
            super().__init__()

    monkeypatch.setattr(local, "ThreadpoolController", Counted)
    local._libraries.cache_clear()

    def solve():
        with dask.config.set(scheduler="sync"):
            dm.MGRIT(Decay(), STEPS).solve(w0, **FEW)
        return len(looked)

    solve()  # may import what a solve needs
    looked.clear()
    assert solve() == solve() <= 1
    monkeypatch.setitem(sys.modules, "brings_a_library", sys)
    looked.clear()
    assert solve() == 1
