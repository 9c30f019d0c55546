"""The contract of Phi, held at every call; calls counted."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from daskmgrit.errors import Diverged, PropagatorError
from daskmgrit.recurrence.meter import Meter
from daskmgrit.recurrence.propagator import apply_phi, stages_of
from daskmgrit.recurrence.step_length import StepLength, check_coarsening

BLOCK, INDEX = np.ones((3, 2)), np.arange(3)


def writes(weights, index, level):
    weights *= 2
    return weights


@pytest.mark.parametrize(
    ("phi", "words"),
    [
        (writes, "wrote to its input (level 1)"),
        (lambda weights, index, level: weights.tolist(), "returned list (level 1)"),
        (lambda weights, index, level: weights[0], "returned shape (2,) for weights of shape (3, 2)"),
        (lambda weights, index, level: weights[0], "wrap a phi for one state in daskmgrit.vectorize"),
        (
            lambda weights, index, level: weights[:, :1],
            "all 2 weights of each; if these are all, give a w0 of length 1",
        ),
        (lambda weights, index, level: weights.sum(axis=1), "all 2 weights of each, not one number"),
        (lambda weights, index, level: weights[:1], "k rows; return one for each, for any k"),
        (lambda weights, index, level: weights[None], "return an array of shape (3, 2)"),
        (lambda weights, index, level: weights.astype(np.float32), "float64 (level 1): give w0 the dtype"),
        (lambda weights, index, level: weights.astype(int), "float64 (level 1): return new.astype"),
    ],
)
def test_a_breach_of_the_contract(phi, words):
    with pytest.raises(PropagatorError, match=re.escape(words)):
        apply_phi(phi, BLOCK.copy(), INDEX, 1)


def test_an_array_of_another_library_is_to_be_returned_as_it_came():
    xp = pytest.importorskip("array_api_strict")
    with pytest.raises(PropagatorError, match=r"returned ndarray on cpu \(level 0\): return a Array on"):
        apply_phi(lambda weights, index, level: np.ones((3, 2)), xp.asarray(BLOCK), INDEX, 0)


def test_an_error_of_phi_is_its_own_and_says_where():
    def phi(weights, index, level):
        raise ValueError("singular")

    note = (
        "daskmgrit: raised by phi on level 2, {}, cycle 4; it was given weights of shape {}, a state in each row, and "
        "index of shape {}"
    )
    with pytest.raises(ValueError, match="singular") as caught:
        Meter(phi, 4)(BLOCK, INDEX, 2)
    assert caught.value.__notes__ == [note.format("3 steps from 0 to 2", (3, 2), (3,))]
    with pytest.raises(ValueError, match="singular") as caught:
        Meter(phi, 4)(BLOCK[:1], INDEX[2:], 2)
    assert caught.value.__notes__ == [note.format("step 2", (1, 2), (1,))]


class Base(BaseException):
    """No Exception."""


@pytest.mark.parametrize("call", ["__call__", "guess"])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Base("b", 1), r"phi raised Base('b', 1), which is no Exception: raise one, such as RuntimeError"),
        (asyncio.CancelledError(), "phi raised CancelledError(), which is no Exception"),
        (KeyboardInterrupt(), "phi raised KeyboardInterrupt(), which is no Exception"),
        (StopIteration(), "phi raised StopIteration: give it data for every step"),
    ],
)
def test_what_would_end_more_than_phi_is_an_error_of_it(error, words, call):
    """In a thread of a worker it would end the worker, a generator or a future of the solve."""

    def phi(weights, index, level):
        raise error

    def run():
        meter = Meter(phi, 1)
        return meter(BLOCK, INDEX, 0) if call == "__call__" else meter.guess(BLOCK, INDEX)

    with ThreadPoolExecutor(1) as pool, pytest.raises(PropagatorError, match=re.escape(words)) as caught:
        pool.submit(run).result()
    assert "raised by phi" in caught.value.__notes__[0]
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            run()


def test_phi_is_given_what_it_cannot_write_to():
    given = []

    def phi(weights, index, level):
        given.extend([weights.flags.writeable, index.flags.writeable])
        return weights + 1

    apply_phi(phi, BLOCK.copy(), INDEX.copy(), 0)
    assert given == [False, False]


def test_a_buffer_that_phi_writes_to_again_is_copied_and_a_new_array_is_not():
    buffer, made = np.empty((3, 2)), []

    def keeps(weights, index, level):
        return np.add(weights, 1, out=buffer)

    def makes(weights, index, level):
        new = weights + 1
        made.append(new.ctypes.data)
        return new

    assert not np.shares_memory(apply_phi(keeps, BLOCK, INDEX, 0), buffer)
    assert apply_phi(makes, BLOCK, INDEX, 0).ctypes.data == made[0]


class Staged:
    def __init__(self, stages):
        self.answer = stages

    def stages(self, level):
        return self.answer

    def __call__(self, weights, index, level):
        return weights / 2


def test_stages_are_counted_one_after_another():
    assert stages_of(writes, 3) == 1
    assert stages_of(Staged(np.int64(3)), 3) == 3
    meter = Meter(Staged(2), 7)
    with meter.stage("F-relaxation", 1, 5):
        meter(BLOCK, INDEX, 1)
        # An empty block needs no call.
        assert meter(BLOCK[:0], INDEX[:0], 1).shape == (0, 2)
    (record,) = meter.records
    assert record[:4] == ("F-relaxation", 1, 7, 5)
    assert (record.calls, record.evaluations) == (2, 6)
    assert 0 <= record.phi_seconds <= record.seconds


@pytest.mark.parametrize("stages", [0, -1, 1.5, "2", None])
def test_stages_that_are_no_count(stages):
    with pytest.raises(PropagatorError, match=re.escape(f"phi.stages(2) is {stages!r}")):
        stages_of(Staged(stages), 2)


def test_a_stage_that_fails_leaves_no_record():
    meter = Meter(lambda weights, index, level: weights * np.where(index == 1, np.nan, 1)[:, None], 3)
    with pytest.raises(Diverged) as caught, meter.stage("C-relaxation", 0, 0):
        meter(BLOCK, INDEX, 2)
    assert (caught.value.level, caught.value.step, caught.value.cycle) == (2, 1, 3)
    assert meter.records == []


def test_a_sum_that_overflows_is_no_divergence():
    huge = np.full((3, 2), 1e308)
    assert np.array_equal(Meter(lambda weights, index, level: weights * 1.0, 0)(huge, INDEX, 0), huge)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"coarsening": ()}, "coarsening=[] is empty"), ({"coarsening": 1}, "coarsening"), ({"cap": 0}, "cap")],
)
def test_step_lengths_out_of_range(options, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        StepLength(**options)


def test_a_propagator_made_for_another_coarsening():
    phi = Staged(1)
    check_coarsening(phi, [3, 3])
    phi.length = StepLength((4, 2))
    check_coarsening(phi, [4, 2, 2])
    with pytest.raises(ValueError, match=re.escape("made for coarsening=[4, 2], but the solver coarsens by 2, 2")):
        check_coarsening(phi, [2, 2])
    # What says both has its steps' length under the longer name.
    phi.step_length = StepLength(2)
    check_coarsening(phi, [2, 2])
