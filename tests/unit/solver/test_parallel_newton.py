"""Parallel Newton on the local schedulers: the serial result, the bits of the reference, what results tell."""

import asyncio
from dataclasses import replace

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.graph import thread_habit
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.newton.sizes import Fixed
from daskmgrit.problems import PROBLEMS
from daskmgrit.solver import window_iteration
from tests.support.recurrences import Decay

N = 40


@pytest.fixture(scope="module")
def adam():
    return PROBLEMS["digits"]().optimizer("adam", batch=16)


def expected(phi, w0, tol, window, jacobian="identity", rank=32):
    return solve_in_one_process(phi, w0, NewtonSettings(N, tol, jacobian, Fixed(window), rank=rank), keep=True)


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("tol", [0.0, 1e-6])
def test_bits_of_the_reference(adam, scheduler, tol, monkeypatch):
    reference = expected(adam, adam.w0, tol, 5)
    solver = dm.ParallelNewton(adam, N, window=5)
    for seconds in (0.0, 1.0):  # a task for each sweep, or one for all
        monkeypatch.setattr(window_iteration, "ROUND_SECONDS", seconds)
        with dask.config.set(scheduler=scheduler, num_workers=3):
            result = solver.solve(adam.w0, tol, keep="all")
        assert np.array_equal(result.final, reference.final)
        assert np.array_equal(result.weights.compute(), reference.weights)
        assert result.accepted == [report.accepted for report in reference.sweeps]
        assert result.residuals[-1] == reference.residual <= tol
        assert result.phi_evaluations == [reference.phi_evaluations]
        assert result.critical_path == reference.critical_path
        assert result.strict_path == reference.strict_path
        assert result.error == reference.error
        assert result.reason == "tol"
        assert result.converged


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("jacobian", ["identity", "lowrank", "full"])
def test_zero_tolerance_gives_the_bits_of_serial_training(jacobian, w0):
    phi = Decay()
    serial = dm.train_serially(phi, w0, N)
    result = dm.ParallelNewton(phi, N, window=8, jacobian=jacobian, rank=3).solve(w0, tol=0, keep="all")
    assert np.array_equal(result.weights.compute(), serial)
    assert result.iterations <= N


class Blockwise(Decay):
    """A step whose last bits depend on the number of rows, as those of a matrix product may."""

    def __call__(self, weights, index, level):
        return super().__call__(weights, index, level) + 1e-15 * len(weights)


class BlockwiseParts(Blockwise):
    """The same, as gradient and update."""

    def gradient(self, weights, index):
        return weights - super().__call__(weights, index, 0)

    def advance(self, state, gradient, index):
        return state - gradient

    def __call__(self, weights, index, level):
        return self.advance(weights, self.gradient(weights, index), index)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("interval", [1, 2])
@pytest.mark.parametrize("phi", [Blockwise(), BlockwiseParts()])
def test_zero_tolerance_gives_them_also_where_a_row_has_others_in_a_block(phi, interval, threads, w0):
    serial = dm.train_serially(phi, w0, N)[-1]
    solver = dm.ParallelNewton(phi, N, window=8, interval=interval)
    with dask.config.set(scheduler="threads", num_workers=threads):
        result = solver.solve(w0, tol=0)
        near = solver.solve(w0, tol=1e-9)
    assert np.array_equal(result.final, serial)
    assert sum(record.evaluations for record in result.records) == result.phi_evaluations[0]
    np.testing.assert_allclose(near.final, serial, rtol=0, atol=1e-8)


@pytest.mark.usefixtures("synchronous")
def test_any_number_of_threads_gives_the_same_bits(adam, monkeypatch):
    reference = expected(adam, adam.w0, 1e-6, 6)
    for short in (0.0, 1e9):  # fewer threads are tried late, or at once
        monkeypatch.setattr(thread_habit, "SHORT", short)
        with dask.config.set(scheduler="threads", num_workers=4):
            result = dm.ParallelNewton(adam, N, window=6).solve(adam.w0, 1e-6)
        assert np.array_equal(result.final, reference.final)


