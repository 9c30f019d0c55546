"""One cluster for all tests of this tier."""

from tests.support.cluster import client, cluster, measured

__all__ = ["client", "cluster", "measured"]
