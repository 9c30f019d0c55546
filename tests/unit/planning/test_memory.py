"""What a plan says of memory, against the bytes that workers hold in real solves."""

import json

import dask
import pytest

from daskmgrit.cli.main import main
from daskmgrit.graph.auto_chunks import ChunkPlan, plan_layout
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.planning import Machine
from daskmgrit.planning.memory import memory_of, share, storage_that_fits
from tests.support.cli import CliRunner


def planned(*args, code=0):
    run = CliRunner().invoke(main, ["plan", "--steps", "1000", "--phi-cost", "100ms", *args])
    assert run.exit_code == code, run.output
    return run.stdout if not code else run.stderr


def test_memory_by_storage_workers_and_threads():
    hierarchy = build_hierarchy(1000, 16)

    def needed(workers, threads, chunks, storage="full"):
        plan = ChunkPlan(plan_layout(hierarchy, chunks, [threads] * workers, "distributed", 0.1, 8000).layout)
        return memory_of(hierarchy, plan, Machine(workers, threads), 8000, storage)

    one, lean = needed(4, 1, 4), needed(4, 1, 4, "c-points")
    assert one.held_in_all == 2 * 1001 * 8000
    assert lean.held_in_all == 2 * 63 * 8000
    assert lean.peak < one.peak / 3
    assert needed(8, 1, 8).held == pytest.approx(one.held / 2, rel=0.1)
    # Threads of a process share its memory.
    assert needed(2, 2, 4).held == pytest.approx(2 * one.held, rel=0.05)
    assert one.at_work < one.peak
    # A whole cycle within one task.
    assert needed(1, 1, 1).held >= 2 * 1001 * 8000


def test_storage_that_fits():
    hierarchy = build_hierarchy(1000, 16)
    plan = ChunkPlan(plan_layout(hierarchy, 4, [1] * 4, "distributed", 0.1, 8000).layout)
    full, lean = (memory_of(hierarchy, plan, Machine(4), 8000, name).peak for name in ("full", "c-points"))
    for limit, storage in ((full, "full"), (lean, "c-points"), (lean / 2, None)):
        assert storage_that_fits(int(limit / share()) + 1, 8000)(hierarchy, plan, Machine(4)) == storage
    with dask.config.set({"distributed.worker.memory.target": False, "distributed.worker.memory.spill": False}):
        assert share() == 0.95


def test_command_prefers_what_fits():
    how = ("--workers", "16", "--bytes", "10MB", "--coarsening", "16,4", "--cycle", "V")
    report = {size: json.loads(planned(*how, "--memory", size, "--json")) for size in ("16GB", "2GB", "200MB")}
    for size, (storage, fits) in {
        "16GB": ("full", True),
        "2GB": ("c-points", True),
        "200MB": ("c-points", False),
    }.items():
        assert (report[size]["storage"], report[size]["memory"]["fits"]) == (storage, fits)
        assert ("--storage c-points" in report[size]["command"]) == (storage == "c-points")
        assert ('storage="c-points"' in report[size]["python"]) == (storage == "c-points")
    assert "with storage c-points only" in planned(*how, "--memory", "2GB")
    assert "give workers more memory" in planned(*how, "--memory", "50MB")
    how = ("--steps", "20000", "--workers", "16", "--bytes", "10MB", "--coarsening", "16,4", "--cycle", "V")
    found = json.loads(planned(*how, "--memory", "4GB", "--json"))["memory"]
    assert 16 < found["workers_needed"] < 200
    assert f"from {found['workers_needed']} worker processes it fits" in planned(*how, "--memory", "4GB")
    more = ("--workers", str(found["workers_needed"]))
    assert json.loads(planned(*how, *more, "--memory", "4GB", "--json"))["memory"]["fits"]


def test_command_takes_another_setting_where_the_best_does_not_fit():
    how = ("--workers", "16", "--bytes", "10MB", "--json")
    free, bound = (json.loads(planned(*how, *more)) for more in ((), ("--memory", "1500MB")))
    assert free["memory"]["fits"] is None
    assert bound["memory"]["fits"]
    assert bound["memory"][bound["storage"]]["peak"] <= bound["memory"]["usable"]
    assert bound["seconds"] >= free["seconds"]


def test_command_leaves_memory_out():
    assert "memory           left out" in planned("--workers", "4")
    assert json.loads(planned("--workers", "4", "--json"))["memory"] is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--memory", "4GB"), "--memory needs --bytes"),
        (("--bytes", "1MB", "--memory", "0"), "--memory 0"),
        (("--bytes", "1MB", "--memory", "much"), "'much'"),
    ],
)
def test_command_refuses(args, message):
    assert message in planned("--workers", "4", *args, code=2)
