"""Graphs whose tasks are planned on workers: the same bits, and only rows travel."""

import gc

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.solver import solve
from daskmgrit.solver.iteration import Iteration
from tests.support.ghosts import assert_evaluations
from tests.support.placed import MESSAGES, PlacedExecutor
from tests.support.recurrences import Decay

STEPS = 100
# As if Phi took far longer than a task.
COSTLY = {
    "daskmgrit.task-overhead": dict.fromkeys(("sync", "threads", "processes", "distributed"), "1ns"),
    "daskmgrit.scheduler-overhead": "1ns",
}


@pytest.fixture
def placed(monkeypatch):
    """Solves on these numbers of workers and threads of each."""

    def place(*threads):
        executor = PlacedExecutor(list(threads))
        monkeypatch.setattr(solve, "choose_executor", lambda *args, **options: executor)
        return executor

    return place


def both(placed, threads, guess="zero", how=None, **options):
    """The result in one process with one chunk, and the one on workers with its executor."""
    how = {"tol": 0, "maxiter": 3} | (how or {})
    phi = Decay(options["coarsening"]) if isinstance(options.get("coarsening"), int) else Decay()
    solver, w0 = dm.MGRIT(phi, STEPS, **options), np.linspace(1, 2, 5)
    with dask.config.set(scheduler="sync"):
        alone = {name: value for name, value in how.items() if name != "chunks"}
        expected = solver.solve(w0, guess, chunks=1, **alone)
        executor = placed(*threads)
        result = solver.solve(w0, guess, **how)
        assert result.residuals == expected.residuals
        assert_evaluations(result, expected)
        assert result.critical_path == expected.critical_path
        assert np.array_equal(result.weights.compute(), expected.weights.compute())
        assert np.array_equal(result.final, expected.final)
    return result, executor


@pytest.mark.parametrize("storage", ["full", "c-points"])
@pytest.mark.parametrize("agglomerate", ["auto", 99])
@pytest.mark.parametrize("guess", ["zero", "nested"])
@pytest.mark.parametrize("cycle", ["V", "F"])
def test_same_bits_and_only_rows_travel(placed, cycle, guess, agglomerate, storage):
    with dask.config.set({"daskmgrit.agglomerate": agglomerate}):
        _, executor = both(placed, (1, 2, 1), guess, {"chunks": 7, "storage": storage}, cycle=cycle)
    assert set(executor.owners.values()) == set(executor.workers)
    travelled = {parent.partition(".")[0] for _, parent in executor.moves}
    # Coarse levels merge chunks, so what is restricted may travel to where a merged chunk is.
    assert {"edge", "report"} <= travelled <= {*MESSAGES, "restrict"}


def test_the_rest_of_a_cycle_in_one_task_is_sent_in_parts(placed):
    _, executor = both(placed, (1, 1, 1, 1), how={"chunks": 4})
    takers = [task for task, parent in executor.moves if parent.startswith("part.")]
    # Parts of the finer level go there, too.
    back = [task for task in takers if not task.startswith(("V_cycle", "coarse_solve"))]
    assert {executor.owners[task] for task in back} == set(executor.workers) - {
        owner for key, owner in executor.owners.items() if key.startswith(("V_cycle", "coarse_solve"))
    }


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("relaxation", ["F", 2])
def test_same_bits_with_the_coarse_step_beside(placed, beside, relaxation):
    with dask.config.set({"daskmgrit.agglomerate": 99, "daskmgrit.beside": beside}):
        _, executor = both(placed, (2, 2), "constant", {"chunks": 5}, coarsening=3, relaxation=relaxation, weight=1.2)
    assert beside == any(key.startswith("coarse_step.") for key in executor.owners)


@pytest.mark.parametrize("storage", ["full", "c-points"])
@pytest.mark.parametrize("cycle", ["V", "F"])
def test_same_bits_where_phi_is_costly(placed, cycle, storage):
    """Then the last C-point is a chunk of its own, and the residual has tasks of its own."""
    with dask.config.set(COSTLY):
        result, executor = both(placed, (1, 1, 1), "constant", {"storage": storage}, cycle=cycle)
    chunks = result.weights.chunks[0]
    assert len(chunks) > 2
    assert chunks[-1] == 1
    last = f"-{len(chunks) - 1}"
    owners = {owner for key, owner in executor.owners.items() if key.startswith("correct.L0") and key.endswith(last)}
    assert owners == {executor.workers[0]}


def test_the_collector_waits_until_a_graph_is_dropped(placed, monkeypatch):
    """Between building and sending it would visit all of the graph; where tasks run, it must not wait."""
    running = []
    monkeypatch.setattr(Iteration, "_submit_cycle", _noted(Iteration._submit_cycle, running))
    solver = dm.MGRIT(Decay(), STEPS)
    with dask.config.set(scheduler="sync"):
        solver.solve(np.ones(2), tol=0, maxiter=2, chunks=2)
        assert running == [True] * 4
        running.clear()
        placed(1, 1)
        solver.solve(np.ones(2), tol=0, maxiter=2, chunks=2)
    assert running == [False] * 4
    assert gc.isenabled()


def _noted(submit, running):
    def submit_cycle(self, cycle):
        running.append(gc.isenabled())
        submit(self, cycle)
        running.append(gc.isenabled())

    return submit_cycle


@pytest.mark.parametrize("at", ["guess", "cycle"])
def test_divergence_on_workers(placed, at):
    """The cycle that diverges was submitted ahead; the weights are those of the one before."""

    def phi(weights, index, level):
        bad = index == 40 if at == "guess" else (level == 1) & (index == 20)
        return np.where(bad[:, None], np.inf, 0.9**2**level * weights)

    solver, w0 = dm.MGRIT(phi, STEPS), np.ones(3)
    with dask.config.set(scheduler="sync"):
        expected = solver.solve(w0, "constant", chunks=1)
        placed(1, 1, 1)
        result = solver.solve(w0, "constant", chunks=6)
    assert result.reason == expected.reason == "diverged"
    assert result.message == expected.message
    assert np.array_equal(result.residuals, expected.residuals, equal_nan=True)
    assert np.array_equal(result.final, expected.final)


@pytest.mark.parametrize("storage", ["full", "c-points"])
def test_after_a_checkpoint_the_state_comes_from_its_file(placed, tmp_path, storage):
    policy = dm.Checkpoint(tmp_path / "saved", every=1)
    solver, w0 = dm.MGRIT(Decay(), STEPS), np.linspace(1, 2, 5)
    with dask.config.set(scheduler="sync"):
        plain = solver.solve(w0, chunks=4)
        saved = placed(1, 1)
        first = solver.solve(w0, chunks=4, tol=0, maxiter=2, checkpoint=policy, storage=storage)
        placed(2)
        result = solver.resume(policy.directory, tol=plain.tol, maxiter=50)
        assert (first.reason, result.reason) == ("maxiter", "tol")
        assert result.residuals == plain.residuals
        assert np.array_equal(result.weights.compute(), plain.weights.compute())
    assert {"save", "load"} <= {key.partition(".")[0] for key in saved.owners}
