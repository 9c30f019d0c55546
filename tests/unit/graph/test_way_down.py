"""One task to relax and restrict a chunk: the same bits and chain as with two, ghosts counted, fewer tasks."""

import itertools

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskmgrit as dm
from daskmgrit.graph.auto_chunks import GHOST_INTERVALS, ChunkPlan, plan_layout
from daskmgrit.graph.chunking import cut
from daskmgrit.multigrid import chunk_kernels, ghost_kernels
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.solver import solve as solve_module
from tests.support.ghosts import assert_evaluations, without_ghosts
from tests.support.placed import PlacedExecutor
from tests.support.recurrences import Counting, Decay

W0 = np.linspace(1.0, 2.0, 5)
EVERY_LEVEL = {"daskmgrit.agglomerate": 99, "daskmgrit.beside": False}


def solve(threads, steps, options, how, config=EVERY_LEVEL):
    """Solve in this process, or on these workers as they would plan it; return the result and its executor."""
    phi = Counting(Decay(options["coarsening"]) if isinstance(options.get("coarsening"), int) else Decay())
    executor = PlacedExecutor(threads) if threads else None
    with pytest.MonkeyPatch.context() as patch, dask.config.set(config, scheduler="sync"):
        if executor:
            patch.setattr(solve_module, "choose_executor", lambda *args, **options: executor)
        result = dm.MGRIT(phi, steps, **options).solve(W0, **({"tol": 0, "maxiter": 3} | how))
    assert phi.counts(len(result.levels)) == result.phi_evaluations
    return result, executor


def assert_same(result, expected):
    for name in ("residuals", "critical_path", "iterations", "reason", "message"):
        assert getattr(result, name) == getattr(expected, name), name
    assert np.array_equal(result.final, expected.final)
    assert np.array_equal(result.weights.compute(), expected.weights.compute())


