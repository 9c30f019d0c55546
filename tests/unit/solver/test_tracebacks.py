"""What a user sees of an error: the frames of their own code, and with `daskmgrit.debug` all."""

import traceback

import dask
import numpy as np
import pytest

import daskmgrit as dm


def broken(weights, index, level):
    return helper(weights) if index[0] >= 3 else 0.9 * weights


def helper(weights):
    raise RuntimeError("no data")


def one_state(weights, index, level):
    return np.eye(4) @ weights


def names(error):
    """Functions of all tracebacks of an error and what led to it, the outermost first."""
    found = []
    while error is not None:
        found.append([frame.name for frame in traceback.extract_tb(error.__traceback__)])
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
@pytest.mark.parametrize("solver", [dm.MGRIT, dm.ParallelNewton])
def test_frames_of_the_user(solver, scheduler):
    shown = {}
    for debug in (False, True):
        with (
            dask.config.set({"daskmgrit.debug": debug}, scheduler=scheduler),
            pytest.raises(RuntimeError, match="no data") as error,
        ):
            solver(broken, 16).solve(np.ones(4))
        (shown[debug],) = names(error.value)
        assert shown[debug][-2:] == ["broken", "helper"]
    assert len(shown[False]) <= 6
    assert len(shown[True]) > 10


def test_a_wrong_phi():
    with pytest.raises(dm.PropagatorError) as error:
        dm.MGRIT(one_state, 16).solve(np.ones(4))
    first, *causes = names(error.value)
    assert len(first) <= 5
    assert all(set(frames) <= {"one_state"} for frames in causes)
