"""Evaluations that come one after another, and slots of the next window that begin before: the bits of one call."""

import itertools
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daskmgrit.newton import evaluate as evaluate_module
from daskmgrit.newton.evaluate import Arriving, evaluate
from daskmgrit.newton.settings import JACOBIANS, NewtonSettings, choose_size
from daskmgrit.newton.sweep import sweep
from daskmgrit.newton.window import first_window
from daskmgrit.recurrence.meter import Meter
from tests.unit.newton.test_iteration import training


class InParts:
    """Evaluates runs of slots only when they are asked for, and keeps the states that are added ahead."""

    def __init__(self, phi, cuts):
        self.phi, self.cuts = phi, cuts
        self.added, self.events, self.ended = [], [], 0

    def take(self, states, begins, lengths):
        inner = [cut for cut in self.cuts if cut < len(begins)]
        for lo, hi in itertools.pairwise([0, *inner, len(begins)]):
            self.events.append((lo, sum(len(rows) for rows in self.added)))
            yield evaluate(Meter(self.phi, 1), states[lo:hi], begins[lo:hi], lengths[lo:hi])

    def begin(self, begins, lengths):
        self.added, self.ended = [], 0
        return True

    def add(self, states):
        self.added.append(states)

    def end(self):
        self.ended += 1


def first(phi, w0, method):
    return first_window(w0[None], method.size.first, method.steps, method.interval)


def same(one, other):
    return (one is None and other is None) or np.array_equal(one, other, equal_nan=True)


@given(
    seed=st.integers(0, 10**6),
    optimizer=st.sampled_from(["descent", "adam", "momentum"]),
    rate=st.sampled_from([1e-3, 0.05, 20.0]),
    jacobian=st.sampled_from(JACOBIANS),
    window=st.one_of(st.just("auto"), st.integers(1, 12), st.just(70)),
    interval=st.integers(1, 3),
    cuts=st.sets(st.integers(1, 11), max_size=6),
    tol=st.sampled_from([0.0, 1e-6, 1e-2]),
    large=st.sampled_from([0, 1 << 20]),
)
@settings(max_examples=80, deadline=None)
def test_the_bits_of_one_call(seed, optimizer, rate, jacobian, window, interval, cuts, tol, large):
    phi, w0 = training(seed, optimizer, rate)
    method = NewtonSettings(50, tol, jacobian, choose_size(window, jacobian), interval=interval, rank=3)
    parts = InParts(phi, sorted(cuts))
    now, curvature, parted, of_parts = first(phi, w0, method), None, first(phi, w0, method), None
    while now.first < method.steps:
        now, curvature, accepted, report, _ = sweep(Meter(phi, 1), now, method, curvature).report()
        # States of which a thread makes the update, too, and those of which it only finds the gradient.
        with patch.object(evaluate_module, "LARGE", large):
            parted, of_parts, accepted_in_parts, reported, _ = sweep(
                Meter(phi, 1), parted, method, of_parts, parts.take, parts
            ).report()
        assert np.array_equal(parted.states, now.states)
        assert (parted.first, parted.spent, parted.pace) == (now.first, now.spent, now.pace)
        assert np.array_equal(accepted, accepted_in_parts)
        assert reported == report
        assert same(parted.growth.error, now.growth.error)
        if now.first < method.steps:
            assert np.array_equal(np.concatenate(parts.added), now.states[:-1])
            assert parts.ended == 1


@pytest.mark.parametrize("optimizer", ["descent", "adam"])
def test_a_state_is_added_before_a_later_evaluation_is_waited_for(optimizer):
    phi, w0 = training(4, optimizer, 0.02)
    method = NewtonSettings(60, 1e-9, size=choose_size(8, "identity"))
    parts, now, corrected = InParts(phi, range(1, 8)), first(phi, w0, method), 0
    while now.first + 8 <= method.steps:
        parts.events.clear()
        parts.added.clear()
        now, _, _, report, _ = sweep(Meter(phi, 1), now, method, None, parts.take, parts).report()
        assert [slot for slot, _ in parts.events] == list(range(8))
        # Of the slots after the accepted ones, a state is known as soon as the evaluation before it is.
        for slot, added in parts.events[report.accepted :]:
            assert added == slot - report.accepted + 1
            corrected += 1
    assert corrected > 50


@pytest.mark.parametrize("optimizer", ["descent", "adam"])
def test_runs_are_used_again(optimizer):
    phi, w0 = training(5, optimizer, 0.02)
    states, begins = np.stack([w0 + 0.1 * k for k in range(6)]), np.arange(6)
    images, cuts = phi(states, begins, 0), [0, 1, 4, 6]
    runs = (
        evaluate(Meter(phi, 1), states[lo:hi], begins[lo:hi], np.ones(hi - lo, int))
        for lo, hi in itertools.pairwise(cuts)
    )
    found = Arriving(runs, phi, states, begins)
    assert np.array_equal(next(found.images(0))[1], images[:1])
    for _ in range(2):
        parts = list(found.images(2))
        assert [slots for slots, _ in parts] == [slice(2, 4), slice(4, 6)]
        assert np.array_equal(np.concatenate([rows for _, rows in parts]), images[2:])
    assert np.array_equal(found.all().images, images)
    assert [slots for slots, _ in found.images(5)] == [slice(5, 6)]
    if optimizer == "adam":
        parts = list(found.gradients(3))
        assert np.array_equal(np.concatenate([rows for _, (rows,) in parts]), phi.gradient(states[3:], begins[3:]))
