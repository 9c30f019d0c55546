"""Bad input and propagators that misbehave: the error says what, where and what to do."""

import threading

import dask
import numpy as np
import pytest
from conftest import Decay

import daskmgrit as dm
from daskmgrit.executors import preflight as cluster_checks


def good(weights, index, level):
    return 0.9 * weights


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 3, "coarsening": 4}, ["steps=3", "coarsening=4"]),
        ({"steps": 0}, ["steps=0"]),
        ({"steps": 10.0}, ["steps=10.0"]),
        ({"steps": 100, "coarsening": 1}, ["coarsening=1"]),
        ({"steps": 100, "coarsening": []}, ["coarsening=[]"]),
        ({"steps": 100, "max_levels": 1}, ["max_levels=1", "train_serially"]),
        ({"steps": 100, "min_coarse": 0}, ["min_coarse=0"]),
        ({"steps": 100, "cycle": "W"}, ["cycle='W'"]),
        ({"steps": 100, "relaxation": "CF"}, ["relaxation='CF'", "FCF"]),
        ({"steps": 100, "relaxation": ["F", -1]}, ["relaxation=-1"]),
        ({"steps": 100, "weight": 0}, ["weight=0"]),
        ({"steps": 100, "weight": [1.0, float("nan")]}, ["weight=nan"]),
    ],
)
def test_options(options, words):
    with pytest.raises(ValueError, match=r".") as caught:
        dm.MGRIT(good, **options)
    assert all(word in str(caught.value) for word in words)


def test_phi_must_be_callable():
    with pytest.raises(TypeError, match="phi=3 is not callable"):
        dm.MGRIT(3, 100)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"w0": np.ones((2, 2))}, ["w0", "(2, 2)", "ravel"]),
        ({"w0": []}, ["w0", "(0,)"]),
        ({"w0": [1.0, np.nan]}, ["w0", "entry 1"]),
        ({"w0": ["a"]}, ["w0", "dtype"]),
        ({"tol": -1}, ["tol=-1"]),
        ({"tol": "small"}, ["tol='small'"]),
        ({"maxiter": -1}, ["maxiter=-1"]),
        ({"maxiter": 2.5}, ["maxiter=2.5"]),
        ({"chunks": 0}, ["chunks=0"]),
        ({"chunks": 52}, ["chunks=52", "51"]),
        ({"chunks": "many"}, ["chunks='many'"]),
        ({"initial_guess": "random"}, ["initial_guess='random'", "nested"]),
        ({"initial_guess": np.ones((100, 2))}, ["(100, 2)", "(101, 2)"]),
        ({"initial_guess": np.full((101, 2), np.nan)}, ["initial_guess", "nan", "row 1"]),
        ({"initial_guess": np.full((101, 2), 1j)}, ["initial_guess", "complex"]),
        ({"checkpoint": 5}, ["checkpoint=5"]),
        ({"timeout": "soon"}, ["timeout='soon'"]),
    ],
)
def test_solve_arguments(arguments, words):
    calls = []

    def phi(weights, index, level):
        calls.append(level)
        return 0.9 * weights

    with pytest.raises(ValueError, match=r".") as caught:
        dm.MGRIT(phi, 100).solve(**({"w0": np.ones(2)} | arguments))
    assert all(word in str(caught.value) for word in words)
    assert not calls


def test_callback_and_client_are_checked():
    solver = dm.MGRIT(good, 100)
    with pytest.raises(TypeError, match="callback=1"):
        solver.solve(np.ones(2), callback=1)
    with pytest.raises(TypeError, match="client='tcp://1"):
        solver.solve(np.ones(2), client="tcp://127.0.0.1:8786")


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


def random(weights, index, level):
    return weights + np.random.default_rng().random(weights.shape)


def mixes(weights, index, level):
    return 0.9 * weights + 0.1 * weights.mean(axis=0)


def explodes(weights, index, level):
    return weights / 0 if level else 0.9 * weights


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


@pytest.mark.parametrize(
    ("phi", "words"),
    [
        (random, ["different results for the same input", "seeded"]),
        (mixes, ["one state at a time", "own weights"]),
        (explodes, ["nan or inf on level 1", "learning rate"]),
        (raises, ["raised KeyError on level 0", "no such layer"]),
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


def test_check_remarks_on_rounding():
    def sloppy(weights, index, level):
        return 0.9 * weights * (1 + 1e-15 * (len(weights) > 1))

    report = dm.check_propagator(sloppy, np.ones(3))
    assert report.ok
    assert "last bits" in str(report)


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


def test_overflowing_residual_is_divergence():
    def grows(weights, index, level):
        return weights * 1e20

    result = dm.MGRIT(grows, 4, min_coarse=1).solve(np.full(2, 1e150), maxiter=5)
    assert result.reason == "diverged"
    assert "residual on level 0 of the initial guess is inf" in result.message


class FakeClient:
    def __init__(self, workers):
        self.workers = workers

    def run(self, probe, on_error):
        return self.workers

    def sync(self, call, callback_timeout):
        return call()


@pytest.mark.parametrize(
    ("client", "words"),
    [
        (FakeClient({"tcp://a": dm.__version__, "tcp://b": None}), ["not installed on tcp://b", "PipInstall"]),
        (FakeClient({"tcp://a": "0.0.1"}), [dm.__version__, "tcp://a (0.0.1)", "install the same"]),
        (FakeClient({"tcp://a": OSError("no disk")}), ["tcp://a", "no disk"]),
        (FakeClient({f"tcp://{i}": None for i in range(9)}), ["and 6 more"]),
    ],
)
def test_workers_without_the_package_or_with_another_version(client, words):
    with pytest.raises(dm.ClusterError) as caught:
        cluster_checks.check_cluster(client, good)
    assert all(word in str(caught.value) for word in words)


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
        dask.config.set({"daskmgrit.worker-timeout": "300ms"}),
        pytest.raises(dm.ClusterError, match=r"no workers.*0\.3 s.*dask worker"),
    ):
        dm.MGRIT(good, 30).solve(np.ones(2), client=client)


def test_guess_with_nan_in_a_dask_array():
    import dask.array as da

    guess = np.ones((31, 2))
    guess[7] = np.inf
    with pytest.raises(ValueError, match="initial_guess holds nan or inf"):
        dm.MGRIT(good, 30).solve(np.ones(2), da.from_array(guess, chunks=5))


BUFFER = np.empty((64, 2))


def reuses(weights, index, level):
    return np.multiply(weights, 0.9, out=BUFFER[: len(weights)])


def test_phi_that_writes_to_the_same_buffer_again():
    report = dm.check_propagator(reuses, np.ones(2))
    assert "keeps the array" in str(report)
    with dask.config.set(scheduler="sync"):
        result = dm.MGRIT(reuses, 64).solve(np.ones(2))
    np.testing.assert_allclose(result.weights.compute(), dm.train_serially(reuses, np.ones(2), 64), atol=1e-8)


def test_phi_that_returns_its_input():
    result = dm.MGRIT(lambda weights, index, level: weights, 30).solve(np.ones(2))
    assert result.converged
    assert np.array_equal(result.final, np.ones(2))


def test_time_out_of_a_task_is_not_that_of_the_wait(client):
    def slow(weights, index, level):
        raise TimeoutError("the device did not answer")

    with pytest.raises(TimeoutError, match="did not answer"):
        dm.MGRIT(slow, 30).solve(np.ones(2), client=client)
