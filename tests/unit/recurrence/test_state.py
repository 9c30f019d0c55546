"""The initial state and the serial loop."""

import re

import dask
import dask.array as da
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.problems import xor
from daskmgrit.recurrence.state import initial_state


class Sparse:
    """As SciPy's sparse arrays are, to NumPy."""

    def toarray(self):
        raise AssertionError("it may not fit into memory")


def test_a_copy_in_host_memory():
    given = np.array([1, 2, 3])
    state = initial_state(given)
    given[0] = 9
    assert (state.dtype, state.size, state.nbytes, state.library) == (np.float64, 3, 24, "numpy")
    assert state.host.tolist() == [1, 2, 3]


def test_an_array_of_another_library_is_made_again_where_phi_runs():
    xp = pytest.importorskip("array_api_strict")
    state = initial_state(xp.asarray([1.0, 2.0]))
    assert isinstance(state.host, np.ndarray)
    assert state.library.startswith("array_api_strict")
    assert type(state.block(None)) is type(xp.asarray([1.0]))


@pytest.mark.parametrize(
    "given",
    [
        [1, 2, 3],
        np.array([1.0, 2.0, 3.0], ">f8"),
        np.array([1.0, 2.0, 3.0], "<f8"),
        np.ma.masked_array([1.0, 2.0, 3.0], [0, 0, 0]),
        np.array([1.0, 2.0, 3.0]).view(type("Mine", (np.ndarray,), {})),
        da.from_array(np.array([1.0, 2.0, 3.0]), chunks=2),
        dask.delayed(np.array)([1.0, 2.0, 3.0]),
    ],
)
def test_arrays_that_mean_a_plain_one(given):
    state = initial_state(given)
    assert type(state.host) is np.ndarray
    assert state.dtype.isnative
    assert state.library == "numpy"
    assert state.block(None).tolist() == [1.0, 2.0, 3.0]


def test_pandas_and_xarray():
    pd, xr = pytest.importorskip("pandas"), pytest.importorskip("xarray")
    for given in (pd.Series([1, 2.0]), pd.Index([1, 2.0]), pd.Series([1, 2], dtype="Float64"), xr.DataArray([1, 2.0])):
        state = initial_state(given)
        assert type(state.host) is np.ndarray
        assert state.host.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"w0 is a Dataset, not an array of numbers .*: give all weights as one"):
        initial_state(xr.Dataset({"a": ("x", [1.0, 2.0])}))
    for given, words in ((pd.DataFrame({"a": [1.0, 2.0]}), "has shape"), (pd.Series(["a"]), "(Series)")):
        with pytest.raises(ValueError, match=re.escape(words)):
            initial_state(given)


@pytest.mark.parametrize(
    ("w0", "words"),
    [
        (np.ma.masked_array([1.0, 2.0], [0, 1]), "w0 is a masked array with masked entries"),
        (np.asmatrix([1.0, 2.0]), "has shape (1, 2)"),
        (["a"], "has dtype <U1"),
        ({"w": np.ones((2, 2)), "b": 0.0}, "(dict): give a vector of floating-point numbers, np.concatenate(["),
        (Sparse(), "has dtype object (Sparse): give a vector of floating-point numbers, w0.toarray().ravel()"),
        (np.ones((2, 2)), "has shape (2, 2)"),
        (1.0, "has shape ()"),
        ([], "has shape (0,)"),
        ([1, np.inf], "nan or inf at entry 1"),
    ],
)
def test_what_is_no_initial_state(w0, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        initial_state(w0)


def test_a_tensor_without_data():
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match=r"w0 is a Tensor, not an array of numbers .*: give all weights as one"):
        initial_state(torch.ones(3, device="meta"))


