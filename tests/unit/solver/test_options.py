"""Bad options and arguments: the error says what and what to do."""

import numpy as np
import pytest

import daskmgrit as dm


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
        ({"progress": "off"}, ["progress='off'", "neither True nor False"]),
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


METHODS = pytest.mark.parametrize("method", [dm.MGRIT, dm.ParallelNewton])


@METHODS
def test_a_callback_of_other_arguments_is_refused_before_anything_is_computed(method):
    def phi(weights, index, level):
        raise AssertionError

    with pytest.raises(TypeError, match=r"callback=two takes .*, not 3 arguments: .*residual, weights"):
        method(phi, 8).solve(np.ones(2), callback=two)


def two(cycle, residual):
    """A callback that forgot the weights."""


@METHODS
def test_a_callback_that_returns_an_array_is_told_what_to_return(method, decay):
    with pytest.raises(TypeError, match=r"returned .*neither true nor false: return True to stop"):
        method(decay, 16).solve(np.ones(3), callback=lambda cycle, residual, weights: np.ones(3))


@pytest.mark.parametrize("jacobian", ["lowrank", "full"])
def test_a_jacobian_that_the_dtype_has_no_linear_algebra_for(jacobian, decay):
    with pytest.raises(ValueError, match=f"jacobian='{jacobian}' .*float16.*identity"):
        dm.ParallelNewton(decay, 16, window=4, jacobian=jacobian).solve(np.ones(3, np.float16))


def test_a_narrow_dtype_goes_with_the_usual_jacobian():
    def phi(weights, index, level):
        return weights / 2

    result = dm.ParallelNewton(phi, 16, window=4).solve(np.ones(3, np.float16))
    assert result.converged
    assert result.final.dtype == np.float16


def test_callback_and_client_are_checked():
    solver = dm.MGRIT(good, 100)
    with pytest.raises(TypeError, match="callback=1"):
        solver.solve(np.ones(2), callback=1)
    with pytest.raises(TypeError, match="client='tcp://1"):
        solver.solve(np.ones(2), client="tcp://127.0.0.1:8786")


def test_overflowing_residual_is_divergence():
    def turns(weights, index, level):
        return -weights

    result = dm.MGRIT(turns, 4, min_coarse=1).solve(np.full(2, 1.5e308), "constant", maxiter=5)
    assert result.reason == "diverged"
    assert "residual on level 0 of the initial guess is inf" in result.message


def test_guess_with_nan_in_a_dask_array():
    import dask.array as da

    guess = np.ones((31, 2))
    guess[7] = np.inf
    with pytest.raises(ValueError, match="initial_guess holds nan or inf"):
        dm.MGRIT(good, 30).solve(np.ones(2), da.from_array(guess, chunks=5))


def test_phi_that_returns_its_input():
    result = dm.MGRIT(lambda weights, index, level: weights, 30).solve(np.ones(2))
    assert result.converged
    assert np.array_equal(result.final, np.ones(2))


def test_a_guess_that_is_masked():
    guess = np.ma.masked_array(np.ones((31, 2)), np.eye(31, 2))
    with pytest.raises(ValueError, match="initial_guess is a masked array"):
        dm.MGRIT(good, 30).solve(np.ones(2), guess)
    assert dm.MGRIT(good, 30).solve(np.ones(2), np.ma.masked_array(guess.data)).converged


def test_a_guess_in_a_data_frame():
    pandas = pytest.importorskip("pandas")
    guess = pandas.DataFrame({"weights": np.ones(31), "more": np.ones(31)})
    assert dm.MGRIT(good, 30).solve(np.ones(2), guess).converged


@pytest.mark.parametrize("solver", [dm.MGRIT(good, 30), dm.ParallelNewton(good, 30)])
def test_training_on_from_a_row_of_the_weights(solver, tmp_path):
    pytest.importorskip("zarr")
    first = dm.MGRIT(good, 30).solve(np.ones(2))
    again = solver.solve(first.weights[-1], checkpoint=tmp_path)
    assert np.array_equal(again.final, solver.solve(first.final).final)
    assert np.array_equal(solver.resume(tmp_path, first.weights[-1]).final, again.final)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("method", [dm.MGRIT, dm.ParallelNewton])
def test_a_wrong_object_is_shown_in_a_line(method, decay):
    solver = method(decay, 8)
    result = solver.solve(np.ones(2))
    for option in ("checkpoint", "tol", "timeout", "client", "callback"):
        with pytest.raises((TypeError, ValueError), match=f"{option}=Result") as caught:
            solver.solve(np.ones(2), **{option: result})
        assert len(str(caught.value)) < 250
        assert "\n" not in str(caught.value)
    for wrong in (lambda: method(result, 8), lambda: method(decay, result)):
        with pytest.raises((TypeError, ValueError)) as caught:
            wrong()
        assert len(str(caught.value)) < 250


def test_a_guess_in_a_dataset(decay):
    xr = pytest.importorskip("xarray")
    with pytest.raises(ValueError, match=r"initial_guess is a Dataset.*give one of shape \(9, 2\)"):
        dm.MGRIT(decay, 8).solve(np.ones(2), xr.Dataset({"a": ("x", [1.0, 2.0])}))
