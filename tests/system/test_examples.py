"""The examples and the commands that the documents print, as a user runs them."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.counts import close
from tests.support.optional import need

nbformat = need("nbformat", "notebook")

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_example(name):
    out = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)], capture_output=True, text=True, timeout=200, check=False
    )
    assert out.returncode == 0, out.stderr
    assert "converged" in out.stdout
    assert "NOT" not in out.stdout
    for difference in re.findall(r"difference from serial training:? ([\d.e+-]+)", out.stdout):
        assert float(difference) < 1e-7


NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def last_value(cell):
    """What the last line of a cell gave; the examples end with a dict of what they found."""
    (output,) = (output for output in cell.outputs if output.output_type == "execute_result")
    return ast.literal_eval(output.data["text/plain"])


def assert_right(found):
    assert found["converged"] is True
    assert found.get("error", 0) < 1e-7
    assert found.get("accuracy", 1) > 0.85


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, execute, monkeypatch):
    """As a reader runs it, whole; what it says at its end is what it says as it is stored."""
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    notebook = nbformat.read(path, as_version=4)
    stored = last_value(notebook.cells[-1])
    place = execute(notebook)
    found = last_value(notebook.cells[-1])
    assert_right(found)
    pairs = zip(np.atleast_1d(found["cycles"]), np.atleast_1d(stored["cycles"]), strict=True)
    assert all(close(*pair) for pair in pairs)
    assert not list(place.iterdir())


def test_notebook_connects_to_a_running_cluster(cluster, execute, monkeypatch):
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", cluster.scheduler_address)
    notebook = nbformat.read(ROOT / "examples" / "watch_on_a_cluster.ipynb", as_version=4)
    execute(notebook)
    assert_right(last_value(notebook.cells[-1]))
    link = next(output.text for cell in notebook.cells for output in cell.get("outputs", ()) if "/mgrit" in str(output))
    assert link.strip() == cluster.dashboard_link.removesuffix("/status") + "/mgrit"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs(path):
    """They are whole, small, and tell of no machine."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert path.stat().st_size < 250_000
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not [output for output in outputs if output.get("name") == "stderr"]
    text = json.dumps([{**output, "data": {**output.get("data", {}), "image/png": ""}} for output in outputs])
    assert not re.search(r"/home/|/root|/tmp|site-packages|tcp://|0x[0-9a-f]{6}|<progress", text)
    assert set(re.findall(r"(?:127\.0\.0\.1|localhost):(\d+)", text)) <= {"8787"}


def test_readme_python():
    code = "\n".join(re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    assert code
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert out.returncode == 0, out.stderr
    assert "converged" in out.stdout


def test_pictures_of_the_documents(tmp_path):
    """The script makes every picture that docs/notebooks.md and docs/plan.md show, and two of other pages."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_plots
    finally:
        sys.path.pop(0)
    make_plots.main(str(tmp_path), steps=100, digits_steps=100)
    pages = [(ROOT / "docs" / page).read_text() for page in ("notebooks.md", "plan.md")]
    shown = [*re.findall(r"!\[[^\]]+\]\(([^)]+)\)", "".join(pages)), "digits.png", "scaling.png"]
    assert sorted(shown) == sorted(path.name for path in tmp_path.iterdir())
    assert all((ROOT / "docs" / name).is_file() for name in shown)
