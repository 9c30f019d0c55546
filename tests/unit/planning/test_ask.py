"""dm.plan: what it answers for a Phi of one's own, and within which bounds it measures."""

import time
import traceback
import xml.etree.ElementTree as ET
from dataclasses import replace
from types import SimpleNamespace

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.planning import Machine, PhiCost, Planner, phi_source
from daskmgrit.planning.acceptance import given, growth_of_steps
from daskmgrit.planning.window_plan import best_window
from daskmgrit.planning.window_report import verdict
from daskmgrit.problems import OwnProblem
from daskmgrit.recurrence.step_length import StepLength
from tests.support.optional import need

KNOWN = {"cost": 0.1, "iterations": 10, "accepted": {2: 2}}
W0 = np.ones(4)


def decay(weights, index, level):
    return weights * 0.9 ** (2**level)


def never(weights, index, level):
    raise AssertionError("phi was called")


class Never:
    """A Phi for any coarsening, which is not to be called."""

    def __call__(self, weights, index, level):
        never(weights, index, level)

    def with_coarsening(self, coarsening):
        return self


def test_with_all_known_phi_is_not_called_and_the_model_is_the_commands():
    plan = dm.plan(Never(), W0, 1000, 64, **KNOWN)
    machine, cost = Machine(64), PhiCost(0.1)
    planner = Planner(1000, lambda m: cost, lambda m, cycle: 10.0, W0.nbytes)
    best, window = planner.best(machine), best_window(1000, machine, cost, given({2: 2.0}), W0.nbytes)
    assert plan.mgrit.seconds == best.seconds
    assert plan.newton.seconds == window.seconds
    assert plan.break_even == {"mgrit": planner.break_even(machine), "newton": 2}
    assert (plan.method, plan.seconds) == ("newton", window.seconds)
    assert plan.serial_seconds == pytest.approx(100)
    assert plan.measured == []


def test_break_even_is_where_the_curve_passes_one():
    plan = dm.plan(never, W0, 1000, 8, **KNOWN)
    even = plan.break_even["mgrit"]
    assert even in [point.workers for point in plan.curve]
    assert all((point.mgrit > 1) == (point.workers >= even) for point in plan.curve)
    speedups = [point.mgrit for point in plan.curve]
    assert speedups == sorted(speedups)
    assert plan.curve[-1].workers > 2 * even


def test_numbers_of_workers_that_are_given_are_the_curve():
    plan = dm.plan(never, W0, 1000, [64, 4, 16], **KNOWN)
    assert [point.workers for point in plan.curve] == [4, 16, 64]
    assert plan.workers == 64
    with pytest.raises(ValueError, match="workers=6 threads are no whole number of processes with threads=4"):
        dm.plan(never, W0, 1000, 6, threads=4, **KNOWN)


def test_a_machine_says_what_tasks_cost():
    slow = dm.plan(never, W0, 1000, Machine(64, scheduler=1.0), **KNOWN)
    assert slow.seconds > dm.plan(never, W0, 1000, 64, **KNOWN).seconds
    assert slow.machine.scheduler == 1.0


def test_what_is_planned_is_what_a_solve_takes():
    plan = dm.plan(decay, W0, 128, 64, cost=1.0)
    assert plan.iterations_from == "measured"
    for method in ("mgrit", "newton"):
        solver, setting = plan.solver(method), plan.setting(method)
        chunks = {"chunks": setting["chunks"]} if method == "mgrit" else {}
        result = solver.solve(W0, **chunks)
        assert result.converged
        assert result.iterations == eval(plan.python(method), {"dm": dm, "phi": decay, "w0": W0}).iterations
    mgrit = plan.solver("mgrit").solve(W0)
    assert mgrit.iterations == plan.mgrit.cycles
    assert any("cycles of MGRIT for 128 steps" in words for words in plan.measured)


