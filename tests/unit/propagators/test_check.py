"""`check_propagator` says what is wrong with a propagator."""

import dask
import numpy as np
import pytest

import daskmgrit as dm
from tests.support.recurrences import Decay


def random(weights, index, level):
    return weights + np.random.default_rng().random(weights.shape)


def mixes(weights, index, level):
    return 0.9 * weights + 0.1 * weights.mean(axis=0)


def explodes(weights, index, level):
    return weights / 0 if level else 0.9 * weights


def for_one_state(weights, index, level):
    return np.eye(2) @ weights


def raises(weights, index, level):
    raise KeyError("no such layer")


@pytest.mark.parametrize(
    ("phi", "words"),
    [
        (random, ["different results for the same input", "seeded"]),
        (mixes, ["one state at a time", "own weights"]),
        (explodes, ["nan or inf on level 1", "learning rate"]),
        (raises, ["raised KeyError on level 0", "no such layer"]),
        (for_one_state, ["phi is for one state", "daskmgrit.vectorize(phi)", "from_function"]),
        (lambda w, i: w, ["called as phi(weights, index, level)", "from_function"]),
        ("phi", ["not callable"]),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_check_says_what_is_wrong(phi, words):
    report = dm.check_propagator(phi, np.ones(2), raises=False)
    assert not report.ok
    assert len(report.problems) == 1
    assert all(word in str(report) for word in words)


def test_check_finds_nothing_wrong():
    report = dm.check_propagator(Decay(), np.ones(3))
    assert report.ok
    assert str(report) == "the propagator keeps its contract"


def test_check_remarks_on_coarse_steps_that_are_fine_steps():
    def ignores(weights, index, level):
        return 0.9 * weights

    report = dm.check_propagator(ignores, np.ones(2))
    assert report.ok
    assert "a step of level 1 is one of level 0" in report.remarks[0]
    # Not where steps change nothing, or phi tells that it is so.
    for phi in (lambda weights, index, level: weights.copy(), dm.from_function(lambda w: 0.9 * w, cap=1)):
        assert not dm.check_propagator(phi, np.ones(2)).remarks
    assert not dm.check_propagator(ignores, np.ones(2), levels=1).remarks


def test_check_remarks_on_rounding():
    def sloppy(weights, index, level):
        return 0.9 * weights * (1 + 1e-15 * (len(weights) > 1))

    report = dm.check_propagator(sloppy, np.ones(3))
    assert report.ok
    assert "last bits" in str(report)


BUFFER = np.empty((64, 2))


def reuses(weights, index, level):
    return np.multiply(weights, 0.9, out=BUFFER[: len(weights)])


def test_phi_that_writes_to_the_same_buffer_again():
    report = dm.check_propagator(reuses, np.ones(2))
    assert "keeps the array" in str(report)
    with dask.config.set(scheduler="sync"):
        result = dm.MGRIT(reuses, 64).solve(np.ones(2))
    np.testing.assert_allclose(result.weights.compute(), dm.train_serially(reuses, np.ones(2), 64), atol=1e-8)


def matrix(weights, index, level):
    return np.asmatrix(0.9 * weights)


def big_endian(weights, index, level):
    return (0.9 * weights).astype(">f8")


def nothing_masked(weights, index, level):
    return np.ma.masked_array(0.9 * weights, weights > 9)


def masked(weights, index, level):
    return np.ma.masked_array(0.9 * weights, weights > 0)


def listed(weights, index, level):
    return (0.9 * weights).tolist()


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("phi", [matrix, big_endian, nothing_masked, masked, listed])
@pytest.mark.parametrize("solver", [dm.MGRIT, dm.ParallelNewton])
def test_the_check_and_the_solve_agree_on_arrays_of_other_kinds(phi, solver):
    def outcome(act):
        try:
            act()
        except dm.PropagatorError as error:
            return str(error).removeprefix("problem: ")
        return "no problem"

    def solve():
        result = solver(phi, 16).solve(np.ones(3))
        np.testing.assert_allclose(result.final, 0.9**16)

    said = outcome(lambda: dm.check_propagator(phi, np.ones(3)))
    assert ("no problem" if phi not in (masked, listed) else "phi returned") in said
    assert outcome(solve).partition("(")[0] == said.partition("(")[0]
