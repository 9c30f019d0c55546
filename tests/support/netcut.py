"""Two workers in network namespaces of their own, and a scheduler between them that stops passing packets on.

Run as root in new mount, network and process namespaces (see test_faults): nothing of it outlives this process.
"""

import json
import subprocess
import sys
import threading
from pathlib import Path

import dask
import numpy as np
from distributed import Client

import daskmgrit as dm
from tests.support.processes import Processes
from tests.support.recurrences import Slow

CUT = 3  # the cycle after which it happens


def run(*arguments):
    subprocess.run(arguments, check=True)


def ip(*arguments):
    run("ip", *arguments)


def forward(value):
    Path("/proc/sys/net/ipv4/ip_forward").write_text(value)


def main(heals_after, timeout):
    # Names of namespaces are files there.
    run("mount", "-t", "tmpfs", "none", "/run")
    ip("link", "set", "lo", "up")
    for number in (1, 2):
        ip("netns", "add", f"worker{number}")
        ip("link", "add", f"link{number}", "type", "veth", "peer", "name", "eth", "netns", f"worker{number}")
        ip("address", "add", f"10.0.{number}.1/24", "dev", f"link{number}")
        ip("link", "set", f"link{number}", "up")
        inside = ("-n", f"worker{number}")
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "address", "add", f"10.0.{number}.2/24", "dev", "eth")
        ip(*inside, "link", "set", "eth", "up")
        ip(*inside, "route", "add", "default", "via", f"10.0.{number}.1")
    forward("1")
    timeouts = {"distributed__comm__timeouts__connect": "3s", "distributed__comm__timeouts__tcp": "12s"}
    with Processes("10.0.1.1", **timeouts) as cluster:
        for number in (1, 2):
            before = ["ip", "netns", "exec", f"worker{number}"]
            cluster.worker(f"w{number}", host=f"10.0.{number}.2", before=before)
        with Client(cluster.address, timeout=60) as client:
            client.wait_for_workers(2, timeout=60)

            def cut(iteration, residual, weights):
                if iteration == CUT:
                    forward("0")
                    if heals_after:
                        threading.Timer(heals_after, forward, "1").start()

            try:
                with dask.config.set({"daskmgrit.agglomerate": 99}):
                    result = dm.MGRIT(Slow(), 100).solve(
                        np.linspace(1, 2, 5), chunks=2, client=client, callback=cut, tol=0, maxiter=6, timeout=timeout
                    )
                outcome = {"residuals": result.residuals}
            except dm.ClusterError as error:
                outcome = {"error": str(error)}
    print("OUTCOME", json.dumps(outcome))


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]))
