"""The real browser of the tests that look at pages."""

import sys
from pathlib import Path

import pytest

from tests.support.optional import need

sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))
from make_dashboard_picture import CHROMIUM, DRIVER, browser

__all__ = ["MARKS", "driver"]

MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (Path(CHROMIUM).exists() and Path(DRIVER).exists()),
        reason="no browser: apt-get install -y --no-install-recommends chromium chromium-driver",
    ),
]


@pytest.fixture(scope="module")
def driver():
    need("selenium", "ci")
    need("matplotlib", "plot")
    with browser() as driver:
        yield driver
