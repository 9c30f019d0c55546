"""Problems of one's own on worker processes that can't import what lies in the user's folder."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.processes import Processes

SOURCE = """
import numpy as np

from daskmgrit.problems import OwnProblem
from rates import Rate, TARGET


class Step:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, weights, index, level):
        return weights - self.rate(level) * np.sin(weights - TARGET)


def problem():
    return OwnProblem(Step(Rate(0.05)), np.full(6, 2.0), 120, "sines", metrics=lambda w: {"mean_value": w.mean()})


phi = Step(Rate(0.05))
"""
RATES = """
from dataclasses import dataclass

import numpy as np

TARGET = np.linspace(0, 1, 6)


@dataclass
class Rate:
    fine: float

    def __call__(self, level):
        return min(self.fine * 2**level, 0.5)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(SOURCE)
    (folder / "rates.py").write_text(RATES)
    np.save(folder / "w0.npy", np.full(6, 2.0))
    return folder


@pytest.fixture(scope="module")
def workers():
    """Two workers that were started elsewhere."""
    with Processes() as processes:
        for name in ("one", "two"):
            processes.worker(name)
        yield processes


def solve(folder, *arguments):
    program = [sys.executable, "-m", "daskmgrit", "solve", *arguments, "--json"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    run = subprocess.run(
        program, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ("mine.py:problem", "--chunks", "4"),
        ("mine:problem", "--chunks", "4"),
        ("mine.py:phi", "--w0", "w0.npy", "--steps", "120", "--chunks", "4"),
        ("mine.py:problem", "--method", "newton", "--slots", "4"),
    ],
)
def test_workers_elsewhere_solve_what_only_the_users_folder_has(folder, workers, arguments):
    answer = solve(folder, *arguments, "--scheduler", workers.address, "--check")
    assert answer["converged"]
    assert answer["max_error"] < 1e-6


def test_own_workers(folder):
    assert solve(folder, "mine.py:problem", "--workers", "2", "--chunks", "4", "--check")["max_error"] < 1e-6


def test_what_phi_raises_on_a_worker_is_said_with_its_line(folder, workers):
    (folder / "late.py").write_text(
        "import numpy as np\n\nw0 = np.ones(3)\n\n\ndef phi(weights, index, level):\n"
        "    if (index > 90).any():\n        raise RuntimeError('too late')\n    return 0.9 * weights\n"
    )
    program = [sys.executable, "-m", "daskmgrit", "solve", "late.py:phi", "--w0", "late.py:w0", "--steps", "100"]
    run = subprocess.run(
        [*program, "--scheduler", workers.address], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 3
    assert "the Phi of late.py:phi raised RuntimeError: too late (" in run.stderr
    # cloudpickle keeps the line, and in some versions the file.
    assert "line 8" in run.stderr
    assert "Traceback" not in run.stderr


def test_checkpoint_and_resume_on_workers(folder, workers, tmp_path):
    how = ("mine.py:problem", "--tol", "0", "--scheduler", workers.address, "--checkpoint", str(tmp_path / "saved"))
    program = [sys.executable, "-m", "daskmgrit", "solve", *how, "--maxiter", "2"]
    assert subprocess.run(program, cwd=folder, capture_output=True, timeout=120, check=False).returncode == 1
    answer = solve(folder, *how[:1], *how[3:], "--resume", "--tol", "1e-8", "--maxiter", "50")
    assert answer["residuals"] == solve(folder, "mine.py:problem", "--tol", "1e-8")["residuals"]
