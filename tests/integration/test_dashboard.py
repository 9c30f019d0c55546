"""What the dashboard hears of a solve and keeps; that it is bounded, goes with the solve, and never breaks one."""

import asyncio
import logging
import re
import sys
import threading
import urllib.request
import weakref
from types import SimpleNamespace

import dask
import pytest
from dask.utils import key_split
from distributed import Client, Scheduler, performance_report

import daskmgrit as dm
from daskmgrit.dashboard import dask_setup, documents, shared_plots
from daskmgrit.dashboard.events import TaskName
from daskmgrit.dashboard.history import _HOLDS, MANY, History, Run
from daskmgrit.dashboard.page import NoPage, history_of, install
from daskmgrit.dashboard.reporter import _attach_probe
from daskmgrit.dashboard.window_run import WindowRun
from tests.support.dashboard import STEPS, plugins, runs, warnings_of
from tests.support.recurrences import Decay
from tests.support.waiting import wait_for

ABOUT = {
    "run": "0a",
    "client": "c",
    "phi": "Decay",
    "cycle": "V",
    "steps": [8, 4],
    "tol": 1e-6,
    "maxiter": 9,
    "layout": {"gathered": 1, "bounds": [[0, 4, 9]], "corrected_from": [0]},
}


def get(client, path):
    link = client.dashboard_link.replace("/status", path)
    with urllib.request.urlopen(link, timeout=60) as answer:
        return answer.read().decode()


# -- what is heard ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "how", "config"),
    [
        ({}, {"chunks": 4}, {}),
        ({}, {"chunks": 4}, {"agglomerate": 99}),
        ({"cycle": "F", "coarsening": 3}, {"chunks": 3, "initial_guess": "nested"}, {"agglomerate": 2}),
        ({"relaxation": 2}, {"chunks": 3}, {"agglomerate": 99, "beside": True}),
        ({"relaxation": "F", "coarsening": [4, 2]}, {"chunks": 2, "maxiter": 4, "tol": 0}, {"agglomerate": 99}),
        ({"relaxation": "F"}, {"chunks": 2, "maxiter": 4, "tol": 0}, {"agglomerate": 99, "beside": True}),
        ({}, {"chunks": 1}, {}),
        ({}, {"storage": "c-points"}, {"c-chunk-bytes": 100}),
        ({"cycle": "F"}, {"storage": "c-points", "initial_guess": "nested"}, {"c-chunk-bytes": 100}),
    ],
    ids=[
        *("V", "all levels", "F nested", "FCFCF beside", "F-relaxation", "F beside", "one chunk"),
        *("C-points", "F C-points nested"),
    ],
)
def test_every_task_and_stage_is_heard(cluster, client, w0, options, how, config):
    with dask.config.set({f"daskmgrit.{name}": value for name, value in config.items()}):
        result = dm.MGRIT(Decay(), STEPS, **options).solve(w0, client=client, **how)
    run = runs(cluster)[0]
    assert run.state == result.reason
    assert not plugins(cluster)
    assert [residual for _, residual in run.residuals] == result.residuals
    stages = [bar for bar in run.bars if not bar.task]
    assert sum(bar.phi for bar in stages) == pytest.approx(sum(result.timings["phi"]))
    # Final weights that take an F-relaxation are cut out after the end.
    assert len(result.records) - len(stages) == (how.get("storage") == "c-points")
    assert sorted(bar.name for bar in stages) == sorted(record.kind for record in result.records[: len(stages)])
    # A stage lies within a task that may hold it: the last task drawn of the same chunk and time.
    tasks = [bar for bar in run.bars if bar.task]
    for stage in stages:
        holders = [
            task
            for task in tasks
            if task.start <= stage.start <= stage.stop <= task.stop
            and task.worker == stage.worker
            and (task.lo, task.hi) == (stage.lo, stage.hi)
            and (task.name in MANY or stage.name in _HOLDS.get(task.name, ()))
        ]
        assert holders, stage
    # What is submitted ahead is not settled, and a task of the last cycle may end after its residual is known.
    last = result.iterations
    # What cuts final weights out belongs to no stage.
    # A task that corrects several levels is drawn on each.
    settled = {(task.worker, task.start, task.stop) for task in tasks if 0 < task.cycle < last and task.name != "final"}
    assert settled
    assert sum(map(sum, run.totals)) >= sum(stop - start for _, start, stop in settled) * (1 - 1e-9)
    assert all(0 <= bar.lo < bar.hi <= STEPS + 1 for bar in run.bars)
    path = run.path(run.current())
    assert path
    assert all(stage.done == stage.tasks for stage in path)


