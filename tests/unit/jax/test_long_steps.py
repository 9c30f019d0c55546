"""Solver 4 in JAX: coarse steps of full length, as the built-in network has them."""

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.problems import PROBLEMS
from tests.support.jax_training import jax, jnp, optax

XOR = PROBLEMS["xor"]()


def xor_in_jax(optimizer, **options):
    phi = XOR.propagator("1")

    def loss(params, x, y):
        outputs = jax.nn.sigmoid(jax.nn.sigmoid(x @ params[0]) @ params[1])
        return 0.5 * ((outputs - y) ** 2).sum()

    start = [jnp.asarray(XOR.w0[:12].reshape(3, 4)), jnp.asarray(XOR.w0[12:].reshape(4, 1))]
    data = np.array(phi.x), np.array(phi.y)
    return dm.jax.propagator(loss, start, optimizer, data, coarsening=4, dtype=np.float64, **options)


def test_cycles_are_those_of_the_built_in_network():
    known = XOR.propagator("4", coarsening=4, coarse="chebyshev", max_learning_rate=5.0, max_stages=1000)
    phi = xor_in_jax(optax.sgd(1.0), coarse="chebyshev", max_rate=5.0)
    ours = dm.MGRIT(phi, 200, coarsening=4).solve(phi.w0, "constant", maxiter=6)
    theirs = dm.MGRIT(known, 200, coarsening=4).solve(XOR.w0, "constant", maxiter=6)
    np.testing.assert_allclose(ours.residuals, theirs.residuals, rtol=1e-5)
    assert ours.critical_path == theirs.critical_path


@pytest.mark.parametrize("rank", [4, 16])
def test_deflated_cycles_are_those_of_the_built_in_network(rank):
    known = XOR.propagator("1", coarsening=4, coarse="deflated", max_learning_rate=5.0, rank=rank, steps=200)
    phi = xor_in_jax(optax.sgd(1.0), coarse="deflated", max_rate=5.0, rank=rank, steps=200)
    found, theirs = phi.long.rule.curvatures, known.coarse.curvatures
    np.testing.assert_allclose(found.values, theirs.values, atol=1e-6)
    ours = dm.MGRIT(phi, 200, coarsening=4).solve(phi.w0, phi.rough_guess(200), maxiter=5, chunks=2)
    builtin = dm.MGRIT(known, 200, coarsening=4).solve(XOR.w0, known.rough_guess(200), maxiter=5, chunks=2)
    np.testing.assert_allclose(ours.residuals, builtin.residuals, rtol=1e-3, atol=1e-9)
    assert ours.preparation == builtin.preparation == theirs.preparation
    assert ours.critical_path == builtin.critical_path


def test_deflated_steps_reach_the_serial_loop():
    phi = xor_in_jax(optax.sgd(1.0), coarse="deflated", batch=2, rank=8, steps=100)
    results = [dm.MGRIT(phi, 100, coarsening=4).solve(phi.w0, "constant", chunks=chunks) for chunks in (1, 3)]
    assert results[0].converged
    assert np.array_equal(results[0].final, results[1].final)
    trained = dm.train_serially(xor_in_jax(optax.sgd(1.0), batch=2, cap=1), phi.w0, 100)[-1]
    np.testing.assert_allclose(results[0].final, trained, atol=1e-8)


def test_the_rate_is_estimated():
    phi = xor_in_jax(optax.sgd(1.0), coarse="chebyshev")
    assert phi.long.rule.max_rate == dm.estimate_max_rate(phi.at_rate, phi.w0, 1.0).max_rate


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        (optax.sgd(0.3), 0.3),
        (optax.chain(optax.scale(2.0), optax.scale(-0.1)), 0.2),
        (optax.sgd(0.3, momentum=0.9), None),
        (optax.adam(1e-2), None),
        (optax.sgd(lambda step: 0.1 / (1 + step)), None),
        (optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.1)), None),
        (optax.chain(optax.clip(1.0), optax.sgd(0.1)), None),
        (optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1)), None),
        (optax.chain(optax.stateless(lambda updates, _: jax.tree.map(jnp.sign, updates)), optax.sgd(0.1)), None),
    ],
    ids=["sgd", "scales", "momentum", "adam", "schedule", "norm", "clip", "decay", "sign"],
)
def test_plain_descent_is_seen(optimizer, rate):
    phi = xor_in_jax(optimizer, cap=4)
    assert phi.plain_rate == (None if rate is None else pytest.approx(rate, rel=1e-12))
    if rate is None:
        with pytest.raises(ValueError, match="gradient descent at one rate"):
            xor_in_jax(optimizer, coarse="chebyshev", max_rate=5.0)
