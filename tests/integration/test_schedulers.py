"""The same bits on every scheduler, for every chunking; and what travels between workers."""

import gc
import os
import socket
import time

import dask
import numpy as np
import pytest
from distributed import Client, Future, futures_of

import daskmgrit as dm
from daskmgrit.executors.cluster import ClusterExecutor
from daskmgrit.executors.scheduler_calls import announce_lost, look
from daskmgrit.graph.submission import TaskBook
from daskmgrit.problems import digits
from daskmgrit.solver import iteration
from tests.support.recurrences import Decay
from tests.support.reference import FEW, STEPS, assert_same, reference
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def training():
    """Real minibatches through BLAS: the case in which bits are easily lost."""
    problem = digits(hidden=8)
    return problem.propagator(), problem.w0


@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize("guess", ["zero", "nested"])
@pytest.mark.parametrize("agglomerate", ["auto", 99])
def test_same_bits(training, client, cycle, guess, agglomerate):
    phi, w0 = training
    expected, weights = reference(phi, w0, guess, FEW, cycle=cycle)
    with dask.config.set({"daskmgrit.agglomerate": agglomerate}):
        solver = dm.MGRIT(phi, STEPS, cycle=cycle)
        for chunks, scheduler in (
            (1, "threads"),
            (2, "threads"),
            (7, "sync"),
            (7, "threads"),
            (STEPS // 2 + 1, "sync"),
        ):
            with dask.config.set(scheduler=scheduler):
                result = solver.solve(w0, initial_guess=guess, chunks=chunks, **FEW)
                assert_same(result, expected, weights, scheduler=scheduler)
        for chunks in (1, 2, 7) if agglomerate == 99 else (2, STEPS // 2 + 1):
            result = solver.solve(w0, initial_guess=guess, chunks=chunks, client=client, **FEW)
            assert_same(result, expected, weights)


@pytest.mark.parametrize("relaxation", ["F", 2])
@pytest.mark.parametrize("beside", [True, False])
def test_same_bits_with_other_relaxation(client, w0, relaxation, beside):
    phi = Decay(3)
    expected, weights = reference(phi, w0, "constant", {}, coarsening=3, relaxation=relaxation, weight=1.2)
    with dask.config.set({"daskmgrit.agglomerate": 99, "daskmgrit.beside": beside}):
        solver = dm.MGRIT(phi, STEPS, coarsening=3, relaxation=relaxation, weight=1.2)
        result = solver.solve(w0, initial_guess="constant", chunks=5, client=client)
    assert_same(result, expected, weights)


# As if Phi took far longer than a task.
COSTLY = {
    "daskmgrit.task-overhead": dict.fromkeys(("sync", "threads", "processes", "distributed"), "1ns"),
    "daskmgrit.scheduler-overhead": "1ns",
}


@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize("storage", ["full", "c-points"])
@pytest.mark.parametrize("relaxation", ["FCF", ["F", "FCF"]])
def test_same_bits_where_phi_is_costly(client, w0, cycle, storage, relaxation):
    """Then the last C-point is a chunk of its own, and the residual has tasks of its own."""
    few = {"storage": storage, **FEW}
    expected, weights = reference(Decay(), w0, "constant", few, cycle=cycle, relaxation=relaxation)
    solver = dm.MGRIT(Decay(), STEPS, cycle=cycle, relaxation=relaxation)
    with dask.config.set(COSTLY), dask.config.set(num_workers=3):
        for how in ({"client": client}, {}):
            result = solver.solve(w0, initial_guess="constant", **few, **how)
            assert_same(result, expected, weights)
            chunks = result.weights.chunks[0]
            assert len(chunks) > 2
            assert chunks[-1] == 1
            assert max(chunks[:-1]) - min(chunks[:-1]) <= 2 * 2


class Gated:
    """A Phi that waits where a file says so; not for ever, but then it leaves another."""

    def __init__(self, gate):
        self.gate = gate

    def __call__(self, weights, index, level):
        time.sleep(0.01)
        end = time.monotonic() + 30
        while os.path.exists(self.gate):
            if time.monotonic() > end:
                open(f"{self.gate}-opened", "w").close()
                os.remove(self.gate)
            time.sleep(0.01)
        return 0.9 * weights


def test_final_weights_do_not_wait_for_a_cycle_that_nobody_wants(client, w0, tmp_path):
    gate = str(tmp_path / "gate")

    def callback(iteration, residual, weights):
        if iteration == 2:
            open(gate, "w").close()
        return iteration == 2

    with dask.config.set(COSTLY):
        result = dm.MGRIT(Gated(gate), STEPS).solve(w0, client=client, tol=0, callback=callback)
    assert result.iterations == 2
    assert not os.path.exists(f"{gate}-opened")
    os.remove(gate)
    assert np.array_equal(result.final, result.weights[-1].compute())


def test_current_client_is_used(client, w0):
    result = dm.MGRIT(Decay(), STEPS).solve(w0, chunks=2)
    assert len(futures_of(result.weights)) == 2


def test_earlier_result_and_arrays_as_guess(client, w0):
    solver = dm.MGRIT(Decay(), STEPS)
    for how in ({"client": client}, {}):
        half = solver.solve(w0, maxiter=2, tol=0, chunks=2, **how)
        straight = solver.solve(w0, maxiter=4, tol=0, chunks=2, **how)
        for guess in (half, half.weights, half.weights.compute()):
            again = solver.solve(w0, initial_guess=guess, maxiter=2, tol=0, chunks=3, **how)
            # The guess is F-relaxed already, so the solve continues as if it had not stopped.
            assert again.residuals[1:] == straight.residuals[3:]
            # The guess's own norm is summed over all points, the other over the C-points.
            assert again.residuals[0] == pytest.approx(straight.residuals[2], rel=1e-14)
            assert np.array_equal(again.weights.compute(), straight.weights.compute())


def transfers(client):
    """Bytes of every key that went from worker to worker since the last call."""

    def collect(dask_worker):
        log = list(dask_worker.transfer_incoming_log)
        dask_worker.transfer_incoming_log.clear()
        return [(str(key), size) for entry in log for key, size in entry["keys"].items()]

    return [pair for pairs in client.run(collect).values() for pair in pairs]


@pytest.fixture
def as_planned(client):
    """No work stealing: on a busy machine a task may go to another worker than the planned one."""

    async def switch(dask_scheduler, on):
        stealing = dask_scheduler.extensions["stealing"]
        await (stealing.start() if on else stealing.stop())

    client.run_on_scheduler(switch, on=False)
    yield
    client.run_on_scheduler(switch, on=True)


@pytest.mark.usefixtures("as_planned")
@pytest.mark.parametrize("steps", [128, 101])
@pytest.mark.parametrize("agglomerate", ["auto", 99])
def test_only_rows_travel(client, steps, agglomerate):
    w0 = np.linspace(1, 2, 50_000)
    cycles = 4
    solver = dm.MGRIT(Decay(), steps)
    transfers(client)
    with dask.config.set({"daskmgrit.agglomerate": agglomerate}):
        result = solver.solve(w0, chunks=2, client=client, tol=0, maxiter=cycles)
    moved = [(key, size / w0.nbytes) for key, size in transfers(client)]
    levels = len(result.levels) - 1
    # An edge is two rows, and each level needs two in a cycle, or one with five rows, from which a neighbour relaxes an
    # F-interval; half the coarsest level goes to the other worker and comes back. That is all: a chunk of level 0 is 50
    # rows or more.
    first_gathered = next(record.level for record in result.records if record.kind == "coarse solve")
    assert agglomerate != 99 or first_gathered == levels
    coarsest = 2 * (result.levels[-1] + 1)
    assert sum(rows for _, rows in moved) <= (cycles + 1) * (5 * levels + coarsest) + 4
    assert max(rows for _, rows in moved) <= coarsest
    # For the evaluation of the guess, each cycle's relaxation, and the residual of the last cycle or of each.
    assert sum(key.startswith("edge.L0") for key, _ in moved) in (1 + cycles + 1, 1 + cycles + cycles)


@pytest.mark.usefixtures("as_planned")
def test_nothing_travels_with_one_chunk(client):
    w0 = np.linspace(1, 2, 20_000)
    transfers(client)
    dm.MGRIT(Decay(), 64).solve(w0, chunks=1, client=client)
    assert sum(size for _, size in transfers(client)) < w0.nbytes


def test_next_cycle_is_submitted_before_the_residual_is_known(client, w0, monkeypatch):
    events = []
    submit, settle = iteration.Iteration._submit_cycle, iteration.Iteration._settle

    def noted_submit(self, cycle):
        events.append(f"submit {cycle}")
        submit(self, cycle)

    def noted_settle(self, report, cycle):
        residual = settle(self, report, cycle)
        events.append("residual")
        return residual

    monkeypatch.setattr(iteration.Iteration, "_submit_cycle", noted_submit)
    monkeypatch.setattr(iteration.Iteration, "_settle", noted_settle)
    dm.MGRIT(Decay(), STEPS).solve(w0, chunks=2, client=client, tol=0, maxiter=3)
    assert events == ["residual", "submit 1", "submit 2", "residual", "submit 3", "residual", "residual"]


def test_keys_are_unique_and_grouped(client, w0):
    from dask.utils import key_split

    seen = []
    original = iteration.GraphBuilder._add

    def noted(self, *args):
        made = original(self, *args)
        seen.append(made.key)
        return made

    with pytest.MonkeyPatch.context() as patch, dask.config.set({"daskmgrit.agglomerate": 99}):
        patch.setattr(iteration.GraphBuilder, "_add", noted)
        dm.MGRIT(Decay(), STEPS, cycle="F").solve(w0, chunks=4, client=client, tol=0, maxiter=3)
    assert len(seen) == len(set(seen))
    kinds = {"relax_restrict.L0", "relax.L1", "restrict.L1", "correct.L0", "edge.L0"}
    assert kinds <= {key_split(key) for key in seen}


def test_a_graph_is_sent_as_few_layers(client, w0, monkeypatch):
    """However many tasks it has; each with its worker, and with its priority."""
    sent = []
    original = Client.get

    def noted(self, graph, keys, **how):
        sent.append(graph)
        return original(self, graph, keys, **how)

    monkeypatch.setattr(Client, "get", noted)
    workers = sorted(client.nthreads())
    with dask.config.set({"daskmgrit.agglomerate": 99}), dask.annotate(retries=2):
        dm.MGRIT(Decay(), STEPS).solve(w0, chunks=4, client=client, tol=0, maxiter=3)
    largest = max(sent, key=len)
    assert len(largest) > 40
    assert len(largest.layers) <= 3
    (layer,) = [layer for layer in largest.layers.values() if "workers" in (layer.annotations or {})]
    notes = layer.annotations
    assert (notes["retries"], notes["allow_other_workers"]) == (2, True)
    for key in layer:
        name = key.partition("-")[0]
        assert notes["workers"](key)[0] in workers
        assert notes["priority"](key) == (name.partition(".")[0] in ("edge", "part", "report", "residual"))


def explodes(weights, index, level):
    if level:
        raise ZeroDivisionError
    return 0.9 * weights


def nan_on_level_1(weights, index, level):
    return weights * (np.nan if level else 0.9)


@pytest.mark.parametrize("phi", [Decay(), explodes, nan_on_level_1], ids=["converges", "raises", "diverges"])
@pytest.mark.parametrize("stop", ["no", "callback raises"])
def test_cluster_is_left_clean(client, w0, phi, stop):
    def callback(iteration, residual, weights):
        if stop == "callback raises":
            raise KeyboardInterrupt

    try:
        result = dm.MGRIT(phi, STEPS).solve(w0, chunks=2, client=client, callback=callback)
    except (ZeroDivisionError, KeyboardInterrupt):
        pass
    else:
        assert len(futures_of(result.weights)) == 2
        del result
    deadline = time.monotonic() + 30
    while left := client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)):
        assert time.monotonic() < deadline, f"tasks were left on the scheduler: {left}"
        gc.collect()
        time.sleep(0.05)


