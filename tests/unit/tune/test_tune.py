"""Tuning Solver 4."""

from dataclasses import replace

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.coarse import from_fine, stabilise
from daskmgrit.problems import adder, digits, xor
from daskmgrit.tune import Settings, critical_path, default_grid, predicted_path, rated, tune
from tests.support.counts import close


def descend(weights, index, level, rate):
    return weights - rate * np.array([0.01, 1.0]) * (weights + 0.1 * np.sin(weights))


def test_critical_path_without_solving_is_that_of_the_solve():
    problem = xor()
    for options in ({}, {"coarsening": 4}, {"relaxation": ["FCF", "F"], "min_coarse": 4}, {"cycle": "F"}):
        phi = problem.propagator("4", coarsening=options.get("coarsening", 2))
        solver = dm.MGRIT(phi, 400, **options)
        result = solver.solve(problem.w0, "constant")
        wanted = result.critical_path
        assert critical_path(400, solver.stages, result.iterations, **options) == wanted
        assert predicted_path(400, solver.stages, result.iterations, **options) == wanted


def test_tune_chooses_the_best_of_its_table():
    seen = []
    grid = {"max_stages": (None, 2), "coarsening": [(2,), (4,)], "relaxation": [("FCF",), ("FCF", "F")]}
    report = tune(rated(descend, 0.5), np.ones(2), 4096, Settings(1.8), grid, prefix=256, on_trial=seen.append)
    assert sorted(map(id, seen)) == sorted(map(id, report.trials))
    assert len({trial.settings for trial in seen}) == len(seen) == 4
    speedups = [trial.speedup for trial in report.trials]
    assert report.best.speedup == max(speedups)
    assert speedups == sorted(speedups, reverse=True)
    assert report.prefixes == (64, 256)
    text = str(report)
    assert len(text.splitlines()) == 2 + len(seen)
    assert "N = 4096" in text
    # Each lever starts from the best of the one before.
    assert seen[0].settings == Settings(1.8)
    best = max(seen[:2], key=lambda trial: trial.speedup).settings
    assert seen[2].settings == replace(best, coarsening=(4,))


def test_prediction_is_that_of_the_solve_where_the_prefix_is_all():
    report = tune(rated(descend, 0.5), np.ones(2), 512, Settings(1.8), {}, prefix=512)
    phi = rated(descend, 0.5)(Settings(1.8))
    result = dm.MGRIT(phi, 512).solve(np.ones(2), "constant")
    assert report.best.iterations[1] == result.iterations
    assert report.best.critical_path == result.critical_path
    assert report.best.speedup == 512 / result.critical_path
    # With several chunks some F-intervals are relaxed twice.
    assert report.best.work == pytest.approx(sum(result.phi_evaluations) / 512, rel=0.01)


def test_a_cut_that_the_prefix_does_not_show_is_charged():
    free, cut = (
        tune(rated(descend, 0.5), np.ones(2), 1 << 16, Settings(1.8, max_stages=stages), {}, prefix=256).best
        for stages in (None, 2)
    )
    assert all(close(*pair) for pair in zip(cut.iterations, free.iterations, strict=True))
    assert cut.cycles > 3 * free.cycles


def test_settings_that_fail_are_listed():
    # Far beyond the stable rate, coarse steps blow up.
    report = tune(
        rated(descend, 0.5), np.ones(2), 1024, Settings(1.8), {"max_rate": (1.8, 60.0)}, prefix=256, maxiter=15
    )
    assert report.best.settings.max_rate == 1.8
    assert report.trials[-1].reason in ("maxiter", "diverged")
    assert report.trials[-1].speedup == 0
    assert report.trials[-1].reason in str(report)
    with pytest.raises(ValueError, match="none of 1 settings converged within maxiter=15 cycles"):
        tune(rated(descend, 0.5), np.ones(2), 1024, Settings(60.0), {}, prefix=256, maxiter=15)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prefix": 2000}, "prefix=2000 is longer than steps=1000"),
        ({"prefix": 3}, "prefix=3 is not an integer of at least 16"),
        ({"sweeps": 0}, "sweeps=0"),
        ({"grid": {"m": (2,)}}, "grid has 'm', which is not known: give some of max_rate, coarsening"),
    ],
)
def test_bad_tune(arguments, words):
    with pytest.raises(ValueError, match=words):
        tune(rated(descend, 0.5), np.ones(2), 1000, Settings(1.8), **arguments)


def test_grid_of_a_problem_with_windows():
    assert "window" in default_grid(Settings(1.0, window=128))
    assert {"max_rate", "max_stages", "coarsening", "relaxation", "min_coarse"} == set(default_grid(Settings(1.0)))


@pytest.mark.parametrize("make", [xor, adder, digits])
def test_settings_of_the_problems(make):
    problem = make()
    tuned = problem.tuned
    assert problem.guess("4") == tuned.initial_guess
    options = problem.hierarchy("4")
    assert options["relaxation"] == list(tuned.relaxation)
    # What is tuned together is given up together.
    assert problem.hierarchy("4", coarsening=4, relaxation=None) == {"coarsening": 4}
    assert problem.hierarchy("2") == {}
    assert problem.propagator("4").coarse.max_rate == tuned.max_learning_rate
    assert problem.propagator("4").coarse.max_stages == tuned.max_stages


def test_own_loops_follow_what_is_tried():
    data = np.random.default_rng(0).standard_normal((64, 3))

    def body(weights, index, level):
        rows = data[index % 64]
        return weights - 0.02 * rows * (rows * (weights - 1)).sum(axis=1, keepdims=True)

    grid = {"coarsening": ((4,),), "window": (1, 16)}
    report = tune(rated(from_fine(body, window=8), 1), np.zeros(3), 256, Settings(8.0), grid, prefix=64)
    for trial in report.trials:
        m, window = trial.settings.coarsening[0], trial.settings.window or 8
        phi = stabilise(from_fine(body, m, window), 1, 8.0, m)
        assert dm.MGRIT(phi, 64, coarsening=m).solve(np.zeros(3), "constant").iterations == trial.iterations[1]
    with pytest.raises(ValueError, match=r"window=4: .* has no method tried"):
        tune(rated(lambda w, i, level, a: w * (1 - a), 0.1), np.ones(3), 256, Settings(1.0, window=4), {})


def test_exponential_steps_are_tuned_without_rate_and_stages():
    start = Settings(1.8, coarse="exponential")
    assert not {"max_rate", "max_stages"} & default_grid(start).keys()
    report = tune(rated(descend, 0.5), np.ones(2), 4096, start, {"coarsening": [(2,), (4,)]}, prefix=256)
    assert [trial.settings.coarse for trial in report.trials] == ["exponential"] * 2
    stabilised = tune(rated(descend, 0.5), np.ones(2), 4096, Settings(1.8), {}, prefix=256)
    # No step takes more than one gradient after another.
    assert report.best.critical_path < stabilised.best.critical_path