def test_a_phi_of_microseconds_is_trained_serially():
    plan = dm.plan(decay, W0, 100, 4, coarsening=2, cycle="V")
    assert plan.method == "serial"
    assert plan.speedup == 1
    assert plan.break_even == {"mgrit": None, "newton": None}
    assert "serial is faster" in str(plan)
    assert "in Python" not in dict(plan.summary())
    assert plan.mgrit.setting.coarsening == (2, 2)


class Slow:
    """A Phi that counts the states it is given, and takes a while for each call."""

    def __init__(self, seconds):
        self.seconds, self.states = seconds, 0

    def __call__(self, weights, index, level):
        self.states += len(weights)
        time.sleep(self.seconds)
        return weights * 0.9


def test_a_slow_phi_is_called_a_few_times_and_the_plan_says_what_it_assumes():
    phi = Slow(0.01)
    plan = dm.plan(phi, W0, 1000, 16, seconds=0.1)
    assert phi.states < 30
    assert plan.cost.state >= 0.01
    assert "assumed" in plan.iterations_from
    assert "assumed" in plan.accepted.origin
    assert len(plan.measured) == 1


def test_solves_that_run_out_of_time_tell_nothing(monkeypatch):
    """It is not said that MGRIT does not converge, and measuring ends."""
    coarse = []

    def phi(weights, index, level):
        coarse.extend([level] * len(weights) * (level > 0))
        return weights * 0.9

    # The clock advances by a second for each coarse state.
    monkeypatch.setattr(phi_source, "time", SimpleNamespace(perf_counter=lambda: float(len(coarse))))
    plan = dm.plan(phi, W0, 128, 16, cost=1.0, accepted=2, seconds=500, coarsening=2)
    assert 100 < len(coarse) < 1500
    assert "assumed" in plan.iterations_from
    assert plan.mgrit is not None


def test_measuring_ends_where_mgrit_does_not_converge():
    plan = dm.plan(lambda w, i, level: w * (1e30 if level else 1.0), W0, 200, 16, cost=1.0, coarsening=2)
    assert plan.mgrit is None
    assert plan.break_even["mgrit"] is None
    assert plan.method == "newton"
    assert all(point.mgrit is None for point in plan.curve)
    assert "does not converge" in str(plan)
    with pytest.raises(ValueError, match="did not converge"):
        plan.solver("mgrit")


def test_what_is_wrong_with_phi_is_said_once(caplog):
    def couples(weights, index, level):
        return weights / np.linalg.norm(weights)

    plan = dm.plan(couples, W0, 60, 8, cost=1.0, accepted=2, coarsening=2)
    assert "in a block" in plan.remark
    rows = dict(plan.summary())
    assert rows["phi"] == plan.remark
    assert rows["verdict"].startswith("uncertain because of phi: ")
    assert rows["in Python"].startswith("none: correct phi first")
    assert not caplog.records


def test_a_propagator_made_for_a_coarsening_is_planned_with_that():
    def phi(weights, index, level):
        return 0.9 ** length(level) * weights

    phi.step_length = length = StepLength(4)
    plan = dm.plan(phi, W0, 100, 8, cost=1.0, accepted=2)
    assert plan.setting("mgrit")["coarsening"] == 4
    # Of one that does not tell, coarse steps are taken to be for the solver's default.
    assert dm.plan(decay, W0, 100, 8, cost=1.0, accepted=2).setting("mgrit")["coarsening"] == 2
    with pytest.raises(ValueError, match="phi was made for coarsening=4"):
        dm.plan(phi, W0, 100, 8, cost=1.0, accepted=2, coarsening=2)


def test_a_propagator_that_can_be_had_for_any_coarsening_is_planned_with_many():
    phi = dm.from_function(lambda w, i: 0.999 * w, vectorized=True)
    plan = dm.plan(phi, W0, 400, 64, cost=1.0, accepted=2, iterations=4)
    factors = plan.setting("mgrit")["coarsening"]
    assert factors != 2
    assert f"phi.with_coarsening({factors})" in plan.python("mgrit")
    result = plan.solver("mgrit").solve(W0)
    again = eval(plan.python("mgrit"), {"dm": dm, "phi": phi, "w0": W0})
    assert result.converged
    assert again.residuals == result.residuals