def test_stages_of_the_initial_guess_are_on_the_chunks_that_it_has(cluster, client, w0):
    with dask.config.set({"daskmgrit.c-chunk-bytes": 100}):
        result = dm.MGRIT(Decay(), STEPS).solve(w0, client=client, storage="c-points")
    firsts = [record.first for record in result.records if record.kind == "initial residual"]
    # More than there would be without a bound on a chunk's bytes.
    assert len(firsts) > 2
    bars = [bar for bar in runs(cluster)[0].bars if bar.name == "initial residual"]
    assert sorted(bar.lo for bar in bars) == sorted(2 * first for first in firsts)
    ends = [*sorted(bar.lo for bar in bars)[1:], STEPS + 1]
    assert sorted(bar.hi for bar in bars) == ends


def test_residuals_are_an_event_that_anyone_may_hear(client, w0):
    heard = []
    client.subscribe_topic("daskmgrit", lambda event: heard.append(event[1]))
    try:
        result = dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2)
        wait_for(lambda: len(heard) == len(result.residuals), "all residuals are heard")
    finally:
        client.unsubscribe_topic("daskmgrit")
    assert [event["residual"] for event in heard] == result.residuals


@pytest.mark.parametrize("jacobian", ["identity", "lowrank"])
def test_every_sweep_is_heard(cluster, client, w0, jacobian):
    heard = []
    client.subscribe_topic("daskmgrit", lambda event: heard.append(event[1]))
    try:
        result = dm.ParallelNewton(Decay(), STEPS, window=8, jacobian=jacobian, rank=3).solve(w0, 1e-6, client=client)
        wait_for(lambda: heard and heard[-1]["step"] == STEPS, "all sweeps are heard")
    finally:
        client.unsubscribe_topic("daskmgrit")
    run = runs(cluster)[0]
    assert not plugins(cluster)
    assert isinstance(run, WindowRun)
    assert run.state == "tol"
    assert run.sweeps == run.swept == result.iterations == len(run.rows)
    assert [row.accepted for row in run.rows] == result.accepted
    assert (
        [residual for _, residual in run.residuals] == [event["residual"] for event in heard] == result.residuals[:-1]
    )
    assert run.accepted_residuals[-1] == (result.iterations, result.residuals[-1])
    # The window moves over all steps, without a gap.
    assert run.rows[0].first == 0
    assert [row.first + row.accepted for row in run.rows] == [*(row.first for row in list(run.rows)[1:]), STEPS]
    assert all(row.first + row.accepted <= row.last <= STEPS for row in run.rows)
    assert all(row.start <= row.stop for row in run.rows)
    assert run.phi == pytest.approx(sum(result.timings["phi"]))
    name, (phi, *_) = run.shares()[0]
    assert (name, phi) == ("sweeps", run.phi)


