"""Advice on solves that did not converge."""

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.errors import Diverged
from daskmgrit.recurrence.amplification import Amplification
from daskmgrit.solver.advice import advise
from daskmgrit.solver.remedies import Facts, Words
from daskmgrit.solver.sweep_advice import advise_on_sweeps


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (("maxiter", "", [1.0, 0.5, 0.25, 0.125], 1e-3), ["factor of 0.5", "about 7 more", "maxiter=10"]),
        (("maxiter", "", [1.0, 0.5], 0.1), ["about 3 more"]),
        (("maxiter", "", [0.98**k for k in range(20)], 1e-3), ["slowly", "0.980", "F-cycles"]),
        (("maxiter", "", [1.0] * 8, 1e-3), ["does not fall", "F-cycles"]),
        (("maxiter", "", [1.0] * 8, 1e-3, "", Words(cycle="F")), ["use more relaxation", "max_levels=2"]),
        (("maxiter", "", [2.0**k for k in range(8)], 1e-3), ["grows", "factor of 2 ", "cap="]),
        (("maxiter", "", [2.0**k for k in range(4)], 1e-3), ["not fallen in 3 cycles", "maxiter=10"]),
        (("maxiter", "", [2.0**k for k in range(4)], 1e-3, "", Words(facts=Facts(exact=6))), ["maxiter=6"]),
        (("maxiter", "", [2.0**k for k in range(4)], 1e-3, "", Words(facts=Facts(exact=3))), ["grows"]),
        (
            ("stagnated", "the residual stays at 6e-06, which is the rounding of float32", [1, 6e-6], 1e-9),
            ["tol=2e-05"],
        ),
        (("stagnated", "the residual has stayed", [1.0, 0.9, 0.9], 1e-9), ["check_propagator", "independent"]),
        (("stagnated", "the residual has stayed", [1.0, 1e-7, 1e-7], 1e-9), ["tol=3e-07", "check_propagator"]),
        (
            ("stagnated", "the residual has stayed", [1.0, 3e5, 7e-4, 7e-4], 1e-9),
            ["rose from 1e+00 to 3e+05", "cap="],
        ),
        (
            ("diverged", "phi returned nan or inf on level 3, step 4, during cycle 2", [1.0, np.nan], 1e-9),
            ["steps of level 3 are too long", "square roots", "cap=", "max_levels=3"],
        ),
        (("diverged", str(Diverged(0, 37, 0)), [], 1e-9), ["initial guess", "data of that step", "begin closer"]),
        (("diverged", "the residual on level 0 after cycle 4 is inf", [1.0, np.inf], 1e-9), ["train_serially"]),
        # What falls is what coarse steps have made of it.
        (("maxiter", "", [66.0, 1e62, 1e50, 7e44], 1e-9), ["rose from 7e+01 to 1e+62", "cap=", "ParallelNewton"]),
        (("maxiter", "", [1.0, 1.0], 1e-9, "phi draws"), ["phi draws"]),
        # No cycles beyond those that make it exact.
        (("maxiter", "", [0.5**k for k in range(9)], 1e-9, "", Words(facts=Facts(exact=16))), ["maxiter=16", "exact"]),
        (("maxiter", "", [0.5**k for k in range(9)], 1e-9, "", Words(facts=Facts(exact=29))), ["maxiter=29 would"]),
        (
            ("maxiter", "", [0.5**k for k in range(9)], 1e-9, "", Words(facts=Facts(exact=30))),
            ["22 more", "maxiter=30"],
        ),
        (("maxiter", "", [0.98**k for k in range(20)], 1e-3, "", Words(facts=Facts(exact=64))), ["maxiter=64"]),
        (("maxiter", "", [0.5**k for k in range(9)], 1e-9, "", Words(facts=Facts(exact=8))), ["rounding", "F-cycles"]),
        # Nor without the remark that they take longer than serial training.
        (
            ("maxiter", "", [0.5**k for k in range(9)], 1e-9, "", Words(facts=Facts(worth=29.5))),
            ["=30, but", "F-cycles"],
        ),
    ],
)
def test_what_is_advised(end, words):
    found = advise(*end)
    assert [word for word in words if word not in found] == []


FAILED = [
    ("maxiter", "", [2.0**k for k in range(8)], 1e-3),
    ("maxiter", "", [0.98**k for k in range(20)], 1e-3),
    ("maxiter", "", [66.0, 1e62, 1e50, 7e44], 1e-9),
    ("stagnated", "the residual has stayed", [1.0, 0.9, 0.9], 1e-9),
    ("stagnated", "the residual has stayed", [1.0, 3e5, 7e-4, 7e-4], 1e-9),
    ("diverged", "phi returned nan or inf on level 3, step 4, during cycle 2", [1.0, np.nan], 1e-9),
    ("diverged", "the residual on level 0 after cycle 4 is inf", [1.0, np.inf], 1e-9),
]