def test_client_that_is_not_the_current_one(cluster, w0):
    expected, weights = reference(Decay(), w0, "zero", {})
    with Client(cluster, set_as_default=False) as client:
        result = dm.MGRIT(Decay(), STEPS).solve(w0, chunks=2, client=client)
        assert np.array_equal(client.compute(result.weights).result(), weights)
        assert result.residuals == expected.residuals
        with dask.config.set(scheduler=client):
            result = dm.MGRIT(Decay(), STEPS).solve(w0, chunks=2)
        assert result.residuals == expected.residuals
        assert len(futures_of(result.weights)) == 2


def test_result_of_another_cluster_as_guess(cluster, w0):
    solver = dm.MGRIT(Decay(), STEPS)
    with Client(cluster, set_as_default=False) as client:
        half = solver.solve(w0, chunks=2, client=client, **FEW)
        with Client(cluster, set_as_default=False) as other:
            there = solver.solve(w0, half, chunks=2, client=other, **FEW)
        here = solver.solve(w0, half, chunks=2, **FEW)
        again = solver.solve(w0, half, chunks=2, client=client, **FEW)
    assert here.residuals == there.residuals == again.residuals
    with pytest.raises(dm.ClusterError, match="client is closed"):
        solver.solve(w0, half)
    with pytest.raises(dm.ClusterError, match="is closed"):
        solver.solve(w0, client=client)


