"""A small network in JAX, its optimizers of optax, and the loop that a user has."""

import numpy as np

from tests.support.optional import need

jax, optax = need("jax", "jax"), need("optax", "jax")
load_digits = need("sklearn.datasets", "digits").load_digits
jax.config.update("jax_enable_x64", True)


jnp = jax.numpy
IMAGES, LABELS = load_digits(return_X_y=True)
X, Y = IMAGES[:64] / 16, LABELS[:64]
STEPS, BATCH = 32, 16


def network(dtype="float64"):
    rng = np.random.default_rng(0)
    return {
        "first": {"w": jnp.asarray(rng.normal(size=(64, 4), scale=0.1), dtype), "b": jnp.zeros(4, dtype)},
        "last": (jnp.asarray(rng.normal(size=(4, 10), scale=0.5), dtype), jnp.zeros(10, dtype)),
    }


def cross_entropy(params, x, y):
    hidden = jnp.tanh(x @ params["first"]["w"] + params["first"]["b"])
    return optax.softmax_cross_entropy_with_integer_labels(hidden @ params["last"][0] + params["last"][1], y).mean()


def loop(params, optimizer, steps, batch=BATCH, state=None, x=X, y=Y, loss=cross_entropy):
    """The loop that a user has."""
    state = optimizer.init(params) if state is None else state
    step = jax.jit(lambda p, s, a, b: update(optimizer, p, s, jax.grad(loss)(p, a, b)))
    for i in range(steps):
        rows = (
            slice(None) if batch is None else slice(i % (len(x) // batch) * batch, (i % (len(x) // batch) + 1) * batch)
        )
        params, state = step(params, state, x[rows], y[rows])
    return params, state


def update(optimizer, params, state, gradient):
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state


def assert_same(one, other, tolerance=1e-6):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


SCHEDULE = optax.exponential_decay(1e-3, 10, 0.8)
OPTIMIZERS = {
    "sgd": optax.sgd(0.05),
    "momentum": optax.sgd(0.004, momentum=0.9),
    "nesterov": optax.sgd(0.01, momentum=0.9, nesterov=True),
    "adam": optax.adam(SCHEDULE),
    "adamw": optax.adamw(1e-3, weight_decay=0.1),
    "chain": optax.chain(optax.clip_by_global_norm(0.5), optax.rmsprop(1e-3), optax.add_decayed_weights(1e-3)),
}
