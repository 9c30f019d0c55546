"""The command line in processes of its own."""

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

import daskmgrit as dm
from daskmgrit.cli.main import main
from tests.support.cli import CliRunner
from tests.support.waiting import wait_for


def call(*arguments):
    return CliRunner().invoke(main, ["solve", *arguments])


def test_own_workers():
    out = call("xor", "--steps", "100", "--workers", "2", "--json")
    assert out.exit_code == 0
    assert re.search(r"2 worker processes, dashboard http://127\.0\.0\.1:\d+/mgrit\n", out.stderr)


@pytest.mark.parametrize("command", [["daskmgrit"], ["dask", "mgrit"]])
def test_installed_commands(command):
    program = [str(Path(sys.executable).with_name(command[0])), *command[1:]]
    out = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert dm.__version__ in out.stdout
    out = subprocess.run(
        [*program, "solve", "xor", "--steps", "40", "--json"], capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(out.stdout)["converged"]


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
        wait_for(lambda: "\n     2 " in log.read_text() or child.poll() is not None, seconds=120)
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
