"""One task for the whole way up: the same bits, counts and chain as with a task per level, and less memory."""

import tracemalloc

import dask
import numpy as np
import pytest
from dask.callbacks import Callback
from hypothesis import given, settings
from hypothesis import strategies as st

import daskmgrit as dm
from daskmgrit.graph.chunking import ChunkLayout, cut
from daskmgrit.multigrid.hierarchy import build_hierarchy
from tests.support.ghosts import without_ghosts
from tests.support.recurrences import Counting, Decay

W0 = np.linspace(1.0, 2.0, 5)


class Names(Callback):
    """Collects what the tasks that ran are called: name and level."""

    def __init__(self):
        super().__init__(pretask=lambda key, graph, state: self.seen.append(str(key).partition("-")[0]))
        self.seen = []


def solve(steps=64, apart=False, config=None, how=None, **options):
    """Solve; `apart` gives every level's correction tasks of its own."""
    phi = Counting(Decay(options["coarsening"]) if isinstance(options.get("coarsening"), int) else Decay())
    with pytest.MonkeyPatch.context() as patch, dask.config.set(config or {}, scheduler="sync"), Names() as names:
        if apart:
            patch.setattr(ChunkLayout, "joined", lambda self, level: False)
        result = dm.MGRIT(phi, steps, **options).solve(W0, **({"tol": 0, "maxiter": 3} | (how or {})))
    assert phi.counts(len(result.levels)) == result.phi_evaluations
    return result, names.seen


def assert_same(result, expected):
    for name in ("residuals", "phi_evaluations", "critical_path", "iterations", "reason", "message"):
        assert getattr(result, name) == getattr(expected, name), name
    assert [record[:3] for record in sorted(result.records)] == [record[:3] for record in sorted(expected.records)]
    assert np.array_equal(result.final, expected.final)
    assert np.array_equal(result.weights.compute(), expected.weights.compute())