def test_the_line_of_python_says_which_threads_a_plan_is_for():
    plan = dm.plan(decay, W0, 100, 4, threads=4, **KNOWN)
    seen = []

    class Phi:
        pure = True

        def __call__(self, weights, index, level):
            seen.append(dask.config.get("num_workers"))
            return decay(weights, index, level)

    scope = {"dm": dm, "dask": dask, "phi": Phi(), "w0": W0}
    exec(plan.python("newton"), scope)
    assert scope["result"].converged
    assert set(seen) == {4}
    # On a cluster there is nothing to be told.
    assert plan.python("newton").endswith(replace(plan, cluster=True).python("newton"))


def test_threads_of_one_process_have_a_curve():
    plan = dm.plan(never, W0, 100, 12, threads=12, **KNOWN)
    assert [point.workers for point in plan.curve] == [1, 2, 4, 8, 12]
    assert plan.break_even == {"mgrit": None, "newton": 2}
    alone = [dm.plan(never, W0, 100, n, threads=n, **KNOWN).newton.speedup for n in (2, 4, 8, 12)]
    assert [point.newton for point in plan.curve[1:]] == alone
    # With cycles enough to pay for it, fewer threads than the process has are told.
    few = dm.plan(never, W0, 200, 64, threads=64, cost=1.0, iterations=1, accepted=1)
    even = few.break_even["mgrit"]
    assert 1 < even < 64
    speedups = {point.workers: point.mgrit for point in few.curve}
    assert speedups[even] > 1
    assert dm.plan(never, W0, 200, even - 1, threads=even - 1, cost=1.0, iterations=1, accepted=1).mgrit.speedup <= 1


def test_training_that_diverges_is_told():
    plan = dm.plan(lambda w, i, level: 1.5 * w, W0, 200, 16, cost=1.0, iterations=10)
    assert "steps of serial training itself grow" in str(plan)
    assert "hardly contracts" not in str(plan)
    plan = dm.plan(lambda w, i, level: w * w, 2 * W0, 200, 16, cost=1.0, iterations=10)
    assert "serial training itself diverges: its weights are not finite after 10 steps" in str(plan)
    # Steps of equal length, and steps that grow with a rate that warms up, do not.
    for steady in (lambda w, i, level: w + 0.01, lambda w, i, level: w + 1e-3 * (i[:, None] + 1)):
        assert growth_of_steps(steady, W0, 64) == ("", "")


@pytest.mark.parametrize("bad", [0, 30, 300])
def test_nan_in_the_data_blames_no_learning_rate(bad, monkeypatch):
    """Sweeps end at a step beyond the first 64, too."""
    plan = dm.plan(lambda w, i, level: w * np.where(i == bad, np.nan, 0.99)[:, None], W0, 400, 16, cost=1.0)
    assert plan.remark.startswith(f"phi returns nan or inf on level 0, step {bad}, for weights that are finite")
    assert "check the data of that step" in str(plan)
    for harmless in ("learning rate", "that was tried", "harmless"):
        assert harmless not in str(plan)
    assert plan.method == "serial"
    assert plan.mgrit is None
    # Also where Phi takes too long for sweeps.
    monkeypatch.setattr(phi_source, "PER_SWEEPS", np.inf)
    plan = dm.plan(lambda w, i, level: w * np.where(i == min(bad, 30), np.nan, 0.99)[:, None], W0, 400, 16, cost=1.0)
    assert plan.remark.startswith(f"phi returns nan or inf on level 0, step {min(bad, 30)},")
    monkeypatch.undo()
    # What grows beyond all numbers is no matter of data.
    plan = dm.plan(lambda w, i, level: 1e3 * w, W0, 400, 16, cost=1.0, seconds=1)
    assert plan.remark == ""
    assert "a smaller learning rate would help" in str(plan)


