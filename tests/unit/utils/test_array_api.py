"""Blocks of other array libraries: they pass through the kernels as they are."""

import pickle

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.coarse import from_fine, stabilise
from daskmgrit.multigrid.block import Block
from daskmgrit.multigrid.relaxation import f_relaxation
from daskmgrit.utils import array_api
from tests.support.counts import close
from tests.support.libraries import library

STEPS = 61
W0 = np.linspace(1.0, 2.0, 5)


class Recurrence:
    """Decay in some library, by level and step; it remembers the types that it was given."""

    def __init__(self, xp, m=2):
        self.xp, self.m, self.types = xp, m, set()

    def __call__(self, weights, index, level):
        self.types |= {type(weights), type(index)}
        length, scale = self.m**level, self.xp.asarray((index % 3)[:, None].astype(float))
        return weights / (1 + 0.05 * length) + 0.01 * length * weights * weights * scale


CASES = [
    ("zero", {}, 1),
    ("zero", {"cycle": "F"}, 4),
    ("constant", {"cycle": "F", "coarsening": [3, 2]}, 4),
    ("nested", {"relaxation": 2, "weight": 0.9}, "auto"),
    ("nested", {"cycle": "F", "coarsening": [3, 2]}, 4),
    ("given", {}, 4),
]


# JAX compiles every operation for every shape: every second case will do.
@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(
    ("name", "guess", "options", "chunks"),
    [(name, *case) for name, step in (("strict", 1), ("torch", 1), ("jax", 2)) for case in CASES[::step]],
)
def test_the_same_as_numpy(name, guess, options, chunks):
    xp = library(name)
    m = int(np.atleast_1d(options.get("coarsening", 2))[0])
    phi, start = Recurrence(xp, m), xp.asarray(W0)
    initial = np.ones((STEPS + 1, 5)) if guess == "given" else guess
    with dask.config.set({"daskmgrit.agglomerate": 2 if chunks == 4 else "auto"}):
        mine = dm.MGRIT(phi, STEPS, **options).solve(start, initial, tol=0, maxiter=3, chunks=chunks)
        plain = dm.MGRIT(Recurrence(np, m), STEPS, **options).solve(W0, initial, tol=0, maxiter=3, chunks=chunks)
    assert phi.types == {type(start), np.ndarray}
    assert type(mine.final) is type(mine.weights.compute()) is np.ndarray
    np.testing.assert_allclose(mine.residuals, plain.residuals, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(mine.weights.compute(), plain.weights.compute(), rtol=1e-13)
    assert mine.phi_evaluations == plain.phi_evaluations
    assert mine.critical_path == plain.critical_path
    if name == "strict":
        assert mine.residuals == plain.residuals


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_dtypes(name, dtype):
    xp = library(name)
    w0 = xp.asarray(W0.astype(dtype))
    plain = dm.MGRIT(damp, 40).solve(W0.astype(dtype), tol=1e-4)
    result = dm.MGRIT(damp, 40).solve(w0, tol=1e-4)
    assert result.final.dtype == result.weights.dtype == dtype
    np.testing.assert_allclose(result.residuals, plain.residuals, rtol=1e-4)
    assert dm.check_propagator(damp, w0).ok
    assert dm.train_serially(damp, w0, 3).dtype == dtype


def damp(weights, index, level):
    return weights * 0.9 ** (2**level)


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_blocks_are_not_copied(name):
    xp = library(name)
    given, made = [], []

    def phi(weights, index, level):
        given.append(weights)
        made.append(0.9 * weights)
        return made[-1]

    c_points = xp.ones((4, 3))
    points = f_relaxation(phi, c_points, (4, 4, 4), None, 0, 0)
    assert points[0] is c_points
    assert points[1] is made[0]
    assert points[2] is made[1]
    if name == "torch":
        assert given[1].data_ptr() == made[0].data_ptr()
        assert np.shares_memory(array_api.to_host(points[1]), made[0].numpy())


def test_a_tensor_is_sent_without_what_it_is_a_view_of():
    torch = library("torch")
    points = (torch.zeros(500, 40), torch.zeros(500, 40))
    block = Block(0, 0, points, None, np.zeros(500, int))
    assert len(pickle.dumps(block.edge())) < 5000
    assert len(pickle.dumps(array_api.compact(points[0][:2]))) < 5000
    assert array_api.compact(points[0]) is points[0]
    assert block.__sizeof__() > 2 * 500 * 40 * 4


def to_numpy(weights, index, level):
    return array_api.to_host(0.9 * weights)


def narrow(weights, index, level):
    return 0.9 * weights[:, :-1]


def writes(weights, index, level):
    weights *= 0.9
    return weights


@pytest.mark.parametrize("name", ["torch", "jax"])
@pytest.mark.parametrize(
    ("phi", "words"), [(to_numpy, ["returned ndarray", "as it was given"]), (narrow, ["returned shape"])]
)
def test_breaches(name, phi, words):
    xp = library(name)
    for run in (lambda: dm.MGRIT(phi, 40).solve(xp.asarray(W0)), lambda: dm.check_propagator(phi, xp.asarray(W0))):
        with pytest.raises(dm.PropagatorError) as caught:
            run()
        assert all(word in str(caught.value) for word in words)


def test_a_torch_phi_that_writes_to_its_input():
    torch = library("torch")
    with pytest.raises(dm.PropagatorError, match="wrote to its input"):
        dm.MGRIT(writes, 40).solve(torch.ones(3))
    assert dm.MGRIT(dm.from_function(lambda w, i: w.mul_(0.9), cap=4), 40).solve(torch.ones(3)).converged


def test_a_jax_phi_that_donates_its_input():
    xp = library("jax")
    import jax

    step = jax.jit(lambda w: 0.9 * w, donate_argnums=0)
    with pytest.raises(dm.PropagatorError, match="donate"):
        dm.MGRIT(lambda w, i, level: step(w), 40).solve(xp.ones(3))


def test_a_torch_phi_with_gradients_and_one_with_a_buffer():
    torch = library("torch")
    rate = torch.tensor(0.9, requires_grad=True)
    result = dm.MGRIT(lambda w, i, level: w * rate, 40, max_levels=2).solve(torch.ones(3), maxiter=20)
    assert result.converged

    buffers = {}

    def buffered(weights, index, level):
        out = buffers.setdefault(len(weights), torch.empty_like(weights))
        return torch.mul(weights, 0.9 ** (2**level), out=out)

    result = dm.MGRIT(buffered, 40).solve(torch.ones(3), chunks=1)
    np.testing.assert_allclose(result.final, 0.9**40, atol=1e-6)
    assert "keeps the array" in str(dm.check_propagator(buffered, torch.ones(3)))


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_divergence(name):
    xp = library(name)
    result = dm.MGRIT(lambda w, i, level: w * 1e200, 40).solve(xp.asarray(W0))
    assert result.reason == "diverged"
    assert "level" in result.message


class OnDevice:
    """A phi that says what it works on."""

    def __init__(self):
        self.torch = library("torch")

    def __reduce__(self):
        return OnDevice, ()

    def to_block(self, state):
        return self.torch.tensor(state, dtype=self.torch.float64)

    def __call__(self, weights, index, level):
        return self.torch.mul(weights, 0.9 ** (2**level))


@pytest.mark.parametrize("guess", ["zero", "nested"])
def test_phi_says_what_it_works_on(guess):
    phi = OnDevice()
    assert dm.check_propagator(phi, W0).ok
    result = dm.MGRIT(phi, 40).solve(W0, guess, chunks=2)
    np.testing.assert_allclose(result.weights.compute(), dm.train_serially(phi, W0, 40), atol=1e-8)


@pytest.mark.parametrize("guess", ["zero", "nested"])
def test_transfer_of_torch_states(guess):
    torch = library("torch")

    class Halves:
        def restrict(self, weights, level):
            return 0.5 * (weights[:, ::2] + weights[:, 1::2])

        def interpolate(self, weights, level):
            return torch.repeat_interleave(weights, 2, dim=1)

    w0 = torch.ones(4, dtype=torch.float64)
    result = dm.MGRIT(damp, 40, transfer=[Halves(), None]).solve(w0, guess)
    np.testing.assert_allclose(result.final, 0.9**40, atol=1e-8)
    phi = OnDevice()
    assert dm.MGRIT(phi, 40, transfer=[Halves(), None]).solve(np.ones(4), guess, chunks=2).converged


def test_a_checkpoint_of_torch_states(tmp_path):
    torch = library("torch")
    solver, w0 = dm.MGRIT(damp, 64), torch.asarray(W0)
    solver.solve(w0, maxiter=2, checkpoint=tmp_path / "one", chunks=2)
    result = solver.resume(tmp_path / "one", w0, maxiter=50, chunks=3)
    assert result.residuals == solver.solve(w0, chunks=1).residuals
    with pytest.raises(dm.CheckpointError, match="initial state of torch, here it is of numpy: give the same w0"):
        solver.resume(tmp_path / "one")
    # Where phi says what it works on, w0 is as it was saved.
    solver = dm.MGRIT(OnDevice(), 64)
    solver.solve(W0, maxiter=2, checkpoint=tmp_path / "two")
    assert solver.resume(tmp_path / "two", maxiter=50).residuals == solver.solve(W0).residuals


@pytest.mark.parametrize("window", [1, 4])
def test_coarse_steps_of_torch_states(window):
    torch = library("torch")

    def descend(weights, index, level):
        xp = torch if torch.is_tensor(weights) else np
        shift = xp.asarray(np.array([1.0, 3.0])[index % 2][:, None])
        return weights - 0.1 * (weights - shift) * xp.asarray(np.linspace(0.1, 5.0, 5))

    phi = stabilise(from_fine(descend, 2, window), 1.0, 3.0)
    results = [dm.MGRIT(phi, 200).solve(w0, "constant") for w0 in (W0, torch.asarray(W0))]
    np.testing.assert_allclose(results[1].final, results[0].final, rtol=1e-12)
    assert close(results[0].iterations, results[1].iterations)
    rated = from_fine(OnDevice(), 2, window)
    assert dm.estimate_max_rate(rated, W0, 1.0, steps=4).eigenvalue == pytest.approx(0.1, rel=1e-5)


def test_arrays_in_host_memory():
    torch = pytest.importorskip("torch")
    assert array_api.in_host_memory(np.ones(1))
    assert array_api.in_host_memory(torch.ones(1))
    # A stand-in for a device that this machine may lack.
    assert not array_api.in_host_memory(torch.ones(1, device="meta"))