@pytest.mark.usefixtures("synchronous")
def test_resume_gives_the_bits_of_an_uninterrupted_solve(adam, tmp_path, monkeypatch):
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.0)
    solver = dm.ParallelNewton(adam, N, window=5)
    whole = solver.solve(adam.w0, 1e-6)

    class Stop(Exception):
        pass

    def stop(sweep, residual, weights):
        if sweep == 5:
            raise Stop

    with pytest.raises(Stop) as caught:
        solver.solve(adam.w0, 1e-6, checkpoint=dm.Checkpoint(tmp_path / "c", every=2, seconds=None), callback=stop)
    assert "sweep 4" in caught.value.__notes__[0]
    result = solver.resume(tmp_path / "c")
    assert np.array_equal(result.final, whole.final)
    assert result.residuals == whole.residuals
    assert result.accepted == whole.accepted
    assert result.error == whole.error
    # What has ended is there at once.
    assert np.array_equal(solver.resume(tmp_path / "c", adam.w0).final, whole.final)
    with pytest.raises(dm.CheckpointError, match="already holds a checkpoint"):
        solver.solve(adam.w0, checkpoint=tmp_path / "c")
    with pytest.raises(dm.CheckpointError, match="its steps is 40, here it is 41"):
        dm.ParallelNewton(adam, N + 1, window=5).resume(tmp_path / "c")
    other = PROBLEMS["digits"]().optimizer("adam", batch=16, learning_rate=2e-3)
    with pytest.raises(dm.CheckpointError, match="another problem"):
        dm.ParallelNewton(other, N, window=5).resume(tmp_path / "c")
    with pytest.raises(dm.CheckpointError, match="another method"):
        dm.MGRIT(adam, N).resume(tmp_path / "c")
    with pytest.raises(ValueError, match="broadcast") as caught:
        dm.ParallelNewton(lambda w, i, level: w - np.ones((len(w), 3)), N, window=5).resume(tmp_path / "c")
    assert any(f"has states of {adam.w0.size} entries" in note for note in caught.value.__notes__)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("jacobian", ["identity", "full"])
def test_resume_gives_the_same_estimate_of_the_error(jacobian, w0, tmp_path, monkeypatch):
    def phi(weights, index, level):
        return weights + 0.05 * np.sin(np.roll(weights, 1, axis=1) + index[:, None])

    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.0)
    solver = dm.ParallelNewton(phi, N, window=5, jacobian=jacobian)
    policy = dm.Checkpoint(tmp_path, every=2, seconds=None)
    whole = solver.solve(w0, 1e-4)
    stopped = solver.solve(w0, 1e-4, checkpoint=policy, callback=lambda sweep, residual, weights: sweep == 4)
    assert stopped.reason == "callback"
    assert solver.resume(tmp_path).error == whole.error > 0


@pytest.mark.usefixtures("synchronous")
def test_an_estimate_that_tells_nothing_is_called_unknown(adam):
    result = dm.ParallelNewton(adam, N, window=5).solve(adam.w0, 1e-3)
    size = np.linalg.norm(result.final)
    for error, begins in ((1e-3, "about 1.0e-03"), (0.4 * size, "about"), (0.6 * size, "unknown"), (np.nan, "unknown")):
        assert dict(replace(result, error=error).summary())["error of weights"].startswith(begins)


@pytest.mark.usefixtures("synchronous")
def test_damaged_checkpoints_are_refused(adam, tmp_path):
    solver = dm.ParallelNewton(adam, N, window=5)
    solver.solve(adam.w0, 1e-3, checkpoint=tmp_path)
    (states,) = tmp_path.glob("cycle-*/states.npy")
    data = bytearray(states.read_bytes())
    data[-1] ^= 1
    states.write_bytes(data)
    with pytest.raises(dm.CheckpointError, match=r"states\.npy: its checksum is wrong"):
        solver.resume(tmp_path)
    states.unlink()
    with pytest.raises(dm.CheckpointError, match=r"states\.npy"):
        solver.resume(tmp_path)


@pytest.mark.usefixtures("synchronous")
def test_divergence_ends_with_the_last_finite_state(w0):
    def breaks(weights, index, level):
        return np.where((index == 20)[:, None], np.nan, 0.9 * weights)

    result = dm.ParallelNewton(breaks, N, window=6).solve(w0)
    assert result.reason == "diverged"
    assert "step 20" in result.message
    assert np.isfinite(result.final).all()
    done = sum(result.accepted)
    assert 0 < done <= 20
    assert np.allclose(result.final, w0 * 0.9**done)
    assert "DIVERGED" in str(result)


