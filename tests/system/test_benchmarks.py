"""The benchmarks themselves, on small problems."""

import json
import math
import sys

import dask
import numpy as np
import pytest

import daskmgrit as dm
from benchmarks import frameworks, newton, newton_nets, overhead, peers, scale, scaling, speedup, tables
from benchmarks.__main__ import main
from benchmarks.environment import environment
from benchmarks.listening import listening
from benchmarks.memory import WEIGHTS, memory
from benchmarks.newton_counts import WHOLE
from benchmarks.oracle import trace
from benchmarks.waiting import Idle, Waits
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning import Machine, PhiCost
from daskmgrit.problems import adder, xor
from tests.support.cli import CliRunner
from tests.support.optional import need

# -- counts that are not to grow ---------------------------------------------------------------------------------------


# -- the benchmarks ----------------------------------------------------------------------------------------------------


def test_empty_tasks_have_the_shape_of_a_solve(client):
    with dask.config.set({"daskmgrit.agglomerate": 99, "daskmgrit.beside": False}):
        traced = trace(build_hierarchy(64), [1, 1], PhiCost(1e-6), chunks=2, cycles=3)
        result = dm.MGRIT(Idle(), 64).solve(np.ones(3), tol=0, maxiter=3, chunks=2, client=client)
    assert len(traced.tasks) == result.tasks
    assert overhead.run_empty(client, traced) > 0


def test_overhead_of_several_sizes():
    report = overhead.overhead((0.001,), (10, 20), 1, lambda text: None)
    for row in report["sizes"]:
        assert row["tasks"] == row["empty_tasks"]
        assert row["tasks_per_cycle"] == 28
        assert row["bytes_per_cycle"] > 0
    assert 0 < report["shares"][0]["path_share"] <= report["shares"][0]["share"] <= 1
    assert "| 20 | 28 |" in tables.text({"overhead": report, "environment": environment()})


def test_what_many_workers_take(monkeypatch):
    for name, few in {"TASKS": 100, "LINKS": 20, "STAGES": 3, "REPEATS": 1}.items():
        monkeypatch.setattr(scale, name, few)
    report = scale.scale(scale.Sizes((2,), (2,), 0.001, 256, 8), lambda text: None)
    messages = {row["shape"]: row["messages_per_task"] for row in report["messages"]}
    # A task that waits for another needs a message to its worker and one back at least.
    assert messages["independent tasks"] < 2 <= messages["a chain on one worker"]
    assert messages["a chain on one worker"] < messages["a chain from worker to worker"]
    # A solve's task has a neighbour, as a stage has, and its result may be let go of.
    assert messages["a solve"] < 5
    assert report["waiting"][0]["path_seconds"] <= report["waiting"][0]["own_cores_seconds"]
    assert report["large"]["tasks"] > 8
    assert "| 2 | a solve |" in tables.text({"scale": report, "environment": environment()})


def test_listening_counts_hooks():
    report = listening(1, 40, lambda text: None)
    calls = {row["hook"]: row["calls_per_task"] for row in report["hooks"]}
    assert calls["task"] == pytest.approx(1, abs=0.1)
    # A task is released, waiting, processing, in memory, released and forgotten.
    assert calls["transition"] > 2
    assert "`update_graph`" in tables.text({"listening": report, "environment": environment()})


def test_waiting_is_for_each_state_and_stage(monkeypatch):
    waited = []
    monkeypatch.setattr("benchmarks.waiting.time.sleep", waited.append)
    phi = Waits(adder().propagator("4", coarsening=8, max_learning_rate=1.0), 100.0)
    stages = phi.stages(3)
    assert stages > 1
    w = np.tile(adder().w0, (3, 1))
    assert np.array_equal(phi(w, np.arange(3), 3), phi.phi(w, np.arange(3), 3))
    Waits(Idle(), 100.0, together=True)(np.ones((4, 2)), np.arange(4), 0)
    # What the other takes is part of it.
    assert waited == pytest.approx([300.0 * stages, 100.0], rel=0.1)
    assert waited[0] < 300.0 * stages