def test_two_solves_of_two_clients_stay_apart(cluster, client, w0):
    results = {}
    barrier = threading.Barrier(2, timeout=60)

    def solve(steps):
        def meet(cycle, residual, weights):
            if cycle == 1:
                barrier.wait()

        with Client(cluster, set_as_default=False) as own:
            results[steps] = dm.MGRIT(Decay(), steps).solve(w0, client=own, chunks=2, callback=meet)

    threads = [threading.Thread(target=solve, args=(steps,)) for steps in (64, 101)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for run in runs(cluster)[:2]:
        result = results[run.about["steps"][0]]
        assert [residual for _, residual in run.residuals] == result.residuals
        assert sum(not bar.task for bar in run.bars) == len(result.records)
    assert {run.about["steps"][0] for run in runs(cluster)[:2]} == {64, 101}
    assert not plugins(cluster)


def test_a_resumed_solve_counts_on(cluster, client, w0, tmp_path):
    solver = dm.ParallelNewton(Decay(), STEPS, window=4, jacobian="identity")
    begun = solver.solve(w0, 0, client=client, checkpoint=tmp_path / "c", callback=lambda sweep, *_: sweep >= 5)
    assert runs(cluster)[0].state == begun.reason == "callback"
    result = solver.resume(tmp_path / "c", client=client)
    run = runs(cluster)[0]
    assert run.sweeps == result.iterations
    assert run.swept == result.iterations - begun.iterations
    assert run.begin == sum(begun.accepted)
    assert run.first == STEPS


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_solve_that_fails_says_so(cluster, client, w0, error):
    def callback(cycle, residual, weights):
        assert plugins(cluster)
        raise error("of the callback")

    with pytest.raises(error):
        dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2, callback=callback)
    run = runs(cluster)[0]
    assert run.state == ("failed" if error is ZeroDivisionError else "interrupted")
    assert "of the callback" in run.message
    assert not plugins(cluster)


# -- where there is no page ------------------------------------------------------------------------------------------


def test_switched_off(cluster, client, w0):
    before = runs(cluster)
    with dask.config.set({"daskmgrit.dashboard": False}):
        dm.MGRIT(Decay(), STEPS).solve(
            w0, client=client, chunks=2, callback=lambda *args: bool(plugins(cluster)) and pytest.fail("it listens")
        )
    assert runs(cluster) == before


@pytest.mark.parametrize("where", ["attach", "hear", "tell"])
def test_a_failing_dashboard_does_not_break_a_solve(cluster, client, w0, where, monkeypatch, caplog):
    from daskmgrit.dashboard import cycle_reporter, plugin

    def fail(*args, **kwargs):
        raise RuntimeError("of the dashboard")

    target = {
        "attach": (plugin, "attach"),
        "hear": (plugin.MgritPlugin, "hear"),
        "tell": (cycle_reporter, "stage_rows"),
    }[where]
    monkeypatch.setattr(*target, fail)
    with caplog.at_level(logging.WARNING, "daskmgrit"):
        result = dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2)
    assert result.converged
    [sentence] = warnings_of(caplog)
    assert "of the dashboard" in sentence
    wait_for(lambda: not plugins(cluster), "the plug-in goes")
    monkeypatch.undo()
    dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2)
    assert runs(cluster)[0].state == "tol"


# -- pages -----------------------------------------------------------------------------------------------------------


def test_pages_are_served_and_listed(client, w0):
    dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2)
    for page in ("/mgrit", "/status", "/tasks"):
        assert re.search(r'href="mgrit"', get(client, page)), page
    listed = get(client, "/individual-plots.json")
    for name in documents.single_documents():
        assert f"/individual-mgrit-{name}" in listed
        assert f'href="individual-mgrit-{name}"' in get(client, "/status")
        assert "<html" in get(client, f"/individual-mgrit-{name}")


@pytest.mark.parametrize("prefix", [None, "behind/a/proxy"])
def test_preload_has_the_page_before_any_solve(client, prefix):
    async def attempt():
        async with Scheduler(
            host="127.0.0.1", port=0, dashboard_address="127.0.0.1:0", dashboard=True, http_prefix=prefix
        ) as scheduler:
            dask_setup(scheduler)
            dask_setup(scheduler)
            link = f"http://127.0.0.1:{scheduler.http_server.port}/{prefix + '/' if prefix else ''}"
            return [
                await asyncio.to_thread(lambda page=page: urllib.request.urlopen(link + page, timeout=60).read())
                for page in ("status", "mgrit", "individual-plots.json")
            ]

    # In the thread of the other scheduler: Bokeh's switch for checks is one for all threads.
    status, page, listed = client.sync(attempt)
    assert status.count(b'href="mgrit"') == page.count(b'href="mgrit"') == 1
    assert listed.count(b"/individual-mgrit-levels") == 1


