"""How commands end: with the documented statuses, whenever they are interrupted and wherever their output goes."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

posix = pytest.mark.skipif(os.name != "posix", reason="signals and /dev/full of POSIX")
# It says when Python is up: until then it ends as any Python does.
PROGRAM = """
import sys
print("up", file=sys.stderr, flush=True)
from daskmgrit.cli.entry import main
sys.argv[0] = "daskmgrit"
main()
"""
# Each is interrupted at as many moments, evenly over about its time on a quiet machine.
COMMANDS = {
    "solve on threads": (6, 3.0, ["solve", "digits", "--steps", "200", "--tol", "0", "--maxiter", "60"]),
    "solve and plot": (3, 3.0, ["solve", "xor", "--steps", "60", "--plot", "{}/plot.png"]),
    "solve on workers": (5, 5.0, ["solve", "xor", "--steps", "200", "--workers", "2"]),
    # Most are still starting, a few at a time.
    "solve on many workers": (3, 8.0, ["solve", "xor", "--steps", "200", "--workers", "8"]),
    "newton": (3, 3.0, ["solve", "digits", "--method", "newton", "--steps", "400", "--slots", "4"]),
    "plan": (3, 3.0, ["plan", "--steps", "400", "--problem", "digits", "--workers", "8"]),
    "tune": (3, 3.0, ["tune", "xor", "--steps", "100"]),
    "paper": (2, 3.0, ["paper", "--out", "{}/report", "--table", "1", "--max-steps", "100"]),
    "new": (2, 1.0, ["new", "{}/problem.py"]),
    "dashboard": (4, 6.0, ["dashboard", "xor", "--steps", "60", "--port", "0", "--no-show", "--repeat", "3"]),
}
MOMENTS = [
    pytest.param(name, arguments, seconds * (moment + 0.5) / count, id=f"{name}-{moment}")
    for name, (count, seconds, arguments) in COMMANDS.items()
    for moment in range(count)
]


def start(arguments, folder, **streams):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *(part.format(folder) for part in arguments)],
        start_new_session=True,
        text=True,
        # A shell's background process, as these tests may be, ignores SIGINT, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **streams,
    )


def interrupt(arguments, seconds, folder):
    """Send Ctrl-C, as a terminal does to every process, this number of seconds after Python is up."""
    child = start(arguments, folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert child.stderr.readline() == "up\n"
        family = [psutil.Process(child.pid)]
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
        with suppress(psutil.NoSuchProcess):
            family += family[0].children(recursive=True)
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=60)
        _, left = psutil.wait_procs(family[1:], 30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(30)
    return child.returncode, out, err, [each for each in left if each.status() != psutil.STATUS_ZOMBIE]


@posix
@pytest.mark.faults
@pytest.mark.parametrize(("name", "arguments", "seconds"), MOMENTS)
def test_interrupted_at_any_moment(name, arguments, seconds, tmp_path):
    status, out, err, left = interrupt(arguments, seconds, tmp_path)
    # What was done before the signal came ends as if there had been none.
    assert status in ((130, 0, 1) if "maxiter" in " ".join(arguments) else (130, 0)), err
    assert "Traceback" not in err + out
    assert "Aborted" not in err + out
    assert not left
    if status == 130:
        assert err.splitlines()[-1].startswith("interrupted")
    # Written whole or not at all.
    if (tmp_path / "problem.py").exists():
        text = (tmp_path / "problem.py").read_text()
        assert "problem = OwnProblem(" in text
        compile(text, "problem.py", "exec")
    assert not [path for path in tmp_path.iterdir() if path.name not in ("plot.png", "report", "problem.py")]


DROPPED = """
import signal, time

class Closing:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

Closing()
time.sleep(30)
"""


def test_interrupted_where_python_drops_exceptions(tmp_path):
    (tmp_path / "dropped.py").write_text(DROPPED)
    child = start(["solve", "{}/dropped.py:phi"], tmp_path, stderr=subprocess.PIPE)
    err = child.communicate(timeout=120)[1]
    assert child.returncode == 130
    assert err.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in err


def test_workers_that_do_not_come(tmp_path):
    child = start(["solve", "xor", "--workers", "2", "--timeout", "0.001"], tmp_path, stderr=subprocess.PIPE)
    err = child.communicate(timeout=120)[1]
    assert child.returncode == 3
    assert err.splitlines()[-1].startswith("Error: 0 of 2 worker processes have started, the next did not come within")
    assert "Traceback" not in err


@posix
@pytest.mark.parametrize(
    "arguments", [["solve", "xor", "--steps", "60", "--json"], ["--help"], ["solve", "-h"], ["--version"]]
)
def test_output_that_cannot_be_written(arguments, tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with full.open("w") as out:
        child = start(arguments, tmp_path, stdout=out, stderr=subprocess.PIPE)
        err = child.communicate(timeout=120)[1]
    assert child.returncode == 3
    assert err.splitlines()[-1].startswith("Error: standard output can't be written: ")
    assert "Traceback" not in err


@posix
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["solve", "nothing"], 2),
        (["--scheduler"], 2),
        (["solve", "xor", "--scheduler", "tcp://127.0.0.1:1", "--timeout", "1"], 3),
    ],
)
def test_errors_that_cannot_be_written_have_their_status(arguments, status, tmp_path):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with full.open("w") as err:
        child = subprocess.Popen(
            [sys.executable, "-m", "daskmgrit", *arguments], text=True, stdout=subprocess.PIPE, stderr=err
        )
        assert child.communicate(timeout=120)[0] == ""
    assert child.returncode == status


@posix
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["plan", "--help"]])
def test_help_for_a_reader_that_has_gone(arguments):
    read, write = os.pipe()
    os.close(read)
    program = [sys.executable, "-m", "daskmgrit", *arguments]
    child = subprocess.Popen(program, text=True, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert child.communicate(timeout=120)[1] == ""
    assert child.returncode == 0


@posix
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_has_gone_changes_nothing(stream, tmp_path):
    read, write = os.pipe()
    os.close(read)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: write}
    program = [sys.executable, "-m", "daskmgrit", "solve", "xor", "--steps", "60", "--json"]
    child = subprocess.Popen(program, text=True, **streams)
    os.close(write)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0
    if stream == "stderr":
        assert json.loads(out)["converged"]
    else:
        assert "Traceback" not in err
        assert "Exception" not in err


@posix
@pytest.mark.parametrize("start", [["-m", "daskmgrit"], ["-c", PROGRAM]], ids=["module", "command"])
def test_interrupted_while_python_runs_a_string(start, tmp_path):
    """As it does for each dataclass that an import makes."""
    (tmp_path / "own.py").write_text("exec('raise KeyboardInterrupt')\n")
    program = [sys.executable, *start, "solve", "own.py:phi", "--w0", "own.py:w0", "--steps", "60"]
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.run(program, text=True, capture_output=True, timeout=120, cwd=tmp_path, env=here)
    assert child.returncode == 130
    assert child.stderr.splitlines()[-1].startswith("interrupted")
