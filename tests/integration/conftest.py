"""One cluster for all tests of this tier."""

from tests.support.cluster import client, cluster

__all__ = ["client", "cluster"]
