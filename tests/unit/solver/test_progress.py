"""Progress in a terminal."""

import io
import time

import pytest
from rich.console import Console

from daskmgrit.solver.progress import Progress


@pytest.mark.parametrize(("tol", "told"), [(1e-4, "50% of the way to the tolerance"), (0, "cycle 2 of at most 9")])
def test_progress_in_a_terminal(monkeypatch, tol, told):
    screen = io.StringIO()
    terminal = {"file": screen, "force_terminal": True, "width": 100}
    monkeypatch.setattr("daskmgrit.solver.progress.Lines", lambda **how: Console(**(how | terminal)))
    with Progress(True, tol, 9, 0.0) as lines:
        lines.line(0, 1.0)
        lines.line(1, 1e-2)
        end = time.monotonic() + 20
        while told not in screen.getvalue():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert "1.000e-02   0.010" in screen.getvalue()


def test_sweeps_have_steps_where_cycles_have_a_factor(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("daskmgrit.solver.progress.Lines", lambda **how: Console(**(how | {"file": screen})))
    with Progress(True, 1e-6, 40, 0.0, of="sweep") as lines:
        lines.sweep(1, 0.5, 3)
    heading, row = screen.getvalue().splitlines()[:2]
    assert heading.split()[:4] == ["sweep", "residual", "steps", "elapsed"]
    assert row.split()[:3] == ["1", "5.000e-01", "3"]
    # It is another residual than that of the result.
    assert "(of all steps in the window, most of them not accepted yet; accepted steps: tolerance 1.0e-06)" in heading
