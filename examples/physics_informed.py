"""A physics-informed network for the heat equation, trained by full-batch Adam in JAX.

u_t = u_xx / pi**2 on 0 < x, t < 1, u(x, 0) = sin(pi x), u(0, t) = u(1, t) = 0; the solution is exp(-t) sin(pi x).
"""

import jax
import numpy as np
import optax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402

import daskmgrit as dm  # noqa: E402
import daskmgrit.jax  # noqa: E402

STEPS, WIDTH = 160, 12
rng = np.random.default_rng(0)
POINTS = rng.uniform(size=(64, 2))
SCHEDULE = optax.exponential_decay(1e-2, 100, 0.6)


def network(params, x, t):
    """The network, with the boundary and initial values built in."""
    hidden = jnp.tanh(params["x"] * x + params["t"] * t + params["b"])
    return jnp.sin(jnp.pi * x) + t * x * (1 - x) * (hidden @ params["last"])


def residual(params, point):
    x, t = point
    u_t = jax.grad(network, argnums=2)(params, x, t)
    u_xx = jax.grad(jax.grad(network, argnums=1), argnums=1)(params, x, t)
    return u_t - u_xx / jnp.pi**2


def loss(params, points):
    return (jax.vmap(residual, in_axes=(None, 0))(params, points) ** 2).mean()


def serial(params):
    """The original loop."""
    optimizer = optax.adam(SCHEDULE)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params, POINTS), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(STEPS):
        params, state = step(params, state)
    return params


def error(params):
    """Largest error of the solution on a grid."""
    x, t = np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21))
    u = jax.jit(jax.vmap(network, in_axes=(None, 0, 0)))(params, x.ravel(), t.ravel())
    return float(np.abs(u - np.exp(-t.ravel()) * np.sin(np.pi * x.ravel())).max())


def main():
    params = {name: rng.normal(size=WIDTH) for name in ("x", "t", "b")} | {"last": rng.normal(size=WIDTH, scale=0.3)}

    # The same loop as a propagator.
    phi = daskmgrit.jax.propagator(loss, params, optax.adam(SCHEDULE), POINTS, coarsening=4)
    dm.check_propagator(phi, phi.w0)
    result = dm.MGRIT(phi, STEPS, coarsening=4).solve(phi.w0, initial_guess="constant", chunks=1)
    print(result)

    trained, expected = phi.params(result.final), serial(params)
    difference = max(np.abs(np.subtract(trained[name], expected[name])).max() for name in params)
    print(f"difference from serial training {difference:.1e}")
    print(f"loss {phi.loss(phi.w0):.2e} -> {phi.loss(result.final):.2e}")
    print(f"largest error of u {error(params):.3f} -> {error(trained):.4f}")


if __name__ == "__main__":
    main()
