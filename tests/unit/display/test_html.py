"""What a notebook shows of solver, propagator and result."""

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.display.residual_svg import residual_svg
from daskmgrit.problems import digits, xor
from tests.support.recurrences import Decay


def tree(shown):
    """Parse what is shown: it has to be well-formed."""
    return ET.fromstring(shown._repr_html_())


def texts(shown):
    return [text.strip() for text in tree(shown).itertext() if text.strip()]


def rows(shown):
    return [[("".join(cell.itertext())) for cell in row] for row in tree(shown).iter("tr")]


def points(svg):
    """Cycle and residual of each point, read off its place by the axis labels."""
    root = ET.fromstring(svg)
    name = "{http://www.w3.org/2000/svg}"
    labels = [
        (float(text.get("y")) - 4, int(text[0].text)) for text in root.iter(f"{name}text") if len(text) and text[0].text
    ]
    (y0, e0), (y1, e1) = labels[0], labels[-1]
    return [
        10 ** (e0 + (float(circle.get("cy")) - y0) * (e1 - e0) / (y1 - y0)) for circle in root.iter(f"{name}circle")
    ]


def test_solver():
    solver = dm.MGRIT(Decay(), 100, coarsening=[4, 2], relaxation=["FCF", "F"], weight=1.25)
    found = rows(solver)
    for number, level in enumerate(solver.hierarchy.levels[:-1]):
        assert [str(number), str(level.steps), "", str(level.coarsening), level.relaxation, "1.25"] in found
    assert [str(solver.hierarchy.last), str(solver.hierarchy[-1].steps), "", "", "serial", ""] in found
    assert ["phi", "Decay"] in found
    assert "MGRIT, V-cycle on 4 levels" in texts(solver)


def test_solver_shows_its_propagator():
    phi = xor().propagator("1")
    assert phi._repr_html_() in dm.MGRIT(phi, 100)._repr_html_()
    assert ["weights", "16"] in rows(phi)
    assert ["… on level 0, 1, …", "1, 2, 4, 8, 8, 8, 8, 8, …"] in rows(phi)


def test_other_propagators():
    assert ["examples", "1438: inputs (1438, 64), targets (1438, 10), float64"] in rows(digits().propagator())

    def step(w, i, level):
        """One step of mine."""
        return 0.9 * w

    found = rows(dm.vectorize(step))
    assert ["about", "One step of mine."] in found
    assert any(row[0] == "signature" and row[1].endswith("step(w, i, level)") for row in found)
    # Functions of C have no signature, or no view.
    tree(dm.vectorize(max))
    tree(dm.MGRIT(np.add, 100))


@pytest.mark.parametrize("cycles", [0, 1, 50])
def test_result(cycles, decay, w0):
    result = dm.MGRIT(decay, 100).solve(w0, maxiter=cycles)
    found = rows(result)
    assert all([name, value] in found for name, value in result.summary())
    for level, (steps, evaluations) in enumerate(zip(result.levels, result.phi_evaluations, strict=True)):
        assert any(row[:3] == [str(level), str(steps), str(evaluations)] for row in found)
    assert points(residual_svg(result.residuals, result.tol)) == pytest.approx(result.residuals, rel=0.02)
    assert all(f"cycle {k}: {r:.3e}" in result._repr_html_() for k, r in enumerate(result.residuals) if k)


def test_failed_results_look_failed():
    def grows(weights, index, level):
        return weights * (3.0 if level else 1.5)

    failed = dm.MGRIT(grows, 64).solve(np.ones(2), maxiter=9)
    diverged = dm.MGRIT(lambda w, i, level: w * np.nan, 64).solve(np.ones(2))
    assert "\u2717 not converged" in texts(failed)
    assert "\u2717 diverged" in texts(diverged)
    assert ["advice", failed.advice] in rows(failed)
    # A number of cycles that was asked for is no failure.
    for done in (dm.MGRIT(grows, 64).solve(np.ones(2), tol=0, maxiter=3), dm.MGRIT(Decay(), 64).solve(np.ones(2))):
        assert "\u2717" not in done._repr_html_()


def test_no_factor_where_there_is_none():
    result = dm.MGRIT(Decay(), 3).solve(np.ones(2))
    assert result.residuals[-1] == 0
    assert "nan" not in str(result)
    assert "convergence factor" not in dict(result.summary())


def test_check_report():
    def wrong(weights, index, level):
        weights *= 0.9
        return weights

    bad = dm.check_propagator(wrong, np.ones(2), raises=False)
    assert ["problem", bad.problems[0]] in rows(bad)
    assert "\u2717 problem" in texts(bad)
    good = dm.check_propagator(Decay(), np.ones(2))
    assert "\u2713 the propagator keeps its contract" in texts(good)


@pytest.mark.parametrize(
    ("residuals", "drawn"), [([math.nan], []), ([0.0, 0.0], []), ([1.0, math.inf], [1.0]), ([1e-300, 1e300], None)]
)
def test_residuals_that_a_log_axis_lacks(residuals, drawn):
    svg = residual_svg(residuals, 0.0)
    assert svg.count("<path") == residuals.count(0.0)
    if drawn is not None:
        assert points(svg) == pytest.approx(drawn, rel=0.02)


class Evil:
    """<script>alert(1)</script>"""

    def __call__(self, weights, index, level):
        return weights * np.nan

    def __repr__(self):
        return "<script>alert('&\"')</script>"


Evil.__qualname__ = "<script>Evil"


def test_text_is_escaped():
    solver = dm.MGRIT(Evil(), 30)
    result = solver.solve(np.ones(2))
    result = type(result)(**(vars(result) | {"message": "<script>&amp;"}))
    rates = xor().propagator("1")
    rates.data = rates.rate = Rate()
    for shown in (solver, result, dm.vectorize(Evil()), rates):
        assert "<script" not in shown._repr_html_()
        tree(shown)
    assert ["outcome", "DIVERGED: <script>&amp;"] in rows(result)


class Rate:
    def __call__(self, level):
        return 1.0

    def __repr__(self):
        return "<script>"
