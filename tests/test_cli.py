"""The command line as a user calls it."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from processes import wait_for

import daskmgrit as dm
from daskmgrit.cli.main import main

FIELDS = {
    "problem",
    "solver",
    "steps",
    "levels",
    "cycle",
    "iterations",
    "residuals",
    "converged",
    "reason",
    "convergence_factor",
    "phi_evaluations",
    "critical_path",
    "tasks",
    "storage",
    "seconds",
}


def call(*arguments):
    return CliRunner().invoke(main, ["solve", *arguments])


def test_json_is_one_object_on_standard_output():
    out = call("xor", "--steps", "100", "--solver", "naive", "--max-levels", "2", "--json", "--check")
    assert out.exit_code == 0
    answer = json.loads(out.stdout)
    assert set(answer) >= FIELDS | {"max_error", "serial_seconds", "metrics"}
    assert answer["iterations"] == 14
    assert answer["levels"] == [100, 50]
    assert (answer["problem"], answer["solver"], answer["cycle"], answer["reason"]) == ("xor", "naive", "V", "tol")
    assert answer["converged"] is True
    assert len(answer["residuals"]) == 15
    assert answer["max_error"] < 1e-6
    assert "level" in out.stderr
    assert "14  " in out.stderr


def test_summary_for_a_person():
    out = call("digits", "--steps", "100", "--check")
    assert out.exit_code == 0
    for words in ("converged", "convergence factor", "Phi evaluations", "test accuracy", "largest error", "serial"):
        assert words in out.stdout


def test_json_says_what_storage_it_was(tmp_path):
    for storage in ("full", "c-points"):
        out = call(
            "xor", "--steps", "60", "--maxiter", "1", "--storage", storage, "--checkpoint", tmp_path / storage, "--json"
        )
        assert json.loads(out.stdout)["storage"] == storage
    out = call("xor", "--steps", "60", "--maxiter", "2", "--checkpoint", tmp_path / "c-points", "--resume", "--json")
    assert json.loads(out.stdout)["storage"] == "c-points"


def test_not_converged_is_status_1():
    out = call("xor", "--steps", "100", "--maxiter", "2", "--json")
    assert out.exit_code == 1
    assert json.loads(out.stdout)["reason"] == "maxiter"


def test_diverged_is_status_1_and_valid_json():
    # A rate far beyond the stable one: the adder's summed gradients blow up.
    out = call("digits", "--steps", "64", "--solver", "naive", "--learning-rate", "1e308", "--json")
    assert out.exit_code == 1
    answer = json.loads(out.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert answer["reason"] == "diverged"
    assert "level" in answer["message"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "nonsense"),
        (["xor", "--solver", "7"], "7"),
        (["xor", "--steps", "3", "--coarsening", "4"], "steps=3 is below coarsening=4"),
        (["xor", "--relaxation", "CF"], "relaxation='CF'"),
        (["xor", "--coarsening", "2,x"], "2,x"),
        (["xor", "--chunks", "many"], "many"),
        (["xor", "--chunks", "1000"], "chunks=1000"),
        (["xor", "--learning-rate", "-1"], "-1"),
        (["xor", "--max-learning-rate", "0.5"], "max_learning_rate=0.5 is below learning_rate=1.0"),
        (["xor", "--tol", "-1"], "tol=-1"),
        (["xor", "--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], "exclude"),
        (["xor", "--plot", "/nowhere/at/all.png"], "does not exist"),
        (["xor", "--plot", "picture.xyz"], ".png"),
        (["xor", "--batch", "9", "--solver", "2"], "batch=9"),
        (["xor", "--batch", "2", "--solver", "1"], "no effect"),
        (["xor", "--max-learning-rate", "2", "--solver", "naive"], "no effect"),
        (["xor", "--seed", "-1"], "--seed"),
        (["xor", "--scheduler", "nonsense"], "--scheduler nonsense"),
    ],
)
def test_bad_usage_is_status_2(arguments, words):
    out = call(*arguments)
    assert out.exit_code == 2
    assert words in out.stderr
    assert out.stdout == ""


def test_no_scheduler_there():
    out = call("xor", "--scheduler", "tcp://127.0.0.1:1")
    assert out.exit_code == 3
    assert out.stdout == ""
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in out.stderr


def test_options_by_level():
    out = call("xor", "--steps", "200", "--coarsening", "4,2", "--relaxation", "FCF,F", "--weight", "1.0,0.9", "--json")
    answer = json.loads(out.stdout)
    assert answer["levels"] == [200, 50, 25, 12, 6]


def test_cycle_and_guess():
    out = call("xor", "--steps", "100", "--cycle", "f", "--initial-guess", "nested", "--json")
    answer = json.loads(out.stdout)
    assert answer["cycle"] == "F"
    assert answer["residuals"][0] < 1


def test_plot(tmp_path):
    file = tmp_path / "history.png"
    assert call("xor", "--steps", "100", "--plot", str(file)).exit_code == 0
    assert file.read_bytes()[:4] == b"\x89PNG"
    assert list(tmp_path.iterdir()) == [file]


def test_on_a_cluster(client):
    out = call("xor", "--steps", "100", "--scheduler", client.scheduler.address, "--chunks", "2", "--json", "--check")
    assert out.exit_code == 0
    assert json.loads(out.stdout)["max_error"] < 1e-6


def test_own_workers():
    out = call("xor", "--steps", "100", "--workers", "2", "--json")
    assert out.exit_code == 0
    assert "2 worker processes, dashboard http://127.0.0.1" in out.stderr


@pytest.mark.parametrize("command", [["daskmgrit"], ["dask", "mgrit"]])
def test_installed_commands(command):
    program = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
    out = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert dm.__version__ in out.stdout
    out = subprocess.run(
        [*program, "solve", "xor", "--steps", "40", "--json"], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(out.stdout)["converged"]


def solve_and_resume(directory, *how):
    return call("xor", "--steps", "100", "--checkpoint", str(directory), "--json", *how)


def test_checkpoint_and_resume(tmp_path, monkeypatch):
    straight = json.loads(call("xor", "--steps", "100", "--json").stdout)
    out = solve_and_resume(tmp_path, "--resume", "--maxiter", "3", "--checkpoint-every", "2")
    assert out.exit_code == 1
    assert f"no checkpoint in {tmp_path} yet: beginning from the initial guess" in out.stderr
    out = solve_and_resume(tmp_path)
    assert out.exit_code == 3
    assert "already holds a checkpoint, of cycle 3" in out.stderr
    out = solve_and_resume(tmp_path, "--resume", "--learning-rate", "0.5")
    assert out.exit_code == 3
    assert "is of another problem" in out.stderr
    # As a shell leaves it in --checkpoint=~/DIR.
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert "beginning" not in solve_and_resume(f"~/{tmp_path.name}", "--resume").stderr
    # Without --maxiter that of the first run holds.
    assert json.loads(solve_and_resume(tmp_path, "--resume").stdout)["iterations"] == 3
    out = solve_and_resume(tmp_path, "--resume", "--maxiter", "50", "--checkpoint-minutes", "60", "--chunks", "3")
    assert out.exit_code == 0
    answer = json.loads(out.stdout)
    assert answer["residuals"] == straight["residuals"]
    manifest = json.loads(next(tmp_path.glob("cycle-*/manifest.json")).read_text())["content"]
    assert (manifest["solve"]["every"], manifest["solve"]["seconds"]) == (10, 3600)


@pytest.mark.parametrize("option", [["--resume"], ["--checkpoint-every", "3"], ["--checkpoint-minutes", "0"]])
def test_checkpoint_options_need_a_directory(option):
    out = call("xor", *option)
    assert out.exit_code == 2
    assert "need --checkpoint DIR" in out.stderr


def test_timeout_for_workers():
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        out = call("xor", "--scheduler", cluster.scheduler_address, "--timeout", "0.5")
        assert out.exit_code == 3
        assert "no workers and none came within 0.5 s" in out.stderr
        assert call("xor", "--timeout", "300ms", "--steps", "40").exit_code == 0
        assert "'--timeout': 'soon' is not a time" in call("xor", "--timeout", "soon").stderr


@pytest.mark.faults
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("how", [["--workers", "2"], []], ids=["workers", "threads"])
def test_interrupted(how, tmp_path):
    """Ctrl-C, which a terminal sends to every process: one line, status 130, and nothing left."""
    log, saved = tmp_path / "log", tmp_path / "saved"
    program = [str(Path(sys.executable).with_name("daskmgrit")), "solve", "digits", "--tol", "0", "--maxiter", "5000"]
    options = ["--steps", "200", "--checkpoint", str(saved), "--checkpoint-every", "1", *how]
    with log.open("w") as out:
        child = subprocess.Popen(
            [*program, *options],
            stdout=out,
            stderr=out,
            start_new_session=True,
            # A shell's background process, as these tests may be, ignores SIGINT, and so do its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    try:
        wait_for(lambda: "\n     2 " in log.read_text() or child.poll() is not None, 120)
        family = psutil.Process(child.pid).children(recursive=True)
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(60) == 130
        gone, left = psutil.wait_procs(family, 30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait(30)
    assert not [process for process in left if process.status() != psutil.STATUS_ZOMBIE]
    *before, last = log.read_text().splitlines()
    assert last.startswith("interrupted; the checkpoint of cycle ")
    assert f"--checkpoint {saved} --resume" in last
    assert "Traceback" not in log.read_text()
    assert re.fullmatch(r" +\d+ +\S+.*", before[-1])
    assert len(gone) >= len(how)


@pytest.mark.parametrize("storage", ["full", "c-points"])
def test_float32(storage):
    arguments = ("digits", "--steps", "100", "--dtype", "float32", "--storage", storage)
    out = call(*arguments, "--tol", "1e-4", "--check", "--json")
    assert out.exit_code == 0, out.stderr
    # Single precision throughout: rounding is what is left, and it is that of a float32.
    assert 1e-9 < json.loads(out.stdout)["max_error"] < 1e-4
    out = call(*arguments)
    assert out.exit_code == 2
    assert "give --tol" in out.stderr