def test_assumed_cycles_are_doubted_where_training_diverges(monkeypatch):
    monkeypatch.setattr(phi_source.PhiSource, "_choose_sizes", lambda *arguments: [])
    assert "stable coarse steps" in str(dm.plan(decay, W0, 400, 16, cost=1.0))
    plan = dm.plan(lambda w, i, level: 1.5 * w, W0, 400, 16, cost=1.0)
    assert plan.iterations_from.startswith("assumed, but MGRIT does not converge where serial training diverges")


def test_progress_is_a_line_for_each_kind_of_measurement(capsys):
    """However many settings are tried."""
    plan = dm.plan(dm.from_function(lambda w: 0.9 * w, vectorized=True), W0, 100, 16, progress=True, seconds=5)
    assert "18 settings" in plan.measured[-1]
    words = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in words] == ["timing", "sweeping", "solving"]
    dm.plan(decay, W0, 100, 16, seconds=1)
    assert not capsys.readouterr().err


def test_near_the_edge_of_stability_it_says_so():
    plan = dm.plan(lambda w, i, level: w - 1.9 * np.sin(w), W0, 200, 16, cost=1.0, iterations=10)
    assert plan.accepted.edge == pytest.approx(1.9, rel=0.05)
    assert "the edge of stability is 2" in str(plan)


def test_arrays_of_torch():
    torch = need("torch", "torch")
    plan = dm.plan(decay, torch.ones(3, dtype=torch.float64), 100, 8, accepted=2, coarsening=2, cycle="V")
    assert plan.mgrit is not None
    assert any("cycles of MGRIT" in words for words in plan.measured)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"workers": 0}, ValueError, "workers=0"),
        ({"workers": []}, ValueError, "workers=\\[\\]"),
        ({"workers": "many"}, TypeError, "'many'"),
        ({"workers": None}, TypeError, "no Client is active"),
        ({"steps": 1}, ValueError, "steps=1"),
        ({"cost": "banana"}, ValueError, "cost"),
        ({"cycle": "W"}, ValueError, "cycle='W'"),
        ({"iterations": 0}, ValueError, "iterations=0"),
        ({"accepted": 0.5}, ValueError, "accepted"),
        ({"coarsening": 1}, ValueError, "coarsening=1"),
        ({"seconds": 0}, ValueError, "seconds=0"),
        ({"initial_guess": W0}, ValueError, "initial_guess"),
        ({"phi": 3}, TypeError, "phi=3"),
        ({"phi": lambda w: w}, dm.PropagatorError, "three|phi takes"),
        (
            {
                "phi": lambda w, i, level: w @ np.ones((4, 4)) if w.ndim == 1 else w[:9, :9] @ np.ones((3, 3)),
                "cost": None,
            },
            dm.PropagatorError,
            "for one state",
        ),
    ],
)
def test_what_is_refused(change, error, words):
    arguments = {"phi": never, "w0": W0, "steps": 100, "workers": 4, **KNOWN} | change
    with pytest.raises(error, match=words):
        dm.plan(**arguments)


