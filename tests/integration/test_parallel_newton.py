"""Parallel Newton on a cluster: the bits of the local schedulers, few tasks, nothing left behind."""

import asyncio

import dask
import numpy as np
import pytest
from distributed import Client, get_worker

import daskmgrit as dm
from daskmgrit.graph import window_tasks
from daskmgrit.problems import PROBLEMS
from daskmgrit.solver import window_iteration
from tests.support.recurrences import Decay

N = 40


@pytest.fixture(scope="module")
def adam():
    return PROBLEMS["digits"]().optimizer("adam", batch=16)


def test_bits_of_the_local_schedulers(client, adam):
    solver = dm.ParallelNewton(adam, N, window=5)
    with dask.config.set(scheduler="sync"):
        local = solver.solve(adam.w0, 1e-6, keep="all")
    result = solver.solve(adam.w0, 1e-6, client=client, keep="all")
    assert np.array_equal(result.final, local.final)
    assert np.array_equal(client.compute(result.weights).result(), local.weights.compute())
    assert result.residuals == local.residuals
    assert result.error == local.error
    assert result.phi_evaluations == local.phi_evaluations


@pytest.mark.parametrize("jacobian", ["lowrank", "full"])
def test_jacobians_are_dealt_out(client, w0, jacobian):
    solver = dm.ParallelNewton(Decay(), N, window=8, jacobian=jacobian, rank=3)
    with dask.config.set(scheduler="sync"):
        local = solver.solve(w0, 1e-9)
    result = solver.solve(w0, 1e-9, client=client)
    assert np.array_equal(result.final, local.final)
    assert result.phi_evaluations == local.phi_evaluations
    # Both processes evaluated.
    assert len({record.process for record in result.records}) == 2


@pytest.mark.parametrize("jacobian", ["identity", "lowrank"])
def test_callback_is_called_after_whole_sweeps(client, w0, jacobian):
    called = []
    solver = dm.ParallelNewton(Decay(), N, window=8, jacobian=jacobian, rank=3)
    result = solver.solve(w0, 1e-9, client=client, callback=lambda sweep, *_: called.append(sweep))
    # After the first, whose time says how many the next task does.
    assert called[0] == 1
    assert called == sorted(set(called))
    assert called[-1] == result.iterations


def test_a_large_final_state_is_fetched_by_itself(client, adam, monkeypatch):
    whole = dm.ParallelNewton(adam, N, window=5).solve(adam.w0, 1e-6, client=client)
    client.run(_all_are_large)
    try:
        fetched = dm.ParallelNewton(adam, N, window=5).solve(adam.w0, 1e-6, client=client)
    finally:
        client.run(_all_are_large, 1 << 20)
    for final in whole.final, fetched.final:
        final += 1.0  # it belongs to the caller
    assert np.array_equal(whole.final, fetched.final)
    assert fetched.tasks == whole.tasks + 1


def _all_are_large(bytes_=1):
    window_tasks.LARGE = bytes_


def test_tasks_are_few(client, adam, monkeypatch):
    """Two processes and what the client hears; some rounds are submitted in vain at the end."""
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 1e9)
    monkeypatch.setattr(window_iteration, "MORE", 8)
    result = dm.ParallelNewton(adam, N, window=4).solve(adam.w0, 1e-6, client=client)
    assert 1 + 2 * 8 < result.iterations <= 1 + 3 * 8
    assert result.tasks <= 3 * (4 + window_iteration.AHEAD - 1) + 2
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.0)
    result = dm.ParallelNewton(adam, N, window=4).solve(adam.w0, 1e-6, client=client)
    assert result.tasks <= 3 * (result.iterations + window_iteration.AHEAD) + 2


def test_state_is_sent_anew(client, adam, monkeypatch):
    solver = dm.ParallelNewton(adam, N, window=4)
    whole = solver.solve(adam.w0, 1e-6, client=client, keep="all")
    monkeypatch.setattr(window_iteration, "LINEAGE", 3)
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.0)
    result = solver.solve(adam.w0, 1e-6, client=client, keep="all")
    assert np.array_equal(result.final, whole.final)
    assert np.array_equal(client.compute(result.weights).result(), client.compute(whole.weights).result())
    assert result.accepted == whole.accepted