def test_what_is_missing_is_said(client, monkeypatch):
    assert "has daskmgrit" in client.run_on_scheduler(_attach_probe(), {}, "0.0.1")
    bare = SimpleNamespace(extensions={})
    with pytest.raises(NoPage, match="without its dashboard"):
        install(bare)
    monkeypatch.setitem(sys.modules, "bokeh.server.tornado", None)
    with pytest.raises(NoPage, match="cannot import bokeh"):
        install(bare)
    assert not bare.extensions


def test_a_page_shows_runs_of_both_methods(client, w0):
    dm.ParallelNewton(Decay(), STEPS, window=4, jacobian="identity").solve(w0, 1e-6, client=client)
    dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2)

    def look(dask_scheduler):
        from bokeh.document import Document

        doc = Document()
        history = history_of(dask_scheduler)
        documents.mgrit_document(history, doc, {})
        [page] = doc.components
        assert not page.failed
        drawn = {}
        for name, draw in documents.single_documents().items():
            alone = Document()
            draw(history, alone, {})
            [single] = alone.components
            assert not single.failed
            drawn[name] = single.plot
        return (
            [words for _, words in page.select.options[1:3]],
            [type(section.large).__name__ for section in list(page.sections.values())[:2]],
            len(drawn["window"].source.data["left"]) == len(history.runs[1].rows),
            drawn["residual"].plot.xaxis.axis_label,
        )

    options, plots, drawn, label = client.run_on_scheduler(look)
    assert "V-cycle" in options[0]
    assert "parallel Newton" in options[1]
    assert plots == ["LevelPlot", "WindowPlot"]
    assert drawn
    assert label == "cycle"


def test_two_browsers_see_the_same(client, w0):
    """Every document has its own models; both are brought up to date from the same history."""
    result = dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2)

    def look(dask_scheduler):
        # Bokeh is used by one thread only: the scheduler's.
        from bokeh.document import Document
        from distributed.dashboard.components import update as periodic_update

        known, seen = history_of(dask_scheduler).runs, []
        for _ in range(2):
            doc = Document()
            documents.mgrit_document(history_of(dask_scheduler), doc, {})
            [page] = doc.components
            assert len(page.sections) == min(len(known), 3)
            page.sections.clear()
            for _ in range(2):
                periodic_update(weakref.ref(page))
                section = next(iter(page.sections.values()))
                seen.append([len(section.large.source.data["left"]), section.below[1].points.data["y"]])
            # One run, chosen from the list.
            page.select.value = known[-1].about["run"]
            assert list(page.sections) == [page.select.value]
            assert not page.failed
        return seen, len(known[0].bars)

    seen, bars = client.run_on_scheduler(look)
    assert seen == [[bars, result.residuals]] * 4


def test_a_zero_residual_is_marked(client):
    def look():
        run = Run(ABOUT, 0.0)
        for cycle, residual in enumerate([1.0, 1e-3, 0.0]):
            run.settled(cycle, residual, ())
        plot = shared_plots.ResidualPlot()
        plot.show(run)
        return dict(plot.points.data), dict(plot.zeros.data)

    points, zeros = client.run_on_scheduler(look)
    assert points == {"x": [0, 1], "y": [1.0, 1e-3]}
    assert zeros["x"] == [2]
    assert 0 < zeros["y"][0] < ABOUT["tol"]


def test_drawing_news_does_not_visit_all_models_of_the_page(client):
    """Bokeh does that where a model is replaced by another, on the scheduler's event loop, and it takes long."""

    def look():
        from bokeh.document import Document

        run, doc = Run(ABOUT, 0.0), Document()
        page = documents._Page(History())
        page.history.add(run)
        page.draw_safely()
        doc.add_root(page.root)
        visits = []
        recompute = doc.models.recompute
        doc.models.recompute = lambda: (visits.append(1), recompute())
        for cycle in range(1, 4):
            for name, level in (("relax", 0), ("restrict", 0), ("coarse_solve", 1), ("correct", 0)):
                task = TaskName(name, level, cycle, cycle, 0)
                run.submitted([task])
                run.task(task, "tcp://a", cycle, cycle + 0.5, 0.1)
                page.draw_safely()
            run.settled(cycle, 0.1**cycle, ())
            page.draw_safely()
        section = next(iter(page.sections.values()))
        return len(visits), page.failed, section.large.levels.ticks, len(section.large.source.data["left"])

    visits, failed, ticks, bars = client.run_on_scheduler(look)
    assert not failed
    assert ticks == [0, 1]
    assert bars == 12
    assert visits == 0