def test_notebook_view_and_picture():
    plan = dm.plan(never, W0, 1000, 64, **KNOWN)
    shown = "".join(ET.fromstring(plan._repr_html_()).itertext())
    for name, words in plan.summary():
        assert name in shown
        assert words in shown
    pyplot = need("matplotlib.pyplot", "plot")
    pyplot.switch_backend("Agg")
    ax = plan.plot()
    lines = {line.get_label().partition(":")[0]: line for line in ax.get_lines()}
    assert lines["MGRIT"].get_ydata().tolist() == [point.mgrit for point in plan.curve]
    assert set(lines["serial training"].get_ydata()) == {1.0}
    assert f"pays from {plan.break_even['mgrit']} workers on" in lines["MGRIT"].get_label()
    assert not ax.collections
    # What was assumed may be worse: that is shaded, down to the speedup that is feared.
    unsure = dm.plan(decay, W0, 10_000, 64, cost=0.1, accepted={2: 2}, seconds=0.01)
    assert unsure.doubt > 1
    assert all(point.least_mgrit < point.mgrit and point.least_newton == point.newton for point in unsure.curve[1:])
    [shade] = unsure.plot().collections
    lowest = shade.get_paths()[0].vertices[:, 1].min()
    assert lowest == pytest.approx(min(point.least_mgrit for point in unsure.curve))
    pyplot.close("all")


@pytest.mark.parametrize(("coarsening", "cycle", "least", "most"), [(2, "V", 5, 6), (None, None, 2.3, 2.6)])
def test_the_rule_of_thumb_of_the_readme(coarsening, cycle, least, most):
    """More than 5 k workers with m = 2, more than 2.5 k with larger m, where the critical path is short against N."""
    plan = dm.plan(Never(), W0, 100_000, 64, cost=1.0, iterations=20, accepted=2, coarsening=coarsening, cycle=cycle)
    assert least * 20 < plan.break_even["mgrit"] <= most * 20


@pytest.mark.parametrize(("steps", "guess"), [(800, False), (1024, True)])
def test_cycles_far_beyond_what_was_solved_are_called_a_guess(steps, guess):
    """Cycles may begin to grow where nothing was seen of it."""
    problem = OwnProblem(decay, W0, steps)
    source = phi_source.PhiSource(problem, None, 5.0, 2.0, [(2, 2)], ["V"], 1.0, lambda text: None)
    assert source.origin == "as given"
    source._given, source.sizes, source._counts = None, [50, 100], {((2, 2), "V"): 5.0}
    assert ("N is 10 times as long, so that is a guess" in source.origin) == guess
    assert "measured at N = 50 and 100" in source.origin


@pytest.mark.parametrize(
    ("steps", "sizes", "doubt"), [(100, [100], 1), (150, [50, 100], 1.5), (100_000, [50, 100], 5), (100, [], 5)]
)
def test_cycles_may_grow_with_the_steps_beyond_those_that_were_solved(steps, sizes, doubt):
    problem = OwnProblem(decay, W0, steps)
    source = phi_source.PhiSource(problem, None, 5.0, 2.0, [(2, 2)], ["V"], 1.0, lambda text: None)
    assert source.doubt == 1  # as given
    source._given, source.sizes, source._counts = None, sizes, {((2, 2), "V"): 5.0} if sizes else {}
    assert source.doubt == doubt


def test_a_gain_that_more_cycles_would_undo_is_no_promise():
    known = {"cost": 0.1, "accepted": 1, "cycle": "V"}
    sure = dm.plan(never, W0, 1000, 512, iterations=10, **known)
    most, least = sure.mgrit.cautious(5)
    assert most == 50
    assert least == pytest.approx(dm.plan(never, W0, 1000, 512, iterations=50, **known).mgrit.speedup, rel=0.5)
    assert least < 1 < sure.speedup
    assert str(sure).startswith("verdict          MGRIT is faster")
    assert "if they grow" not in str(sure)
    guess = replace(sure, doubt=5.0)
    assert str(guess).startswith(f"verdict          MGRIT may be faster: {least:.2g} to {sure.speedup:.3g} times")
    assert f"up to 50 if they grow with the steps: speedup {least:.2g}" in str(guess)
    assert f"MGRIT, {least:.2g} to {sure.speedup:.3g} times" in guess._repr_html_()
    # After N/(2m) cycles MGRIT is exact.
    assert sure.mgrit.cautious(1e6)[0] == sure.mgrit.hierarchy[0].exact_after == 251