@pytest.mark.parametrize("end", FAILED)
@pytest.mark.parametrize("level", [None, 1, 2])
def test_no_cap_is_advised_where_coarse_steps_are_fine_steps(end, level):
    amplified = None if level is None else Amplification(level, 16, 1e6)
    words = advise(*end, "", Words(facts=Facts(short=True)), amplified)
    for shorter in ("limit them", "cap coarse rates", "a cap of", "lower the rates", "cap the rates", "too long for"):
        assert shorter not in words


@pytest.mark.parametrize("end", FAILED[:-1])
@pytest.mark.parametrize("level", [None, 1, 2])
def test_more_precision_is_named_where_it_may_help(end, level):
    amplified = None if level is None else Amplification(level, 16, 1e6)
    assert "states of double precision" in advise(*end, "", Words(facts=Facts(single=True)), amplified)
    assert "double" not in advise(*end, "", Words(), amplified)


def test_no_remedy_is_advised_that_was_taken():
    for end in FAILED:
        words = advise(*end, "", Words(facts=Facts(levels=2, guess="nested")))
        assert "max_levels" not in words
        assert "begin closer" not in words
        assert "ParallelNewton" in words or "cap the rates" in words
    assert "max_levels=2" in advise(*FAILED[0])
    assert "begin closer" in advise(*FAILED[-1])
    words = advise(*FAILED[-1], "", Words(facts=Facts(short=True, guess="constant")))
    assert words.endswith("else use parallel Newton (ParallelNewton)")


def test_f_cycles_are_not_advised_where_they_were_taken():
    residuals = [float(2**k) for k in range(8)]
    assert "F-cycles" in advise("maxiter", "", residuals, 1e-9)
    assert "F-cycles" not in advise("maxiter", "", residuals, 1e-9, "", Words(cycle="F"))


@pytest.mark.parametrize(
    "end",
    [
        ("tol", "", [1.0, 0.0], 1e-9),
        ("callback", "", [1.0, 1.0], 1e-9),
        ("settled", "", [1.0, 1.0], 1e-9),
        ("maxiter", "", [1.0], 1e-9),
        ("maxiter", "", [1.0, 1.0, 1.0], 0.0),
    ],
)
def test_where_none_is_called_for(end):
    assert advise(*end, "phi draws" if end[0] != "maxiter" else "") == ""


def test_sweeps_that_gained_nothing():
    assert "serial training is as fast" in advise_on_sweeps("tol", [1] * 9, [8] * 9, 1e-9)
    assert "tol=0" in advise_on_sweeps("tol", [1] * 9, [8] * 9, 0.0)
    assert "a window of 2 is short" in advise_on_sweeps("tol", [1] * 9, [2] * 9, 1e-9)
    assert "phi draws" in advise_on_sweeps("tol", [1] * 9, [8] * 9, 1e-9, "phi draws")
    assert not advise_on_sweeps("tol", [1] * 9, [1] * 9, 1e-9)
    assert not advise_on_sweeps("tol", [], [], 1e-9)
    # What training that contracts accepts of a window of 2.
    assert not advise_on_sweeps("tol", [1, 1, 2] * 40, [2] * 120, 1e-9)
    assert "from step 160 on" in advise_on_sweeps("tol", [1, 1, 2] * 40 + [1] * 60, [2] * 180, 1e-9)


def unstable(weights, index, level):
    with np.errstate(over="ignore", invalid="ignore"):
        return weights * (1e40 if level else 0.9)


@pytest.mark.usefixtures("synchronous")
def test_a_solve_that_diverges():
    result = dm.MGRIT(unstable, 200).solve(np.full(2, 3.0), "constant")
    assert result.reason == "diverged"
    assert "steps of level 1 are too long" in result.advice
    assert result.advice in str(result)
    assert "are too long" in result._repr_html_()


@pytest.mark.usefixtures("synchronous")
def test_how_many_more_cycles(decay, w0):
    result = dm.MGRIT(decay, 400).solve(w0, maxiter=3)
    more = int(result.advice.split("about ")[1].split(" ")[0])
    assert dm.MGRIT(decay, 400).solve(w0, maxiter=3 + more + 1).converged


@pytest.mark.parametrize(("accepted", "windows"), [([1, 1, 1], [1, 1, 1]), ([4, 4], [8, 8]), ([3], [8])])
def test_what_a_trial_found_is_told_however_many_steps_were_accepted(accepted, windows):
    assert advise_on_sweeps("tol", accepted, windows, 1e-9, "phi draws") == "phi draws"
    assert advise_on_sweeps("tol", accepted, windows, 1e-9) == ""


@pytest.mark.usefixtures("synchronous")
def test_cycles_that_take_longer_than_serial_training_are_said_to(w0):
    """The longest chain of Phi of the solve that is advised decides."""
    phi = dm.from_function(lambda w: w - 0.02 * np.sin(w), vectorized=True, cap=16)
    for steps, slower in ((64, True), (2048, False)):
        result = dm.MGRIT(phi, steps).solve(w0, maxiter=3)
        assert ("slower than serial training" in result.advice) is slower
        full = dm.MGRIT(phi, steps).solve(w0)
        assert full.converged
        assert (full.critical_path > steps) is slower
