"""Chunks cover every level once, and their pieces fit together."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daskmgrit.graph.auto_chunks import plan_layout
from daskmgrit.graph.chunking import chunk_lengths, cut, most_chunks
from daskmgrit.multigrid.hierarchy import build_hierarchy


@settings(max_examples=300)
@given(
    steps=st.integers(5, 3000),
    coarsening=st.lists(st.integers(2, 5), min_size=1, max_size=3),
    share=st.floats(0, 1),
    threads=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    gathered=st.one_of(st.none(), st.integers(1, 9)),
    alone=st.booleans(),
)
def test_cut(steps, coarsening, share, threads, gathered, alone):
    steps -= alone * (steps % coarsening[0])
    hierarchy = build_hierarchy(max(steps, 2 * coarsening[0]), coarsening)
    steps = hierarchy[0].steps
    alone = alone and steps % coarsening[0] == 0
    chunks = 1 + alone + int(share * (most_chunks(hierarchy) - 1 - alone))
    layout = cut(hierarchy, chunks, threads, gathered, alone)
    assert 1 <= layout.gathered <= hierarchy.last
    if gathered is not None:
        assert layout.gathered <= gathered
    for number, level in enumerate(layout.levels):
        size = hierarchy[number]
        assert level.bounds[0] == 0
        assert level.bounds[-1] == size.intervals
        assert all(a < b for a, b in zip(level.bounds, level.bounds[1:], strict=False))
        points = size.chunk_points(level.bounds)
        assert sum(points) == size.steps + 1
        assert all(0 <= owner < len(threads) for owner in level.owners)
        runs = level.owners[:-1] if alone and len(level) > 1 else level.owners
        assert list(runs) == sorted(runs)
        if number:
            finer = layout.levels[number - 1]
            assert [j for children in level.children for j in children] == list(range(len(finer)))
            for j, children in enumerate(level.children):
                # A coarse chunk begins at the point that its first finer chunk's first interval stands for.
                assert level.bounds[j] * size.coarsening == finer.bounds[children.start]
                assert level.owners[j] == finer.owners[children.start]
                assert all(level.parents[i] == j for i in children)
    assert len(layout.levels[0]) == chunks
    sizes = [b - a for a, b in itertools.pairwise(layout.levels[0].bounds)]
    if alone:
        owners = layout.levels[0].owners
        assert (sizes.pop(), owners[-1]) == (1, owners[0])
    # Bounds do not depend on what is cut; all levels have no longer chunks together than with equal ones on level 0.
    assert layout.levels[0].bounds == cut(hierarchy, chunks, threads, None, alone).levels[0].bounds
    count, parts = hierarchy[0].intervals - alone, chunks - alone
    equal = [j * count // parts for j in range(parts)] + [count]
    found = list(itertools.accumulate(sizes, initial=0))
    assert total_length(hierarchy, found) <= total_length(hierarchy, equal) * (1 + 1e-12)


def total_length(hierarchy, bounds):
    return sum(phi * length for phi, length, _ in chunk_lengths(hierarchy, np.array(bounds)))


def test_chunks_of_coarse_levels_are_even():
    """Equal chunks of 4 intervals would leave level 1 a third of the bounds with m = 3, and level 2 two chunks."""
    hierarchy = build_hierarchy(1000, 3)
    for chunks, longest in ((56, [6, 2, 2, 2]), (111, [4, 2, 2, 1])):
        layout = cut(hierarchy, chunks, [chunks])
        for level, most in zip(layout.levels, longest, strict=False):
            assert max(b - a for a, b in itertools.pairwise(level.bounds)) == most
    for cost, threads, chunks in ((1.0, 111, 111), (0.05, 84, 56)):
        layout = plan_layout(hierarchy, None, [threads], "distributed", cost).layout
        assert len(layout.levels[0]) == chunks


def test_chunks_are_dealt_in_proportion_to_threads():
    layout = cut(build_hierarchy(1600), 8, [1, 3])
    assert layout.levels[0].owners == (0, 0, 1, 1, 1, 1, 1, 1)


def test_equal_chunks_share_their_bounds_down_to_the_last_level():
    layout = cut(build_hierarchy(1024), 4, [1, 1])
    assert [len(level) for level in layout.levels] == [4] * len(layout.levels)
    assert all(len(children) == 1 for level in layout.levels[1:] for children in level.children)
