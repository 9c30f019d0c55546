"""Pictures of a parallel Newton result: what is drawn is what its sweeps did."""

import itertools

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.display.residual_svg import POINTS, residual_svg
from daskmgrit.display.spans import by_round, span
from daskmgrit.solver import window_iteration
from tests.support.optional import need
from tests.support.recurrences import Decay

pyplot = need("matplotlib.pyplot", "plot")
pyplot.switch_backend("Agg")

N = 60


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def result():
    return dm.ParallelNewton(Decay(), N, window=8, jacobian="identity").solve(np.linspace(1, 2, 5), 1e-6)


def heights(axes):
    return [bar.get_height() for other in axes.figure.axes if other is not axes for bar in other.patches]


def boxes(collection):
    """Left, right, bottom and top of each box."""
    for path in collection.get_paths():
        (left, bottom), (right, top) = path.vertices.min(axis=0), path.vertices.max(axis=0)
        yield left, right, bottom, top


def test_residuals_and_accepted_steps(result):
    axes = result.plot()
    axes.figure.canvas.draw()
    line, tolerance = axes.get_lines()
    assert line.get_xdata().tolist() == list(range(1, result.iterations + 1))
    assert line.get_ydata().tolist() == result.residuals[:-1]
    assert tolerance.get_ydata()[0] == result.tol
    assert heights(axes) == result.accepted
    assert "parallel Newton: converged" in axes.get_title()
    assert axes.get_xlabel() == "sweep"


def test_without_a_tolerance_residuals_are_shown_all_the_same():
    result = dm.ParallelNewton(Decay(), N, window=8, jacobian="identity").solve(np.ones(2), 0)
    axes = result.plot()
    axes.figure.canvas.draw()
    (line,) = axes.get_lines()
    assert list(line.get_ydata()) == [value for value in result.residuals if value > 0]
    assert heights(axes) == result.accepted
    assert "<svg" in result._repr_html_()


def test_window_over_the_steps(result):
    axes = result.plot_window()
    axes.figure.canvas.draw()
    windows, accepted = (list(boxes(collection)) for collection in axes.collections)
    firsts = [0, *itertools.accumulate(result.accepted)]
    assert [(bottom, top - bottom) for *_, bottom, top in windows] == list(
        zip(firsts[:-1], result.windows, strict=True)
    )
    assert [(bottom, top) for *_, bottom, top in accepted] == list(itertools.pairwise(firsts))
    scale = {"time, ms": 1e3, "time, s": 1.0}[axes.get_xlabel()]
    done = by_round(result.records)
    origin = span(done[1])[0]
    assert [left for left, *_ in windows] == pytest.approx(
        [scale * (span(done[sweep])[0] - origin) for sweep in range(1, result.iterations + 1)]
    )
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert all(left <= a <= b <= right and low <= c <= d <= high for a, b, c, d in windows)


def test_windows_end_with_the_run():
    result = dm.ParallelNewton(Decay(), 31, window=4, interval=3, jacobian="identity").solve(np.ones(2), 1e-6)
    firsts = [0, *itertools.accumulate(result.accepted)]
    assert result.windows[0] == 12
    assert all(first + window <= 31 for first, window in zip(firsts, result.windows, strict=False))
    assert all(a <= window for a, window in zip(result.accepted, result.windows, strict=True))


def test_pictures_of_the_other_method(result):
    with pytest.raises(ValueError, match=r"plot_window\(\)"):
        result.plot_levels()
    with pytest.raises(ValueError, match=r"plot_levels\(\)"):
        dm.MGRIT(Decay(), N).solve(np.ones(2)).plot_window()


def test_nothing_to_plot():
    result = dm.ParallelNewton(lambda weights, index, level: weights * np.nan, N, jacobian="identity").solve(np.ones(2))
    assert result.reason == "diverged"
    result.plot().figure.canvas.draw()
    with pytest.raises(ValueError, match="nothing to plot"):
        result.plot_window()
    assert "diverged" in result._repr_html_().lower()


def test_a_resumed_result_shows_what_it_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.0)  # a sweep in each task
    solver = dm.ParallelNewton(Decay(), N, window=4, jacobian="identity")
    begun = solver.solve(np.ones(2), 0, checkpoint=tmp_path / "c", callback=lambda sweep, *_: sweep >= 3)
    result = solver.resume(tmp_path / "c")
    assert len(result.windows) == result.iterations
    axes = result.plot_window()
    axes.figure.canvas.draw()
    windows = list(boxes(axes.collections[0]))
    assert len(windows) == result.iterations - begun.iterations
    assert windows[0][2] == sum(begun.accepted)


def test_html(result):
    html = result._repr_html_()
    assert "initial guess" not in html
    assert ">sweep</text>" in html
    assert html.count("<circle") == result.iterations
    assert f"sweep {result.iterations}: {result.residuals[-2]:.3e}" in html


def test_html_of_many_sweeps_is_small():
    residuals = [1.0 + number for number in range(10 * POINTS)]
    svg = residual_svg(residuals, 1e-3, of="sweep")
    assert svg.count("<circle") == POINTS
    assert f"sweep 1: {max(residuals[:10]):.3e}" in svg
