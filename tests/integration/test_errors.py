"""Propagators that misbehave on any scheduler: the error says what, where and what to do."""

import os
import threading

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.executors import preflight as cluster_checks


def good(weights, index, level):
    return 0.9 * weights


def writes(weights, index, level):
    weights *= 0.9
    return weights


def short(weights, index, level):
    return weights[:, :-1]


def one_state(weights, index, level):
    return weights[0]


def other_type(weights, index, level):
    return (0.9 * weights).astype(np.float32)


def a_list(weights, index, level):
    return weights.tolist()


def forgets(weights, index, level):
    return None


def raises(weights, index, level):
    raise KeyError("no such layer")


BREACHES = [
    (writes, ["wrote to its input", "weights.copy()"]),
    (short, ["shape", "(8, 1)", "(8, 2)"]),
    (one_state, ["shape", "vectorize"]),
    (other_type, ["dtype float32", "float64"]),
    (a_list, ["returned list", "ndarray"]),
    (forgets, ["NoneType"]),
]


@pytest.mark.parametrize(("phi", "words"), BREACHES, ids=[phi.__name__ for phi, _ in BREACHES])
@pytest.mark.parametrize("where", ["threads", "cluster", "check"])
def test_breach_of_the_contract(phi, words, where, request):
    if where == "check":
        with pytest.raises(dm.PropagatorError) as caught:
            dm.check_propagator(phi, np.ones(2))
    else:
        client = request.getfixturevalue("client") if where == "cluster" else None
        with pytest.raises(dm.PropagatorError) as caught:
            dm.MGRIT(phi, 30).solve(np.ones(2), chunks=2, client=client)
        # There, blocks have other sizes than the check's.
        words = [word for word in words if "(8" not in word]
    assert all(word in str(caught.value) for word in words)


class Locked:
    def __init__(self):
        self.lock = threading.Lock()

    def __call__(self, weights, index, level):
        return 0.9 * weights


def test_unpicklable_phi(client):
    assert "cannot be pickled" in str(dm.check_propagator(Locked(), np.ones(2), raises=False))
    with pytest.raises(dm.PropagatorError, match=r"phi=.* cannot be pickled.*lock"):
        dm.MGRIT(Locked(), 30).solve(np.ones(2), client=client)
    # Nothing is sent anywhere by the threaded scheduler.
    with dask.config.set(scheduler="threads"):
        assert dm.MGRIT(Locked(), 30).solve(np.ones(2)).converged


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_own_exception_of_phi_says_where(where, request):
    def fails(weights, index, level):
        if level == 1:
            raise KeyError("no such layer")
        return 0.9 * weights

    client = request.getfixturevalue("client") if where == "cluster" else None
    with pytest.raises(KeyError, match="no such layer") as caught:
        dm.MGRIT(fails, 30).solve(np.ones(2), chunks=2, client=client)
    assert any("phi on level 1" in note and "cycle 1" in note for note in caught.value.__notes__)


class Diverges:
    """Good on the first calls on a level, nan after that, in one entry of one step."""

    def __init__(self, level, step, limit):
        self.level, self.step, self.limit = level, step, limit

    def __call__(self, weights, index, level):
        new = 0.9 ** (2**level) * weights
        if level == self.level:
            new[(index == self.step) & (weights[:, 0] < self.limit)] = np.nan
        return new


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_divergence_on_a_coarse_level(where, chunks, request):
    client = request.getfixturevalue("client") if where == "cluster" else None
    phi = Diverges(level=1, step=5, limit=np.inf)
    seen = []
    result = dm.MGRIT(phi, 64).solve(
        np.ones(2), chunks=chunks, client=client, callback=lambda k, r, w: seen.append((k, r))
    )
    assert result.reason == "diverged"
    assert not result.converged
    assert "level 1, step 5, during cycle 1" in result.message
    assert result.message in str(result)
    assert (result.iterations, seen) == (0, [])
    assert len(result.residuals) == 1
    weights = result.weights.compute()
    assert weights.shape == (65, 2)
    assert np.isfinite(weights).all()
    assert np.isfinite(result.final).all()


def test_a_phi_that_leaves_the_program_leaves_the_worker_there(client):
    def phi(weights, index, level):
        if (index > 30).any():
            raise SystemExit(0)
        return 0.9 * weights

    before = client.run(os.getpid)
    for solver in (dm.MGRIT(phi, 40), dm.ParallelNewton(phi, 40)):
        with pytest.raises(dm.PropagatorError, match=r"phi called sys\.exit\(0\): return the new weights"):
            solver.solve(np.ones(3), client=client)
    assert client.run(os.getpid) == before


