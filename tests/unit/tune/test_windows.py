import json
import shlex

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.cli.main import main
from daskmgrit.tune import tune_window
from tests.support.cli import CliRunner


def descend(weights, index, level):
    return weights - np.linspace(0.01, 0.4, weights.shape[1]) * np.sin(weights)


def test_each_trial_is_what_a_solve_takes():
    report = tune_window(descend, np.ones(40), 96, workers=8, per_step=1e-7)
    for trial in report.trials:
        if trial.slots == "auto":
            continue
        solver = dm.ParallelNewton(
            descend, 96, trial.slots, trial.jacobian, rank=trial.rank or 32, interval=trial.interval
        )
        result = solver.solve(np.ones(40), tol=1e-7 * 96**0.5)
        assert (result.iterations, result.critical_path) == (trial.sweeps, trial.critical_path)
        assert trial.work == pytest.approx(sum(result.phi_evaluations) / 96)
    assert {trial.jacobian for trial in report.trials} == {"identity", "lowrank"}
    assert report.best.speedup == max(trial.speedup for trial in report.trials)


def test_full_is_tried_for_few_weights_only():
    tried = {trial.jacobian for trial in tune_window(descend, np.ones(3), 16, workers=4).trials}
    assert "full" in tried


def test_workers_bound_the_speedup():
    few, many = (tune_window(descend, np.ones(40), 48, workers=workers).best.speedup for workers in (2, 16))
    assert few <= 2
    assert few < many


def test_command_recommends_what_solve_can_be_told():
    args = ["tune", "xor", "--method", "newton", "--optimizer", "adam", "--steps", "64", "--workers", "4", "--json"]
    run = CliRunner().invoke(main, args)
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    best = found["trials"][0]
    solved = CliRunner().invoke(main, [*shlex.split(found["command"])[1:], "--check", "--json"])
    assert solved.exit_code == 0, solved.output
    if best["slots"] != "auto":
        assert json.loads(solved.stdout)["iterations"] == best["sweeps"]
    words = CliRunner().invoke(main, args[:-1])
    assert "settings of parallel Newton measured on the first 64 of 64 steps" in words.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [({"workers": 0}, "workers=0"), ({"prefix": 99}, "prefix=99"), ({"per_step": -1.0}, "per_step=-1.0")],
)
def test_bad_values(options, message):
    with pytest.raises(ValueError, match=message):
        tune_window(descend, np.ones(2), 50, **options)


def test_divergence_is_said():
    with pytest.raises(ValueError, match="lower the learning rate"), np.errstate(all="ignore"):
        tune_window(lambda w, i, level: w * 1e200, np.ones(2), 8)
