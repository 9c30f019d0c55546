"""Recorded kernels: the bits of what they stand for, and only where they have them."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.recurrence import split_propagator

from tests.support.torch_training import BATCH, OPTIMIZERS, build, loop, network, nn, torch  # isort: skip
from daskmgrit.torch import kernel_graphs  # isort: skip
from daskmgrit.torch.kernel_graphs import KernelGraphs  # isort: skip

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no device"))]


@pytest.fixture(autouse=True)
def record_early(monkeypatch):
    monkeypatch.setattr(kernel_graphs, "_CALLS", 3)


class Counts(nn.Module):
    """A net that counts how often Python computes it."""

    calls = 0

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        Counts.calls += 1
        return self.inner(x)


@pytest.mark.parametrize("batch", [None, BATCH])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_recorded_steps_have_the_same_bits(name, batch):
    phi = build(Counts(network()), optimizer=OPTIMIZERS[name], batch=batch)
    states = torch.from_numpy(dm.train_serially(pickle.loads(pickle.dumps(phi)), phi.w0, 8))
    for level in (0, 1):
        for count in (1, 5):
            index = np.arange(count)
            expected = phi(states[:count], index, level)
            for _ in range(4):
                phi(states[:count], index, level)
            before = Counts.calls
            assert torch.equal(phi(states[:count], index, level), expected)
            assert torch.equal(
                phi(states[1 : count + 1], index, level),
                pickle.loads(pickle.dumps(phi))(states[1 : count + 1], index, level),
            )
            # One of them: the copy has recorded nothing.
            assert Counts.calls == before + 1


def test_running_statistics():
    phi = build(network(nn.BatchNorm1d(6)))
    fresh = pickle.loads(pickle.dumps(phi))
    for step in range(8):
        states, index = phi.to_block(np.stack((phi.w0, 1.01 * phi.w0))), np.full(2, step)
        kernel_graphs._CALLS, kept = 10**9, kernel_graphs._CALLS
        expected = fresh(states, index, 0)
        kernel_graphs._CALLS = kept
        assert torch.equal(phi(states, index, 0), expected)


def test_threads_share_what_is_recorded():
    phi = build(Counts(network()), batch=BATCH)
    states, index = phi.to_block(np.stack((phi.w0, 2 * phi.w0, -phi.w0))), np.arange(3)
    expected = phi(states, index, 0)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(found, expected) for found in pool.map(lambda _: phi(states, index, 0), range(40)))
    before = Counts.calls
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(found, expected) for found in pool.map(lambda _: phi(states, index, 0), range(40)))
    assert Counts.calls == before


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x if float(x.sum()) > 0 else -x,
        lambda x: torch.from_numpy(np.cumsum(x.numpy())),
        lambda x: x / 0,
        lambda x: x + torch.rand(()),
    ],
    ids=["branch", "numpy", "not finite", "random"],
)
def test_what_cannot_be_recorded_is_called(function):
    graphs, calls = KernelGraphs(), []

    def counted(x):
        calls.append(1)
        return function(x)

    x = torch.ones(3)
    for number in range(20):
        before = len(calls)
        assert tuple(graphs(counted, [x * (-1) ** number], [], "it").shape) == (3,)
        assert len(calls) > before
    torch.manual_seed(1)
    found = graphs(counted, [x], [], "it")
    torch.manual_seed(1)
    assert torch.equal(found, function(x))


def test_shapes_strides_and_names_are_apart():
    graphs, x = KernelGraphs(), torch.arange(12.0).reshape(3, 4)
    for _ in range(6):
        for given in (x, x[:2], x.T, x.double()):
            assert torch.equal(graphs(lambda y: (y * 2).reshape(-1), [given], [], "twice"), (given * 2).reshape(-1))
            assert torch.equal(graphs(lambda y: y.reshape(-1) + 1, [given], [], "more"), given.reshape(-1) + 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_advance_along_is_step_by_step(name, device, monkeypatch):
    """Also on a device, where its steps are launched at once."""
    phi = build(optimizer=OPTIMIZERS[name], batch=BATCH, device=device, schedule=lambda i: 0.98**i)
    state = phi.to_block(phi.w0[None])
    for count in (1, 3, 7, 8, 11, 3, 3, 3):
        index = np.arange(count) + 2
        gradients = phi.gradient(state.expand(count, -1) * torch.linspace(1, 2, count, device=device)[:, None], index)
        states = [state]
        for j in range(count):
            states.append(phi.advance(states[-1], gradients[j : j + 1], index[j : j + 1]))
        found = split_propagator.advance_along(phi, state, gradients, index)
        assert torch.equal(found, torch.cat(states))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_parallel_newton_on_a_device():
    """Many sweeps, so that kernels are recorded: the result is that of PyTorch's own loop."""
    make = OPTIMIZERS["adam"]
    phi = build(optimizer=make, batch=BATCH, device="cuda")
    result = dm.ParallelNewton(phi, 120, window=8).solve(phi.w0, tol=1e-9)
    module = network()
    loop(module, make(module.parameters()), 120)
    assert result.converged
    assert result.iterations < 120
    trained = np.concatenate([p.detach().numpy().ravel() for p in module.parameters()])
    np.testing.assert_allclose(result.final[: phi.layout.size], trained, atol=1e-7)
