"""JAX losses with optax transformations as propagators, against optax's own serial loop."""

import re

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.models import Serial
from tests.support.jax_training import (
    BATCH,
    OPTIMIZERS,
    STEPS,
    X,
    Y,
    assert_same,
    cross_entropy,
    jax,
    jnp,
    loop,
    network,
    optax,
    update,
)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimizers_own_loop(name):
    params = network()
    phi = dm.jax.propagator(cross_entropy, params, OPTIMIZERS[name], (X, Y), batch=BATCH, coarsening=4)
    expected, state = loop(params, OPTIMIZERS[name], STEPS)
    final = dm.train_serially(phi, phi.w0, STEPS)[-1]
    assert_same(phi.params(final), expected, 1e-11)
    assert_same(phi.opt_state(final, STEPS), state, 1e-11)
    assert phi.loss(final) == pytest.approx(float(cross_entropy(expected, X, Y)), rel=1e-9)
    if name in ("nesterov", "adam", "chain"):
        result = dm.MGRIT(phi, STEPS, coarsening=4).solve(phi.w0, "constant", chunks=1)
        assert result.converged
        assert_same(phi.params(result.final), expected)


@pytest.mark.parametrize("name", ["momentum", "adam"])
@pytest.mark.usefixtures("synchronous")
def test_the_coarse_rule_converges(name):
    """Within half of the N/(2m) = 8 cycles that relaxation alone takes.

    With fine steps as coarse ones (cap=1) a tenth of the first residual or more is left after them.
    """
    phi = dm.jax.propagator(cross_entropy, network(), OPTIMIZERS[name], (X, Y), coarsening=4)
    result = dm.MGRIT(phi, 64, coarsening=4).solve(phi.w0, "constant", tol=0, maxiter=4, chunks=1)
    assert result.residuals[4] < 1e-3 * result.residuals[0]


@pytest.mark.parametrize("name", ["nesterov", "adam", "adamw"])
def test_a_coarse_step_is_so_many_steps_with_one_gradient(name):
    optimizer = OPTIMIZERS[name]
    phi = dm.jax.propagator(cross_entropy, network(), optimizer, (X, Y), coarsening=[2, 3])
    state = dm.train_serially(phi, phi.w0, 12)[-1]
    coarse = phi.params(phi(state[None], np.array([2]), 2)[0])
    params, moments = phi.params(state), phi.opt_state(state, 12)
    gradient = jax.grad(cross_entropy)(params, X, Y)
    for _ in range(6):
        params, moments = update(optimizer, params, moments, gradient)
    # What optax computes of a count is in single precision.
    assert_same(coarse, params, 1e-7)


def test_single_precision():
    phi = dm.jax.propagator(cross_entropy, network("float32"), OPTIMIZERS["adam"], (X, Y), batch=BATCH, coarsening=4)
    assert phi.w0.dtype == np.float32
    result = dm.MGRIT(phi, STEPS, coarsening=4).solve(phi.w0, "constant", tol=1e-4, chunks=1)
    assert result.converged
    assert result.final.dtype == np.float32
    x, y = X.astype(np.float32), Y
    assert_same(phi.params(result.final), loop(network("float32"), OPTIMIZERS["adam"], STEPS, x=x, y=y)[0], 1e-3)
    assert (
        dm.jax.propagator(cross_entropy, network("float32"), OPTIMIZERS["sgd"], (X, Y), dtype="float64").w0.dtype
        == float
    )


def test_training_goes_on_where_an_optimizer_is():
    optimizer = OPTIMIZERS["adam"]
    params, state = loop(network(), optimizer, 5, None)
    phi = dm.jax.propagator(cross_entropy, params, optimizer, (X, Y), opt_state=state)
    assert_same(phi.params(dm.train_serially(phi, phi.w0, 3)[-1]), loop(params, optimizer, 3, None, state)[0], 1e-12)


def test_the_contract():
    phi = dm.jax.propagator(cross_entropy, network(), OPTIMIZERS["adam"], (X, Y), batch=Serial(64, 8))
    assert dm.check_propagator(phi, phi.w0, levels=3).ok
    block = jnp.asarray(np.tile(phi.w0, (5, 1)))
    phi(block, np.arange(5), 1)
    assert not block.is_deleted()


def test_a_loss_that_donates_has_nothing_of_ours():
    """Donation within a step ends at the step's own values."""
    donating = jax.jit(cross_entropy, donate_argnums=0)
    phi = dm.jax.propagator(donating, network(), OPTIMIZERS["sgd"], (X, Y), coarsening=4)
    assert dm.check_propagator(phi, phi.w0, levels=2).ok
    assert dm.MGRIT(phi, STEPS, coarsening=4).solve(phi.w0, "constant", chunks=1).converged


def residual(params, points):
    """Loss of a network u(x) for -u'' = pi**2 sin(pi x), u(0) = u(1) = 0."""

    def u(x):
        return jnp.tanh(x * params["a"] + params["b"]) @ params["c"]

    inside = jax.vmap(jax.grad(jax.grad(u)))(points["inside"]) + jnp.pi**2 * jnp.sin(jnp.pi * points["inside"])
    return (inside**2).mean() + (jax.vmap(u)(points["ends"]) ** 2).mean()


