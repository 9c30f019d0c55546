"""What a notebook shows."""

import io
import math
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import nbformat
import numpy as np
import pytest
from conftest import Decay
from rich.console import Console

import daskmgrit as dm
from daskmgrit.display.residual_svg import residual_svg
from daskmgrit.problems import digits, xor
from daskmgrit.solver.progress import Progress


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
    # A class and a function of C have no view, or no signature.
    tree(dm.vectorize(max))
    tree(dm.MGRIT(dict, 100))


@pytest.mark.parametrize("cycles", [0, 1, 50])
def test_result(cycles, decay, w0):
    result = dm.MGRIT(decay, 100).solve(w0, maxiter=cycles)
    found = rows(result)
    assert all([name, value] in found for name, value in result.summary())
    for level, (steps, evaluations) in enumerate(zip(result.levels, result.phi_evaluations, strict=True)):
        assert any(row[:3] == [str(level), str(steps), str(evaluations)] for row in found)
    assert points(residual_svg(result.residuals, result.tol)) == pytest.approx(result.residuals, rel=0.02)
    assert all(f"cycle {k}: {r:.3e}" in result._repr_html_() for k, r in enumerate(result.residuals) if k)


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


def test_works_without_matplotlib_and_jupyter(w0):
    code = """
import sys
for name in ("matplotlib", "IPython", "ipywidgets"):
    sys.modules[name] = None
import numpy as np
import daskmgrit as dm
solver = dm.MGRIT(dm.vectorize(lambda w, i, level: 0.9 * w), 100)
print(solver._repr_html_(), solver.solve(np.ones(2), progress=True)._repr_html_())
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert len(re.findall("<svg", out.stdout)) == 1


def test_progress_in_a_notebook(execute):
    sources = [
        """
import numpy as np, daskmgrit as dm
solver = dm.MGRIT(lambda weights, index, level: weights * 0.9 ** (2**level) + 0.01 * np.sin(weights), 100)
def fails(cycle, residual, weights):
    if cycle == 2:
        raise KeyError
""",
        "result = solver.solve(np.ones(2), progress=True)",
        """
try:
    solver.solve(np.ones(2), progress=True, callback=fails)
except KeyError:
    pass
""",
        """
from distributed import Client, LocalCluster
async with LocalCluster(
    n_workers=1, processes=False, dashboard_address="127.0.0.1:0", asynchronous=True
) as cluster, Client(cluster, asynchronous=True):
    again = await solver.solve(np.ones(2), progress=True)
    assert again.residuals == result.residuals
""",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    execute(notebook)
    _, finished, failed, awaited = (cell.outputs for cell in notebook.cells)
    for outputs in (finished, failed, awaited):
        # One table, and no bar that goes on for ever.
        (output,) = outputs
        shown = output["data"]["text/html"]
        assert "<progress" not in shown
        cycles = [row[0].text for row in ET.fromstring(shown).iter("tr")][1:]
        assert len(cycles) == 3 if outputs is failed else len(cycles) > 3
        assert cycles == [str(cycle) for cycle in range(len(cycles))]
        assert output["data"]["text/plain"].splitlines()[1].split()[0] == "0"
    assert finished[0]["data"]["text/plain"].split("s")[0] == awaited[0]["data"]["text/plain"].split("s")[0]


@pytest.mark.parametrize(("tol", "told"), [(1e-4, "50% of the way to the tolerance"), (0, "cycle 2 of at most 9")])
def test_progress_in_a_terminal(monkeypatch, tol, told):
    screen = io.StringIO()
    terminal = {"file": screen, "force_terminal": True, "width": 100}
    monkeypatch.setattr("daskmgrit.solver.progress.Console", lambda **how: Console(**(how | terminal)))
    with Progress(True, tol, 9, 0.0) as lines:
        lines.line(0, 1.0)
        lines.line(1, 1e-2)
        end = time.monotonic() + 20
        while told not in screen.getvalue():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert "1.000e-02   0.010" in screen.getvalue()
