"""The initial state and the serial loop."""

import re

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.recurrence.state import initial_state


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
    ("w0", "words"),
    [
        (["a"], "has dtype <U1"),
        (np.ones((2, 2)), "has shape (2, 2)"),
        (1.0, "has shape ()"),
        ([], "has shape (0,)"),
        ([1, np.inf], "nan or inf at entry 1"),
    ],
)
def test_what_is_no_initial_state(w0, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        initial_state(w0)


def test_the_serial_loop_takes_one_step_after_another(decay):
    weights = dm.train_serially(decay, np.ones(2), 5)
    assert weights.shape == (6, 2)
    for i in range(5):
        assert np.array_equal(weights[i + 1], decay(weights[i : i + 1], np.array([i]), 0)[0])
