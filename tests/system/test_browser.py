"""The page /mgrit as a real browser shows it."""

import contextlib
import threading
import time

import numpy as np
import pytest
from distributed import Client

import daskmgrit as dm
from daskmgrit.display.colours import ACCEPTED
from tests.support.browser import MARKS
from tests.support.waiting import wait_for

pytestmark = MARKS


class Slow:
    """Decay, whose steps take a millisecond each."""

    def __call__(self, weights, index, level):
        time.sleep(0.001 * len(weights))
        return weights / (1 + 0.05 * 2.0**level)


@contextlib.contextmanager
def solving(cluster, *sizes, newton=False):
    """Solves that run, each with a client of its own, until the block ends."""
    stop, started = threading.Event(), [threading.Event() for _ in sizes]

    def solve(steps, event):
        def callback(cycle, residual, weights):
            event.set()
            return stop.is_set()

        with Client(cluster, set_as_default=False) as client:
            how = {"client": client, "tol": 0, "callback": callback}
            if newton:
                dm.ParallelNewton(Slow(), steps, window=4, jacobian="identity").solve(np.ones(3), **how)
            else:
                dm.MGRIT(Slow(), steps).solve(np.ones(3), chunks=2, maxiter=5000, **how)

    threads = [threading.Thread(target=solve, args=pair) for pair in zip(sizes, started, strict=True)]
    for thread in threads:
        thread.start()
    try:
        for event in started:
            assert event.wait(120), "no cycle was done within 120 s"
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    assert not any(thread.is_alive() for thread in threads)


MODELS = """
const found = (window.Bokeh ? Bokeh.documents : []).flatMap((doc) => Array.from(doc._all_models.values()))
    .filter((model) => model.name === arguments[0]);
return found.map((model) => model.text ?? model.data[arguments[1]].length);
"""


OPTIONS = """
return Bokeh.documents.flatMap((doc) => Array.from(doc._all_models.values()))
    .filter((model) => model.type === "Select").flatMap((model) => model.options.map((option) => option[1]));
"""


def lengths(driver, name, column):
    """How long the sources of this name are, as the browser has them."""
    return driver.execute_script(MODELS, name, column)


def headlines(driver):
    return driver.execute_script(MODELS, "mgrit-headline", None)


def residuals(driver):
    # The solves of this file are exact after ten cycles: from then on their residuals are 0.
    return sum(lengths(driver, name, "y")[0] for name in ("mgrit-residuals", "mgrit-zeros"))


def wait_for_growth(driver):
    bars, before = lengths(driver, "mgrit-bars", "left")[0], residuals(driver)
    wait_for(lambda: lengths(driver, "mgrit-bars", "left")[0] > bars, "there are more glyphs")
    wait_for(lambda: residuals(driver) > before, "there are more residuals")


def pixels(driver, path, colour):
    """Pixels in this colour."""
    from matplotlib.colors import to_rgb
    from matplotlib.image import imread

    driver.save_screenshot(str(path))
    picture = np.round(255 * imread(path)[..., :3])
    return int((picture == np.round(255 * np.array(to_rgb(colour)))).all(axis=-1).sum())


def blue_pixels(driver, path):
    """Pixels in the colour of F-relaxation, Phi and the residual."""
    return pixels(driver, path, "#0072B2")


def test_page_during_a_solve(cluster, client, driver, tmp_path):
    with solving(cluster, 64):
        driver.get(client.dashboard_link)
        # The page is found in the navigation bar.
        driver.find_element("link text", "Mgrit").click()
        wait_for(lambda: driver.title == "Dask: MGRIT and parallel Newton", "the page is there")
        wait_for(lambda: headlines(driver), "a solve is shown")
        for _ in range(2):
            wait_for_growth(driver)
        assert "running" in headlines(driver)[0]
        wait_for(lambda: blue_pixels(driver, tmp_path / "page.png") > 500, "bars are drawn")
    wait_for(lambda: "stopped by the callback" in headlines(driver)[0], "the page says that the solve has ended")
    assert not [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


HEIGHTS = """
return Bokeh.documents.flatMap((doc) => Array.from(doc._all_models.values()))
    .map((model) => model.outer_height).filter((height) => height);
"""


def test_bars_are_as_tall_as_the_window_allows(client, driver):
    def tallest():
        return max(driver.execute_script(HEIGHTS), default=0)

    dm.MGRIT(Slow(), 32).solve(np.ones(3), client=client, maxiter=1)
    driver.set_window_size(1400, 700)
    driver.get(client.dashboard_link.replace("/status", "/mgrit"))
    try:
        wait_for(lambda: tallest() > 0, "the plots are there")
        low = tallest()
        assert low >= 390
        driver.set_window_size(1400, 1400)
        wait_for(lambda: tallest() > low + 200, "the plot has grown with the window")
    finally:
        driver.set_window_size(1500, 1000)


def test_page_during_a_newton_solve(cluster, client, driver, tmp_path):
    def newton():
        return [text for text in headlines(driver) if "parallel Newton" in text]

    def rows():
        return sum(lengths(driver, "mgrit-sweeps", "left"))

    with solving(cluster, 100_000, newton=True):
        driver.get(client.dashboard_link.replace("/status", "/mgrit"))
        wait_for(lambda: any("running" in text for text in newton()), "the solve is shown")
        wait_for(lambda: rows() and sum(lengths(driver, "mgrit-accepted", "y")), "sweeps are shown")
        before = rows()
        wait_for(lambda: rows() > before, "there are more sweeps")
        wait_for(lambda: pixels(driver, tmp_path / "page.png", ACCEPTED) > 50, "accepted steps are drawn")
        assert any("parallel Newton" in option for option in driver.execute_script(OPTIONS))
    wait_for(lambda: any("stopped by the callback" in text for text in newton()), "the page says that it has ended")
    assert not [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def test_two_solves_are_two(cluster, client, driver):
    with solving(cluster, 48, 80):
        driver.get(client.dashboard_link.replace("/status", "/mgrit"))

        def both():
            running = [text for text in headlines(driver) if "running" in text]
            return len(running) == 2 and any("N = 48" in text for text in running) and "N = 80" in "".join(running)

        wait_for(both, "both solves are shown as running")
        wait_for(lambda: all(count > 1 for count in lengths(driver, "mgrit-residuals", "y")[:2]), "both have residuals")


@pytest.mark.parametrize("name", ["window", "accepted"])
def test_single_plots_of_newton(client, driver, name, tmp_path):
    dm.ParallelNewton(Slow(), 32, window=4, jacobian="identity").solve(np.ones(3), 1e-6, client=client)
    driver.get(client.dashboard_link.replace("/status", f"/individual-mgrit-{name}"))
    wait_for(lambda: pixels(driver, tmp_path / "plot.png", ACCEPTED) > 50, "it is drawn")
    assert not [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize("name", ["levels", "residual", "phi", "cycle"])
def test_single_plots(client, driver, name, tmp_path):
    dm.MGRIT(Slow(), 32).solve(np.ones(3), client=client, chunks=2)
    driver.get(client.dashboard_link.replace("/status", f"/individual-mgrit-{name}"))
    wait_for(lambda: driver.title == f"Dask: MGRIT {name}", "the plot is there")
    if name != "cycle":
        wait_for(lambda: blue_pixels(driver, tmp_path / "plot.png") > 50, "it is drawn")
    assert not [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
