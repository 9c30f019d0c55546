"""Parallel Newton in ``daskmgrit plan``: what sweeps accept, how long they take, what is recommended."""

import json
import math
import shlex
import time

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.cli.main import main
from daskmgrit.planning import Machine, PhiCost
from daskmgrit.planning.acceptance import Acceptance, assumed, given, measured
from daskmgrit.planning.cost import measure_held
from daskmgrit.planning.window_plan import best_window, plan_window
from tests.support.cli import CliRunner

FREE = {"scheduler": 0.0, "worker": 0.0, "client": 0.0, "latency": 0.0, "transfer": 0.0}


def planned(*args):
    if "--problem" in args:
        args = (*args, "--seconds", "4")
    run = CliRunner().invoke(main, ["plan", *args])
    assert run.exit_code == 0, run.output
    return run.stdout


def test_acceptance_grows_between_known_windows_and_stays_beyond():
    accepted = Acceptance({4: 2.0, 16: 4.0}, "here")
    assert [accepted(slots) for slots in (1, 4, 16, 500)] == pytest.approx([1, 2, 4, 4])
    assert accepted(8) == pytest.approx(math.sqrt(8))
    # A number is that of long windows.
    assert 1 < given(3.0)(2) < given(3.0)(8) < 3 == given(3.0)(12) == pytest.approx(given(3.0)(99))
    assert [given({8: 2.5, 16: 3.0})(slots) for slots in (1, 8, 16, 99)] == pytest.approx([1, 2.5, 3, 3])
    assert 1 < given({8: 2.5})(2) < given({8: 2.5})(4) < 2.5
    for wrong in ("8:2.5", {}, {8: 9.0}, {0: 1.0}, {4: 0.5}, {2.5: 2.0}, 0.5):
        with pytest.raises(ValueError, match="accepted"):
            given(wrong)
    assert assumed()(8) == 2


def test_measured_acceptance_is_that_of_a_solve():
    def phi(weights, index, level):
        return weights - 0.05 * np.sin(weights)

    accepted = measured(phi, np.ones(3), 64, PhiCost(1e-5), lambda text: None)
    for slots in (4, 16):
        result = dm.ParallelNewton(phi, 64, window=slots, jacobian="identity").solve(np.ones(3))
        assert accepted(slots) == pytest.approx(64 / result.iterations)
    assert accepted.edge == pytest.approx(0.05, rel=0.1)


@pytest.mark.parametrize(("workers", "threads"), [(1, 8), (8, 1), (2, 4)])
def test_without_overheads_a_sweep_takes_phi(workers, threads):
    plan = plan_window(120, 8, Machine(workers, threads, **FREE), PhiCost(0.1), Acceptance({1: 2.0}, "here"))
    assert (plan.sweeps, plan.threads, plan.work) == (60, 8, 4)
    assert plan.seconds == pytest.approx(6.0, rel=0.02)
    assert plan.speedup == pytest.approx(2.0, rel=0.02)
    # With half of the threads, each takes two slots.
    assert plan_window(
        120, 8, Machine(1, 4, **FREE), PhiCost(0.1), Acceptance({1: 2.0}, "here")
    ).seconds == pytest.approx(12.0, rel=0.02)


def test_links_between_processes_cost_what_threads_of_one_do_not():
    accepted = given(2.0)
    here, there = (plan_window(400, 4, machine, PhiCost(5e-3), accepted) for machine in (Machine(1, 4), Machine(4)))
    assert here.seconds < 400 * 5e-3 < there.seconds


@pytest.mark.parametrize("threads", [1, 4])
def test_more_workers_are_never_worse(threads):
    times = [
        best_window(1000, Machine(workers, threads), PhiCost(0.05), assumed()).seconds
        for workers in (2, 3, 4, 6, 8, 12, 16, 32, 64)
    ]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize("cores", [None, 2])
def test_every_process_has_its_turn_with_every_other(cores):
    times = [
        plan_window(100, slots, Machine(slots, cores=cores), PhiCost(0.05), Acceptance({1: 1.0}, "here")).sweep_seconds
        for slots in (2, 8, 16)
    ]
    assert times[0] < times[1] < times[2]
    # Where cores are shared, their turns are, too: there are as many as pairs.
    growth = (times[2] - times[1]) / (times[1] - times[0])
    assert growth > 2 if cores else growth == pytest.approx(8 / 6, rel=0.05)


