"""Gradient and update of a torch.optim loop apart, as parallel Newton takes them."""

import pickle

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.recurrence.split_propagator import is_split
from tests.support.torch_training import (
    BATCH,
    OPTIMIZERS,
    STEPS,
    X,
    Y,
    assert_same,
    build,
    cross_entropy,
    loop,
    network,
    nn,
    torch,
)


def decreasing(i):
    return 0.98**i


def states_of(phi, count):
    """States near a training run, moments and all."""
    return phi.to_block(dm.train_serially(phi, phi.w0, count - 1))


@pytest.mark.parametrize("schedule", [None, decreasing], ids=["constant", "schedule"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_compose_to_phi(name, dtype, schedule):
    """To the bit for each state by itself, in blocks of any size."""
    phi = build(network(dtype=dtype), optimizer=OPTIMIZERS[name], batch=BATCH, schedule=schedule)
    assert is_split(phi)
    states, index = states_of(phi, 6), np.arange(6)
    expected = torch.cat([phi(states[i : i + 1], index[i : i + 1], 0) for i in index])
    for count in (1, 3, 6, 3):
        gradients = phi.gradient(states[:count], index[:count])
        assert tuple(gradients.shape) == (count, phi.layout.size)
        assert torch.equal(phi.advance(states[:count], gradients, index[:count]), expected[:count])
    # Gradients are of the weights only.
    other = states.clone()
    other[:, phi.layout.size :] += 1
    assert torch.equal(phi.gradient(other, index), phi.gradient(states, index))


def test_blocks_of_numpy():
    phi = build(optimizer=OPTIMIZERS["adam"], batch=BATCH)
    states, index = dm.train_serially(phi, phi.w0, 2), np.arange(3)
    gradients = phi.gradient(states, index)
    assert isinstance(gradients, np.ndarray)
    rows = [phi(states[i : i + 1], index[i : i + 1], 0) for i in index]
    assert np.array_equal(phi.advance(states, gradients, index), np.concatenate(rows))


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adamw"])
def test_parallel_newton(name):
    """On threads, to the bits of the serial loop or to within a tolerance, and that is the optimizer's own loop."""
    phi = build(optimizer=OPTIMIZERS[name], batch=BATCH, schedule=decreasing)
    serial = dm.train_serially(phi, phi.w0, STEPS)
    solver = dm.ParallelNewton(phi, STEPS, window=4)
    with dask.config.set(scheduler="threads", num_workers=2):
        exact = solver.solve(phi.w0, tol=0, keep="all")
        assert np.array_equal(exact.weights.compute(), serial)
        result = solver.solve(phi.w0, tol=1e-6)
    assert result.converged
    assert result.iterations < exact.iterations <= STEPS
    np.testing.assert_allclose(result.final, serial[-1], atol=1e-4)
    module = network()
    loop(module, OPTIMIZERS[name](module.parameters()), STEPS, factor=decreasing)
    assert_same(phi.module(exact.final), module, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
def test_batch_normalisation(dtype):
    """What a batch adds to running statistics is found with the gradient."""
    phi = build(network(nn.BatchNorm1d(6), dtype=dtype), optimizer=OPTIMIZERS["momentum"], batch=BATCH)
    assert is_split(phi)
    states, index = states_of(phi, 3), np.arange(3)
    gradients = phi.gradient(states, index)
    assert gradients.shape[1] == phi.layout.size + 12
    rows = torch.cat([phi(states[i : i + 1], index[i : i + 1], 0) for i in index])
    assert torch.equal(phi.advance(states, gradients, index), rows)
    with dask.config.set(scheduler="sync"):
        result = dm.ParallelNewton(phi, 12, window=4).solve(phi.w0, tol=0)
    assert np.array_equal(result.final, dm.train_serially(phi, phi.w0, 12)[-1])
    module = network(nn.BatchNorm1d(6), dtype=dtype)
    loop(module, OPTIMIZERS["momentum"](module.parameters()), 12)
    assert_same(phi.module(result.final), module, 1e-12 if dtype == torch.float64 else 1e-4)


class Twice(nn.Module):
    """A network that normalises two batches in one step."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) + self.inner(2 * x)


def reads_statistics(model, data):
    return cross_entropy(model(data[0]), Y[:BATCH]) + model[1].running_mean.sum() * model[0].weight.sum()


@pytest.mark.parametrize("kind", ["twice", "loss"])
def test_statistics_that_a_step_depends_on(kind):
    """Such a step is taken as a whole."""
    if kind == "twice":
        phi = build(Twice(network(nn.BatchNorm1d(6))), batch=BATCH)
    else:
        phi = build(network(nn.BatchNorm1d(6)), reads_statistics, data=X[None, :BATCH])
    assert not is_split(phi)
    assert phi.gradient is None
    assert phi.advance is None
    with dask.config.set(scheduler="sync"):
        result = dm.ParallelNewton(phi, 6, window=3).solve(phi.w0, tol=0)
    assert np.array_equal(result.final, dm.train_serially(phi, phi.w0, 6)[-1])


def test_a_convolution_in_single_precision():
    """Its kernel may go by the number of states; then rows are computed one by one."""
    module = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    phi = build(module, optimizer=OPTIMIZERS["adam"], batch=BATCH, dtype=torch.float32)
    states, index = states_of(phi, 4), np.arange(4)
    rows = torch.cat([phi(states[i : i + 1], index[i : i + 1], 0) for i in index])
    for _ in range(2):
        assert torch.equal(phi.advance(states, phi.gradient(states, index), index), rows)


@pytest.mark.parametrize("name", ["momentum", "adamw"])
def test_training_continues_from_a_later_step(name):
    """Batches, schedule and bias correction: a solve from step 13 on ends where PyTorch's loop does."""
    phi = build(optimizer=OPTIMIZERS[name], batch=BATCH, schedule=decreasing)
    serial, rest = dm.train_serially(phi, phi.w0, STEPS), STEPS - 13
    made = pickle.loads(pickle.dumps(dm.start_at(phi, 13)))
    assert is_split(made)
    found = dm.ParallelNewton(made, rest, window=4).solve(serial[13], tol=0)
    assert np.array_equal(found.final, serial[-1])
    trained = made.module(found.final, rest)
    assert_same(trained, loop(*with_optimizer(name), STEPS, factor=decreasing), 1e-9)
    # Steps done before count, too.
    whole = phi.optimizer(found.final, STEPS, trained).state_dict()["state"]
    further = made.optimizer(found.final, rest, trained).state_dict()["state"]
    assert [moments.get("step") for moments in further.values()] == [moments.get("step") for moments in whole.values()]
    by_mgrit = dm.MGRIT(made.with_coarsening(4), rest, coarsening=4, min_coarse=2).solve(serial[13], "constant")
    np.testing.assert_allclose(by_mgrit.final, serial[-1], atol=1e-6)


def with_optimizer(name):
    module = network()
    return module, OPTIMIZERS[name](module.parameters())
