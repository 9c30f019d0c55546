"""``await solver.solve(...)`` through an asynchronous client."""

import asyncio
import gc
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster, futures_of

import daskmgrit as dm
from tests.support.recurrences import Decay

STEPS = 100
SOLVER = dm.MGRIT(Decay(), STEPS)
W0 = np.linspace(1.0, 2.0, 5)


class Gate:
    """A phi that waits in every call until a file is there; the wait is bounded."""

    def __init__(self, path):
        self.path = str(path)

    def __call__(self, weights, index, level):
        end = time.monotonic() + 60
        while not Path(self.path).exists():
            assert time.monotonic() < end, "the gate was not opened"
            time.sleep(0.01)
        return Decay()(weights, index, level)


def run(main, cluster):
    """Run a coroutine function with an asynchronous client, and see to it that nothing stays behind."""

    async def bounded():
        async with asyncio.timeout(100), Client(cluster.scheduler_address, asynchronous=True) as client:
            await client.wait_for_workers(1, timeout=60)
            answer = await main(client)
            end = time.monotonic() + 30
            while left := await client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)):
                assert time.monotonic() < end, f"tasks were left on the scheduler: {left}"
                gc.collect()
                await asyncio.sleep(0.05)
            return answer

    answer = asyncio.run(bounded())
    end = time.monotonic() + 30
    while any(thread.name.startswith("daskmgrit-solve") for thread in threading.enumerate()):
        assert time.monotonic() < end, "a solve's thread still runs"
        time.sleep(0.01)
    return answer


async def facts(client, result):
    """What a result says, without the futures that it holds."""
    weights = await client.compute(result.weights)
    return result.residuals, result.phi_evaluations, result.final, weights


def assert_expected(residuals, evaluations, final, weights):
    expected = SOLVER.solve(W0, chunks=3)
    assert residuals == expected.residuals
    # Where residuals are settled decides the Phi of F-intervals that two chunks relax.
    assert evaluations == pytest.approx(expected.phi_evaluations, rel=0.01)
    assert np.array_equal(weights, expected.weights.compute())
    assert np.array_equal(final, weights[-1])


@pytest.mark.parametrize("given", [True, False])
def test_same_bits(cluster, given):
    async def main(client):
        result = await SOLVER.solve(W0, chunks=2, client=client if given else None)
        assert {future.client for future in futures_of(result.weights)} == {client}
        return await facts(client, result)

    assert_expected(*run(main, cluster))


def test_event_loop_goes_on(cluster, tmp_path):
    """The solve cannot end before another coroutine has opened the gate, and that does so only during the solve."""
    gate = tmp_path / "open"

    async def open_gate(client):
        while not await client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.total_occupancy > 0):
            await asyncio.sleep(0.01)
        gate.touch()

    async def main(client):
        opening = asyncio.create_task(open_gate(client))
        result = await dm.MGRIT(Gate(gate), STEPS).solve(W0, chunks=2)
        assert opening.done()
        return await facts(client, result)

    assert_expected(*run(main, cluster))


def test_solves_side_by_side(cluster):
    async def main(client):
        results = await asyncio.gather(*(SOLVER.solve(W0, tol=0, maxiter=k) for k in range(6)))
        return [result.residuals for result in results]

    residuals = run(main, cluster)
    expected = SOLVER.solve(W0, tol=0, maxiter=5).residuals
    assert residuals == [expected[: k + 1] for k in range(6)]


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_callback(cluster, kind):
    seen = []

    def plain(cycle, residual, weights):
        assert threading.current_thread() is not threading.main_thread()
        seen.append((cycle, residual, weights.compute()))
        return cycle == 2

    async def coroutine(cycle, residual, weights):
        client = Client.current()
        assert client.asynchronous
        seen.append((cycle, residual, await client.compute(weights)))
        return cycle == 2

    async def main(client):
        result = await SOLVER.solve(W0, chunks=2, callback={"plain": plain, "coroutine": coroutine}[kind])
        assert result.reason == "callback"
        assert np.array_equal(seen[-1][2], await client.compute(result.weights))
        return result.residuals

    residuals = run(main, cluster)
    assert [(cycle, residual) for cycle, residual, _ in seen] == list(enumerate(residuals))[1:]
    assert len(residuals) == 3


def test_progress(cluster, capsys):
    async def main(client):
        return (await SOLVER.solve(W0, progress=True)).iterations

    iterations = run(main, cluster)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()[:1].isdigit()]
    assert len(lines) == iterations + 1


