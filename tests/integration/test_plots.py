"""Timelines of solves on any scheduler."""

import itertools

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.display.colours import kind_of
from daskmgrit.display.plot_timeline import lanes
from tests.support.optional import need
from tests.support.recurrences import Decay

pyplot, to_rgba = need("matplotlib.pyplot", "plot"), need("matplotlib.colors", "plot").to_rgba
pyplot.switch_backend("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    pyplot.close("all")


def boxes(axes):
    """Left, right, top, bottom and colour of all that is drawn."""
    found = []
    for collection in axes.collections:
        colour = tuple(collection.get_facecolor()[0])
        for path in collection.get_paths():
            (left, top), (right, bottom) = path.vertices.min(axis=0), path.vertices.max(axis=0)
            found.append((left, right, top, bottom, colour))
    return found


@pytest.mark.parametrize("cycles", [None, 0, 2, (1, 3)])
@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_every_task_is_within_a_box_of_its_level(where, cycles, request):
    client = request.getfixturevalue("client") if where == "cluster" else None
    result = dm.MGRIT(Decay(), 100, cycle="F").solve(np.linspace(1, 2, 5), "nested", chunks=4, client=client)
    first, last = {None: (1, 2), 0: (0, 0), 2: (2, 2)}.get(cycles, cycles)
    records = [record for record in result.records if first <= record.cycle <= last]
    axes = result.plot_levels(cycles)
    axes.figure.canvas.draw()
    drawn = boxes(axes)
    assert len(drawn) <= len(records)
    origin = min(record.start for record in records)
    scale = {"time, ms": 1e3, "time, s": 1.0}[axes.get_xlabel()]
    for level in range(len(result.levels)):
        mine = [record for record in records if record.level == level]
        here = [box for box in drawn if level - 0.5 < box[2] < box[3] < level + 0.5]
        for record in mine:
            start, stop = ((moment - origin) * scale for moment in (record.start, record.start + record.seconds))
            assert any(left - 1e-6 <= start and stop <= right + 1e-6 for left, right, *_ in here)
        # A box has the colour of something that is within it.
        for left, right, *_, colour in here:
            kinds = {kind_of(r.kind) for r in mine if left - 1e-6 <= (r.start - origin) * scale <= right + 1e-6}
            assert colour in {to_rgba(kind.colour) for kind in kinds}
    heights = {round(bottom - top, 9) for _, _, top, bottom, _ in drawn}
    assert len(heights) == 1
    pixels = axes.get_window_extent().width / (axes.get_xlim()[1] - axes.get_xlim()[0])
    assert min(right - left for left, right, *_ in drawn) * pixels >= 2
    assert axes.yaxis_inverted()


@pytest.mark.parametrize("relaxation", ["F", "FCF"])
def test_tasks_side_by_side_do_not_overlap(relaxation, client):
    result = dm.MGRIT(Decay(3), 100, coarsening=3, relaxation=relaxation).solve(np.ones(3), chunks=4, client=client)
    for level in range(len(result.levels)):
        records = [record for record in result.records if record.level == level]
        given = lanes(records)
        for lane in set(given):
            mine = sorted(
                (record.start, record.start + record.seconds)
                for record, other in zip(records, given, strict=True)
                if other == lane
            )
            assert all(end <= start for (_, end), (start, _) in itertools.pairwise(mine))