def test_threads_that_hold_the_interpreter_gain_nothing():
    machine, free, held = Machine(1, 8), PhiCost(0.05), PhiCost(0.05, held=1.0)
    assert best_window(100, machine, free, given({8: 4.0})).speedup > 3
    assert best_window(100, machine, held, given({8: 4.0})).speedup < 1
    assert held.at_once(1) == held
    assert held.at_once(3).seconds([2], 0) == pytest.approx(0.3)


def test_what_holds_the_interpreter_is_measured():
    def python(weights, index, level):
        total = 0.0
        for _ in range(20_000):
            total += 1.0
        return 0.9 * weights

    def waits(weights, index, level):
        time.sleep(0.05)
        return 0.9 * weights

    assert measure_held(python, np.ones(3), 4, 1, 0.0) > 0.5
    assert measure_held(waits, np.ones(3), 4, 1, 0.0) < 0.5


def test_a_single_thread_has_no_window():
    assert best_window(100, Machine(1), PhiCost(1.0), assumed()) is None
    assert "needs two threads" in planned("--steps", "100", "--phi-cost", "1", "--workers", "1")


def test_command_recommends_newton_for_few_workers():
    how = ("--steps", "1000", "--phi-cost", "0.25", "--workers", "8", "--threads", "8")
    words = planned(*how)
    assert "parallel Newton is faster: " in words
    assert "--method newton" in words
    report = json.loads(planned(*how, "--json"))
    assert report["faster"] == "newton"
    assert report["newton"]["seconds"] < report["serial_seconds"] < report["seconds"]
    assert report["newton"]["speedup"] == pytest.approx(2.0, rel=0.02)
    # What is given counts.
    assert json.loads(planned(*how, "--accepted", "8:4", "--json"))["newton"]["speedup"] == pytest.approx(4, rel=0.02)


def test_what_is_recommended_can_be_told_to_solve():
    # Where Phi is all that counts, the window has as many slots as there are threads, and was measured.
    how = ("--steps", "60", "--problem", "xor", "--phi-cost", "1", "--iterations", "5")
    report = json.loads(planned(*how, "--workers", "4", "--threads", "4", "--json"))
    newton = report["newton"]
    assert "measured on the first 60 steps" in newton["accepted_from"]
    words = shlex.split(newton["command"])
    run = CliRunner().invoke(main, [*words[1:], "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["iterations"] == newton["sweeps"]
    scope = {"dask": dask, "dm": dm, "phi": dm.problems.xor().propagator(), "w0": dm.problems.xor().w0}
    # The plan is for four threads of one process, whatever this machine has.
    assert "num_workers=4" in newton["python"]
    exec(newton["python"], scope)
    assert scope["result"].iterations == newton["sweeps"]


def test_another_optimizer_is_measured():
    how = ("--steps", "100", "--problem", "xor", "--coarsening", "4", "--workers", "4", "--threads", "4")
    adam = json.loads(planned(*how, "--optimizer", "adam", "--json"))["newton"]
    assert adam["edge"] is None
    assert "--optimizer adam" in adam["command"]


def test_what_is_recommended_trains_with_the_optimizer():
    """A Phi of microseconds: serial training is faster, and MGRIT's command would train by gradient descent."""
    how = ("--steps", "60", "--problem", "xor", "--optimizer", "adam", "--coarsening", "4")
    how = (*how, "--iterations", "5", "--accepted", "2")
    found = json.loads(planned(*how, "--workers", "4", "--threads", "4", "--json"))
    assert (found["faster"], found["optimizer"]) == ("serial", "adam")
    assert found["serial_seconds"] == found["newton"]["serial_seconds"]
    words = planned(*how, "--workers", "4", "--threads", "4")
    assert "by gradient descent, not adam" in words
    [command] = [line for line in words.splitlines() if line.startswith("not serially ")]
    assert "--method newton --optimizer adam" in command
    assert "none: parallel Newton alone trains with adam" in planned(*how, "--workers", "1")


def test_training_that_hardly_contracts_is_told():
    four = ("--workers", "4", "--threads", "4")
    words = planned("--steps", "100", "--problem", "xor", "--coarsening", "4", *four, "--accepted", "1.1")
    assert "hardly contracts" in words


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--phi-cost", "1", "--accepted", "0.5"), "--accepted"),
        (("--phi-cost", "1", "--accepted", "inf"), "'--accepted': inf is not a finite number"),
        (("--phi-cost", "1", "--optimizer", "adam"), "--optimizer needs --problem"),
    ],
)
def test_command_refuses(args, message):
    run = CliRunner().invoke(main, ["plan", "--steps", "100", "--workers", "2", *args])
    assert run.exit_code == 2
    assert message in run.stderr