def fails(weights, index, level):
    if level == 1:
        raise KeyError("no such layer")
    return 0.9 * weights


def breaks_contract(weights, index, level):
    return weights[0]


def bad_callback(cycle, residual, weights):
    raise OSError("disk full")


async def bad_coroutine(cycle, residual, weights):
    raise OSError("disk full")


@pytest.mark.parametrize(
    ("phi", "how", "error", "words"),
    [
        (fails, {}, KeyError, "no such layer"),
        (breaks_contract, {}, dm.PropagatorError, "vectorize"),
        (Decay(), {"chunks": 0}, ValueError, "chunks=0"),
        (Decay(), {"callback": 3}, TypeError, "callback=3"),
        (Decay(), {"callback": bad_callback}, OSError, "disk full"),
        (Decay(), {"callback": bad_coroutine}, OSError, "disk full"),
    ],
)
def test_errors_reach_the_caller(cluster, phi, how, error, words):
    async def main(client):
        with pytest.raises(error, match=words):
            await dm.MGRIT(phi, STEPS).solve(W0, **({"chunks": 2} | how))

    run(main, cluster)


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_cancelling_stops_the_solve(cluster, tmp_path):
    gate = tmp_path / "open"

    async def main(client):
        task = asyncio.create_task(dm.MGRIT(Gate(gate), STEPS).solve(W0, chunks=2))
        while not await client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.total_occupancy > 0):
            await asyncio.sleep(0.01)
        await cancelled(task)
        # All that the solve had submitted is dropped, without the garbage collector; a task that has begun continues.
        end = time.monotonic() + 30
        while client.futures:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)
        gate.touch()

    run(main, cluster)


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_cancelling_during_the_callback(cluster, kind):
    cycles = []
    entered, leave = threading.Event(), threading.Event()

    def plain(cycle, residual, weights):
        cycles.append(cycle)
        entered.set()
        assert leave.wait(30)

    async def coroutine(cycle, residual, weights):
        cycles.append(cycle)
        entered.set()
        await asyncio.sleep(60)

    async def main(client):
        task = asyncio.create_task(
            SOLVER.solve(W0, chunks=2, callback={"plain": plain, "coroutine": coroutine}[kind], maxiter=3)
        )
        while not entered.is_set():
            await asyncio.sleep(0.01)
        if kind == "plain":
            asyncio.get_running_loop().call_later(0.05, leave.set)
        await cancelled(task)

    run(main, cluster)
    assert cycles == [1]


def test_cancelling_while_there_are_no_workers():
    async def main():
        async with (
            asyncio.timeout(60),
            LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0", asynchronous=True) as cluster,
            Client(cluster, asynchronous=True),
        ):
            task = asyncio.create_task(SOLVER.solve(W0))
            await asyncio.sleep(0.05)
            await cancelled(task)

    asyncio.run(main())


def test_result_as_guess(cluster):
    async def main(client):
        half = await SOLVER.solve(W0, maxiter=2, tol=0, chunks=2)
        again = await SOLVER.solve(W0, half, maxiter=2, tol=0, chunks=3)
        with pytest.raises(dm.ClusterError, match="asynchronous client"):
            SOLVER.solve(W0, half, client=other)
        return again.residuals

    with Client(cluster, set_as_default=False) as other:
        residuals = run(main, cluster)
    straight = SOLVER.solve(W0, maxiter=4, tol=0, chunks=2)
    assert residuals[1:] == straight.residuals[3:]


def test_client_of_another_loop(cluster):
    async def leave():
        async with Client(cluster.scheduler_address, asynchronous=True, set_as_default=False) as client:
            return client

    client = asyncio.run(leave())
    waiting = SOLVER.solve(W0, client=client)

    async def main():
        with pytest.raises(RuntimeError, match="another event loop"):
            await waiting

    asyncio.run(main())


def test_coroutine_function_as_callback_needs_an_asynchronous_client():
    with pytest.raises(TypeError, match=r"bad_coroutine.*asynchronous client"):
        SOLVER.solve(W0, callback=bad_coroutine)


@pytest.mark.parametrize("solver", [SOLVER, dm.ParallelNewton(Decay(), STEPS)])
def test_training_on_from_a_row_of_the_weights(cluster, solver):
    async def main(client):
        first = await SOLVER.solve(W0)
        again = await solver.solve(first.weights[-1])
        return first.final, again.final

    first, again = run(main, cluster)
    assert np.array_equal(again, solver.solve(first).final)
