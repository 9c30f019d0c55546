"""The replay of all tasks against the graphs of real solves, the prediction against the replay, and the command."""

import json
import sys
import time

import dask
import numpy as np
import pytest

import daskmgrit as dm
from benchmarks.oracle import replay, trace
from daskmgrit.cli.main import main
from daskmgrit.graph.auto_chunks import plan_layout
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning import Machine, PhiCost, Planner, level_work, predict
from daskmgrit.planning.cost import _fit, measure_cost, measure_stages
from daskmgrit.planning.level_work import inline_seconds
from daskmgrit.planning.setting import Setting
from tests.support.cli import CliRunner
from tests.support.recurrences import Decay

FREE = {"scheduler": 0.0, "worker": 0.0, "client": 0.0, "latency": 0.0, "transfer": 0.0}


def test_trace_of_c_points():
    traced = trace(build_hierarchy(128, 4), [1] * 4, PhiCost(1e-3), chunks=4, cycles=2, storage="c-points")
    states = [task.rows for task in traced.tasks if task.key.startswith("correct.L0")]
    assert sum(states) == 2 * (128 // 4 + 1)
    edges = {task.rows for task in traced.tasks if task.key.startswith("edge.L0")}
    assert edges == {1}


def test_without_overheads_a_replay_takes_the_chain_of_phi():
    """One F-interval per task on as many workers: the critical path that the solve counts."""
    hierarchy = build_hierarchy(64, 4)
    with dask.config.set({"daskmgrit.agglomerate": 99, "daskmgrit.beside": True}):
        traced = trace(hierarchy, [2] * 17, PhiCost(1.0), chunks=17, cycles=4)
        path = [
            dm.MGRIT(Decay(4), 64, coarsening=4).solve(np.ones(2), tol=0, maxiter=k, chunks=17).critical_path
            for k in (2, 3)
        ]
    run = replay(traced, Machine(17, 2, **FREE), PhiCost(0.0, call=1.0))
    assert run.cycle == pytest.approx(path[1] - path[0])
    assert run.scheduler_busy == 0


def test_one_worker_takes_the_work():
    hierarchy = build_hierarchy(128)
    cost = PhiCost(0.5)
    traced = trace(hierarchy, [1], cost, chunks=3, cycles=4)
    run = replay(traced, Machine(1, **FREE), cost)
    levels = hierarchy.steps
    work = 2 * levels[0] + 3 * sum(levels[1:-1]) + 2 * levels[-1] - 1
    assert run.cycle == pytest.approx(0.5 * work)
    assert run.phi_share == pytest.approx(1)
    assert run.total(10) == pytest.approx(run.setup + sum(run.cycles[:1]) + 8 * run.cycle + run.cycles[-1])


def test_overheads_are_serial_where_they_should_be():
    """With a Phi for nothing a cycle takes the longest of what client, scheduler and workers do for its tasks."""
    hierarchy, cost = build_hierarchy(256), PhiCost(1e-9)
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        traced = trace(hierarchy, [1] * 8, cost, chunks=32, cycles=5)
    tasks = len([task for task in traced.tasks if "-3-" in task.key])
    each = 1e-3
    for name, share in (("scheduler", 1), ("worker", 8), ("client", 1)):
        run = replay(traced, Machine(8, **FREE | {name: each}), cost)
        assert run.cycle == pytest.approx(tasks * each / share, rel=0.25)
    shared = replay(traced, Machine(8, **FREE | {"worker": each}, cores=2), cost)
    assert shared.cycle == pytest.approx(tasks * each / 2, rel=0.25)


@pytest.mark.parametrize(
    ("steps", "m", "workers", "threads", "phi", "cycle", "chunks"),
    [
        (512, 8, 1, 16, 0.25, "V", 16),
        (512, 2, 2, 1, 0.01, "V", 2),
        (512, [32, 4], 1, 16, 0.25, "V", 16),
        (1024, 4, 4, 4, 0.02, "F", 16),
        (1000, 2, 16, 1, 0.001, "V", 16),
        (4000, 16, 16, 4, 0.001, "V", 24),
    ],
)
@pytest.mark.parametrize("row", [1000, 100_000])
@pytest.mark.parametrize("relaxation", ["FCF", "F"])
def test_waves_agree_with_the_replay(steps, m, workers, threads, phi, cycle, chunks, row, relaxation):
    hierarchy, cost = build_hierarchy(steps, m, cycle=cycle, relaxation=relaxation), PhiCost(phi)
    machine = Machine(workers, threads)
    traced = trace(hierarchy, [threads] * workers, cost, chunks, cycles=4, row_bytes=row)
    exact = replay(traced, machine, cost, row)
    wave = predict(hierarchy, traced.plan, machine, cost, row)
    assert wave.setup == pytest.approx(exact.setup, rel=0.1)
    # With relaxation "F" what arrives at the C-points is computed once, with the residual.
    rel = 0.08 if relaxation == "F" else 0.2
    assert wave.cycle == pytest.approx(exact.cycle, rel=rel)
    assert wave.total(10) == pytest.approx(exact.total(10), rel=rel)
    assert wave.scheduler_busy == pytest.approx(exact.scheduler_busy, abs=0.1)


def test_wave_counts_tasks_and_bytes_as_the_replay():
    hierarchy, cost, row = build_hierarchy(1000, 2), PhiCost(1e-3), 1000
    with dask.config.set({"daskmgrit.beside": False}):
        few, many = (trace(hierarchy, [1] * 16, cost, 16, cycles=k, row_bytes=row) for k in (3, 4))
        wave = predict(hierarchy, many.plan, Machine(16), cost, row)
    assert wave.tasks == pytest.approx(len(many.tasks) - len(few.tasks), rel=0.03)
    moved = replay(many, Machine(16), cost, row).moved - replay(few, Machine(16), cost, row).moved
    assert wave.moved == pytest.approx(moved, rel=0.1)


def test_what_runs_within_a_task_is_counted_by_running_it():
    hierarchy = build_hierarchy(100)
    levels = hierarchy.steps
    stages = (1, 2, 4, 4, 4)
    cost = PhiCost(1.0, stages=stages)
    seconds = inline_seconds(hierarchy, 1, "V", cost, {})
    few, many = (dm.MGRIT(Decay(), 100).solve(np.ones(2), tol=0, maxiter=k, chunks=1).phi_evaluations for k in (2, 3))
    work = sum(stage * (b - a) for stage, a, b in zip(stages, few, many, strict=True))
    # Level 0 and its coarse step are not in it.
    assert seconds == work - 200 - 2 * levels[1]
    assert inline_seconds(hierarchy, 0, "", cost, {}) == work


def test_phi_cost():
    assert _fit([1, 8, 64], [0.1 + 0.01 * n for n in (1, 8, 64)]) == pytest.approx((0.1, 0.01))
    assert _fit([1, 8, 64], [3.0, 3.0, 3.0])[1] == pytest.approx(0, abs=1e-12)
    assert _fit([1, 8, 64], [1.0, 8.0, 64.0]) == pytest.approx((0, 1), abs=1e-12)
    for wrong in ({"state": -1}, {"state": 0}, {"state": 1, "call": float("nan")}, {"state": 1, "stages": (1, 0)}):
        with pytest.raises(ValueError, match=r"phi-cost|call|stages"):
            PhiCost(**wrong)

    class Steps:
        def __call__(self, weights, index, level):
            time.sleep(0.01 * (1 + level))
            return weights * 1

    cost = measure_cost(Steps(), np.ones(3), seconds=0.001)
    # The call takes the time here, not the states.
    assert cost.call > 10 * cost.state
    assert measure_stages(Steps(), np.ones(3), 3, seconds=0.001) == pytest.approx((1, 2, 3), rel=0.5)


def test_machine_refuses_nonsense():
    for wrong in (
        {"workers": 0},
        {"workers": 1, "bandwidth": 0},
        {"workers": 1, "latency": -1},
        {"workers": 1, "cores": 0},
    ):
        with pytest.raises(ValueError, match=list(wrong)[-1]):
            Machine(**wrong)


def planner(steps, phi, iterations=10, **options):
    return Planner(steps, lambda m: PhiCost(phi), lambda m, cycle: iterations, **options)


def test_search_finds_what_trying_all_finds():
    machine = Machine(16)
    search = planner(2000, 0.05, coarsenings=[(2,), (4,), (8, 2), (16, 4)])
    best = search.best(machine)
    tried = [
        search.plan(Setting(m, cycle, machine, chunks))
        for m in search.coarsenings
        for cycle in "VF"
        for chunks in (1, 2, 4, 8, 12, 14, 15, 16)
    ]
    assert best.seconds <= 1.02 * min(plan.seconds for plan in tried)
    assert best.efficiency == pytest.approx(best.speedup / 16)


def test_break_even():
    search = planner(2000, 0.1, coarsenings=[(4,), (8, 4)])
    even = search.break_even(Machine(1))
    assert search.best(Machine(even)).speedup > 1
    assert search.best(Machine(even - max(1, even // 20))).speedup <= 1
    # Ten cycles of two N Phi are twenty times the work.
    assert 20 < even < 80
    assert planner(100, 1e-6).break_even(Machine(1)) is None


def test_nothing_converges():
    with pytest.raises(ValueError, match="converges"):
        planner(100, 1.0, float("nan")).best(Machine(4))
    with pytest.raises(ValueError, match="steps=3"):
        planner(3, 1.0, coarsenings=[(4,)])


def test_auto_chunks_grow_with_hosts_and_divide_evenly():
    hierarchy = build_hierarchy(512, 8)

    def chunks(cost, workers, hosts):
        plan = plan_layout(hierarchy, None, [1] * workers, "distributed", cost, hosts=hosts)
        assert not plan.beside or 2 * len(plan.layout.levels[0]) <= workers
        return len(plan.layout.levels[0]) if plan.layout.levels else 1

    # 64 F-intervals with F-points, and a chunk for the last C-point, which has none: 63 would take as long as 32.
    assert chunks(0.25, 64, 1) == chunks(0.25, 65, 1) == chunks(0.25, 200, 1) == 65
    assert chunks(0.25, 63, 1) == chunks(0.25, 32, 1) == 33
    # It is not worth a task where Phi is cheap, nor with one thread.
    assert chunks(5e-3, 64, 1) == 16
    assert chunks(0.25, 1, 1) == 1
    assert chunks(1e-3, 64, 16) > chunks(1e-3, 64, 1)


def plan(*args, code=0):
    run = CliRunner().invoke(main, ["plan", *args])
    assert run.exit_code == code, run.output
    return run


def test_a_problem_in_the_place_of_an_argument_is_told_its_option():
    run = plan("problem.py:problem", "--workers", "8", code=2)
    assert "give the problem by an option, --problem problem.py:problem" in run.stderr


def test_command_says_that_serial_is_faster():
    run = plan("--steps", "400", "--phi-cost", "1ms", "--workers", "8")
    assert "serial is faster" in run.stdout
    assert "assumed: 10 V-cycles or 7 F-cycles" in run.stdout
    assert "does not pay with any number" in run.stdout
    assert "dm.train_serially(phi, w0, 400)" in run.stdout


@pytest.mark.parametrize(
    ("options", "others"), [(("--cycle", "F", "--coarsening", "16,8"), (1, 62)), (("--coarsening", "3"), (20, 120))]
)
def test_break_even_is_that_of_plans(options, others):
    def report(workers):
        return json.loads(
            plan("--steps", "1000", "--phi-cost", "1", *options, "--workers", f"{workers}", "--json").stdout
        )

    (even,) = {report(workers)["break_even_workers"] for workers in others}
    assert report(even)["speedup"] > 1 >= report(even - 1)["speedup"]


def test_problem_whose_package_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    run = plan("--steps", "400", "--problem", "digits", "--workers", "4", code=3)
    assert "scikit-learn" in run.stderr


def test_command_json():
    run = plan(
        "--steps", "512", "--phi-cost", "0.25", "--workers", "64", "--iterations", "6", "--bytes", "10kB",
        "--accepted", "1.5", "--coarsening", "8,4", "--cycle", "v", "--json",
    )  # fmt: skip
    report = json.loads(run.stdout)
    assert report["faster"] == "mgrit"
    assert report["speedup"] > report["newton"]["speedup"]
    assert report["speedup"] == pytest.approx(report["serial_seconds"] / report["seconds"])
    assert report["chunks"] == 65
    assert report["coarsening"] == [8, 4]
    assert report["levels"] == [512, 64, 16, 4]
    assert report["bytes_per_cycle"] > 0
    assert 16 < report["break_even_workers"] <= 64


def test_command_for_a_large_cluster_names_the_scheduler():
    run = plan(
        "--steps", "10000000", "--phi-cost", "10ms", "--workers", "10000", "--coarsening", "16,8", "--cycle", "V"
    )
    assert "MGRIT is faster" in run.stdout
    assert "Dask's scheduler" in run.stdout


def test_command_measures_a_problem():
    run = plan("--steps", "200", "--problem", "xor", "--workers", "2", "--coarsening", "2", "--cycle", "V", "--json")
    report = json.loads(run.stdout)
    assert report["iterations_from"] == "measured"
    assert report["measured"][-1] == "cycles of MGRIT for 200 steps, with the setting"
    result = dm.MGRIT(dm.problems.xor().propagator(), 200).solve(dm.problems.xor().w0)
    assert report["iterations"] == pytest.approx(result.iterations)
    assert report["faster"] == "serial"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((), "give --phi-cost"),
        (("--workers", "2", "--call-cost", "1ms", "--problem", "xor"), "--call-cost"),
        (("--phi-cost", "1ms"), "give --workers"),
        (("--phi-cost", "soon", "--workers", "2"), "'soon'"),
        (("--phi-cost", "0", "--workers", "2"), "phi-cost=0"),
        (("--phi-cost", "1ms", "--workers", "2", "--measure"), "need each other"),
        (("--phi-cost", "1ms", "--workers", "2", "--keys", "folder"), "--keys folder"),
        (("--phi-cost", "1ms", "--workers", "5", "--threads", "2"), "--workers 5"),
        (("--problem", "xor", "--workers", "2", "--stages", "1,2"), "--stages"),
        (("--phi-cost", "1ms", "--workers", "2", "--solver", "1"), "--problem"),
        (("--phi-cost", "1ms", "--workers", "2", "--coarsening", "1"), "coarsening=1"),
        (("--phi-cost", "1ms", "--workers", "2", "--chunks", "3"), "chunks=3"),
        (("--phi-cost", "1ms", "--workers", "99", "--chunks", "90"), "chunks=90"),
    ],
)
def test_command_refuses(args, message):
    assert message in plan("--steps", "100", *args, code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--phi-cost", "1e400", "--workers", "2"], "'1e400'"),
        (["--phi-cost", "1", "--workers", "2", "--bytes", "-5"], "'-5'"),
        (["--phi-cost", "1", "--workers", "2", "--iterations", "inf"], "'--iterations': inf is not a finite number"),
        (["--phi-cost", "1", "--workers", "10000000000"], "--workers"),
    ],
)
def test_values_out_of_range(arguments, words):
    assert words in plan("--steps", "100", *arguments, code=2).stderr


def test_a_part_of_a_cycle_is_a_whole_one():
    how = ["--steps", "1000", "--phi-cost", "0.1", "--workers", "24", "--coarsening", "16,2", "--cycle", "V"]
    seconds = [
        json.loads(plan(*how, "--iterations", count, "--json").stdout)["seconds"] for count in ("2", "2.99", "3")
    ]
    assert seconds[0] < seconds[1] == seconds[2]


def test_threads_that_have_nothing_to_do():
    report = json.loads(plan("--steps", "1000", "--phi-cost", "1", "--workers", "1000000", "--json").stdout)
    assert (report["workers"], report["faster"]) == (1000000, "mgrit")
    # Two for each of at most 500 F-intervals and the last C-point.
    assert report["break_even_workers"] <= report["workers_used"] <= 1002
    assert report["seconds_without_scheduler"] <= report["seconds"]


def test_work_of_very_many_steps_is_counted_on_few(monkeypatch):
    """Kernels would hold an entry for each step."""
    longest = []
    guess = level_work.chunk_kernels.guess
    monkeypatch.setattr(
        level_work.chunk_kernels, "guess", lambda *args: longest.append(args[3].last) or guess(*args), raising=True
    )
    short, long = (
        level_work.inline_seconds(build_hierarchy(steps, 4), 0, "", PhiCost(1.0), {}) for steps in (10**5, 10**9)
    )
    assert long == pytest.approx(1e4 * short, rel=0.01)
    assert max(longest) < 10**6
