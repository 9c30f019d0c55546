"""The Phi that chunks compute for the F-interval to their left, to be relaxed and restricted in one task."""

from contextlib import contextmanager

import pytest

from daskmgrit.graph.auto_chunks import ChunkPlan


@contextmanager
def without_ghosts():
    """Solve with tasks that relax, and others that restrict."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ChunkPlan, "has_ghosts", lambda self, hierarchy, level: False)
        yield


def assert_evaluations(result, expected, stages=(), finest=0):
    """Assert that a solve did the Phi of another on one chunk, and at most one F-interval more for each other chunk.

    Which levels have such ghosts depends on where its levels are gathered, and so on the cost of Phi. A step on a level
    counts as this many `stages`; levels finer than `finest` are left out.
    """
    ghosts, last = len(result.weights.chunks[0]) - 1, len(result.levels) - 1
    pairs = list(zip(result.phi_evaluations, expected.phi_evaluations, strict=True))
    for level, (found, least) in list(enumerate(pairs))[finest:]:
        m = -(-result.levels[level] // result.levels[level + 1]) if level < last else 0
        # An F-cycle comes to a level that often, and a nested guess once more.
        visits = (result.iterations + 1) * (level + 1)
        each = m * (stages[level] if stages else 1)
        assert least <= found <= least + visits * ghosts * each, level
