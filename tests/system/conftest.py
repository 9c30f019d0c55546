"""A cluster for tests that look at one from outside, and notebooks in a kernel of their own."""

import pytest

from tests.support.browser import driver
from tests.support.cluster import client, cluster

__all__ = ["client", "cluster", "driver", "execute"]


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs a notebook whole, in a kernel that leaves nothing in the user's home; returns where it ran."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    place = tmp_path / "here"
    place.mkdir()

    def run(notebook):
        from nbclient import NotebookClient

        client = NotebookClient(notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": place}})
        client.execute()
        return place

    return run
