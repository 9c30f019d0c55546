"""What the page keeps of a solve: it is bounded, and says where the solve is."""

import pytest

from daskmgrit.dashboard import history
from daskmgrit.dashboard.events import StageRow, TaskName
from daskmgrit.dashboard.history import History, Run

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


def test_memory_is_bounded_on_a_long_run():
    run = Run(ABOUT, 0.0)
    largest = 0
    cycles = 4 * history.BARS
    for cycle in range(cycles):
        names = [TaskName("relax", 0, cycle, cycle, j) for j in (0, 1)]
        run.submitted(names)
        for name in names:
            run.task(name, "tcp://a", cycle, cycle + 1, 0.0)
        if cycle % 2:  # every other cycle is never settled
            run.settled(cycle, 1.0, ())
        largest = max(largest, len(run._open))
    assert run.count == 2 * cycles
    assert len(run.bars) == history.BARS
    assert len(run.residuals) == min(cycles // 2, history.RESIDUALS)
    assert len(run.cycles) <= 3
    assert len(run.begun) <= 1000
    assert largest <= 4
    assert len(list(run.new_bars(run.count - 5))) == 5
    assert len(list(run.new_bars(0))) == history.BARS

    never = Run(ABOUT, 0.0)
    for cycle in range(5 * history.BARS):
        never.task(TaskName("relax", 0, cycle, cycle, 0), "tcp://a", cycle, cycle + 1, 0.0)
    assert len(never._open) <= 4 * history.BARS

    kept = History()
    for number in range(100):
        kept.add(Run(ABOUT | {"run": str(number)}, 0.0))
    assert [run.about["run"] for run in kept.runs] == [str(number) for number in range(99, 99 - history.RUNS, -1)]


def test_state_of_the_current_cycle():
    from daskmgrit.dashboard.labels import headline, where

    run = Run(ABOUT, 0.0)
    assert where(run) == (None, "", 0.0)
    stages = [("relax", 0), ("restrict", 0), ("coarse_solve", 1), ("correct", 0)]
    names = [TaskName(name, level, 1, number, j) for number, (name, level) in enumerate(stages) for j in (0, 1)]
    names.insert(2, TaskName("edge", 0, 1, 1, 0))
    run.submitted(names)
    run.submitted(names[-1:])  # as a later graph names again what it builds on
    seen = []
    for count, name in enumerate(names, 1):
        seen.append(where(run)[1])
        run.task(name, "tcp://a", count, count + 1, 0.0)
        run.task(name, "tcp://a", count, count + 1, 0.0)  # computed again, as after the loss of a worker
        assert where(run)[2] == pytest.approx(count / 9)
    assert seen == ["level 0, down"] * 5 + ["level 1, at the bottom"] * 2 + ["level 0, up"] * 2
    assert "100% of its tasks done" in headline(run)
    assert [stage.name for stage in run.path(1)] == [name for name, _ in stages]


class TestCyclePlot:
    """The panel has a row for every level that the cycle's tasks are on, and no other."""

    @staticmethod
    def shown(*stages):
        from daskmgrit.dashboard.plots import CyclePlot

        run, plot = Run(ABOUT | {"steps": [32, 16, 8, 4]}, 0.0), CyclePlot()
        run.submitted([TaskName(name, level, 1, number, 0) for number, (name, level) in enumerate(stages)])
        plot.show(run)
        axis = plot.plot.yaxis[0]
        return axis.ticker.ticks, dict(axis.major_label_overrides), (plot.y_range.start, plot.y_range.end)

    def test_levels_that_one_task_takes_share_a_row(self):
        found = self.shown(("relax", 0), ("restrict", 0), ("V_cycle", 1), ("correct", 0))
        assert found == ([0, 1], {1: "1 to 3"}, (1.5, -0.5))

    def test_other_levels_have_one_each(self):
        assert self.shown(("relax", 0), ("relax", 1)) == ([0, 1, 2, 3], {}, (3.5, -0.5))

    def test_so_it_is_before_the_first_task(self):
        assert self.shown() == ([0, 1, 2, 3], {}, (3.5, -0.5))


def test_the_tooltip_of_a_bar_tells_what_is_known_of_it():
    import re

    from bokeh.models import HoverTool

    from daskmgrit.dashboard.plots import LevelPlot

    run, plot = Run(ABOUT, 0.0), LevelPlot()
    name = TaskName("relax", 0, 1, 1, 0)
    run.submitted([name])
    run.task(name, "tcp://a:1", 2.0, 2.5, 0.0)
    plot.show(run)
    told = re.findall(r"@(\w+)", plot.plot.select_one(HoverTool).tooltips)
    assert {word: plot.source.data[word] for word in told} == {
        "what": ["task relax: C- and F-relaxation"],
        "duration": ["500 ms"],
        "phi": ["see its stages"],
        "level": ["0"],
        "cycle": ["1"],
        "steps": ["0 to 3"],
        "worker": ["a:1"],
    }


class TestOneTaskForTheWayUp:
    """It is drawn, and counted, on each level that it corrects."""

    ABOUT = ABOUT | {
        "steps": [16, 8, 4],
        "layout": {"gathered": 2, "bounds": [[0, 8, 17], [0, 8, 17]], "corrected_from": [1, 1]},
    }

    def run(self):
        run = Run(self.ABOUT, 0.0)
        stages = [("relax", 0), ("restrict", 0), ("relax", 1), ("restrict", 1), ("coarse_solve", 2), ("correct", 0)]
        names = [TaskName(name, level, 1, number, j) for number, (name, level) in enumerate(stages) for j in (0, 1)]
        run.submitted(names)
        return run, names

    def test_bars_and_seconds(self):
        run, names = self.run()
        for number, name in enumerate(names):
            run.task(name, "tcp://a", 10.0 * number, 10.0 * number + 8, 0.5)
        tasks = [bar for bar in run.bars if bar.name == "correct"]
        assert [(bar.level, bar.last, bar.lo, bar.hi) for bar in tasks] == [
            *((0, 0, 0, 8), (1, 1, 0, 8)),
            *((0, 0, 8, 17), (1, 1, 8, 17)),
        ]
        assert run.tasks == len(names)
        assert run.busy == 8 * len(names)
        # Stages of the second chunk's: level, beginning, seconds of Phi.
        told = [("correction", 1, 110.0, 0.0), ("F-relaxation", 1, 111.0, 1.0), ("F-relaxation", 0, 114.0, 3.0)]
        rows = [StageRow(kind, level, level, 1, 1, start, phi, phi) for kind, level, start, phi in told]
        run.settled(1, 0.5, rows)
        stages = [bar for bar in run.bars if not bar.task]
        assert [(bar.name, bar.level, bar.lo, bar.hi, bar.phi) for bar in stages] == [
            (kind, level, 8, 17, phi) for kind, level, _, phi in told
        ]
        assert [total[0] for total in run.totals] == [3.0, 1.0, 0.0]
        assert sum(map(sum, run.totals)) == pytest.approx(8.5 * len(names))
        assert not run._open

    def test_where_the_solve_is(self):
        from daskmgrit.dashboard.labels import where
        from daskmgrit.dashboard.plots import CyclePlot

        run, names = self.run()
        plot = CyclePlot()
        for name in names[:-1]:
            run.task(name, "tcp://a", 0.0, 1.0, 0.0)
        assert where(run)[1] == "levels 1 to 0, up"
        plot.show(run)
        dots = plot.path.data
        assert dots["y"] == [0, 0, 1, 1, 2, 1, 0]
        assert dots["done"][-2:] == ["1 of 2"] * 2
        assert dots["ring"].count("black") == 1
        assert len({len(column) for column in dots.values()}) == 1


def test_the_whole_run_says_which_bars_it_lacks(monkeypatch):
    from daskmgrit.dashboard import plots

    monkeypatch.setattr(history, "BARS", 5)
    monkeypatch.setattr(plots, "BARS", 5)
    run, plot = Run(ABOUT, 0.0), plots.LevelPlot()
    titles = []
    for chunk in range(7):
        run.task(TaskName("relax", 0, 1, 1, chunk), "tcp://a:1", chunk, chunk + 1.0, 0.0)
        for plot.window.active in (0, 1):
            plot.show(run)
            titles.append(plot.plot.title.text)
    assert set(titles[:10]) == {"Level traversal"}
    assert titles[-2:] == ["Level traversal", "Level traversal, only the last 5 of 7 bars"]
    assert len(plot.source.data["left"]) == 5


def test_a_stage_of_coarse_levels_is_not_of_the_correction_that_follows():
    """Clocks differ: by time it may be nearer to that, but only a restricting task holds stages of the next level."""
    run = Run(ABOUT | {"steps": [8, 4, 2]}, 0.0)
    for name, level, start, stop in (("V_cycle", 1, 10.0, 12.0), ("correct", 0, 12.5, 13.0)):
        run.task(TaskName(name, level, 1, level, 0), "tcp://a", start, stop, 0.0)
    run.settled(1, 0.5, [StageRow("F-relaxation", 2, 1, 0, 1, 12.6, 0.2, 0.2)])
    assert [total[0] for total in run.totals] == [0.0, 0.2, 0.0]
