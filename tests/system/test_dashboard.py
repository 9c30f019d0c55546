"""The dashboard where clients and schedulers are processes of their own."""

import gc
import logging
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskmgrit as dm
from daskmgrit.cli.main import main
from daskmgrit.dashboard import history
from tests.support.cli import CliRunner
from tests.support.dashboard import STEPS, plugins, runs, warnings_of
from tests.support.recurrences import Decay
from tests.support.waiting import wait_for

# -- what is heard ---------------------------------------------------------------------------------------------------


def test_a_client_that_drops(cluster, w0):
    """The plug-in goes with the client, and the page keeps what it knows."""
    code = (
        "import os, sys, numpy as np, daskmgrit as dm\n"
        "from distributed import Client\n"
        "if __name__ == '__main__':\n"
        "    def phi(weights, index, level): return 0.9 * weights\n"
        "    def drop(cycle, residual, weights):\n"
        "        if cycle == 2: os._exit(7)\n"
        f"    dm.MGRIT(phi, 64).solve(np.ones(2), client=Client({cluster.scheduler_address!r}), chunks=2, tol=0,"
        " callback=drop)\n"
    )
    before = len(runs(cluster))
    out = subprocess.run([sys.executable, "-c", code], timeout=120, check=False, capture_output=True, text=True)
    assert out.returncode == 7, out.stderr
    wait_for(lambda: not plugins(cluster), "the plug-in goes")
    assert len(runs(cluster)) == min(before + 1, history.RUNS)
    assert runs(cluster)[0].state == "client lost"
    assert runs(cluster)[0].bars


# -- where there is no page ------------------------------------------------------------------------------------------


def test_cluster_without_dashboard(w0, caplog):
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
        caplog.at_level(logging.WARNING, "daskmgrit"),
    ):
        for _ in range(2):
            assert dm.MGRIT(Decay(), STEPS).solve(w0, client=client, chunks=2).converged
        assert not plugins(cluster)
    [sentence] = warnings_of(caplog)
    assert "without its dashboard" in sentence


def test_scheduler_without_the_package(w0, caplog):
    """A scheduler that cannot import daskmgrit runs a solve all the same, and a sentence says what is missing."""
    with dask.config.set(scheduler="sync"):
        expected = dm.MGRIT(Decay(), STEPS).solve(w0, chunks=3)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    # The tests, where phi is, are not there either.
    bare = (
        "import sys; sys.modules['daskmgrit'] = None; from distributed.cli.dask_scheduler import main; "
        "main(['--host', '127.0.0.1', '--port', sys.argv[1], '--dashboard-address', '127.0.0.1:0'])"
    )
    here = {"cwd": Path(__file__).parents[2], "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    worker = ["-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    running = []
    try:
        running.append(
            subprocess.Popen([sys.executable, "-c", bare, address.rpartition(":")[2]], **here | {"cwd": "/"})
        )
        running.append(subprocess.Popen([sys.executable, *worker], **here))
        with (
            Client(address, timeout="60s", set_as_default=False) as client,
            caplog.at_level(logging.WARNING, "daskmgrit"),
        ):
            result = dm.MGRIT(Decay(), STEPS).solve(
                w0, client=client, chunks=3, callback=lambda cycle, residual, weights: client.compute(weights) is None
            )
            assert result.residuals == expected.residuals
            again = dm.MGRIT(Decay(), STEPS).solve(w0, result, client=client, chunks=2, maxiter=0)
            assert np.array_equal(client.compute(again.weights).result(), expected.weights.compute())
            with pytest.raises(ZeroDivisionError):
                dm.MGRIT(explodes, STEPS).solve(w0, client=client, chunks=2)
            del result, again
            gc.collect()
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    [sentence] = warnings_of(caplog)
    assert "the scheduler lacks daskmgrit" in sentence
    assert "--preload daskmgrit.dashboard" in sentence
    assert "PipInstall" in sentence


def explodes(weights, index, level):
    if level:
        raise ZeroDivisionError
    return 0.9 * weights


# -- Dask's own pages ------------------------------------------------------------------------------------------------


def test_demonstration():
    out = CliRunner().invoke(
        main,
        ["dashboard", "xor", "--steps", "32", "--repeat", "2", "--pause", "0", "--no-show", "--port", "0"],
    )
    assert out.exit_code == 0, out.output
    assert re.search(r"http://127\.0\.0\.1:\d+/mgrit", out.stdout)
    assert "solve 2: " in out.stdout
    assert CliRunner().invoke(main, ["dashboard", "xor", "--steps", "1"]).exit_code == 2


def test_command_with_a_phi_of_ones_own(tmp_path):
    (tmp_path / "watched_steps.py").write_text(
        "import numpy as np\nfrom daskmgrit.problems import OwnProblem\n\n\n"
        "def phi(weights, index, level):\n    return weights - min(0.05 * 2**level, 0.5) * np.sin(weights)\n\n\n"
        "problem = OwnProblem(phi, np.ones(3), 64)\n"
    )
    how = ["--repeat", "1", "--pause", "0", "--no-show", "--port", "0", "--workers", "1"]
    out = CliRunner().invoke(main, ["dashboard", f"{tmp_path}/watched_steps.py:problem", *how])
    assert out.exit_code == 0, out.stderr
    assert "solve 1: " in out.stdout
