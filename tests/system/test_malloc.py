"""Freed memory stays with the process: counted as page faults, in a process of its own."""

import os
import subprocess
import sys

import numpy as np
import pytest
from distributed import Client, LocalCluster

import daskmgrit as dm
from daskmgrit.utils import malloc
from tests.support.recurrences import Decay

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")

PROGRAM = """
import resource, sys, threading
import numpy as np
from daskmgrit.utils.malloc import keep_freed_memory, reuse_blocks

how, size = sys.argv[1], int(sys.argv[2])
if how == "kept":
    assert keep_freed_memory()
elif how == "reused":
    assert reuse_blocks()
elif how == "as it is":
    assert not reuse_blocks()

def work():
    kept = [np.ones(size) for _ in range(4)]
    for number in range(100):
        kept[number % 4] = np.ones(size)

def faults():
    thread = threading.Thread(target=work)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def faults(how, size, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", PROGRAM, how, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=clean | environment)
    return int(done.stdout)


# 48 MB: more than glibc would keep by itself, whatever it has seen.
def test_freed_memory_is_used_again():
    assert faults("kept", 6_000_000) < 0.1 * faults("as it is", 6_000_000)


# What Dask sets for its workers.
TRIM = {"MALLOC_TRIM_THRESHOLD_": "65536"}


def test_a_worker_uses_freed_blocks_again():
    assert faults("reused", 500_000, **TRIM) < 0.1 * faults("not asked", 500_000, **TRIM)


def test_what_the_user_set_stays():
    few, many = (faults("as it is", 500_000, **TRIM, MALLOC_MMAP_THRESHOLD_=str(each)) for each in (1 << 25, 1 << 17))
    assert few < 0.5 * many


def test_every_worker_does():
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert set(client.run(_was_called).values()) == {False}
        dm.MGRIT(Decay(), 64).solve(np.ones(3), client=client, chunks=2, maxiter=2, tol=0)
        assert set(client.run(_was_called).values()) == {True}


def _was_called():
    return malloc.reuse_blocks.cache_info().currsize == 1
