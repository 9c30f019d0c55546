"""storage="c-points": the same bits in 1/m of the memory, counted; and blocks in files."""

import sys
import tracemalloc
from pathlib import Path

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.graph import block_store
from daskmgrit.graph.auto_chunks import GHOST_INTERVALS
from daskmgrit.multigrid import c_point_kernels
from daskmgrit.multigrid.intervals import Span
from tests.support.ghosts import assert_evaluations
from tests.support.recurrences import Counting, Decay
from tests.support.stop import Stop, stop_at

STEPS = 100
FEW = {"tol": 0, "maxiter": 3}


def solve(m, steps=STEPS, w0=None, options=None, **how):
    phi = Counting(Decay(m))
    w0 = np.linspace(1.0, 2.0, 5) if w0 is None else w0
    result = dm.MGRIT(phi, steps, coarsening=m, **(options or {})).solve(w0, **FEW, **how)
    assert phi.counts(len(result.levels)) == result.phi_evaluations
    return result


def assert_same(result, expected):
    assert result.residuals == expected.residuals
    assert np.array_equal(result.final, expected.final)
    assert np.array_equal(result.weights.compute(), expected.weights.compute())


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("guess", ["zero", "constant", "nested"])
@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize(("m", "relaxation", "weight"), [(2, "FCF", 1.0), (3, 2, 1.2), (16, "F", 1.0), (7, "FCF", 0.9)])
def test_same_bits(guess, cycle, m, relaxation, weight):
    options = {"cycle": cycle, "relaxation": relaxation, "weight": weight}
    for steps in (STEPS, 16 * 6):
        expected = solve(m, steps, options=options, initial_guess=guess, chunks=1)
        for chunks in (1, 3, steps // m + 1):
            result = solve(m, steps, options=options, initial_guess=guess, chunks=chunks, storage="c-points")
            assert_same(result, expected)
            # Beyond level 0 nothing differs.
            assert_evaluations(result, expected, finest=1)
            # Nor does a cycle; but for F-points of the guess, which nested iteration has computed.
            assert result.critical_path == expected.critical_path + (guess != "nested")


def cost(m, steps, **how):
    """Evaluations on level 0, and critical path, of the initial guess and of one cycle."""
    few, many = (
        dm.MGRIT(Decay(m), steps, coarsening=m).solve(np.ones(3), tol=0, maxiter=k, chunks=3, **how) for k in (1, 2)
    )
    one = many.phi_evaluations[0] - few.phi_evaluations[0], many.critical_path - few.critical_path
    return one, (few.phi_evaluations[0] - one[0], few.critical_path - one[1])


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("m", [2, 4, 16])
def test_cycles_cost_no_more_phi_and_the_guess_a_little(m):
    n = 16 * 12
    (cycle, start), (lean_cycle, lean_start) = cost(m, n), cost(m, n, storage="c-points")
    # Two chunks relax the F-points of an F-interval more, with full storage.
    ghosts = 2 * (m - 1) if n // m // 3 >= GHOST_INTERVALS else 0
    assert (cycle, lean_cycle) == ((2 * n + ghosts, cycle[1]), (2 * n, cycle[1]))
    # In the first cycle nothing has arrived yet, which a chunk with F-points computes for its neighbour, too.
    assert lean_start[0] - start[0] == n // m - 2 * (ghosts > 0)
    assert lean_start[1] - start[1] == 1


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("m", [4, 16])
def test_peak_memory_falls_by_the_coarsening_factor(m):
    """In terms of all states, (N+1) s numbers."""
    steps, w0 = 16 * 64, np.linspace(1, 2, 1000)
    whole = (steps + 1) * w0.nbytes

    def phi(weights, index, level):
        return weights * 0.999 ** (m**level)

    def peak(**how):
        tracemalloc.start()
        try:
            with dask.config.set({"daskmgrit.c-chunk-bytes": 1 << 15, "daskmgrit.agglomerate": 3}):
                result = dm.MGRIT(phi, steps, coarsening=m).solve(w0, tol=0, maxiter=2, **how)
            return tracemalloc.get_traced_memory()[1] / whole, result
        finally:
            tracemalloc.stop()

    full, _ = peak(chunks=32)
    lean, result = peak(storage="c-points")
    assert len(result.weights.chunks[0]) >= 16
    # Two states of level 0; values, right-hand sides and what they are made of on level 1; some chunks at work.
    assert full > 2
    assert lean * m < 7
    tracemalloc.start()
    try:
        total = result.weights.sum().compute()
        assert tracemalloc.get_traced_memory()[1] < 0.25 * whole
    finally:
        tracemalloc.stop()
    assert np.isfinite(total)


def test_one_row_travels_instead_of_two(w0):
    block = c_point_kernels.evaluated_guess(Decay(4), "constant", w0, Span(0, 4, m=4, steps=100))
    assert sum(len(rows) for rows in block.edge()[:2]) == 1


@pytest.mark.usefixtures("synchronous")
def test_guesses_given(w0):
    expected = solve(4, chunks=1)
    straight = dm.MGRIT(Decay(4), STEPS, coarsening=4).solve(w0, tol=0, maxiter=5, chunks=1)
    half = solve(4, chunks=3, storage="c-points")
    for guess in (half, half.weights, half.weights.compute()):
        for chunks in (1, 4):
            again = dm.MGRIT(Decay(4), STEPS, coarsening=4).solve(
                w0, initial_guess=guess, tol=0, maxiter=2, chunks=chunks, storage="c-points"
            )
            assert again.residuals[1:] == straight.residuals[4:]
            assert np.array_equal(again.weights.compute(), straight.weights.compute())
    assert_same(half, expected)
    bad = half.weights.compute()
    bad[55] = np.nan
    with pytest.raises(ValueError, match="at or after row 5"):
        dm.MGRIT(Decay(4), STEPS, coarsening=4).solve(
            w0, initial_guess=dask.array.from_array(bad), chunks=4, storage="c-points"
        )


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("guess", ["zero", "constant", "nested"])
@pytest.mark.parametrize("when", [0, 2])
def test_divergence(guess, when, w0):
    class Breaks(Decay):
        calls = 0

        def __call__(self, weights, index, level):
            new = super().__call__(weights, index, level)
            self.calls += len(index) * (level == 0)
            return np.where(self.calls > (when or -1) * 250, np.nan, new)

    results = [
        dm.MGRIT(Breaks(4), STEPS, coarsening=4).solve(w0, initial_guess=guess, chunks=3, storage=storage, **FEW)
        for storage in ("full", "c-points")
    ]
    assert [result.reason for result in results] == ["diverged"] * 2
    if when == 0:
        raw = results[0].weights.compute()
        assert np.array_equal(results[1].weights.compute(), raw)
        assert np.array_equal(results[1].final, raw[-1])


def test_unknown_storage(w0):
    with pytest.raises(ValueError, match="storage='half' is not known"):
        dm.MGRIT(Decay(), STEPS).solve(w0, storage="half")


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("storage", ["full", "c-points"])
def test_blocks_in_files(tmp_path, storage, scheduler):
    w0 = np.linspace(1, 2, 3000)
    with dask.config.set(scheduler=scheduler):
        expected = solve(4, w0=w0, chunks=1)
        with dask.config.set({"daskmgrit.memory": "400 kB", "temporary-directory": str(tmp_path)}):
            seen = []

            def watch(iteration, residual, weights):
                seen.append(sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()))

            result = solve(4, w0=w0, chunks=5, storage=storage, callback=watch)
        # The C-points alone take 600 kB.
        assert min(seen) > 200_000
        assert_same(result, expected)
        (folder,) = tmp_path.iterdir()
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        assert sum(sizes.values()) <= max(seen)
        del result
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("synchronous")
def test_blocks_are_not_fetched_for_a_row_or_a_norm(monkeypatch):
    fetched = []
    get = block_store.BlockStore.get

    def noted(self, key):
        fetched.append(key)
        return get(self, key)

    monkeypatch.setattr(block_store.BlockStore, "get", noted)
    w0 = np.linspace(1, 2, 3000)
    counts = []
    for cycles in (1, 2):
        fetched.clear()
        with dask.config.set({"daskmgrit.memory": "400 kB", "daskmgrit.agglomerate": 1}):
            dm.MGRIT(Decay(4), STEPS, coarsening=4).solve(w0, tol=0, maxiter=cycles, chunks=5, storage="c-points")
        counts.append(len(fetched))
    # Per chunk: relax, restrict, what that made in the gathered task, correct with the gathered state, probe.
    assert counts[1] - counts[0] == 5 * (1 + 1 + 1 + 2 + 1)


