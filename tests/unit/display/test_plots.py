"""Pictures: what is drawn is what the run did."""

import itertools
import re
import sys

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.display.colours import KINDS, kind_of
from daskmgrit.display.plot_hierarchy import traversal
from daskmgrit.display.plot_timeline import joined, lanes
from daskmgrit.multigrid.hierarchy import build_hierarchy
from daskmgrit.recurrence.meter import Record
from daskmgrit.utils.install_hint import install_hint
from tests.support.optional import need
from tests.support.recurrences import Decay

pyplot, to_rgb = need("matplotlib.pyplot", "plot"), need("matplotlib.colors", "plot").to_rgb
pyplot.switch_backend("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def result():
    return dm.MGRIT(Decay(), 100).solve(np.linspace(1, 2, 5), chunks=3)


def bars(axes):
    return [patch for other in axes.figure.axes if other is not axes for patch in other.patches]


def test_residuals(result, tmp_path):
    axes = result.plot()
    line, tolerance = axes.get_lines()
    assert line.get_ydata().tolist() == result.residuals
    assert tolerance.get_ydata()[0] == result.tol
    r = result.residuals
    assert [bar.get_height() for bar in bars(axes)] == [min(1, b / a) for a, b in itertools.pairwise(r)]
    assert f"{result.convergence_factor:.2f}" in axes.get_title()
    axes.figure.savefig(tmp_path / "residuals.png")


def test_residuals_on_given_axes(result):
    _, (left, right) = pyplot.subplots(ncols=2)
    assert result.plot(right) is right
    assert not left.lines


def test_residual_of_zero_is_shown():
    result = dm.MGRIT(lambda weights, index, level: weights, 30).solve(np.ones(2), "constant", tol=0, maxiter=2)
    assert result.residuals == [0, 0, 0]
    axes = result.plot()
    axes.figure.canvas.draw()
    assert [line.get_xdata().tolist() for line in axes.get_lines()] == [[], [0, 1, 2]]


def test_growing_and_diverged_residuals():
    def grows(weights, index, level):
        return weights * (3.0 if level else 1.5)

    result = dm.MGRIT(grows, 64).solve(np.ones(2), maxiter=9)
    assert result.residuals[1] > result.residuals[0]
    axes = result.plot()
    axes.figure.canvas.draw()
    assert max(bar.get_height() for bar in bars(axes)) == 1
    assert "not converged in 9 cycles" in axes.get_title()
    nan = dm.MGRIT(lambda weights, index, level: weights * np.nan, 30).solve(np.ones(2))
    nan.plot().figure.canvas.draw()


@pytest.mark.parametrize(
    ("cycles", "words"),
    [(99, ["cycles=99", "(first, last)"]), ((3, 1), ["cycles=1"]), ((1, 2, 3), ["(1, 2, 3)"]), ("all", ["'all'"])],
)
def test_cycles_that_are_not_there(result, cycles, words):
    with pytest.raises(ValueError, match="cycles") as caught:
        result.plot_levels(cycles)
    assert all(word in str(caught.value) for word in words)


def test_nothing_to_plot():
    result = dm.MGRIT(lambda weights, index, level: weights * np.nan, 30).solve(np.ones(2))
    with pytest.raises(ValueError, match="nothing to plot"):
        result.plot_levels()


def test_kinds_can_be_told_apart():
    assert len({kind.colour for kind in KINDS}) == len({kind.hatch for kind in KINDS}) == len(KINDS)


def test_paper_figure_5():
    def levels(cycle):
        return [level for level, _ in traversal(build_hierarchy(64, max_levels=4, cycle=cycle))]

    assert levels("V") == [0, 1, 2, 3, 2, 1, 0]
    assert levels("F") == [0, 1, 2, 3, 2, 3, 2, 1, 2, 3, 2, 1, 0]


def test_traversal_is_that_of_a_run():
    solver = dm.MGRIT(Decay(), 100, cycle="F")
    result = solver.solve(np.ones(2), chunks=1)
    solved = [record for record in result.records if record.cycle == 2 and record.kind == "coarse solve"]
    corrected = [record.level for record in result.records if record.cycle == 2 and record.kind == "correction"]
    stops = traversal(solver.hierarchy)
    assert [kind for _, kind in stops].count("solve") == len(solved)
    assert sorted(level for (before, _), (level, _) in itertools.pairwise(stops) if level < before) == sorted(corrected)


@pytest.mark.parametrize("steps", [40, 101, 6400])
def test_solver(steps, tmp_path):
    solver = dm.MGRIT(Decay(), steps, coarsening=[4, 2], relaxation=["FCF", "F"])
    left, right = solver.plot()
    left.figure.savefig(tmp_path / "solver.png")
    # Of level 0, what is drawn as points: C-points are the multiples of 4.
    f_points, c_points = (
        next(line.get_xdata() for line in left.get_lines() if line.get_label().startswith(name))
        for name in ("F-point", "C-point")
    )
    last = min(steps, 64)
    assert list(c_points) == list(range(0, last + 1, 4))
    assert sorted([*c_points, *f_points]) == list(range(last + 1))
    texts = [label.get_text() for label in left.get_yticklabels()]
    assert [f"N = {level.steps}" in text for level, text in zip(solver.hierarchy.levels, texts, strict=True)]
    assert right.get_title() == "V-cycle"


def test_points_of_coarse_levels_lie_at_their_steps():
    left, _ = dm.MGRIT(Decay(), 50, max_levels=3).plot()
    drawn = {}
    for line in left.get_lines():
        if line.get_linestyle() == "None":
            for x, level in zip(line.get_xdata(), line.get_ydata(), strict=True):
                drawn.setdefault(level, set()).add(x)
    assert drawn == {level: set(range(0, 2**level * (50 // 2**level) + 1, 2**level)) for level in range(3)}


def test_without_matplotlib(result, monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    for draw in (result.plot, result.plot_levels, dm.MGRIT(Decay(), 100).plot):
        with pytest.raises(ImportError, match=re.escape(install_hint("plot"))):
            draw()


def test_thin_tasks_are_joined_and_hide_none():
    rng = np.random.default_rng(1)
    starts = np.sort(rng.uniform(0, 100, 300))
    kinds = ["F-relaxation", "C-relaxation", "correction"]
    gaps = np.diff(starts, append=101.0)
    records = [
        Record(kinds[k % 3], 0, 1, 0, start, gap * rng.uniform(0.01, 1), 1.0, 1, 1, 7)
        for k, (start, gap) in enumerate(zip(starts, gaps, strict=True))
    ]
    given = lanes(records)
    boxes = joined(records, given, thin=1.0)
    assert min(box.seconds for box in boxes) >= 1.0
    assert 20 < len(boxes) <= 101
    for lane in set(given):
        mine = [box for box in boxes if box.lane == lane]
        # But for the last, which a box may outlast.
        assert all(one.start + one.seconds <= other.start + 1e-9 for one, other in itertools.pairwise(mine))
    assert joined(records, given, thin=0.0) == [
        (record.start, pytest.approx(record.seconds), kind_of(record.kind), 0) for record in records
    ]


def test_bars_lie_below_residuals_and_tolerance(result):
    axes = result.plot()
    axes.figure.canvas.draw()
    top = max(bar.get_window_extent().y1 for bar in bars(axes))
    lowest = min(min(line.get_ydata()) for line in axes.get_lines())
    assert axes.transData.transform((0, lowest))[1] > top


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_pictures_can_be_read_on_a_users_style(result, style):
    with pyplot.style.context(style):
        newton = dm.ParallelNewton(Decay(), 60, window=8, jacobian="identity").solve(np.ones(2), 1e-6)
        for draw in (result.plot, newton.plot, dm.MGRIT(Decay(), 100).plot):
            axes = np.ravel(draw())[0]
            back = np.array(to_rgb(axes.figure.get_facecolor()))
            for line in axes.get_lines():
                if line.get_linestyle() != ":" and line.get_label()[0] != "_":
                    assert np.abs(np.array(to_rgb(line.get_color())) - back).max() > 0.5


def test_points_do_not_touch():
    left, _ = dm.MGRIT(Decay(), 6400).plot()
    left.figure.canvas.draw()
    sizes = [line.get_markersize() for line in left.get_lines() if line.get_linestyle() == "None"][:2]
    a, b = (left.transData.transform((i, 0))[0] * 72 / left.figure.dpi for i in (0, 1))
    assert sum(sizes) / 2 < b - a