def test_phi_that_the_cluster_cannot_import(client, w0, tmp_path, monkeypatch):
    import importlib

    (tmp_path / "only_here.py").write_text("def phi(weights, index, level):\n    return 0.9 * weights\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("only_here")
    with pytest.raises(dm.ClusterError, match=r"cannot be loaded on tcp.*No module named 'only_here'.*upload_file"):
        dm.MGRIT(module.phi, STEPS).solve(w0, client=client)


class SlowToSend:
    def __reduce__(self):
        time.sleep(1.5)
        return SlowToSend, ()


def test_result_that_takes_long_to_bring(client):
    executor = ClusterExecutor(client)
    book = TaskBook(executor.workers)
    task = book.add("slow-to-send-0", SlowToSend, owner=0)
    (handle,) = executor.submit(book, [task])
    assert isinstance(executor.fetch(handle, "it"), SlowToSend)


def test_result_that_cannot_be_brought(client, monkeypatch):
    def wait(future, timeout):
        raise TimeoutError(f"not here within {timeout} s")

    executor = ClusterExecutor(client, 30)
    book = TaskBook(executor.workers)
    task = book.add("hard-to-bring-0", abs, -1, owner=0)
    (handle,) = executor.submit(book, [task])
    monkeypatch.setattr(Future, "result", wait)
    with pytest.raises(dm.ClusterError, match=r"it is on a worker but could not be fetched within 30 s"):
        executor.fetch(handle, "it")


def test_a_client_that_never_connected_is_not_the_current_one(w0):
    from distributed import default_client

    # A client makes itself Dask's scheduler, and does not take that back when it fails.
    with dask.config.set(scheduler=None):
        with pytest.raises(ValueError, match="missing port") as caught:
            Client("nonsense", timeout="5s")
        # The error's traceback keeps the client.
        assert caught.value.__traceback__ is not None
        assert default_client().status == "connecting"
        assert dm.MGRIT(Decay(), STEPS).solve(w0, maxiter=1).iterations == 1
        default_client().close()


def test_a_cancelled_task_that_goes_on_is_not_idleness(client, tmp_path):
    """The last state is asked for while tasks that were submitted ahead still hold the threads."""

    def running():
        return any(worker.running for worker in look(client, 30).workers.values())

    def heard():
        return client.run_on_scheduler(lambda dask_scheduler: [ws.last_seen for ws in dask_scheduler.workers.values()])

    gate = tmp_path / "open"
    future = client.submit(wait_for, gate.exists, key="daskmgrit-long", pure=False)
    wait_for(running)
    future.release()
    wait_for(lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
    # As the workers say it from now on.
    for _ in range(2):
        before = max(heard())
        wait_for(lambda before=before: min(heard()) > before)
        assert running()
    gate.touch()
    wait_for(lambda: not running())


def test_workers_told_of_a_lost_one_give_up_connecting_to_it(client):
    """By Dask alone one that was told just before it began to connect tries that for half a minute."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        lost = f"tcp://127.0.0.1:{free.getsockname()[1]}"

    async def begin(dask_worker):
        import asyncio

        dask_worker.attempt = asyncio.ensure_future(dask_worker.rpc.connect(lost))

    async def state(dask_worker):
        return dask_worker.attempt.done() and type(dask_worker.attempt.exception()).__name__

    client.run(begin)
    client.run_on_scheduler(announce_lost(), [lost, *client.nthreads()])
    # Those that are there are not lost.
    wait_for(lambda: set(client.run(state).values()) == {"CommClosedError"}, seconds=10)
    assert client.submit(len, [1, 2]).result() == 2