@pytest.mark.usefixtures("synchronous")
def test_a_full_disk_is_named(tmp_path, monkeypatch, w0):
    from zict import File

    def full(self, key, value):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(File, "__setitem__", full)
    w0 = np.linspace(1, 2, 3000)
    with (
        dask.config.set({"daskmgrit.memory": "100 kB", "temporary-directory": str(tmp_path)}),
        pytest.raises(OSError, match="No space left") as caught,
    ):
        solve(4, w0=w0, chunks=5, storage="c-points")
    assert "daskmgrit.memory" in caught.value.__notes__[0]


def test_memory_is_limited_only_where_it_is_needed(w0):
    from daskmgrit.executors.choose import choose_executor

    executor = choose_executor()
    assert executor.store(1 << 20) is None
    with dask.config.set({"daskmgrit.memory": None}):
        assert executor.store(1 << 50) is None
    store = executor.store(1 << 50)
    assert Path(store.folder).is_dir()
    assert 1 << 28 < store.limit < 1 << 50
    assert sys.getrefcount(store) == 2


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("storage", ["full", "c-points"])
def test_storage_is_that_of_the_solve_that_saved(tmp_path, w0, storage):
    phi, place = Counting(Decay(4)), dm.Checkpoint(tmp_path, every=2)
    solver = dm.MGRIT(phi, STEPS, coarsening=4)
    with pytest.raises(Stop):
        solver.solve(w0, tol=0, maxiter=4, callback=stop_at(3), checkpoint=place, storage=storage)
    for wanted in (None, "full", "c-points"):
        result = solver.resume(tmp_path, storage=wanted)
        before = phi.counts(2)[0]
        result.weights.compute()
        # F-points that are not held are made.
        assert phi.counts(2)[0] - before == {"full": 0, "c-points": 75}[wanted or storage]