def test_divergence_is_no_error_to_a_worker(client):
    def failures():
        return [line for lines in client.get_worker_logs().values() for _, line in lines if "Compute Failed" in line]

    before = failures()
    assert dm.MGRIT(Diverges(level=1, step=5, limit=np.inf), 64).solve(np.ones(2), chunks=3).reason == "diverged"
    assert failures() == before
    # The log does show a phi that fails.
    with pytest.raises(KeyError):
        dm.MGRIT(raises, 64).solve(np.ones(2), chunks=3)
    assert len(failures()) > len(before)


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_divergence_after_some_cycles_keeps_the_last_state(where, chunks, request):
    client = request.getfixturevalue("client") if where == "cluster" else None

    def calm(weights, index, level):
        return (0.9 ** (2**level) * weights) * (1 + 0.1 * np.sin(weights))

    three = dm.MGRIT(calm, 64).solve(np.ones(2), tol=0, maxiter=3, chunks=chunks, client=client)
    kept = three.weights.compute()
    # Cycle 3 is the first to bring this state about, and step 40 from it is what the F-relaxation of cycle 4 does.
    close = kept[40] + 0.0

    def bad(weights, index, level):
        new = calm(weights, index, level)
        if level == 0:
            new[(index == 40) & (np.abs(weights - close).max(axis=1) == 0)] = np.inf
        return new

    seen = []
    result = dm.MGRIT(bad, 64).solve(
        np.ones(2), tol=0, maxiter=9, chunks=chunks, client=client, callback=lambda k, r, w: seen.append(k)
    )
    assert result.reason == "diverged"
    assert "level 0, step 40, during cycle 3" in result.message
    assert result.iterations == 2
    assert seen == [1, 2]
    assert result.residuals == three.residuals[:3]
    assert np.isfinite(result.weights.compute()).all()


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_divergence_ahead_does_not_take_a_finished_cycle_along(where, request):
    """The first F-relaxation of cycle 2 diverges; cycle 1, and its callback, are done before that on any scheduler."""
    client = request.getfixturevalue("client") if where == "cluster" else None

    def calm(weights, index, level):
        return (0.9 ** (2**level) * weights) * (1 + 0.1 * np.sin(weights))

    one = dm.MGRIT(calm, 64).solve(np.ones(2), tol=0, maxiter=1, chunks=3)
    weights = one.weights.compute()
    # What the C-relaxation of cycle 2 brings to point 40, and its F-relaxation starts from.
    relaxed = calm(weights[39:40], np.array([39]), 0)[0]
    assert not np.array_equal(relaxed, weights[40])

    def bad(weights, index, level):
        new = calm(weights, index, level)
        if level == 0:
            new[(index == 40) & (weights == relaxed).all(axis=1)] = np.nan
        return new

    seen = []
    result = dm.MGRIT(bad, 64).solve(np.ones(2), chunks=3, client=client, callback=lambda k, r, w: seen.append(k))
    assert result.reason == "diverged"
    assert "level 0, step 40, during cycle 2" in result.message
    assert seen == [1]
    assert result.residuals == one.residuals
    assert np.array_equal(result.weights.compute(), weights)


@pytest.mark.parametrize("guess", ["zero", "nested"])
@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_divergence_of_the_initial_guess(where, guess, request):
    client = request.getfixturevalue("client") if where == "cluster" else None

    def bad(weights, index, level):
        return np.full_like(weights, np.nan)

    result = dm.MGRIT(bad, 64).solve(np.ones(2), initial_guess=guess, chunks=2, client=client)
    assert (result.reason, result.iterations) == ("diverged", 0)
    assert "initial guess" in result.message
    assert np.isfinite(result.weights.compute()).all()


def test_version_probe_runs_without_the_package(client):
    versions = client.run(cluster_checks._version_probe())
    assert set(versions.values()) == {dm.__version__}

    probe = cluster_checks._version_probe()

    def without(dask_worker):
        import sys

        hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "daskmgrit"}
        sys.modules["daskmgrit"] = None
        try:
            return probe()
        finally:
            sys.modules.update(hidden)

    assert set(client.run(without).values()) == {None}


def test_no_workers():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        dask.config.set({"daskmgrit.worker-timeout": "2s"}),
        pytest.raises(dm.ClusterError, match=r"no workers.*within 2 s.*dask worker"),
    ):
        dm.MGRIT(good, 30).solve(np.ones(2), client=client)


def test_time_out_of_a_task_is_not_that_of_the_wait(client):
    def slow(weights, index, level):
        raise TimeoutError("the device did not answer")

    with pytest.raises(TimeoutError, match="did not answer"):
        dm.MGRIT(slow, 30).solve(np.ones(2), client=client)
