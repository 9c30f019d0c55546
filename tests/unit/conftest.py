"""Unit tests compute in this process: no client, no cluster, no process of their own."""

import os
import subprocess

import distributed
import pytest


@pytest.fixture(autouse=True)
def nothing_is_started(monkeypatch):
    """Refuse what belongs into another tier."""

    def refuse(what, tier):
        def refused(*args, **kwargs):
            pytest.fail(f"a unit test starts {what}: such a test belongs into tests/{tier}")

        return refused

    for owner in (distributed.Client, distributed.LocalCluster):
        monkeypatch.setattr(owner, "__init__", refuse(f"a {owner.__name__}", "integration"))
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse("a process", "system"))
    for name in ("fork", "posix_spawn", "posix_spawnp"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, refuse("a process", "system"))
