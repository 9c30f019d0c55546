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
def test_every_task_is_drawn_on_its_level(where, cycles, request):
    client = request.getfixturevalue("client") if where == "cluster" else None
    result = dm.MGRIT(Decay(), 100, cycle="F").solve(np.linspace(1, 2, 5), "nested", chunks=4, client=client)
    first, last = {None: (1, 2), 0: (0, 0), 2: (2, 2)}.get(cycles, cycles)
    records = [record for record in result.records if first <= record.cycle <= last]
    axes = result.plot_levels(cycles)
    axes.figure.canvas.draw()
    drawn = boxes(axes)
    assert len(drawn) == len(records)
    origin = min(record.start for record in records)
    scale = {"time, ms": 1e3, "time, s": 1.0}[axes.get_xlabel()]
    for level in range(len(result.levels)):
        wanted = sorted(
            ((record.start - origin) * scale, to_rgba(kind_of(record.kind).colour))
            for record in records
            if record.level == level
        )
        found = sorted(
            (left, colour) for left, _, top, bottom, colour in drawn if level - 0.5 < top < bottom < level + 0.5
        )
        assert [colour for _, colour in found] == [colour for _, colour in wanted]
        assert [left for left, _ in found] == pytest.approx([left for left, _ in wanted])
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
