"""Make docs/dashboard.png: the page /mgrit after a solve, as a browser without a window shows it.

Needs Debian's chromium and chromium-driver, and selenium (``pip install 'daskmgrit[ci]'``).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np
from distributed import Client, LocalCluster

import daskmgrit as dm

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@contextmanager
def browser(width: int = 1500, height: int = 1000) -> Iterator[Any]:
    """Start chromium with an empty profile of its own."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        for option in [*OPTIONS, f"--user-data-dir={profile}", f"--window-size={width},{height}"]:
            options.add_argument(option)
        driver = webdriver.Chrome(options=options, service=Service(executable_path=DRIVER))
        driver.set_page_load_timeout(60)
        try:
            yield driver
        finally:
            driver.quit()


class Step:
    """A recurrence whose step takes some milliseconds a state, as a network's may."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"a step of {1000 * self.seconds:g} ms"

    def __call__(self, weights: np.ndarray, index: np.ndarray, level: int) -> np.ndarray:
        """Apply one step of the level."""
        time.sleep(self.seconds * len(weights))
        length = 2.0**level
        return weights / (1 + 0.05 * length) + 0.01 * length * np.sin(weights) * (index % 3)[:, None]


def main(path: Path) -> None:
    """Solve, and write the picture."""
    solver, w0 = dm.MGRIT(Step(0.004), steps=128, min_coarse=4), np.linspace(1, 2, 50)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
        browser(1500, 950) as driver,
    ):
        with dask.config.set({"daskmgrit.dashboard": False}):
            solver.solve(w0, chunks=4, client=client, maxiter=1)  # the workers' first tasks are slow
        solver.solve(w0, chunks=4, client=client, tol=1e-9)
        driver.get(client.dashboard_link.replace("/status", "/mgrit"))
        time.sleep(5)  # for the plots to be drawn
        part = path.with_name("." + path.name)
        driver.save_screenshot(str(part))
        part.replace(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("dashboard.png"))
