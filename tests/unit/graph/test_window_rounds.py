"""Rounds of several processes, without a cluster: the bits and the counts of one process."""

import numpy as np
import pytest

from daskmgrit.graph import window_tasks
from daskmgrit.newton.in_one_process import solve_in_one_process
from daskmgrit.newton.settings import NewtonSettings, choose_size
from tests.unit.newton.test_iteration import training


@pytest.mark.parametrize("threads", [(1, 1), (2, 1, 3), (1, 1, 1, 1, 1, 1, 1)])
@pytest.mark.parametrize(
    ("optimizer", "jacobian", "interval"),
    [
        ("adam", "identity", 1),
        ("adam", "identity", 2),
        ("adam", "identity", 3),
        ("descent", "identity", 2),
        ("adam", "lowrank", 1),
        ("descent", "full", 1),
    ],
)
def test_bits_of_one_process(threads, optimizer, jacobian, interval):
    phi, w0 = training(2, optimizer, 0.02)
    method = NewtonSettings(31, 1e-7, jacobian, choose_size(5, jacobian), interval=interval, rank=2)
    expected = solve_in_one_process(phi, w0, method)
    carrier, reports, records = window_tasks.start(phi, w0, method), [], []
    shares, answers = [carrier] * len(threads), [[]] * len(threads)
    while not all(isinstance(share, window_tasks.Share) and share.carrier.over(31) for share in shares):
        shares = [
            window_tasks.take_round(
                phi, method, shares[number], answers[number], number, threads, f"{jacobian} {interval} {number}", False
            )
            for number in range(len(threads))
        ]
        answers = [[window_tasks.answer(share) for share in shares]] * len(threads)
        reports += shares[0].reports
        records += shares[0].records
    assert reports == expected.sweeps
    assert sum(record.evaluations for record in records) == expected.phi_evaluations
    for share in shares:
        assert np.array_equal(window_tasks.final(share), expected.final)


def test_gradients_travel_alone():
    """Where the update follows from them: the state with its moments is three times as large."""
    phi, w0 = training(2, "adam", 0.02)
    method = NewtonSettings(31, 1e-7, size=choose_size(6, "identity"))
    carrier = window_tasks.start(phi, w0, method)
    share = window_tasks.take_round(phi, method, carrier, [], 0, (1, 1), "alone", False)
    assert sum(rows.nbytes for rows in window_tasks.answer(share).rows) == 3 * w0.nbytes / 3
