"""Blocks in groups: the values of one call for all, on the CPU, where the largest result of a group fits a cache."""

import numpy as np
import pytest

import daskmgrit as dm

from tests.support.jax_training import jax, jnp, optax  # isort: skip
from daskmgrit.jax import blocks  # isort: skip


def test_size_goes_with_the_largest_result():
    def two_layers(w, x):
        return jax.nn.relu(x @ w[:8].reshape(4, 2)).sum() + jax.jit(lambda y: (y[:, None] * y).sum())(w)

    w, x = jnp.ones(8, "float32"), jnp.ones((1000, 4), "float32")
    assert blocks.group_size(two_layers, w, x) == 256  # 2 x 1000 x 4 bytes
    assert blocks.group_size(jax.grad(two_layers), w, jnp.ones((10**7, 4), "float32")) == 4
    # Inside a jit, too: 8 x 8 x 4 bytes.
    assert blocks.group_size(two_layers, w, x[:1]) == blocks.CACHE // 256


@pytest.mark.parametrize("numbers", [None, np.zeros((23, 4), int)])
def test_large_blocks_are_a_loop_over_groups(numbers):
    """Of five groups and what is left; a small block is one call."""

    def kernels(group):
        def call(weights):
            return blocks.over_block(lambda w, x: (w * x).sum(), group, weights, numbers, (jnp.ones(12),))

        return {
            equation.primitive.name
            for equation in jax.make_jaxpr(call)(jnp.ones((23, 12 if numbers is None else 4))).eqns
        }

    assert "scan" in kernels(4)
    assert "scan" not in kernels(None) | kernels(23)


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize(
    "optimizer", [optax.sgd(0.1), optax.adam(1e-2), optax.chain(optax.clip_by_global_norm(0.1), optax.sgd(0.1))]
)
def test_groups_have_the_values_of_one_call(batch, optimizer, monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 3)), rng.normal(size=12)

    def loss(w, x, y):
        return ((jnp.tanh(x @ w) - y) ** 2).mean()

    def build():
        return dm.jax.propagator(loss, jnp.ones(3), optimizer, (x, y), batch=batch, dtype=np.float64)

    states = None
    found = []
    for cache in (2**21, 1):
        monkeypatch.setattr(blocks, "CACHE", cache)
        phi = build()
        states = phi.to_block(phi.w0 + 0.1 * rng.normal(size=(23, phi.w0.size))) if states is None else states
        found.append([np.asarray(phi(states, np.arange(23), level)) for level in (0, 2)])
        if phi.gradient is not None:
            found[-1].append(np.asarray(phi.gradient(states, np.arange(23))))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)