def test_speedup_against_path_and_plan(tmp_path):
    runs = (newton.Run(1, 2, 0.001, 20),), (scaling.Run(64, 1, 4, 0.001),)
    both = speedup.speedup(*runs, lambda text: None)
    speedup.plot(both, tmp_path / "both.png")
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
    (row,) = both["newton"]["runs"]
    # At least one step is accepted with each sweep, and no more than there are slots.
    assert 1 <= row["allowed"] <= 2
    assert row["error"] < 1e-3
    report = both["scaling"]
    (row,) = report["runs"]
    assert row["path_seconds"] == pytest.approx(0.001 * row["critical_path"])
    # Nothing is faster than the chain of Phi.
    assert row["ratio_to_path"] > 1
    assert row["ratio_to_bound"] > 1
    scaling.plot(report, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "/ plan" in tables.text({"scaling": report, "environment": environment()})


def test_a_replay_without_overheads_is_the_critical_path():
    """One F-interval for each of more than enough threads."""
    problem, free = adder(), dict.fromkeys(("scheduler", "worker", "client", "latency", "transfer"), 0.0)
    options = problem.hierarchy("4", coarsening=scaling.COARSENING)
    solver = dm.MGRIT(problem.propagator("4", coarsening=scaling.COARSENING), 64, **options)
    with dask.config.set(scheduler="sync"):
        result = solver.solve(problem.w0, "constant", tol=0, maxiter=3, chunks=1)
    run = scaling.Run(64, 1, 40, 1.0)
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        plan = scaling.predicted(run, solver.stages, Machine(1, 40, **free), 8, 3, options)
    assert plan.setup + sum(plan.cycles) == pytest.approx(result.critical_path, rel=0.15)


def test_memory_of_c_points():
    full, lean = memory([(320, "full", None), (320, "c-points", None)], lambda text: None)
    assert full["converged"]
    assert lean["iterations"] == full["iterations"]
    assert lean["error"] == full["error"] < 1e-7
    assert full["held_per_step"] == pytest.approx(8 * WEIGHTS, rel=0.01)
    # The C-points, and what the last C-relaxation found at them.
    assert lean["held_per_step"] == pytest.approx(2 * 8 * WEIGHTS / 16, rel=0.1)
    assert "c-points" in tables.text({"memory": [full, lean], "environment": environment()})


def test_peers_compares_histories(monkeypatch):
    """What stands for PyMGRIT answers with our own history."""
    problem = xor()
    with dask.config.set(scheduler="sync"):
        ours = dm.MGRIT(problem.propagator("1"), 400).solve(problem.w0).residuals[1:]
    history = list(ours)

    def run(command, what):
        return json.dumps({"history": history, "seconds": 1.0})

    monkeypatch.setattr(peers, "_run", run)
    rows = peers.peers("python", (400,), 2, "V", lambda text: None)
    assert rows[0]["histories_agree"]
    assert "| 400 | V | 11 |" in tables.text({"peers": rows, "environment": environment()})
    history[3] *= 1 + 1e-5
    assert not peers.peers("python", (400,), 2, "V", lambda text: None)[0]["histories_agree"]
    del history[-1]
    assert not peers.peers("python", (400,), 2, "V", lambda text: None)[0]["histories_agree"]


def test_command_says_what_is_missing():
    run = CliRunner().invoke(main, ["peers", "--pymgrit", sys.executable])
    assert run.exit_code == 1
    assert "cannot import PyMGRIT" in run.output
    for name in ("peers", "overhead", "scaling", "scale", "memory", "listening", "frameworks", "all"):
        assert "--json" in CliRunner().invoke(main, [name, "--help"]).output


def test_the_benchmark_of_a_device(monkeypatch):
    need("torch", "torch")
    from benchmarks import gpu, training

    found = gpu.measure("cpu", 40, 2, 20, "V", 2, 1e-3)
    assert found["reason"] == "tol"
    assert found["max_error"] < 1e-6
    assert found["settled_iterations"] <= found["iterations"]
    # To compile takes a minute.
    monkeypatch.setattr(training.Training, "compiled", lambda self: None)
    for net in ("digits", "convolutional"):
        report = gpu.measure_newton("cpu", 24, 2, 20, (4, 8), 1e-8, net)
        assert report["eager_seconds"] > 0
        assert [row["window"] for row in report["newton"]] == [4, 8]
        for row in report["newton"]:
            assert row["max_error"] < 1e-6
            assert row["sweeps"] < 24


def test_nets_of_parallel_newton():
    """A tiny case of each: it ends with the serial result in fewer sweeps than steps, and the table shows it."""
    need("torch", "torch")
    need("sklearn.datasets", "digits")
    cases = tuple(newton_nets.Case(net, "adamw, schedule", 1e-4, 4, 10) for net in newton_nets.NETS)
    rows = newton_nets.newton_nets(cases, lambda text: None)
    for row in rows:
        assert row["residual"] <= row["tol"]
        assert 10 / 4 <= row["sweeps"] < 10
        assert row["error"] < 1e-3
        assert row["aim"] is None
        assert 1 < row["by_corrections"] <= 4
    phi = newton_nets.propagator_of(cases[0])
    # A window of one slot accepts one step; a tolerance that allows everything lets a sweep accept all slots.
    assert newton_nets.sweeps_by_corrections(phi, 5, 1, 1e-6) == 5
    assert newton_nets.sweeps_by_corrections(phi, 5, 3, math.inf) == 2
    table = tables.text({"newton_nets": rows, "environment": environment()})
    assert "| transformer | 11314 | adamw, schedule | 0.0001 | 0 | 10 | 4 |" in table
    assert all(case.aim for case in newton_nets.WHOLE if case.optimizer == "adam")


def test_one_core_beside_the_serial_loop():
    """Which weights the loop comes to, and which residuals the short MGRIT, is asserted in there."""
    rows = peers.one_core((64, 400), 1, lambda text: None)
    assert [row["steps"] for row in rows] == [64, 400]
    assert all(row["ratio_to_serial"] > 0 and row["ratio_to_lean"] > 0 and row["phi_per_step"] > 1 for row in rows)
    assert f"| 400 | {rows[1]['iterations']} |" in tables.text({"one_core": rows, "environment": environment()})


def test_calls_of_frameworks():
    """Net by net and framework by framework; what is batched by hand is compared in there."""
    for package in ("torch", "jax"):
        need(package, package)
    rows = frameworks.frameworks(1, 0.001, lambda text: None)
    assert [(row["net"], row["framework"]) for row in rows] == [
        (net, name) for net in ("xor", "digits") for name in ("torch", "jax")
    ]
    assert all(row[f"call_{count}"] > 0 for row in rows for count in frameworks.BLOCKS)
    assert "| digits | jax |" in tables.text({"frameworks": rows, "environment": environment()})


def test_nets_in_real_time():
    """Small steps: the command times all three next to PyTorch's loop, whose weights it finds."""
    need("torch", "torch")
    arguments = ["newton-nets", "--timed", "--steps", "6", "--step-seconds", "0.001", "--json"]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    rows = json.loads(result.stdout)["timed_nets"]
    assert [(row["net"], row["threads"]) for row in rows] == [(net, p) for net in newton_nets.NETS for p in (4, 8)]
    assert all(row["error"] < 1e-4 and 2 <= row["sweeps"] <= 6 for row in rows)
    assert "| transformer | 6 |" in tables.text({"timed_nets": rows, "environment": environment()})


def test_counts_of_parallel_newton():
    """The command solves what was asked for, and says which counts are as expected; here none has an expectation."""
    result = CliRunner().invoke(main, ["newton-counts", "--group", "xor", "--json"])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["newton_counts"]
    assert [(row["problem"], row["seed"]) for row in rows] == [("xor", 1), ("xor", 2), ("xor", 3)]
    for row in rows:
        assert row["residual"] <= row["tol"]
        assert row["sweeps"] <= 30
        assert row["strict_path"] > row["path"] == row["sweeps"]
        assert row["as_expected"] is None
    assert "| xor | 1600 | descent | full, auto | 1 |" in tables.text(
        {"newton_counts": rows, "environment": environment()}
    )
    assert {case.group for case in WHOLE if case.most_sweeps} == {"xor", "digits", "lowrank", "adder"}
