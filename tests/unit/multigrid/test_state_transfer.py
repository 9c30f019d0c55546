"""States of another size on coarse levels: against FAS written out, on the heat equation's grid."""

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.problems import GridTransfer, HeatEquation
from tests.support.recurrences import Decay


class Matrices:
    """Any linear transfer."""

    def __init__(self, fine, coarse, seed=0):
        random = np.random.default_rng(seed)
        self.r, self.p = random.standard_normal((fine, coarse)) / fine, random.standard_normal((coarse, fine)) / coarse

    def restrict(self, weights, level):
        return weights @ self.r

    def interpolate(self, weights, level):
        return weights @ self.p


def fas(phi, transfer, w0, steps, m, cycles):
    """Two-level FAS, one step at a time (Algorithm 1 with Remark 2): FCF, residual, coarse problem, correction, F."""

    def step(w, i, level):
        return phi(w[None], np.array([i]), level)[0]

    def f_relax(w):
        for i in range(1, steps + 1):
            if i % m:
                w[i] = step(w[i - 1], i - 1, 0)

    def down(w):
        return transfer.restrict(w[None], 0)[0]

    def up(w):
        return transfer.interpolate(w[None], 0)[0]

    w = np.zeros((steps + 1, w0.size))
    w[0] = w0
    points, norms = range(m, steps + 1, m), []
    for _ in range(cycles):
        f_relax(w)
        for i in points:
            w[i] = step(w[i - 1], i - 1, 0)
        f_relax(w)
        v = [down(w[i]) for i in range(0, steps + 1, m)]
        r = [down(step(w[i - 1], i - 1, 0) - w[i]) for i in points]
        coarse = [v[0]]
        for i in range(1, len(v)):
            g = r[i - 1] + v[i] - step(v[i - 1], i - 1, 1)
            coarse.append(step(coarse[-1], i - 1, 1) + g)
        for i in range(len(v)):
            w[i * m] += up(coarse[i] - v[i])
        f_relax(w)
        norms.append(np.sqrt(sum(((step(w[i - 1], i - 1, 0) - w[i]) ** 2).sum() for i in points)))
    return w, norms


@pytest.mark.parametrize("chunks", [1, 4])
@pytest.mark.parametrize(("steps", "m"), [(24, 2), (25, 3)])
def test_two_levels_are_fas_with_restriction_and_interpolation(steps, m, chunks):
    phi, w0 = Decay(m), np.linspace(1, 2, 5)
    transfer = Matrices(5, 3)
    w, norms = fas(phi, transfer, w0, steps, m, 4)
    solver = dm.MGRIT(phi, steps, coarsening=m, max_levels=2, transfer=transfer)
    result = solver.solve(w0, tol=0, maxiter=4, chunks=chunks)
    np.testing.assert_allclose(result.residuals[1:], norms, rtol=1e-10)
    np.testing.assert_allclose(result.weights.compute(), w, rtol=1e-12, atol=1e-12)


class Identity:
    def restrict(self, weights, level):
        return weights.copy()

    interpolate = restrict


@pytest.mark.parametrize("guess", ["zero", "nested"])
@pytest.mark.parametrize("cycle", ["V", "F"])
def test_a_transfer_that_changes_nothing(decay, w0, guess, cycle):
    with dask.config.set({"daskmgrit.agglomerate": 2}):
        plain = dm.MGRIT(decay, 100, cycle=cycle).solve(w0, guess, chunks=3)
        same = dm.MGRIT(decay, 100, cycle=cycle, transfer=Identity()).solve(w0, guess, chunks=3)
    np.testing.assert_allclose(same.residuals, plain.residuals, rtol=1e-12, atol=1e-13)
    assert same.phi_evaluations == plain.phi_evaluations
    assert same.critical_path == plain.critical_path


HALF = GridTransfer()


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("transfer", [HALF, [None, HALF, None]], ids=["every level", "one level"])
@pytest.mark.parametrize(("cycle", "guess"), [("V", "zero"), ("F", "nested"), ("V", "nested")])
def test_the_heat_equations_grid(transfer, cycle, guess):
    heat = HeatEquation(points=65, steps=64)
    sizes = {}

    def phi(weights, index, level):
        sizes.setdefault(level, weights.shape[1])
        return heat(weights, index, level)

    plain = dm.MGRIT(heat, 64, cycle=cycle).solve(heat.w0, guess)
    results = [dm.MGRIT(phi, 64, cycle=cycle, transfer=transfer).solve(heat.w0, guess, chunks=n) for n in (1, 4)]
    assert results[0].residuals == results[1].residuals
    assert results[0].iterations <= plain.iterations
    assert results[0].phi_evaluations == plain.phi_evaluations
    assert [sizes[level] for level in range(4)] == ([63, 31, 15, 7] if transfer is HALF else [63, 63, 31, 31])
    serial = dm.train_serially(heat, heat.w0, 64)
    np.testing.assert_allclose(results[0].weights.compute(), serial, atol=1e-8)


def test_grid_transfer():
    transfer, x = GridTransfer(2), np.arange(1, 8) / 8
    line = np.concatenate((x * (1 - x), x))[None]
    coarse = transfer.restrict(line, 0)
    # Full weighting of a parabola: its value and a quarter of its second difference.
    np.testing.assert_allclose(coarse[0, :3], (x * (1 - x))[1::2] - 1 / 128)
    np.testing.assert_allclose(transfer.interpolate(coarse, 0)[0, 1:7:2], coarse[0, :3])
    with pytest.raises(ValueError, match="4 interior points"):
        GridTransfer().restrict(np.zeros((1, 4)), 0)


class Given:
    def __init__(self, down, up):
        self.restrict, self.interpolate = down, up


def first(weights, level):
    return weights[:, :1]


def wide(weights, level):
    return np.repeat(weights, 2, axis=1)


@pytest.mark.parametrize(
    ("down", "up", "words"),
    [
        (lambda w, level: w[:1], wide, ["restrict of level 0", "shape (1, 2)", "(3, s_c)"]),
        (lambda w, level: w.tolist(), wide, ["restrict", "shape None"]),
        (first, first, ["interpolate of level 0", "(3, 1)", "(3, 2)"]),
        (first, lambda w, level: wide(w, level).astype(np.float32), ["dtype float32"]),
        (lambda w, level: first(w, level) + np.nan, wide, ["restrict", "nan"]),
        (first, lambda w, level: wide(w, level) + 1, ["interpolate", "not linear", "zero"]),
        (lambda w, level: first(w, level) ** 2, wide, ["restrict", "not linear", "twice"]),
    ],
)
def test_a_transfer_is_tried_before_anything_is_computed(down, up, words):
    calls = []

    def phi(weights, index, level):
        calls.append(level)
        return weights

    with pytest.raises(ValueError, match=r".") as caught:
        dm.MGRIT(phi, 64, transfer=Given(down, up)).solve(np.ones(2))
    assert all(word in str(caught.value) for word in words)
    assert not calls


def test_what_is_no_transfer():
    with pytest.raises(TypeError, match="transfer=3 does not transfer states"):
        dm.MGRIT(Decay(), 64, transfer=3)
    with pytest.raises(ValueError, match=r"transfer=\[\]"):
        dm.MGRIT(Decay(), 64, transfer=[])
