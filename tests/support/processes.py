"""A cluster of processes that tests may kill, stop and cut off: each is started, and ended, by itself."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psutil


def ended(pid):
    """Whether a process has ended, waited for or not."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


class Processes:
    """``dask scheduler`` and ``dask worker`` as child processes; leaving the block ends them all.

    Parameters
    ----------
    host : str
        Address that the scheduler listens on.
    config : dict
        Dask configuration of all of them.
    """

    def __init__(self, host="127.0.0.1", **config):
        self.host = host
        with socket.socket() as free:
            free.bind((host, 0))
            self.port = free.getsockname()[1]
        self.environment = (
            os.environ
            | {f"DASK_{name.upper()}": str(value) for name, value in config.items()}
            | {"PYTHONPATH": str(Path(__file__).parents[2])}
        )
        self.children = []

    @property
    def address(self):
        return f"tcp://{self.host}:{self.port}"

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.log = Path(self.folder.name, "log")
        self.scheduler = self.start(
            [], "scheduler", "--host", self.host, "--port", str(self.port), "--no-dashboard", "--no-show"
        )
        return self

    def __exit__(self, *error):
        for child in self.children:
            # Its group is its own: a nanny's worker belongs to it.
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        for child in self.children:
            child.wait(30)
        if error[0] is not None:
            sys.stderr.write(self.log.read_text(errors="replace")[-20_000:])
        self.folder.cleanup()

    def start(self, before, *command):
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                [*before, sys.executable, "-m", "dask", *command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environment,
                start_new_session=True,
            )
        self.children.append(child)
        return child

    def worker(self, name, nanny=False, memory="2GB", host="127.0.0.1", before=()):
        return self.start(
            before,
            *("worker", self.address, "--name", name, "--host", host, "--nthreads", "1", "--no-dashboard"),
            *("--memory-limit", memory, "--nanny" if nanny else "--no-nanny", "--death-timeout", "120"),
            *("--local-directory", self.folder.name),
        )
