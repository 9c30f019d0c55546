"""Phi evaluations and the critical path: counted in a phi and in the executed graph, not from formulas."""

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.graph.auto_chunks import ChunkPlan
from daskmgrit.graph.chunking import cut
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.problems import xor
from tests.support.chains import Chains
from tests.support.counts import close
from tests.support.recurrences import Counting, Decay


def run(cycles, steps=128, chunks=1, w0=None, **options):
    phi = Counting(Decay())
    solver = dm.MGRIT(phi, steps, **options)
    result = solver.solve(np.ones(3), tol=0, maxiter=cycles, chunks=chunks)
    return phi.counts(len(result.levels)), result


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("chunks", [1, 3, 65])
def test_v_cycle_costs_2n_and_3n(chunks):
    with dask.config.set({"daskmgrit.agglomerate": 99, "daskmgrit.beside": False}):
        (before, _), (after, result) = run(3, chunks=chunks), run(4, chunks=chunks)
    levels = result.levels
    assert levels == [128, 64, 32, 16, 8]
    cost = [b - a for a, b in zip(before, after, strict=True)]
    hierarchy = build_hierarchy(128)
    plan, ghosts = ChunkPlan(cut(hierarchy, chunks, [1], 99)), [0] * 5
    for level, cuts in enumerate(plan.layout.levels):
        if plan.has_ghosts(hierarchy, level):
            # A C-relaxation and an F-relaxation; on level 0 the former is known.
            ghosts[level] = (len(cuts) - 1) * (1 + (level > 0))
    assert any(ghosts) == (chunks == 3)
    without = [2 * 128, 3 * 64, 3 * 32, 3 * 16, 8 + 7]
    assert cost == [least + more for least, more in zip(without, ghosts, strict=True)]


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("chunks", [1, 4])
@pytest.mark.parametrize("guess", ["zero", "constant", "nested"])
@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize("relaxation", ["F", "FCF", 2, ["FCF", "F"]])
@pytest.mark.parametrize("m", [2, 3])
def test_reported_evaluations_are_those_done(chunks, guess, cycle, relaxation, m):
    phi = Counting(Decay(m))
    solver = dm.MGRIT(phi, 61, coarsening=m, cycle=cycle, relaxation=relaxation)
    result = solver.solve(np.ones(3), initial_guess=guess, chunks=chunks, maxiter=4)
    assert phi.counts(len(result.levels)) == result.phi_evaluations


def test_auto_chunks_measure_phi_without_extra_calls():
    phi = Counting(Decay())
    result = dm.MGRIT(phi, 100).solve(np.ones(3))
    assert phi.counts(len(result.levels)) == result.phi_evaluations


class CallCounting:
    def __init__(self, m):
        self.phi, self.calls = Decay(m), 0

    def __call__(self, weights, index, level):
        self.calls += 1
        return self.phi(weights, index, level)


def executed_chain(cycles, steps, m, cycle, relaxation):
    """Run with one F-interval per task, every level in tasks of its own."""
    phi = CallCounting(m)
    solver = dm.MGRIT(phi, steps, coarsening=m, cycle=cycle, relaxation=relaxation)
    chains = Chains(phi)
    with chains, dask.config.set({"daskmgrit.agglomerate": 99, "daskmgrit.beside": True}):
        result = solver.solve(np.ones(2), tol=0, maxiter=cycles, chunks=steps // m + 1)
    longest = max(depth for key, depth in chains.depth.items() if str(key).startswith("residual"))
    return longest, result


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize(("m", "relaxation"), [(2, "FCF"), (2, "F"), (4, "FCF"), (3, 2)])
@pytest.mark.parametrize("steps", [96, 15])
def test_critical_path_is_the_longest_chain_of_the_graph(cycle, m, relaxation, steps):
    longest, result = executed_chain(2, steps, m, cycle, relaxation)
    assert result.critical_path == longest


@pytest.mark.usefixtures("synchronous")
def test_v_cycle_has_four_phi_in_a_row_per_level():
    (shorter, _), (longer, result) = (executed_chain(k, 128, 2, "V", "FCF") for k in (2, 3))
    # Four on each of the four levels that are relaxed, seven in the serial solve of eight steps, whose
    # first is known without a phi.
    assert longer - shorter == 4 * 4 + 7
    assert result.levels == [128, 64, 32, 16, 8]


@pytest.mark.usefixtures("synchronous")
def test_the_coarse_step_is_not_on_the_critical_path_where_nothing_is_relaxed():
    (shorter, _), (longer, result) = (executed_chain(k, 64, 2, "V", "F") for k in (2, 3))
    levels = len(result.levels) - 1
    # On each level an F-point, and the residual parallel to the coarse step.
    assert longer - shorter == 2 * levels + result.levels[-1] - 1


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("relaxation", ["F", "FCF", 2])
@pytest.mark.parametrize(("steps", "m"), [(12, 7), (64, 2), (13, 7), (30, 4), (17, 6)])
def test_critical_path_of_a_cycle_does_not_depend_on_the_storage(steps, m, relaxation):
    def path(storage, cycles):
        solver = dm.MGRIT(Decay(m), steps, coarsening=m, relaxation=relaxation)
        return solver.solve(np.ones(2), tol=0, maxiter=cycles, storage=storage).critical_path

    # Its initial guess takes one Phi more, which cannot be used again.
    assert [path("c-points", k) for k in (1, 2, 3)] == [path("full", k) + 1 for k in (1, 2, 3)]


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(
    ("steps", "options"),
    [(128, {}), (16, {"min_coarse": 1}), (4, {"coarsening": 3, "relaxation": 2}), (61, {"coarsening": [3, 2]})],
)
def test_critical_path_does_not_depend_on_the_chunks(steps, options):
    most = steps // 2 + 1 if "coarsening" not in options else steps // 3 + 1
    paths = {run(3, steps, chunks, **options)[1].critical_path for chunks in (1, 2, most)}
    assert len(paths) == 1


@pytest.mark.parametrize(("steps", "iterations"), [(100, 14), (200, 18), (400, 25), (800, 32)])
def test_xor_two_level_naive(steps, iterations):
    problem = xor(seed=1)
    result = dm.MGRIT(problem.propagator("naive", learning_rate=1.0), steps, max_levels=2).solve(problem.w0)
    assert result.converged
    assert close(result.iterations, iterations)


@pytest.mark.parametrize(("cycle", "iterations"), [("V", [11, 17]), ("F", [8, 8])])
def test_xor_solver_1(cycle, iterations):
    problem = xor()
    phi = problem.propagator("1")
    found = [dm.MGRIT(phi, n, cycle=cycle).solve(problem.w0).iterations for n in (400, 1600)]
    assert all(close(*pair) for pair in zip(found, iterations, strict=True))
