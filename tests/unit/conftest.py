"""Unit tests compute in this process: no client, no cluster, no process of their own."""

import multiprocessing.process
import os
import subprocess

import distributed
import pytest

# What NumPy, ctypes and Matplotlib ask about the machine, the last once for its cache of fonts.
LOOKUPS = {"fc-list", "ldconfig", "lscpu"}
_start = subprocess.Popen.__init__


def _refuse(what, tier):
    def refused(*args, **kwargs):
        pytest.fail(f"a unit test starts {what}: such a test belongs in tests/{tier}")

    return refused


def _look_up(self, args, *rest, **options):
    program = args if isinstance(args, str) else args[0]
    start = _start if os.path.basename(program) in LOOKUPS else _refuse("a process", "system")
    start(self, args, *rest, **options)


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch):
    """Refuse what belongs in another tier."""
    # A scheduler or a worker is a cluster, too, even if it is not called one.
    for owner in (distributed.Client, distributed.SpecCluster, distributed.core.Server):
        monkeypatch.setattr(owner, "__init__", _refuse(f"a {owner.__name__}", "integration"))
    monkeypatch.setattr(subprocess.Popen, "__init__", _look_up)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", _refuse("a process", "system"))
    for name in ("fork", "posix_spawn", "posix_spawnp", "system"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, _refuse("a process", "system"))


@pytest.fixture(autouse=True)
def the_disk_is_not_waited_for(monkeypatch):
    """Only a failure of the power could show the difference; thousands of files take a quarter of a minute."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