@pytest.mark.parametrize(("cost", "draws"), [(0.01, 333), (0.1, 83), (1.0, 33)])
def test_a_page_takes_a_tenth_of_the_event_loop(monkeypatch, cost, draws):
    """At most, unless its pauses would be longer than two seconds; it looks for news every 0.3 s."""
    now, drawn = [0.0], []
    clock = SimpleNamespace(monotonic=lambda: now[0], thread_time=lambda: now[0])
    monkeypatch.setattr(documents, "time", clock)

    class Slow(documents._Live):
        def draw(self):
            drawn.append(now[0])
            now[0] += cost

    page = Slow()
    while now[0] < 100.0:
        page.update()
        now[0] = max(now[0], 0.3 * round(now[0] / 0.3 + 1))
    assert len(drawn) == pytest.approx(draws, rel=0.1)
    # A user's choice is drawn at once.
    page.draw_safely()
    page.draw_safely()
    assert drawn[-1] - drawn[-2] == pytest.approx(cost)


def test_an_error_in_drawing_stays_on_the_page(client, caplog):
    def look():
        made = documents._Single(History(), shared_plots.ResidualPlot)
        made.history.add(Run(ABOUT | {"tol": None}, 0.0))
        for _ in range(3):
            made.draw_safely()
        return made.failed

    with caplog.at_level(logging.ERROR, "daskmgrit"):
        assert client.run_on_scheduler(look)
    assert [record.message for record in caplog.records if record.name == "daskmgrit"] == [
        "the page /mgrit cannot be drawn"
    ]


# -- Dask's own pages ------------------------------------------------------------------------------------------------


def test_names_group_by_kind_and_level(cluster, client, w0):
    seen = set()

    with dask.config.set({"daskmgrit.agglomerate": 99}):
        dm.MGRIT(Decay(), STEPS).solve(
            w0, client=client, chunks=2, callback=lambda *args: seen.update(cluster.scheduler.tasks) and None
        )
    prefixes = {key_split(key) for key in seen}
    assert {"relax_restrict.L0", "correct.L0", "relax.L2", "restrict.L2", "edge.L0"} <= prefixes
    # No run's token is part of a name, so a kind has one colour in every solve.
    assert all(re.fullmatch(r"[A-Za-z_]+\.L\d+|propagator|unpickler|w0|weights", prefix) for prefix in prefixes), (
        prefixes
    )


def test_performance_report_names_the_tasks(client, w0, tmp_path):
    path = tmp_path / "report.html"
    with performance_report(str(path), mode="inline"), dask.config.set({"daskmgrit.agglomerate": 99}):
        dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2)
    text = path.read_text()
    for name in ("relax_restrict.L0", "restrict.L2", "correct.L0", "coarse_solve.L4"):
        assert name in text


def test_groups_are_shown_while_a_result_is_held(cluster, client, w0, tmp_path):
    def look(*args):
        if len(seen) < 5:
            seen.append(get(client, "/groups"))  # raises an error for status 500
        return False

    seen = []
    # Its groups depend on each other in a circle.
    with dask.config.set({"daskmgrit.agglomerate": 99}):
        held = dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2, callback=look)
    groups = cluster.scheduler.task_groups
    assert groups["correct.L0"] in groups["relax_restrict.L0"].dependencies
    assert groups["relax_restrict.L0"] in groups["relax_restrict.L1"].dependencies
    seen.clear()
    newton = dm.ParallelNewton(Decay(), STEPS, window=4, jacobian="identity")
    newton.solve(w0, 1e-6, client=client, keep="all", callback=look)
    assert all("<html" in page for page in [*seen, get(client, "/groups"), get(client, "/individual-groups")])
    path = tmp_path / "report.html"
    with performance_report(str(path), mode="inline"):
        client.submit(sum, [1, 2]).result()
    assert "sum" in path.read_text()
    assert held.converged