@settings(max_examples=25)
@given(st.data())
def test_same_bits_as_with_a_task_for_each_level(data):
    m = data.draw(st.sampled_from([2, 3, 4, [3, 2]]))
    steps = data.draw(st.integers(20, 150))
    cycle = data.draw(st.sampled_from(["V", "F"]))
    relaxation = data.draw(st.sampled_from(["F", "FCF", 2, ["FCF", "F"], ["F", "FCF"]]))
    weight = data.draw(st.sampled_from([1.0, 1.2]))
    # Whatever Phi turns out to cost, a task costs far more, or far less.
    config = {
        "daskmgrit.task-overhead.sync": (overhead := data.draw(st.sampled_from(["1s", "1ns"]))),
        "daskmgrit.scheduler-overhead": overhead,
        "daskmgrit.agglomerate": data.draw(st.sampled_from(["auto", 1, 2, 3, 99])),
        "daskmgrit.beside": data.draw(st.booleans()),
    }
    how = {
        "chunks": data.draw(st.integers(1, steps // (m if isinstance(m, int) else m[0]))),
        "storage": data.draw(st.sampled_from(["full", "c-points"])),
        "initial_guess": data.draw(st.sampled_from(["zero", "constant", "nested"])),
    }
    options = {"coarsening": m, "cycle": cycle, "relaxation": relaxation, "weight": weight}
    (together, _), (apart, _) = (solve(steps, each, config, how, **options) for each in (False, True))
    assert_same(together, apart)
    assert together.tasks <= apart.tasks


EVERY_LEVEL = {"daskmgrit.agglomerate": 99, "daskmgrit.beside": False}


def per_cycle(chunks, config=EVERY_LEVEL, **options):
    """How often the tasks of a cycle in mid-solve run, by name and level."""
    few, many = (solve(128, False, config, {"maxiter": k, "chunks": chunks}, **options)[1] for k in (2, 3))
    return {
        name: many.count(name) - few.count(name) for name in sorted(set(many)) if many.count(name) > few.count(name)
    }


@pytest.mark.parametrize("chunks", [2, 4])
def test_a_chunk_goes_up_in_one_task(chunks):
    found = per_cycle(chunks)
    # Levels 0 to 3 have the same chunks; level 4 is solved.
    assert {name: count for name, count in found.items() if name.startswith("correct")} == {"correct.L0": chunks}
    # Going down it is one task on levels with long chunks, else two.
    long = 3 if chunks == 2 else 2
    assert [found[f"relax_restrict.L{level}"] for level in range(long)] == [chunks] * long
    assert [found[f"relax.L{level}"] for level in range(long, 4)] == [chunks] * (4 - long)
    assert [found[f"restrict.L{level}"] for level in range(long, 4)] == [chunks] * (4 - long)


def test_an_f_cycle_comes_back_to_every_level_once():
    found = per_cycle(2, cycle="F")
    # On level l it relaxes l + 1 times, and corrects in tasks of that level where it is relaxed again.
    assert [found[f"correct.L{level}"] for level in range(4)] == [2] * 4
    names = [*(f"relax_restrict.L{level}" for level in range(3)), "relax.L3"]
    assert [found[name] for name in names] == [2, 4, 6, 8]


def test_levels_on_which_chunks_merge_begin_anew():
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        layout = cut(build_hierarchy(128), 11, [1])
    lengths = [len(level) for level in layout.levels]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) > 1
    tops = [level for level in range(layout.gathered) if not layout.joined(level)]
    found = per_cycle(11)
    corrections = {name: count for name, count in found.items() if name.startswith("correct")}
    assert corrections == {f"correct.L{level}": lengths[level] for level in tops}
    assert [layout.corrected_from(level) + 1 for level in tops] == [*tops[1:], layout.gathered]


def test_blocks_in_files_are_corrected_level_by_level():
    """A coarse block that is in a file does not bring the finer ones along."""
    w0 = np.linspace(1, 2, 3000)

    def names(memory):
        with Names() as found, dask.config.set({"daskmgrit.memory": memory} | EVERY_LEVEL, scheduler="sync"):
            result = dm.MGRIT(Decay(), 64).solve(w0, tol=0, maxiter=2, chunks=2)
        return result, set(found.seen)

    (kept, in_memory), (stored, in_files) = names(None), names("400 kB")
    assert np.array_equal(kept.weights.compute(), stored.weights.compute())
    assert "correct.L1" not in in_memory
    assert "correct.L1" in in_files


def test_processes_are_not_sent_what_waits_on_finer_levels():
    from daskmgrit.graph.auto_chunks import ChunkPlan
    from daskmgrit.graph.builder import GraphBuilder, GraphContext
    from daskmgrit.graph.submission import TaskBook, stand_in

    hierarchy = build_hierarchy(64)
    plan, some = ChunkPlan(cut(hierarchy, 2, [1])), stand_in("some", None)
    counts = []
    for in_memory in (True, False):
        book = TaskBook()
        context = GraphContext(hierarchy, some, some, "run", in_memory=in_memory)
        GraphBuilder(context, plan, book, 1).cycle_tasks([some, some])
        counts.append(sum(key.startswith("correct") for key in book.layers))
    assert counts == [2, 2 * plan.layout.gathered]


@pytest.mark.parametrize("bad", [(0, 40), (1, 20), (2, 10), (3, 4)])
def test_divergence_on_the_way_up(bad):
    """It ends the solve as where each level has tasks of its own, wherever it is."""

    class Breaks(Decay):
        calls = 0

        def __call__(self, weights, index, level):
            new = super().__call__(weights, index, level)
            here = (level, True) == (bad[0], bad[1] in index)
            self.calls += here
            return np.full_like(new, np.nan) if here and self.calls > 7 else new

    results = []
    for apart in (False, True):
        with pytest.MonkeyPatch.context() as patch, dask.config.set(EVERY_LEVEL, scheduler="sync"):
            if apart:
                patch.setattr(ChunkLayout, "joined", lambda self, level: False)
            results.append(dm.MGRIT(Breaks(), 64).solve(W0, tol=0, maxiter=9, chunks=2))
    first, second = results
    assert first.reason == second.reason == "diverged"
    assert first.message == second.message
    assert np.array_equal(first.residuals, second.residuals, equal_nan=True)
    assert np.array_equal(first.final, second.final)


@pytest.fixture(scope="module")
def warm():
    """What the first solve imports is no memory of a solve."""
    dm.MGRIT(Decay(), 16).solve(W0, tol=0, maxiter=1, chunks=2, storage="c-points")


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("storage", ["full", "c-points"])
@pytest.mark.parametrize("m", [2, 4])
@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize("chunks", [1, 8])
def test_memory_is_no_more_than_with_a_task_for_each_level(storage, m, cycle, chunks):
    steps, w0 = 256, np.linspace(1, 2, 2000)
    solver = dm.MGRIT(lambda weights, index, level: weights * 0.999 ** (m**level), steps, coarsening=m, cycle=cycle)

    def peak(apart):
        with pytest.MonkeyPatch.context() as patch, dask.config.set(EVERY_LEVEL, scheduler="sync"):
            if apart:
                patch.setattr(ChunkLayout, "joined", lambda self, level: False)
            tracemalloc.start()
            try:
                solver.solve(w0, tol=0, maxiter=2, chunks=chunks, storage=storage)
                return tracemalloc.get_traced_memory()[1] / ((steps + 1) * w0.nbytes)
            finally:
                tracemalloc.stop()

    together, apart = peak(False), peak(True)
    assert together < 1.01 * apart
    if chunks == 8 and cycle == "V" and storage == "full":
        # F-points of relaxed blocks do not wait for the correction; nor do they where one task restricts them, too.
        with without_ghosts():
            assert peak(False) < 0.95 * peak(True)
