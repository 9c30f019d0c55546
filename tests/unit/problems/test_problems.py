"""The problems, against the paper's own code."""

import itertools
import re

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.problems import PROBLEMS, SOLVERS, adder, digits, xor
from daskmgrit.utils.install_hint import install_hint
from tests.support.counts import close


def test_xor_is_the_papers_serial_code():
    """Appendix A, its training loop written out (with its own order of operations)."""

    def nonlin(x):
        return 1 / (1 + np.exp(-x))

    x = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    y = np.array([[0], [1], [1], [0]])
    np.random.seed(1)  # noqa: NPY002
    syn0 = 2 * np.random.random((3, 4)) - 1  # noqa: NPY002
    syn1 = 2 * np.random.random((4, 1)) - 1  # noqa: NPY002
    problem = xor(seed=1)
    assert np.array_equal(problem.w0, np.concatenate((syn0.ravel(), syn1.ravel())))
    for _ in range(200):
        l1 = nonlin(x @ syn0)
        l2 = nonlin(l1 @ syn1)
        l2_delta = (y - l2) * l2 * (1 - l2)
        l1_delta = l2_delta @ syn1.T * l1 * (1 - l1)
        syn1 = syn1 + l1.T @ l2_delta
        syn0 = syn0 + x.T @ l1_delta
    serial = dm.train_serially(problem.propagator("naive"), problem.w0, 200)
    np.testing.assert_allclose(serial[-1], np.concatenate((syn0.ravel(), syn1.ravel())), rtol=1e-12)


@pytest.mark.parametrize("name", sorted(PROBLEMS))
@pytest.mark.parametrize("solver", sorted(SOLVERS))
def test_propagators_keep_their_contract_and_do_not_depend_on_the_block(name, solver):
    problem = PROBLEMS[name]()
    phi = problem.propagator(solver)
    steps = 3 if name != "xor" and solver in ("naive", "1") else 40
    report = dm.check_propagator(phi, problem.w0, steps=steps, levels=3)
    assert report.ok
    assert report.remarks == []


def test_float32_stays_float32():
    problem = xor()
    phi = problem.propagator("2", dtype=np.float32)
    w0 = problem.w0.astype(np.float32)
    assert phi(w0[None], np.array([0]), 2).dtype == np.float32
    result = dm.MGRIT(phi, 100).solve(w0, tol=1e-4)
    assert result.converged
    np.testing.assert_allclose(result.final, dm.train_serially(phi, w0, 100)[-1], atol=1e-3)


def test_adder_data():
    problem = adder()
    assert problem.x.shape == (500, 24)
    assert problem.y.shape == (500, 12)
    value = 2 ** np.arange(11, -1, -1)
    left, right = problem.x[:, :12] @ value, problem.x[:, 12:] @ value
    assert np.array_equal(left + right, problem.y @ value)
    assert max(left.max(), right.max()) < 2**11
    assert problem.model.size == problem.w0.size == 12032


def test_digits_data():
    problem = digits()
    assert len(problem.x) == 1438
    assert problem.x.min() == 0
    assert problem.x.max() == 1
    assert np.array_equal(problem.y.sum(axis=1), np.ones(1438))
    untrained = problem.metrics(problem.w0)
    assert untrained["test_accuracy"] < 0.4
    trained = problem.metrics(dm.train_serially(problem.propagator(), problem.w0, 400)[-1])
    assert trained["test_accuracy"] > 0.9


def test_digits_without_scikit_learn(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="needs scikit-learn.*" + re.escape(install_hint("digits"))):
        digits()


def test_unknown_solver():
    with pytest.raises(ValueError, match="solver='9'"):
        xor().propagator("9")


@pytest.mark.parametrize(("solver", "cycle"), list(itertools.product(["2", "3"], ["F"])))
def test_adder_iterations(solver, cycle):
    problem = adder()
    result = dm.MGRIT(problem.propagator(solver), 100, cycle=cycle).solve(problem.w0)
    assert close(result.iterations, 6)
