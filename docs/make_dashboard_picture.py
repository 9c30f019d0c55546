"""Make docs/dashboard.png, or with --newton docs/newton-dashboard.png: the page /mgrit after a solve, in a browser.

Needs Debian's chromium and chromium-driver, and selenium (``pip install '.[ci]'``); Bokeh brings Pillow.
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
from PIL import Image

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


def main(path: Path, newton: bool) -> None:
    """Solve, and write the picture."""
    w0, chunks = np.linspace(1, 2, 50), {} if newton else {"chunks": 4}
    solver: Any = dm.MGRIT(Step(0.004), steps=128, min_coarse=4)
    if newton:
        solver = dm.ParallelNewton(Step(0.02), steps=60, window=8, jacobian="identity")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=4 if newton else 1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
        browser(1500, 1000) as driver,
    ):
        with dask.config.set({"daskmgrit.dashboard": False}):
            # The workers' first tasks are slow.
            solver.solve(w0, client=client, tol=1e-3, **chunks)
        solver.solve(w0, client=client, tol=1e-9, **chunks)
        driver.get(client.dashboard_link.replace("/status", "/mgrit"))
        time.sleep(5)  # for the plots to be drawn
        part = path.with_name("." + path.name)
        driver.save_screenshot(str(part))
        with Image.open(part) as picture:
            picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(part, format="PNG", optimize=True)
        part.replace(path)


if __name__ == "__main__":
    newton, paths = "--newton" in sys.argv[1:], [arg for arg in sys.argv[1:] if arg != "--newton"]
    name = "newton-dashboard.png" if newton else "dashboard.png"
    main(Path(paths[0]) if paths else Path(__file__).with_name(name), newton)
