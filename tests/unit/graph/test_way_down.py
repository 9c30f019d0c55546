"""One task to relax and restrict a chunk: the same bits and chain as with two, ghosts counted, fewer tasks."""

import tracemalloc
from dataclasses import replace

import dask
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import daskmgrit as dm
from daskmgrit.graph.auto_chunks import GHOST_INTERVALS, ChunkPlan, plan_layout
from daskmgrit.graph.chunking import cut
from daskmgrit.multigrid import chunk_kernels, ghost_kernels
from daskmgrit.multigrid.block import Keep
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
        (1, {}, False, False),
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
def test_a_chunk_is_restricted_as_in_two_tasks(m, weight, probed, settles):
    """To the bit, with chain and report, from a block to the left or from its ghost; the last F-interval partial."""
    rng, level, m_coarse = np.random.default_rng(0), 0 if probed or settles else 1, 3
    hierarchy, phi = build_hierarchy(20 * m + m // 2, m), Decay(m)
    blocks = []
    for span in hierarchy[0].spans((0, 7, 14, 21)):
        block = chunk_kernels.guess(phi, "zero", rng.normal(size=3), span)
        points, rhs = (tuple(rng.normal(size=rows.shape) for rows in block.points) for _ in range(2))
        depth = rng.integers(1, 9, len(block.depth))
        blocks.append(replace(block, level=level, points=points, rhs=rhs if level else None, depth=depth))
    lefts = [None, *blocks[:-1]]
    if probed:
        blocks = [chunk_kernels.probe(phi, block, left, 1) for block, left in zip(blocks, lefts, strict=True)]
        lefts = [None, *blocks[:-1]]
    kernel = chunk_kernels.settle_and_relax if settles else chunk_kernels.relax
    apart = [kernel(phi, block, left, weight, 2) for block, left in zip(blocks, lefts, strict=True)]
    for block, left, relaxed, beside in zip(blocks, lefts, apart, [None, *apart[:-1]], strict=True):
        expected = chunk_kernels.restrict(phi, relaxed, beside, m_coarse, 2, Keep.TO_CORRECT)
        stepped = chunk_kernels.coarse_step(phi, relaxed, beside, 2)
        for neighbour in (left, left and left.ghost(weight)):
            piece, step = ghost_kernels.relax_and_restrict(
                phi, block, neighbour, weight, 2, settles, m_coarse, Keep.TO_CORRECT
            )
            assert piece.first == expected.first
            for name in ("u", "v", "depth"):
                assert np.array_equal(getattr(piece, name), getattr(expected, name)), name
            assert np.array_equal(step.values, stepped.values)
            assert np.array_equal(step.depth, stepped.depth)
            assert piece.finer.counts == expected.finer.counts == block.counts
            assert np.array_equal(piece.finer.block.points[0], relaxed.points[0])
            assert np.array_equal(piece.finer.block.depth, relaxed.depth)
            assert piece.finer.block.first == block.first
            places = [
                (record.kind, record.level, record.cycle, record.first) for record in (*piece.records, *step.records)
            ]
            assert places == [("residual", level, 2, block.first), ("coarse step", level + 1, 2, block.first)]
            assert (piece.settled is None) == (not settles)
            if settles:
                assert np.array_equal(piece.settled.norms.values, relaxed.settled.norms.values)
                assert piece.settled.depth == relaxed.settled.depth


@pytest.fixture(scope="module")
def warm():
    """What the first solve imports is no memory of a solve."""
    dm.MGRIT(Decay(), 64).solve(W0, tol=0, maxiter=1, chunks=2, storage="c-points")


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("agglomerate", [1, 99])
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize("chunks", [2, 8])
def test_memory_is_no_more_than_in_two_tasks(agglomerate, m, cycle, chunks):
    steps, w0 = 256, np.linspace(1, 2, 2000)
    solver = dm.MGRIT(lambda weights, index, level: weights * 0.999 ** (m**level), steps, coarsening=m, cycle=cycle)

    def peak():
        with dask.config.set(EVERY_LEVEL | {"daskmgrit.agglomerate": agglomerate}, scheduler="sync"):
            tracemalloc.start()
            try:
                solver.solve(w0, tol=0, maxiter=2, chunks=chunks)
                return tracemalloc.get_traced_memory()[1] / ((steps + 1) * w0.nbytes)
            finally:
                tracemalloc.stop()

    with without_ghosts():
        apart = peak()
    # Which of two tasks that could run comes first is open, and moves either peak by some 3 %.
    assert peak() < 1.05 * apart


def test_divergence_of_a_ghost_is_that_of_its_chunk():
    class Breaks(Decay):
        def __call__(self, weights, index, level):
            new = super().__call__(weights, index, level)
            # The last F-point of the first chunk.
            return np.where(((index == 62) & (level == 0))[:, None], np.nan, new)

    def diverged():
        with dask.config.set(EVERY_LEVEL, scheduler="sync"):
            result = dm.MGRIT(Breaks(), 128).solve(W0, np.ones((129, 5)), chunks=2)
        assert result.reason == "diverged"
        return result.message

    with without_ghosts():
        expected = diverged()
    assert diverged() == expected