def test_a_module_and_its_parameters():
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 1)
    with pytest.raises(ValueError, match=r"\(Linear\): give a vector .*, such as phi\.w0"):
        initial_state(module)
    with pytest.raises(ValueError, match=r"require gradients: .* such as phi\.w0.*parameters_to_vector"):
        initial_state(list(module.parameters()))
    # Each remedy is one.
    for given in (
        torch.nn.utils.parameters_to_vector(list(module.parameters())).detach(),
        np.concatenate([np.ravel(part) for part in module.state_dict().values()]),
    ):
        assert initial_state(given).size == 3


def test_the_serial_loop_takes_one_step_after_another(decay):
    weights = dm.train_serially(decay, np.ones(2), 5)
    assert weights.shape == (6, 2)
    for i in range(5):
        assert np.array_equal(weights[i + 1], decay(weights[i : i + 1], np.array([i]), 0)[0])


def test_layers_of_several_shapes_are_to_be_joined():
    with pytest.raises(ValueError, match=r"w0 is a sequence of arrays of several shapes.*np\.concatenate"):
        initial_state([np.zeros((2, 2)), np.zeros(6)])


SOLVES = {
    "MGRIT": lambda phi, w0: dm.MGRIT(phi, 64).solve(w0),
    "parallel Newton": lambda phi, w0: dm.ParallelNewton(phi, 64).solve(w0),
    "serial": lambda phi, w0: dm.train_serially(phi, w0, 64),
    "check": dm.check_propagator,
}
DECAY = np.diag([0.9, 0.8, 0.7, 0.6])


def by_matrix(weights, index, level):
    return weights @ DECAY


def by_count(w, i):
    a, b, c, d = w
    return np.array([a, b, c, d]) / 2


class Known:
    """Tells its length, and may not be called with another."""

    state_size = 4

    def __call__(self, weights, index, level):
        assert weights.shape[1] == 4, "called"
        return 0.9 ** (2**level) * weights


@pytest.mark.parametrize("solve", SOLVES.values(), ids=SOLVES)
@pytest.mark.parametrize("length", [1, 3, 5])
@pytest.mark.parametrize("phi", [by_matrix, dm.from_function(by_count)], ids=["matrix", "count"])
@pytest.mark.usefixtures("synchronous")
def test_a_w0_of_another_length_is_named_where_phi_fails(solve, length, phi):
    with pytest.raises(dm.PropagatorError, match=f"w0.*length {length}") as caught:
        solve(phi, np.ones(length))
    assert "ValueError" in str(caught.value)
    solve(phi, np.ones(4))


@pytest.mark.parametrize("solve", SOLVES.values(), ids=SOLVES)
@pytest.mark.parametrize(
    ("phi", "length", "remedy"),
    [
        (Known(), 4, "give a w0 of that length"),
        (xor().propagator(), 16, "give a w0 of that length"),
        (xor().optimizer("adam"), 48, "such as phi.w0"),
    ],
    ids=["own", "descent", "adam"],
)
def test_a_w0_of_another_length_than_phi_tells_is_refused_at_once(solve, phi, length, remedy):
    with pytest.raises(ValueError, match=f"w0 has length 5, but states of .* have {length}: .*{remedy}"):
        solve(phi, np.ones(5))


def test_the_error_of_a_first_call_is_the_cause_and_later_ones_stay_as_they_are():
    def late(weights, index, level):
        if (index > 0).any():
            raise ValueError("step 1")
        return weights

    with pytest.raises(dm.PropagatorError) as caught:
        dm.train_serially(by_matrix, np.ones(3), 4)
    assert type(caught.value.__cause__) is ValueError
    with pytest.raises(ValueError, match="step 1") as caught:
        dm.train_serially(late, np.ones(3), 4)
    assert type(caught.value) is ValueError


def test_an_own_w0_tells_the_length_that_may_be_meant():
    class Phi:
        w0 = np.ones(4)

        def __call__(self, weights, index, level):
            return weights @ DECAY

    with pytest.raises(dm.PropagatorError, match=r"length 3 .*phi\.w0 has 4"):
        dm.MGRIT(Phi(), 64).solve(np.ones(3))
