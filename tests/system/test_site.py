"""The documentation site as a real browser shows it; what can be read from its pages is checked as it is built."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.browser import MARKS
from tests.support.optional import need

ROOT = Path(__file__).parents[2]
pytestmark = MARKS


@pytest.fixture(scope="module")
def site():
    """The folder of the built site; where it has been built before, only what has changed is built again."""
    for package in ("furo", "myst_nb", "numpydoc", "sphinx", "sphinx_click", "sphinx_copybutton", "sphinx_design"):
        need(package, "docs")
    out = ROOT / "docs" / "_build" / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert built.returncode == 0, built.stderr
    return out


def show(driver, page, width, theme="light"):
    """Open a page in a window of this width, by a reader whose system has this theme."""
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get(page.as_uri())


FAULTS = """
const faults = document.documentElement.scrollWidth > innerWidth ? ["wider than the window"] : [];
for (const picture of document.images)
    if (!picture.naturalWidth) faults.push("no picture " + picture.src.slice(0, 80));
return faults;
"""


@pytest.mark.parametrize("width", [400, 1000, 1600])
def test_pages_fit_the_window(site, driver, width):
    # Pages of the API are alike: one of each kind.
    pages = [page for page in site.rglob("*.html") if page.parent.name != "generated"]
    pages += [site / "api" / "generated" / f"daskmgrit.{name}.html" for name in ("MGRIT", "coarse", "plan")]
    assert len(pages) > 20
    faults = {}
    for page in pages:
        show(driver, page, width)
        faults[page.relative_to(site).as_posix()] = driver.execute_script(FAULTS)
    assert {page: found for page, found in faults.items() if found} == {}
    assert [entry["message"] for entry in driver.get_log("browser")] == []


def test_light_and_dark(site, driver):
    colours = "const style = getComputedStyle(document.body); return [style.backgroundColor, style.color];"
    brightness = {}
    for theme in ("light", "dark"):
        show(driver, site / "index.html", 1000, theme)
        found = driver.execute_script(colours)
        brightness[theme] = [sum(int(part) for part in colour[4:-1].split(",")) for colour in found]
    assert brightness["light"][0] > 600 > 150 > brightness["light"][1]
    assert brightness["dark"][0] < 150 < 450 < brightness["dark"][1]


def test_the_check_finds_a_wide_page(driver, tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<p style="width: 600px">wide</p><img src="gone.png">')
    show(driver, page, 400)
    assert [fault[:10] for fault in driver.execute_script(FAULTS)] == ["wider than", "no picture"]
    driver.get_log("browser")  # of the picture that is not there
    page.write_text("<p>narrow</p>")
    show(driver, page, 400)
    assert driver.execute_script(FAULTS) == []
