"""What every tier needs: Dask's configuration is a temporary one, and no client is left to the next test."""

import os
import tempfile
from pathlib import Path

# Dask would read, and dask-jobqueue write to, the user's own configuration.
_configuration = tempfile.TemporaryDirectory()
os.environ["DASK_CONFIG"] = _configuration.name
# What every process of a cluster does many times a second, whether it has tasks or not.
os.environ["DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED"] = "False"
os.environ["DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL"] = "1s"

import dask  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

from tests.support.recurrences import Decay  # noqa: E402

# A busy machine is no reason to fail; and in CI the same examples are tried every time.
settings.register_profile("daskmgrit", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("daskmgrit")

TIERS = {
    "unit": "pytest tests/unit -n 2",
    "integration": "pytest tests/integration",
    "system": "pytest tests/system (pip install -e '.[ci]'; some need SLURM or chromium, too)",
}


def pytest_report_header(config):
    """Say which tiers were chosen, and how to run the rest."""
    chosen = [name for name in TIERS if any(_overlap(config.rootpath, arg, name) for arg in config.args)]
    rest = "; ".join(command for name, command in TIERS.items() if name not in chosen)
    return f"daskmgrit: tiers {' + '.join(chosen) or 'none'}" + (f"; the rest: {rest}" if rest else "")


class SkippedTests:
    """Writes down what was skipped, so that CI runs it where all packages are: `pytest @FILE`."""

    def __init__(self, path):
        self.path, self.ids = path, set()

    def pytest_collectreport(self, report):
        self._note(report)

    def pytest_runtest_logreport(self, report):
        self._note(report)

    def _note(self, report):
        if report.skipped and not hasattr(report, "wasxfail"):
            # Its parameters may have other names where more is installed.
            self.ids.add(report.nodeid.partition("[")[0])

    def pytest_sessionfinish(self):
        self.path.write_text("\n".join(sorted(self.ids)) + "\n", encoding="utf-8")


def pytest_configure(config):
    path = os.environ.get("SKIPPED_TESTS")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkippedTests(Path(path)))


def _overlap(root, arg, name):
    """Whether an argument of pytest is within a tier's folder, or holds it."""
    path, folder = (root / arg.partition("::")[0]).resolve(), root / "tests" / name
    return path.is_relative_to(folder) or folder.is_relative_to(path)


@pytest.fixture(autouse=True)
def no_client_is_left():
    """A client left behind is where all later tests compute: they would wait for ever once its cluster is gone."""
    yield
    from distributed.client import _get_global_client

    left = _get_global_client()
    if left is not None:
        left.close(timeout=5)
        pytest.fail(f"the test left {left} as the client of all that follows")


@pytest.fixture
def synchronous():
    with dask.config.set(scheduler="sync"):
        yield


@pytest.fixture
def decay():
    return Decay()


@pytest.fixture
def w0():
    return np.linspace(1.0, 2.0, 5)
