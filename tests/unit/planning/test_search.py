"""More workers are never worse; what the plan recommends is what the solve can be told; how many cycles pay."""

import json
import shlex

import pytest

import daskmgrit as dm
from benchmarks.oracle import replay, trace
from daskmgrit.cli.main import main
from daskmgrit.planning import Machine, PhiCost, Planner
from daskmgrit.planning.setting import Setting, chunk_numbers, worker_numbers
from tests.support.cli import CliRunner


def planner(steps, phi, v=10.0, f=7.0, **options):
    return Planner(steps, lambda m: PhiCost(phi), lambda m, cycle: v if cycle == "V" else f, **options)


def planned(*args):
    run = CliRunner().invoke(main, ["plan", *args])
    assert run.exit_code == 0, run.output
    return run.stdout


def seconds_of(answers):
    seconds = [answer.seconds for answer in answers]
    assert seconds == sorted(seconds, reverse=True)
    return seconds


@pytest.mark.parametrize(
    ("steps", "phi", "v", "row"),
    [(1000, 0.1, 10.0, 0), (512, 0.25, 6.0, 100_000), (4000, 0.02, 10.0, 0)],
)
def test_more_workers_are_never_worse(steps, phi, v, row):
    search = planner(steps, phi, v, row_bytes=row, coarsenings=[(4, 2), (8, 4), (16, 2), (16, 4), (16, 8)])
    seconds_of(search.best(Machine(workers)) for workers in range(1, 65))


@pytest.mark.parametrize("how", [{"threads": 4}, {"cores": 4}])
def test_nor_with_threads_and_shared_cores(how):
    search = planner(1000, 0.01, row_bytes=10_000, coarsenings=[(4, 2), (8, 4), (16, 4)])
    seconds_of(search.best(Machine(workers, **how)) for workers in range(1, 25))


def test_plans_hold_by_the_replay_of_every_task():
    search, cost = planner(200, 0.5, 5.0, coarsenings=[(4, 2), (8, 4), (16, 4), (16, 2)]), PhiCost(0.5)
    replayed = []
    for workers in (1, 4, 13, 51):
        plan = search.best(Machine(workers))
        machine, chunks = plan.setting.machine, plan.setting.chunks
        traced = trace(plan.hierarchy, [1] * machine.workers, cost, chunks, plan.cycles, hosts=machine.hosts)
        replayed.append(replay(traced, machine, cost).total(plan.cycles))
        assert plan.seconds == pytest.approx(replayed[-1], rel=0.1)
    assert replayed == sorted(replayed, reverse=True)


def test_nor_with_many():
    search = planner(10**6, 0.05, coarsenings=[(8, 4), (16, 8)], cycles=["V"])
    seconds_of(search.best(Machine(workers)) for workers in (100, 150, 200, 333, 500, 777, 1000, 1500, 2222))


def test_the_search_leaves_nothing_out():
    """All numbers of chunks and of workers that it may try, each predicted."""
    machine = Machine(24)
    search = planner(600, 0.02, coarsenings=[(2,), (4,), (8, 4), (16, 4)])
    tried = [
        search.plan(Setting(m, cycle, Machine(workers), chunks))
        for m in search.coarsenings
        for cycle in "VF"
        for chunks in chunk_numbers(search.hierarchy(m, cycle))
        for workers in worker_numbers(chunks, 1, search.hierarchy(m, cycle))
        if workers <= machine.workers
    ]
    assert search.best(machine).seconds == min(plan.seconds for plan in tried)
    # It leaves out what is predicted to take longer than that at best.
    for plan in tried:
        assert max(*search._bound(plan.setting), search._least_seconds(plan.setting)) <= plan.seconds


def test_numbers_of_chunks_do_not_miss_much():
    for steps, phi, workers in ((1000, 0.1, 31), (4000, 0.02, 24), (512, 0.25, 60)):
        search = planner(steps, phi, coarsenings=[(8, 2), (16, 4), (16, 8)])
        all_of_them = [
            search.plan(Setting(m, cycle, Machine(workers), chunks))
            for m in search.coarsenings
            for cycle in "VF"
            for chunks in range(1, workers + 1)
            if chunks <= search.hierarchy(m, cycle)[0].intervals
        ]
        assert search.best(Machine(workers)).seconds <= 1.01 * min(plan.seconds for plan in all_of_them)


