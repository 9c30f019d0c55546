"""What a type checker sees of the public API."""

import re
from pathlib import Path

import pytest

import daskmgrit

SNIPPET = """
from typing import Any

import numpy as np
import daskmgrit as dm

class Client:
    def get(self, graph: Any, keys: Any) -> Any: ...
    def scatter(self, data: Any) -> Any: ...
    def nthreads(self) -> Any: ...

def phi(weights: np.ndarray, index: np.ndarray, level: int) -> np.ndarray:
    return weights

solver = dm.MGRIT(phi, 64)
untyped: Any = None
reveal_type(solver.solve(np.ones(3)))
reveal_type(solver.solve(np.ones(3), client=None, maxiter=3))
reveal_type(solver.solve(np.ones(3), "zero", 1e-9, 50, "auto", Client()))
reveal_type(solver.resume("run1"))
reveal_type(solver.resume("run1", client=Client()))
solver.solve(np.ones(3), client=Client()).final.sum()

# As from "async with Client(..., asynchronous=True) as client", which distributed does not annotate.
solver.solve(np.ones(3), client=untyped).final.sum()
async def main() -> None:
    result: dm.Result = await solver.solve(np.ones(3), client=untyped)
    result = await solver.resume("run1", client=untyped)

solver.solve(np.ones(3), maxiter="many")
solver.solve(np.ones(3), client="tcp://127.0.0.1:8786").final
"""


def test_results_of_solve_are_typed(tmp_path, monkeypatch):
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    root = Path(daskmgrit.__file__).parents[1]
    path = tmp_path / "snippet.py"
    path.write_text(SNIPPET)
    # With the project's settings, which leave Dask's own types out: to read them takes most of a minute.
    monkeypatch.chdir(root)
    monkeypatch.setenv("MYPYPATH", str(root))
    out, errors, _ = api.run(["--config-file", "pyproject.toml", "--cache-dir", str(tmp_path / "cache"), str(path)])
    assert not errors
    revealed = re.findall(r'Revealed type is "(.*)"', out)
    assert revealed == ["daskmgrit.solver.result.Result"] * 5, out
    found = re.findall(r"snippet.py:(\d+): error: .*\[(.*)\]", out)
    lines = SNIPPET.splitlines()
    assert [(lines[int(line) - 1].partition("(")[2][:30], code) for line, code in found] == [
        ('np.ones(3), maxiter="many")', "call-overload"),
        ('np.ones(3), client="tcp://127.', "attr-defined"),
    ], out
