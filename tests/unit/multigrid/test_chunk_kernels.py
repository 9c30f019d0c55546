"""Kernels on blocks against the formulas that they stand for, and the meter that holds Phi to its contract."""

import warnings

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.multigrid.depth import after_arrival, after_relaxation
from daskmgrit.multigrid.fas import coarse_rhs, correction, with_residual
from daskmgrit.multigrid.relaxation import with_start
from daskmgrit.recurrence import norms
from daskmgrit.recurrence.meter import Meter


@pytest.fixture(params=[1 << 19, 200])
def group_bytes(request, monkeypatch):
    """Rows done at a time: all of a small block, or a few."""
    monkeypatch.setattr(norms, "GROUP_BYTES", request.param)


def rows(count, seed):
    return np.random.default_rng(seed).standard_normal((count, 7))


@pytest.mark.usefixtures("group_bytes")
@pytest.mark.parametrize("count", [1, 2, 13])
@pytest.mark.parametrize("lead", [0, 1])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_passes_that_are_joined_give_the_bits_of_those_apart(count, lead, m):
    v, arrived, stepped = rows(count, 0), rows(count, 1)[lead:], rows(count, 2)[lead:]
    whole = with_start(v, arrived)
    u = with_residual(v, arrived)
    assert np.array_equal(u, v + (whole - v))
    g = u.copy()
    g[lead:] -= stepped
    found = coarse_rhs(u, stepped, m)
    assert [len(place) for place in found] == [len(g[j::m]) for j in range(m)]
    assert all(np.array_equal(place, g[j::m]) for j, place in enumerate(found))
    coarse = rows(count, 3)
    assert np.array_equal(correction(v, [coarse[j::m] for j in range(m)]), v + (coarse - v))
    assert np.array_equal(norms.row_norms(v, coarse), [((a - b) ** 2).sum() for a, b in zip(v, coarse, strict=True)])


def test_depth_of_rows_that_some_calls_leave_out():
    depth = np.array([5, 1, 1, 4])
    assert after_relaxation(depth, [4, 4, 3]).tolist() == [8, 4, 4, 6]
    assert after_arrival(depth, None, 2).tolist() == [5, 7, 3, 6]
    assert after_arrival(depth, 9, 2).tolist() == [11, 7, 3, 6]
    assert after_arrival(depth, np.array([7, 2]), 2).tolist() == [9, 7, 7, 3, 6]
    assert depth.tolist() == [5, 1, 1, 4]


@pytest.mark.parametrize("phi", [lambda w, i, n: w, lambda w, i, n: np.broadcast_to(w[:1] * 0.5, w.shape)])
def test_a_result_that_is_not_memory_of_its_own(phi):
    """It is added to in place only where that changes nothing else."""
    w0, results = np.ones(4), []
    for own in (phi, lambda *args: np.array(phi(*args))):
        result = dm.MGRIT(own, 40).solve(w0, chunks=1, tol=0, maxiter=2)
        results.append((result.residuals, np.asarray(result.weights)))
    assert results[0][0] == results[1][0]
    assert np.array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("large", [1e200, 1e308])
def test_large_numbers_are_finite(large):
    meter, weights = Meter(lambda w, i, n: w.copy(), 3), np.full((5, 4), large)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(meter(weights, np.arange(5), 1), weights)
        for bad in (np.nan, np.inf, -np.inf):
            weights[3, 2] = bad
            with pytest.raises(dm.errors.Diverged) as caught:
                meter(weights, np.arange(10, 15), 1)
            assert (caught.value.level, caught.value.step, caught.value.cycle) == (1, 13, 3)