def test_command_says_how_many_threads_to_use():
    how = ("--steps", "1000", "--phi-cost", "100ms", "--coarsening", "16,4", "--cycle", "F")
    few, many = (json.loads(planned(*how, "--workers", count, "--json")) for count in ("20", "24"))
    assert many["seconds"] <= few["seconds"]
    assert (few["workers_used"], many["workers_used"], many["chunks"]) == (16, 16, 16)
    assert many["efficiency"] == pytest.approx(many["speedup"] / 16)
    words = planned(*how, "--workers", "24", "--accepted", "1")
    assert "use 16 of the 24 threads: with all of them it would not be faster" in words
    assert "; --chunks 16 leaves the others idle" in words
    assert (
        "daskmgrit solve PROBLEM --steps 1000 --cycle F --coarsening 16,4 --chunks 16 --workers 16" in many["command"]
    )
    assert "use" not in planned(*how, "--workers", "16").split("levels")[0]


def test_command_recommends_what_the_solve_can_be_told():
    report = json.loads(
        planned("--steps", "128", "--problem", "adder", "--workers", "2", "--iterations", "3", "--json")
    )
    words = shlex.split(report["command"])
    assert words[:3] == ["daskmgrit", "solve", "adder"]
    assert words[-2:] == ["--workers", str(report["workers_used"])]
    run = CliRunner().invoke(main, [*words[1:-2], "--maxiter", "1", "--json"])
    told = json.loads(run.stdout)
    for name in ("steps", "levels", "cycle", "chunks", "storage"):
        assert told[name] == report[name] if name != "steps" else told[name] == 128
    # The same in Python.
    problem = dm.problems.adder()
    scope = {"dm": dm, "phi": problem.propagator(coarsening=report["coarsening"]), "w0": problem.w0}
    python = report["python"].replace(").solve(w0, ", ").solve(w0, tol=0, maxiter=1, ")
    result = eval(python, scope)
    assert (result.levels, result.cycle) == (report["levels"], report["cycle"])
    assert result.weights.numblocks[0] == report["chunks"]


@pytest.mark.parametrize(
    "how",
    [
        ("--steps", "512", "--phi-cost", "0.25", "--workers", "64", "--chunks", "64"),
        ("--steps", "200000", "--phi-cost", "10ms", "--workers", "512", "--chunks", "512"),
    ],
)
def test_how_many_cycles_pay(how):
    def report(iterations):
        setting = ("--coarsening", "8,4", "--cycle", "V", "--iterations", str(iterations), "--json")
        return json.loads(planned(*how, *setting))

    most = report(4)["pays_up_to_iterations"]
    assert most > 4
    assert report(most)["speedup"] > 1 >= report(most + 1)["speedup"]
    assert report(most + 9)["pays_up_to_iterations"] == most


def test_command_says_how_many_cycles_pay():
    how = ("--steps", "512", "--phi-cost", "0.25", "--workers", "64", "--coarsening", "8,4", "--cycle", "V")
    assert "up to " in planned(*how, "--iterations", "5")
    assert "only if " in planned(*how, "--iterations", "30")
    assert "not even if one cycle" in planned("--steps", "400", "--phi-cost", "1ms", "--workers", "2")


@pytest.mark.parametrize("workers", [16, 64])
@pytest.mark.parametrize("phi", [0.1, 0.001])
def test_more_workers_than_the_limit_gain_little(workers, phi):
    """Where fewer than all are best, whole F-intervals may be the reason, and many more may still be faster."""
    options = ("--steps", "400", "--coarsening", "4", "--phi-cost", str(phi), "--iterations", "10", "--cycle", "V")
    found = json.loads(planned(*options, "--workers", str(workers), "--json"))
    assert found["workers_used"] < workers
    more = json.loads(planned(*options, "--workers", str(4 * workers), "--json"))
    gains = 1 - more["seconds"] / found["seconds"]
    assert gains <= 0.2 or found["limit_workers"] is None
    assert found["limit_workers"] is None or (found["break_even_workers"] or 0) <= found["limit_workers"]