@pytest.mark.usefixtures("synchronous")
def test_a_checkpoint_of_blocks_in_files(tmp_path):
    w0 = np.linspace(1, 2, 3000)
    expected = solve(4, w0=w0, chunks=1)
    solver, place = dm.MGRIT(Decay(4), STEPS, coarsening=4), dm.Checkpoint(tmp_path / "saved", every=1)
    with dask.config.set({"daskmgrit.memory": "400 kB", "temporary-directory": str(tmp_path)}):
        with pytest.raises(Stop):
            solver.solve(w0, chunks=5, storage="c-points", checkpoint=place, callback=stop_at(2), **FEW)
        result = solver.resume(place.path, chunks=5)
        assert_same(result, expected)
        del result
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("daskmgrit.memory", "banana"),
        ("daskmgrit.memory", True),
        ("daskmgrit.memory", -1),
        ("daskmgrit.c-chunk-bytes", 0),
        ("temporary-directory", "/nonexistent/x"),
    ],
)
def test_bad_settings(setting, value, w0):
    with (
        dask.config.set({"daskmgrit.memory": 0, setting: value}, scheduler="sync"),
        pytest.raises(ValueError, match=f"{setting} in dask.config={value!r}"),
    ):
        dm.MGRIT(Decay(), 64).solve(w0, storage="c-points")
