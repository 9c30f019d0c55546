"""Programs that are propagators end with the process that wanted them, however that ends."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Processes, ended
from tests.support.waiting import wait_for

# Each notes its number, and that of a child in a session of its own, and stays.
PROGRAM = """
import os, subprocess, sys, time
folder = sys.argv[1]
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"], start_new_session=True)
name = os.path.join(folder, str(os.getpid()))
open(name + ".new", "w").write(str(child.pid))
os.rename(name + ".new", name + ".pid")
time.sleep(600)
"""
SOLVE = """
import sys
import dask, numpy as np
import daskmgrit as dm
def main():
    phi = dm.from_command([sys.executable, "-S", "-c", sys.argv[2], sys.argv[3], "{level}"], "text", timeout=600)
    with dask.config.set(num_workers=2):
        getattr(dm, sys.argv[4])(phi, 16).solve(np.ones(2), **eval(sys.argv[1]))
if __name__ == "__main__":
    main()
"""


class Solve:
    """A process that solves with such a program."""

    def __init__(self, folder, options, solver="MGRIT"):
        self.folder = folder
        words = [sys.executable, "-c", SOLVE, options, PROGRAM, str(folder), solver]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(words, env=environment, start_new_session=True)

    def programs(self, count):
        """Wait until this number of programs runs; return their numbers and those of their children."""
        found = wait_for(lambda: len(notes := [*self.folder.glob("*.pid")]) >= count and notes, "programs run")
        return [pid for note in found for pid in (int(note.stem), int(note.read_text()))]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)
        for note in self.folder.glob("*.pid"):
            for pid in (int(note.stem), int(note.read_text())):
                with suppress(psutil.Error):
                    psutil.Process(pid).kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
@pytest.mark.parametrize("solver", ["MGRIT", "ParallelNewton"])
def test_a_process_that_is_told_to_end(tmp_path, how, solver):
    with Solve(tmp_path, "{}", solver) as solve:
        programs = solve.programs(1)
        assert not any(map(ended, programs))
        os.kill(solve.process.pid, how)
        # Long before the programs would.
        assert solve.process.wait(60) != 0
        wait_for(lambda: all(map(ended, programs)), "programs have ended")


@pytest.mark.faults
@pytest.mark.parametrize("nanny", [False, True])
def test_a_worker_that_is_told_to_end(tmp_path, nanny):
    with Processes() as cluster:
        cluster.worker("one", nanny)
        options = f"{{'client': __import__('distributed').Client({cluster.address!r})}}"
        with Solve(tmp_path, options) as solve:
            programs = solve.programs(1)
            worker = psutil.Process(programs[0]).ppid()
            os.kill(worker, signal.SIGTERM)
            wait_for(lambda: all(map(ended, programs)), "programs have ended")
            # The solve waits for another worker, which does the work again; with a nanny there is one.
            if not nanny:
                cluster.worker("two")
            wait_for(lambda: len([*tmp_path.glob("*.pid")]) > 1, "the task runs again")
            assert solve.process.poll() is None