def test_asynchronous_client(cluster, adam):
    async def run():
        async with Client(cluster.scheduler_address, asynchronous=True) as client:
            return await dm.ParallelNewton(adam, N, window=4).solve(adam.w0, 1e-6, client=client)

    result = asyncio.run(run())
    with dask.config.set(scheduler="sync"):
        assert np.array_equal(result.final, dm.ParallelNewton(adam, N, window=4).solve(adam.w0, 1e-6).final)


def test_resume_elsewhere(client, adam, tmp_path, monkeypatch):
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.0)
    solver = dm.ParallelNewton(adam, N, window=4)
    policy = dm.Checkpoint(tmp_path, every=2, seconds=None)
    stopped = solver.solve(adam.w0, 1e-6, client=client, checkpoint=policy, callback=lambda sweep, *_: sweep >= 4)
    assert stopped.reason == "callback"
    with dask.config.set(scheduler="sync"):
        result, whole = solver.resume(tmp_path), solver.solve(adam.w0, 1e-6)
    assert np.array_equal(result.final, whole.final)
    assert result.residuals == whole.residuals


class Rounds:
    """Training whose updates have other last bits on one worker."""

    def __init__(self, phi, address):
        self.phi, self.address = phi, address

    def gradient(self, weights, index):
        return self.phi.gradient(weights, index)

    def advance(self, state, gradient, index):
        new = self.phi.advance(state, gradient, index)
        return np.nextafter(new, 9.0) if get_worker().address == self.address else new

    def __call__(self, weights, index, level):
        return self.advance(weights, self.gradient(weights, index), index)


@pytest.mark.parametrize("number", [0, 1])
def test_a_worker_that_rounds_otherwise(client, adam, number):
    """One of the two does the work: the residual is known of the states that it has, and advice names the other."""
    addresses = sorted(client.scheduler_info()["workers"])
    phi = Rounds(adam, addresses[number])
    result = dm.ParallelNewton(phi, N, window=6).solve(adam.w0, 1e-6, client=client)
    assert result.converged
    assert "differed from those of the others in the last bits" in result.advice
    assert sum(address in result.advice for address in addresses) == 1
    with dask.config.set(scheduler="sync"):
        local = dm.ParallelNewton(adam, N, window=6).solve(adam.w0, 1e-6)
    np.testing.assert_allclose(result.final, local.final, atol=1e-9)
    assert not local.advice


def test_divergence(client, w0):
    def breaks(weights, index, level):
        return np.where((index == 20)[:, None], np.nan, 0.9 * weights)

    result = dm.ParallelNewton(breaks, N, window=6, jacobian="identity").solve(w0, client=client)
    assert result.reason == "diverged"
    assert 0 < sum(result.accepted) <= 20


def test_a_network_of_pytorch(client):
    """Adam with a schedule on worker processes: the result of torch.optim's own loop."""
    pytest.importorskip("torch", reason="torch is not installed: pip install '.[torch]'")
    from tests.support.torch_training import BATCH, OPTIMIZERS, X, Y, assert_same, cross_entropy, loop, network

    factors = [0.98**i for i in range(N)]
    phi = dm.torch.propagator(network(), cross_entropy, OPTIMIZERS["adam"], (X, Y), batch=BATCH, schedule=factors)
    solver = dm.ParallelNewton(phi, N, window=4)
    exact, result = solver.solve(phi.w0, tol=0, client=client), solver.solve(phi.w0, tol=1e-6, client=client)
    assert result.converged
    assert result.iterations < N
    serial = dm.train_serially(phi, phi.w0, N)[-1]
    np.testing.assert_allclose(result.final, serial, atol=1e-4)
    # Worker processes may have other numbers of threads, and so other last bits, than this one.
    np.testing.assert_allclose(exact.final, serial, rtol=1e-9, atol=1e-12)
    module = network()
    loop(module, OPTIMIZERS["adam"](module.parameters()), N, factor=lambda i: factors[i])
    assert_same(phi.module(exact.final), module, 1e-9)