@pytest.mark.usefixtures("synchronous")
def test_callback_and_settled_stop(adam, monkeypatch):
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.0)
    solver, seen = dm.ParallelNewton(adam, N, window=4), []

    def callback(sweep, residual, weights):
        seen.append((sweep, weights.shape))
        return sweep == 3

    result = solver.solve(adam.w0, callback=callback)
    assert result.reason == "callback"
    assert seen == [(1, adam.w0.shape), (2, adam.w0.shape), (3, adam.w0.shape)]
    assert np.array_equal(result.final, solver.solve(adam.w0, keep="all").weights[sum(result.accepted)].compute())
    settled = dm.Settled(lambda final: 1.0, cycles=2)
    result = solver.solve(adam.w0, settled=settled)
    assert result.reason == "settled"
    assert len(result.losses) >= 4


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 0}, "window=0"),
        ({"window": "large"}, "window='large'"),
        ({"jacobian": "exact"}, "jacobian='exact'"),
        ({"rank": 0}, "rank=0"),
        ({"interval": 0}, "interval=0"),
        ({"work": 0.5}, "work=0.5"),
        ({"work": "much"}, "work='much'.*at least 1"),
        ({"window": np.array([4, 5])}, "window=array.*number of slots"),
        ({"jacobian": np.ones(2)}, 'jacobian=array.*"identity"'),
        ({"steps": 0}, "steps=0"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        dm.ParallelNewton(Decay(), **({"steps": N} | options))


@pytest.mark.usefixtures("synchronous")
def test_bad_arguments_are_named(w0, tmp_path):
    solver = dm.ParallelNewton(Decay(), N)
    for arguments, words in (
        ({"tol": -1}, "tol=-1"),
        ({"keep": "some"}, "keep='some'"),
        ({"keep": "all", "checkpoint": tmp_path}, "exclude each other"),
        ({"timeout": "soon"}, "timeout='soon'"),
        ({"progress": "x"}, "progress='x'"),
    ):
        with pytest.raises(ValueError, match=words):
            solver.solve(w0, **arguments)
    with pytest.raises(ValueError, match="interval=1"):
        dm.ParallelNewton(Decay(), N, interval=2).solve(w0, keep="all")
    with pytest.raises(TypeError, match="not callable"):
        dm.ParallelNewton(3, N)
    with pytest.raises(dm.PropagatorError, match="shape"):
        dm.ParallelNewton(lambda weights, index, level: weights[:1], N, jacobian="identity").solve(w0)
    assert not asyncio.iscoroutine(solver.solve(w0, 1e-3))


@pytest.mark.usefixtures("synchronous")
def test_what_is_shown(adam):
    solver = dm.ParallelNewton(adam, N, window=8)
    assert "gradient and update apart" in str(solver)
    assert "8 slots" in solver._repr_html_()
    result = solver.solve(adam.w0, 1e-3)
    text = str(result)
    for word in ("sweeps", "accepted", "error of weights", "potential speedup"):
        assert word in text
    assert "parallel Newton result" in result._repr_html_()
    assert np.isnan(result.convergence_factor)


@pytest.mark.usefixtures("synchronous")
def test_the_window_follows_what_sweeps_accept(adam):
    result = dm.ParallelNewton(adam, N).solve(adam.w0, 1e-6)
    assert result.converged
    # A step is evaluated three times on average, and again where the window was too long for a while.
    assert result.phi_evaluations[0] <= 4 * N


def test_a_window_of_all_steps_has_a_jacobian_for_each_part_of_the_run():
    def descend(weights, index, level):
        return weights - 0.02 * np.linspace(0.1, 30, weights.shape[1]) * np.sin(weights)

    solver = dm.ParallelNewton(descend, 128, window=64, jacobian="lowrank", rank=4, interval=2)
    assert solver.settings(1e-9, Fixed(64)).groups == 16
    assert solver.settings(1e-9, Fixed(63)).groups == 1
    result = solver.solve(np.ones(40))
    serial = dm.train_serially(descend, np.ones(40), 128)[-1]
    assert result.reason == "tol"
    assert np.abs(result.final - serial).max() < 1e-7
    assert result.iterations <= 64


def sine(weights, index, level):
    return weights - 0.05 * np.sin(weights)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(("saved", "asked"), [(4, 8), ("auto", 4)])
def test_another_window_at_resume_is_refused(tmp_path, saved, asked):
    def solver(window):
        return dm.ParallelNewton(sine, 40, window=window)

    whole = solver(saved).solve(np.ones(3), checkpoint=tmp_path)
    with pytest.raises(dm.CheckpointError, match=f"window={asked}, but .* was saved with window={saved!r}"):
        solver(asked).resume(tmp_path)
    for window in (saved, "auto"):
        assert np.array_equal(solver(window).resume(tmp_path).final, whole.final)


@pytest.mark.usefixtures("synchronous")
def test_a_window_of_the_whole_run_at_resume(tmp_path):
    solver = dm.ParallelNewton(sine, 40, window=40, jacobian="lowrank", rank=2)
    whole = solver.solve(np.ones(3), checkpoint=tmp_path)
    assert np.array_equal(solver.resume(tmp_path).final, whole.final)


def test_a_smaller_tolerance_at_resume_is_refused(tmp_path):
    solver = dm.ParallelNewton(sine, 100, window=8)
    solver.solve(np.ones(3), tol=1e-2, checkpoint=tmp_path)
    for tol in (0, 1e-3):
        with pytest.raises(ValueError, match="below that of the checkpoint"):
            solver.resume(tmp_path, tol=tol)
    assert solver.resume(tmp_path, tol=1e-1).reason == "tol"


def test_a_loss_that_falls_slowly_has_not_settled():
    def slow(weights, index, level):
        return weights - 0.002 * np.sin(weights)

    settled = dm.Settled(lambda weights: float((weights**2).sum()), rtol=1e-2, cycles=2)
    with dask.config.set(scheduler="sync"):
        result = dm.ParallelNewton(slow, 2000, window=8).solve(np.ones(40), settled=settled)
    assert result.reason == "tol"
    assert "loss" in str(result)
    # All in one round.
    assert "last change nan" in str(dm.ParallelNewton(sine, 20, window=20).solve(np.ones(3), 1e3, settled=settled))


def test_parts_that_are_not_the_step_are_refused():
    class Wrong:
        def __call__(self, weights, index, level):
            return sine(weights, index, level)

        def gradient(self, weights, index):
            return -np.sin(weights)

        def advance(self, state, gradient, index):
            return state - 0.05 * gradient

    with pytest.raises(dm.PropagatorError, match=r"phi\.advance"):
        dm.ParallelNewton(Wrong(), 40).solve(np.ones(3))
    with pytest.raises(dm.PropagatorError, match=r"phi\.advance"):
        dm.check_propagator(Wrong(), np.ones(3))
    # Multigrid does not take them.
    assert dm.MGRIT(Wrong(), 40).solve(np.ones(3)).converged


def test_advice_on_divergence_is_of_this_method():
    result = dm.ParallelNewton(lambda weights, index, level: weights * 1e60, 20, window=4).solve(np.ones(2))
    assert result.reason == "diverged"
    assert "serial training ends there" in result.advice
    assert "coarse" not in result.advice


def test_a_result_without_a_sweep_tells_of_sweeps():
    result = dm.ParallelNewton(lambda weights, index, level: weights * np.nan, 16, window=4).solve(np.ones(3))
    assert (result.reason, result.iterations) == ("diverged", 0)
    names = [name for name, _ in result.summary()]
    assert "sweeps" in names
    assert "convergence factor" not in names


def test_what_auto_stands_for_is_faster_than_all_jacobians_on_few_workers(w0):
    workers = 16

    def rounds(**how):
        """Phi in a row on that many workers, at least."""
        result = dm.ParallelNewton(Decay(), 400, **how).solve(w0, 2e-5)
        return max(result.iterations, result.phi_evaluations[0] / workers)

    assert rounds(window=workers) < 0.5 * rounds(jacobian="full")


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("window", [2, 3, 4, 8])
def test_training_that_contracts_is_not_examined(window):
    """Which would take 21 Phi and more in a row, after a solve that went well."""
    digits, states = PROBLEMS["digits"]().optimizer("adam"), []

    def phi(weights, index, level):
        states.append(len(index))
        return digits(weights, index, level)

    result = dm.ParallelNewton(phi, 120, window=window).solve(digits.w0, tol=1e-6 * 120**0.5)
    assert result.iterations < 105
    assert (result.amplification, result.advice) == (None, "")
    # The first look at phi takes some.
    assert sum(states) - result.phi_evaluations[0] < 10