@pytest.mark.parametrize("without", [False, True])
def test_a_loss_of_derivatives(without):
    rng = np.random.default_rng(0)
    params = {name: rng.normal(size=5) for name in "abc"}
    points = {"inside": np.linspace(0, 1, 12), "ends": np.array([0.0, 1.0])}
    given = (lambda params: residual(params, points), None) if without else (residual, points)
    phi = dm.jax.propagator(given[0], params, optax.adam(1e-3), given[1], coarsening=4)
    if without:
        final = dm.train_serially(phi, phi.w0, STEPS)[-1]
    else:
        result = dm.MGRIT(phi, STEPS, coarsening=4).solve(phi.w0, "constant", chunks=1)
        assert result.converged
        final = result.final
    optimizer = optax.adam(1e-3)
    state = optimizer.init(params)
    for _ in range(STEPS):
        params, state = update(optimizer, params, state, jax.grad(residual)(params, points))
    assert_same(phi.params(final), params)


def build(loss=cross_entropy, params=None, optimizer=OPTIMIZERS["sgd"], data=(X, Y), **options):
    return dm.jax.propagator(loss, network() if params is None else params, optimizer, data, **options)


def to_numbers(params, x, y):
    return cross_entropy(params, x, y) if float(params["first"]["b"].sum()) > 0 else 0.0


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"loss": 3}, TypeError, ["loss=3"]),
        ({"loss": to_numbers}, dm.PropagatorError, ["jax.vmap"]),
        ({"loss": lambda params, x, y: x}, dm.PropagatorError, ["one number"]),
        ({"params": {}}, ValueError, ["params={}"]),
        ({"params": {"n": np.arange(3), "x": np.ones(2)}}, ValueError, ["params has ['n']", "int64"]),
        ({"optimizer": "adam"}, TypeError, ["optimizer='adam'"]),
        ({"optimizer": optax.MultiSteps(optax.sgd(0.1), 3)}, ValueError, ["gradient_step", "counts of steps"]),
        ({"optimizer": optax.add_noise(0.1, 0.5, 0)}, ValueError, ["rng_key"]),
        ({"optimizer": optax.polyak_sgd()}, ValueError, ["needs no loss"]),
        ({"optimizer": optax.rmsprop(0.1, centered=True)}, ValueError, ["centered=False"]),
        ({"device": "foo"}, ValueError, ["device='foo'", "cuda"]),
        ({"data": (["a", "b"], Y[:2])}, TypeError, ["no array of numbers"]),
        ({"data": (X[:, :5], Y)}, dm.PropagatorError, ["give data that fit"]),
        ({"data": (X[:0], Y[:0])}, ValueError, ["empty", "(0, 64)"]),
        ({"data": (X, Y[:5])}, ValueError, ["5, 64 rows"]),
        ({"batch": 0}, ValueError, ["batch=0"]),
        ({"cap": 0}, ValueError, ["cap=0"]),
        ({"dtype": "float16"}, ValueError, ["dtype=float16"]),
    ],
)
def test_what_is_refused(arguments, error, words):
    with pytest.raises(error) as caught:
        build(**arguments)
    assert all(word in str(caught.value) for word in words)


def test_a_solver_with_another_coarsening():
    with pytest.raises(ValueError, match=r"phi was made for coarsening=\[4, 2\], but the solver coarsens by 2, 2"):
        dm.MGRIT(build(coarsening=[4, 2]), 40)


def test_states_of_another_kind():
    phi = build()
    with pytest.raises(dm.PropagatorError, match=r"start from phi\.w0"):
        dm.MGRIT(phi, 40).solve(phi.w0.astype(np.float32))


def test_parameters_of_what_is_no_state():
    phi = build()
    for state in (phi.w0[:-1], phi.w0[None], 1.0, "weights"):
        for act in (phi.params, phi.loss, lambda state: phi.opt_state(state, 1)):
            with pytest.raises(ValueError, match=r"state.*result\.final"):
                act(state)


def test_a_device_that_is_not_there():
    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a CUDA device here")
    phi = build(device="cuda")
    with pytest.raises(dm.PropagatorError, match="device='cuda' cannot be used here"):
        dm.MGRIT(phi, 40).solve(phi.w0)


@pytest.mark.parametrize(("name", "level"), [("adam", 0), ("adam", 1), ("chain", 0)])
def test_blocks_of_the_processor_are_of_numpy(name, level):
    """Between calls nothing is compiled for the size of a window or chunk; a JAX block gives the same bits."""
    phi = build(optimizer=OPTIMIZERS[name], device="cpu")
    assert phi.to_block(phi.w0) is phi.w0
    rows, index = np.stack([phi.w0 * (1 + 0.1 * k) for k in range(5)]), np.arange(5)
    before = rows.copy()
    new = phi(rows, index, level)
    assert type(new) is np.ndarray
    assert new.flags.owndata
    assert new.flags.writeable
    assert np.array_equal(rows, before)
    same = phi(jax.device_put(rows, jax.devices("cpu")[0]), index, level)
    assert isinstance(same, jax.Array)
    assert np.array_equal(new, np.asarray(same))


def test_a_solve_compiles_the_step_alone(caplog):
    phi = build(optimizer=OPTIMIZERS["adam"], device="cpu")
    with dask.config.set(scheduler="sync"), jax.log_compiles():
        dm.MGRIT(phi, 8).solve(phi.w0, "constant", maxiter=2)
        dm.ParallelNewton(phi, 8, window=3).solve(phi.w0)
    names = re.findall(r"Compiling (?:jit\()?(.+?)\)? with", caplog.text)
    # Older versions have no name for a partial function.
    assert set(names) - {"<unnamed wrapped function>"} <= {"over_block", "_updated"}
    assert "_updated" in names
