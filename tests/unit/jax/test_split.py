"""Gradient and update of an optax loop apart, as parallel Newton takes them; coupled entries are taken as a whole."""

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.recurrence.split_propagator import is_split
from tests.support.jax_training import BATCH, OPTIMIZERS, X, Y, assert_same, cross_entropy, jnp, loop, network, optax


def build(optimizer, dtype="float64", **options):
    return dm.jax.propagator(cross_entropy, network(dtype), optimizer, (X, Y), batch=BATCH, **options)


@pytest.mark.parametrize("name", ["nesterov", "adamw"])
def test_parts_compose_to_phi(name):
    phi = build(OPTIMIZERS[name])
    assert is_split(phi)
    states, index = phi.to_block(dm.train_serially(phi, phi.w0, 4)), np.arange(5)
    expected = jnp.concatenate([phi(states[i : i + 1], index[i : i + 1], 0) for i in index])
    for count in (1, 3, 5, 3):
        gradients = phi.gradient(states[:count], index[:count])
        assert gradients.shape[0] == count
        assert jnp.array_equal(phi.advance(states[:count], gradients, index[:count]), expected[:count])
    rows = np.array(states)
    assert np.array_equal(phi.advance(rows, phi.gradient(rows, index), index), np.array(expected))


def test_parallel_newton():
    phi, steps = build(OPTIMIZERS["adam"]), 12
    serial = dm.train_serially(phi, phi.w0, steps)
    solver = dm.ParallelNewton(phi, steps, window=3)
    with dask.config.set(scheduler="threads", num_workers=2):
        exact = solver.solve(phi.w0, tol=0)
        assert np.array_equal(exact.final, serial[-1])
        result = solver.solve(phi.w0, tol=1e-4)
    assert result.converged
    assert result.iterations < exact.iterations
    np.testing.assert_allclose(result.final, serial[-1], atol=1e-2)
    assert_same(phi.params(exact.final), loop(network(), OPTIMIZERS["adam"], steps)[0], 1e-9)


@pytest.mark.parametrize(
    ("optimizer", "elementwise"),
    [
        (optax.chain(optax.clip(1.0), optax.adamw(optax.cosine_decay_schedule(1e-3, 50))), True),
        (optax.lion(1e-4), True),
        (optax.rmsprop(1e-3, momentum=0.9), True),
        (OPTIMIZERS["chain"], False),
        (optax.lamb(1e-3), False),
        (optax.lars(0.1), False),
        (optax.adafactor(1e-3), False),
        (optax.chain(optax.centralize(), optax.sgd(0.1)), False),
        (optax.inject_hyperparams(optax.sgd)(learning_rate=0.1), False),
    ],
    ids=["clip", "lion", "rmsprop", "global norm", "lamb", "lars", "adafactor", "centralize", "rate in the state"],
)
def test_which_optimizers_couple_entries(optimizer, elementwise):
    phi = build(optimizer)
    assert is_split(phi) == elementwise
    assert (phi.gradient is None) == (not elementwise)


def test_leaves_that_meet_are_coupled():
    """Of one shape, so that only what they depend on tells."""

    def update(gradients, state, params=None):
        return {"a": gradients["a"] - gradients["b"], "b": gradients["b"]}, state

    params = {"a": np.ones(3), "b": np.ones(3)}
    for rule, apart in ((update, False), (lambda gradients, state, params=None: (gradients, state), True)):
        optimizer = optax.GradientTransformation(lambda params: optax.EmptyState(), rule)
        phi = dm.jax.propagator(lambda p: (p["a"] * p["b"]).sum(), params, optimizer)
        assert is_split(phi) == apart


def test_a_coupled_optimizer_is_taken_as_a_whole():
    phi, steps = build(OPTIMIZERS["chain"]), 4
    with dask.config.set(scheduler="sync"):
        result = dm.ParallelNewton(phi, steps, window=2).solve(phi.w0, tol=1e-9)
        exact = dm.ParallelNewton(phi, steps, window=3).solve(phi.w0, tol=0)
    serial = dm.train_serially(phi, phi.w0, steps)[-1]
    np.testing.assert_allclose(result.final, serial, atol=1e-7)
    assert np.array_equal(exact.final, serial)


def test_training_continues_from_a_later_step():
    """Batches, schedule and bias correction: a solve from step 5 on ends where one run does."""
    phi, steps = build(OPTIMIZERS["adam"]), 12
    serial = dm.train_serially(phi, phi.w0, steps)
    made = dm.start_at(phi, 5)
    assert is_split(made)
    found = dm.ParallelNewton(made, steps - 5, window=3).solve(serial[5], tol=0)
    assert np.array_equal(found.final, serial[-1])
    assert_same(made.params(found.final), loop(network(), OPTIMIZERS["adam"], steps)[0], 1e-9)
