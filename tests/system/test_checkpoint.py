"""Checkpoints where the process dies, the disk is full or a worker sees another directory."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.models import MLP, ConstantRate, GradientDescent, Serial
from tests.support import killed
from tests.support.checkpoints import STEPS
from tests.support.recurrences import Decay
from tests.support.waiting import wait_for

# -- the process dies --------------------------------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("method", ["mgrit", "newton"])
def test_killed_at_any_moment(tmp_path, w0, method):
    """Kill the process again and again at random moments; each new one resumes, to the bits of an uninterrupted run."""
    solver, how = killed.solver_of(method)
    with dask.config.set(scheduler="sync"):
        expected = solver.solve(w0, **how)
    seed = random.randrange(10**6)
    print("seed", seed)
    chance, kills, solves = random.Random(seed), 0, 0
    while kills < 25:
        directory, out = tmp_path / f"saved{solves}", tmp_path / f"end{solves}.npz"
        kills += kill_until_it_ends(chance, method, directory, out)
        solves += 1
        with np.load(out) as end:
            assert np.array_equal(end["final"], expected.final)
            assert end["residuals"].tolist() == expected.residuals
        left = sorted(path.name for path in directory.iterdir())
        assert left[-1] == "lock"
        # If it was killed between its last save and the removal of the one before, both are left.
        assert 2 <= len(left) <= 3
        assert not [name for name in left if name.endswith("partial")]


def kill_until_it_ends(chance, method, directory, out):
    """Return how often a solve was killed before it got to its end."""
    before, kills = None, 0
    # On a busy machine many are killed while they write, without progress.
    for attempt in range(300):
        child = killed.processes().Process(
            target=killed.go_on, args=(method, directory, 1 + attempt % 2, 1 + attempt % 4, out)
        )
        child.start()
        try:
            # It is killed only after it has saved, so that there is progress; and then at once, or a little later.
            wait_for(lambda before=before, child=child: saved(directory) != before or child.exitcode is not None)
            time.sleep(chance.choice([0, chance.uniform(0, 0.1)]))
        finally:
            child.kill()
            child.join(30)
        before = saved(directory)
        if child.exitcode == 0:
            return kills
        assert child.exitcode == -signal.SIGKILL
        kills += 1
    raise AssertionError(f"killed {kills} times without getting to the end")


def saved(directory):
    """Return the names of what is saved whole."""
    names = (path.name for path in directory.glob("*-*"))
    return {name for name in names if not name.startswith(".")}


# -- what is wrong with the files ----------------------------------------------------------------------------------


def test_gradient_descent_knows_its_data():
    """One example among many that is different is found, though the steps tried do not see it."""
    x, y = np.arange(100.0).reshape(50, 2), np.ones((50, 1))

    def phi(x=x, y=y, sizes=(2, 1), rate=0.1, **options):
        return GradientDescent(MLP(sizes, **options), x, y, ConstantRate(rate), Serial(50))

    other = x.copy()
    other[33, 1] += 1
    words = [
        made.fingerprint()
        for made in (
            phi(),
            phi(x=other),
            phi(rate=0.2),
            phi(sizes=(2, 2, 1)),
            phi(reduction="mean"),
            phi(output="tanh"),
        )
    ]
    assert len(set(words)) == len(words)
    assert phi().fingerprint() == words[0]
    code = (
        "import numpy as np; from daskmgrit.models import *;"
        "x, y = np.arange(100.0).reshape(50, 2), np.ones((50, 1));"
        "print(GradientDescent(MLP((2, 1)), x, y, ConstantRate(0.1), Serial(50)).fingerprint())"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert again.stdout.strip() == words[0]


# -- what is wrong with the directory ------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)]
    made = subprocess.run(mount, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_full_disk_in_truth(small_disk, client):
    # A checkpoint takes 160 kB: the second does not fit next to the first.
    w0 = np.linspace(1, 2, 400)
    solver = dm.MGRIT(Decay(), STEPS)
    where = dm.Checkpoint(small_disk / "saved", every=2)
    with pytest.raises(dm.CheckpointError, match="No space left on device"):
        solver.solve(w0, chunks=2, tol=0, maxiter=6, client=client, checkpoint=where)
    assert [path.name for path in sorted(where.directory.iterdir())] == ["cycle-000002", "lock"]
    result = solver.resume(where.path, maxiter=2)
    assert result.residuals == solver.solve(w0, tol=0, maxiter=2).residuals


@pytest.mark.faults
def test_worker_that_does_not_share_the_directory(tmp_path, w0):
    from distributed import Client

    from tests.support.processes import Processes

    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("a worker with a file system of its own needs root and unshare")
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"a worker cannot have a file system of its own here: {tried.stderr.strip()}")
    with Processes() as processes:
        processes.worker("shares")
        own = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {tmp_path} && exec "$@"', "sh"]
        processes.worker("apart", before=own)
        with Client(processes.address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)
            with pytest.raises(dm.CheckpointError, match=r"cannot be used by worker tcp://\S+: .*all workers share"):
                dm.MGRIT(Decay(), STEPS).solve(w0, client=client, checkpoint=tmp_path / "saved")
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["lock"]