@settings(max_examples=40)
@given(st.data())
def test_same_bits_as_in_two_tasks(data):
    m = data.draw(st.sampled_from([2, 3, 4, [3, 2]]))
    steps = data.draw(st.integers(60, 250))
    intervals = -(-steps // (m if isinstance(m, int) else m[0]))
    options = {
        "coarsening": m,
        "cycle": data.draw(st.sampled_from(["V", "F"])),
        "relaxation": data.draw(st.sampled_from(["F", "FCF", 2, ["FCF", "F"], ["F", "FCF"]])),
        "weight": data.draw(st.sampled_from([1.0, 1.2])),
    }
    how = {
        "chunks": data.draw(st.integers(1, max(intervals // GHOST_INTERVALS, 1))),
        "storage": data.draw(st.sampled_from(["full", "c-points"])),
        "initial_guess": data.draw(st.sampled_from(["zero", "constant", "nested"])),
    }
    # Settling residuals has tasks of its own where Phi costs more than a task, whatever it turns out to cost.
    overhead = data.draw(st.sampled_from(["1s", "1ns"]))
    config = EVERY_LEVEL | {
        "daskmgrit.task-overhead.sync": overhead,
        "daskmgrit.task-overhead.distributed": overhead,
        "daskmgrit.scheduler-overhead": overhead,
        "daskmgrit.agglomerate": data.draw(st.sampled_from([1, 2, 99])),
    }
    threads = data.draw(st.sampled_from([None, [1, 1], [2, 1, 1]]))
    result, _ = solve(threads, steps, options, how, config)
    with without_ghosts():
        expected, _ = solve(threads, steps, options, how, config)
    assert_same(result, expected)
    assert_evaluations(result, expected)
    assert result.tasks <= expected.tasks


def names(executor, cycle):
    """How often the tasks of a cycle are planned, by name and level."""
    keys = [key.split("-") for key in executor.owners]
    found = [key[0] for key in keys if key[2] == str(cycle)]
    return {name: found.count(name) for name in sorted(set(found))}


def test_tasks_of_a_cycle_on_two_workers():
    """N = 512, s = 100: on each level but the coarsest two, two tasks down and rows of a neighbour."""
    with dask.config.set({"daskmgrit.task-overhead.distributed": "1s", "daskmgrit.scheduler-overhead": "1s"}):
        result, executor = solve([1, 1], 512, {}, {"chunks": 2, "maxiter": 5})
        with without_ghosts():
            expected, _ = solve([1, 1], 512, {}, {"chunks": 2, "maxiter": 5})
    assert_same(result, expected)
    assert (result.tasks, expected.tasks) == (152, 227)
    found = names(executor, 3)
    assert {name for name in found if name.startswith("relax_restrict")} == {f"relax_restrict.L{k}" for k in range(5)}
    assert {name for name in found if name.startswith("relax.")} == {"relax.L5"}
    # On four of the levels, and level 0: a C-relaxation and an F-relaxation of an F-interval in five cycles.
    more = [a - b for a, b in zip(result.phi_evaluations, expected.phi_evaluations, strict=True)]
    assert more == [10] * 5 + [0] * 2


@pytest.mark.parametrize("agglomerate", [1, 2, 99])
@pytest.mark.parametrize("cycle", ["V", "F"])
def test_no_more_than_pieces_go_to_another_worker(agglomerate, cycle):
    """What waits for its correction stays where it is."""
    config = EVERY_LEVEL | {"daskmgrit.agglomerate": agglomerate}
    _, executor = solve([1, 1, 1], 300, {"cycle": cycle}, {"chunks": 6}, config)
    assert any(key.startswith("relax_restrict.L0") for key in executor.owners)
    assert not [move for move in executor.moves if move[1].startswith("relax_restrict")]


@pytest.mark.parametrize(
    ("bounds", "options", "beside", "expected"),
    [
        (2, {}, False, True),
        (2, {}, True, False),
        (2, {"relaxation": "F"}, False, False),
        # 33 F-intervals.
        (4, {}, False, True),
        (5, {}, False, False),
        (1, {}, False, True),
    ],
)
def test_the_choice_depends_on_counts(bounds, options, beside, expected):
    hierarchy = build_hierarchy(64, **options)
    assert ChunkPlan(cut(hierarchy, bounds, [1], 1), beside).has_ghosts(hierarchy, 0) == expected


def test_a_last_c_point_alone_has_no_ghosts():
    hierarchy = build_hierarchy(256)
    with dask.config.set({"daskmgrit.beside": False}):
        plan = plan_layout(hierarchy, None, [1] * 4, "distributed", 10.0)
    assert plan.layout.levels[0].bounds[-2] == 128
    assert not plan.has_ghosts(hierarchy, 0)


@pytest.mark.parametrize("m", [2, 5])
@pytest.mark.parametrize("weight", [1.0, 0.9])
@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize("settles", [False, True])
def test_a_chunk_and_its_ghost_are_relaxed_as_two_chunks(m, weight, probed, settles):
    """Points, chain, residual report and the neighbour's edge, with the last F-interval partial."""
    rng, level = np.random.default_rng(0), 0 if probed or settles else 1
    hierarchy, phi = build_hierarchy(20 * m + m // 2, m), Decay(m)
    blocks = []
    for lo, hi in itertools.pairwise((0, 7, 14, 21)):
        block = chunk_kernels.guess(phi, "zero", rng.normal(size=3), hierarchy[0].spans((lo, hi))[0])
        rows = [tuple(rng.normal(size=points.shape) for points in block.points) for _ in range(2)]
        places = rows[0], rows[1] if level else None
        depth = rng.integers(1, 9, len(block.depth))
        blocks.append(chunk_kernels.replace(block, level=level, points=places[0], rhs=places[1], depth=depth))
    if probed:
        blocks = [
            chunk_kernels.probe(phi, block, left, 1) for left, block in zip([None, *blocks], blocks, strict=False)
        ]
    kernel = chunk_kernels.settle_and_relax if settles else chunk_kernels.relax
    apart = [kernel(phi, block, left, weight, 2) for left, block in zip([None, *blocks], blocks, strict=False)]
    for j, left in enumerate([None, *blocks[:-1]]):
        for neighbour in (left, left and left.ghost(weight)):
            relaxed, edge = ghost_kernels.relax(phi, blocks[j], neighbour, weight, 2, settles)
            assert relaxed.counts == apart[j].counts
            assert all(map(np.array_equal, relaxed.points, apart[j].points))
            assert np.array_equal(relaxed.depth, apart[j].depth)
            assert (relaxed.settled is None) == (not settles)
            if settles:
                assert np.array_equal(relaxed.settled.norms.values, apart[j].settled.norms.values)
                assert relaxed.settled.depth == apart[j].settled.depth
            if j:
                expected = apart[j - 1].edge()
                assert np.array_equal(edge.last_f, expected.last_f)
                assert np.array_equal(edge.last_c, expected.last_c)
                assert edge.depth == expected.depth


def test_divergence_of_a_ghost_is_that_of_its_chunk():
    class Breaks(Decay):
        def __call__(self, weights, index, level):
            new = super().__call__(weights, index, level)
            # The last F-point of the first chunk.
            return np.where(((index == 62) & (level == 0))[:, None], np.nan, new)

    results = []
    for ghosts in (True, False):
        with dask.config.set(EVERY_LEVEL, scheduler="sync"):
            solver = dm.MGRIT(Breaks(), 128)
            if ghosts:
                results.append(solver.solve(W0, np.ones((129, 5)), chunks=2))
            else:
                with without_ghosts():
                    results.append(solver.solve(W0, np.ones((129, 5)), chunks=2))
    first, second = results
    assert first.reason == second.reason == "diverged"
    assert first.message == second.message