def test_what_hardly_pays_is_left_to_serial_training():
    plan = dm.plan(never, W0, 1000, 2, cost=0.5, iterations=20, accepted={2: 1.04}, threads=2)
    assert plan.newton.speedup > 1
    assert plan.method == "serial"
    assert "serial is about as fast" in str(plan)
    assert dm.plan(never, W0, 1000, 2, cost=0.5, iterations=20, accepted={2: 1.2}, threads=2).method == "newton"


def test_methods_within_a_few_percent_are_told_apart_from_serial_training():
    found = {"optimizer": "", "speedup": 7.4, "faster": "newton", "least_speedup": 7.4, "remark": ""}
    found["newton"] = {"speedup": 7.25, "least_speedup": 7.25}
    assert verdict(found) == "parallel Newton is faster: 7.25 times; MGRIT: 7.4 times, about the same"
    assert verdict(found | {"speedup": 6.0}) == "parallel Newton is faster: 7.25 times; MGRIT: 6 times"


def test_sweeps_that_slow_down_are_told():
    """Steps that get longer: a sweep accepts less and less, and the plan says how little that may be."""

    def slower(weights, index, level):
        rate = np.minimum(1.5, 0.05 * 2.0**level * 1.03**index)[:, None]
        return weights - rate * np.sin(weights)

    plan = dm.plan(slower, W0, 2000, 16, cost=0.1, iterations=50, threads=16)
    assert 0 < plan.accepted.least < 1
    assert plan.newton.most_seconds > plan.newton.seconds
    assert f"{plan.newton.least_speedup:.3g} to {plan.newton.speedup:.3g}" in str(plan)
    # A whole run has no other half.
    assert dm.plan(slower, W0, 64, 16, cost=0.1, iterations=50, threads=16).accepted.least == 1


def test_a_phi_that_holds_the_interpreter_gains_nothing_from_threads():
    def loops(weights, index, level):
        total = 0.0
        for _ in range(20_000):
            total += 1.0
        return weights * 0.9 + 0 * total

    plan = dm.plan(loops, W0, 1000, 4, threads=4, iterations=50, accepted={4: 2.0}, seconds=10)
    assert plan.newton.speedup < 1.3
    assert "of a call others wait" in str(plan)


def test_a_first_call_that_compiles_is_told(monkeypatch):
    monkeypatch.setattr("daskmgrit.planning.phi_source.WARM_UP", 0.005)
    calls = []

    def compiles(weights, index, level):
        time.sleep(0.0 if calls else 0.02)
        calls.append(1)
        return 0.9 * weights

    assert "a first call of " in str(dm.plan(compiles, W0, 100, 4, iterations=5, accepted={4: 2.0}))


def test_what_phi_raises_is_shown_without_the_frames_of_the_package():
    def fails(weights, index, level):
        raise KeyError("day 91")

    with pytest.raises(KeyError) as caught:
        dm.plan(fails, W0, 100, 4)
    assert [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)][-1] == "fails"
    assert not any("daskmgrit/planning" in str(entry.path) for entry in caught.traceback[2:])


def test_measuring_ends_where_sweeps_take_long_besides_phi(monkeypatch):
    """As with a library that compiles for each number of states: Phi takes longer than it costs later."""
    monkeypatch.setattr("daskmgrit.planning.phi_source.LONG_SWEEPS", 0.2)
    blocks = []

    def compiles(weights, index, level):
        blocks.append(len(weights))
        time.sleep(0.01 * (len(weights) > 1))
        return weights - 0.5 * np.sin(weights)

    source = phi_source.PhiSource(
        OwnProblem(compiles, W0, 400), PhiCost(1e-5), 5, None, [(2, 2)], ["V"], 2.0, lambda text: None
    )
    sweeps = [slots for slots in blocks if slots > 1]
    # Windows of 4, 16 and 64 slots would take hundreds each.
    assert 8 < len(sweeps) < 120
    assert any("besides Phi" in words for words in source.measured)
