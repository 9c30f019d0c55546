"""Scans in groups: the recurrence itself, and the same bits for every chunking into whole groups."""

import itertools

import numpy as np
import pytest

from daskmgrit.newton.scan import (
    Maps,
    apply_maps,
    compose_maps,
    doublings,
    group_length,
    group_sums,
    running_sums,
    scan_maps,
    scan_sums,
)


def chunks_of(count, first, group, size):
    """Cut slots into chunks of `size` groups, the first group as it falls."""
    cuts = [0]
    while cuts[-1] < count:
        cuts.append(min(cuts[-1] + size * group - (first + cuts[-1]) % group, count))
    return list(itertools.pairwise(cuts))


def in_a_row(places, first, group, count):
    """Put what is known of each place of each group in the order of slots."""
    before = first % group
    return np.stack(places, axis=1).reshape(-1, places[0].shape[1])[before : before + count]


@pytest.mark.parametrize("group", [1, 2, 8])
@pytest.mark.parametrize("first", [0, 1, 13])
@pytest.mark.parametrize("count", [1, 5, 8, 37])
def test_sums(count, first, group):
    rows = np.random.default_rng(count).standard_normal((count, 3))
    whole = running_sums(rows, first, group)
    np.testing.assert_allclose(whole, np.cumsum(rows, axis=0), rtol=1e-12, atol=1e-14)
    for size in (1, 2, 100):
        before, found = None, []
        for begin, end in chunks_of(count, first, group, size):
            places = group_sums(rows[begin:end], first + begin, group)
            sums = scan_sums(places[-1], before)
            offsets, before = np.concatenate(sums[:-1]), sums[-1]
            found.append(in_a_row([place + offsets for place in places], first + begin, group, end - begin))
        assert np.array_equal(np.concatenate(found), whole)


@pytest.mark.parametrize("group", [1, 2, 8])
@pytest.mark.parametrize("first", [0, 13])
@pytest.mark.parametrize("count", [1, 8, 37])
def test_maps(count, first, group):
    rng = np.random.default_rng(count)
    maps = Maps(0.5 * rng.standard_normal((count, 3, 3)), rng.standard_normal((count, 3)))
    whole, vector = apply_maps(maps, first, group), np.zeros(3)
    for matrix, constant, found in zip(*maps, whole, strict=True):
        vector = matrix @ vector + constant
        np.testing.assert_allclose(found, vector, rtol=1e-9, atol=1e-12)
    for size in (1, 2, 100):
        before, found = None, []
        for begin, end in chunks_of(count, first, group, size):
            places = compose_maps(Maps(maps.linear[begin:end], maps.constant[begin:end]), first + begin, group)
            vectors = scan_maps(places[-1], before)
            offsets, before = np.concatenate(vectors[:-1]), vectors[-1]
            found.append(in_a_row([place(offsets) for place in places], first + begin, group, end - begin))
        assert np.array_equal(np.concatenate(found), whole)


def test_sums_of_zeros_are_zeros_and_what_comes_first_is_kept():
    """With a tolerance of zero states must settle: a scan may not round where nothing is to be added."""
    rows = np.zeros((20, 2))
    rows[12] = 0.1, 1e-17
    sums = running_sums(rows, 3, 4)
    assert not sums[:12].any()
    assert (sums[12:] == rows[12]).all()


@pytest.mark.parametrize("slots", [1, 4, 16, 31, 32, 256, 25_600])
def test_groups_are_short(slots):
    group = group_length(slots)
    assert group & (group - 1) == 0
    assert 1 <= group <= max(1, slots**0.5 / 2)
    assert 2 ** doublings(slots) >= slots > (2 ** (doublings(slots) - 1) if slots > 1 else 0)
