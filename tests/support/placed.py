"""A cluster that is not there: graphs as they would be sent to workers, computed in this process."""

import dask
from dask.local import get_sync

from daskmgrit.executors.local import LocalExecutor
from daskmgrit.graph.pickled_tasks import seal

# Tasks whose results are made to be sent: rows, shares of a coarse level, norms.
MESSAGES = ("edge", "part", "report", "residual", "final")


class PlacedExecutor(LocalExecutor):
    """Plans tasks on named workers and submits ahead, as a cluster's executor does, but computes when submitted.

    Parameters
    ----------
    threads : list of int
        Threads of each worker.

    Attributes
    ----------
    owners : dict
        The worker that each task was planned on, by key.
    moves : list of tuple of str
        A task, and one on another worker that it takes the result of.
    """

    ahead = True
    in_memory = True

    def __init__(self, threads):
        super().__init__("distributed", get_sync)
        self.threads = threads
        self.workers = [f"tcp://worker-{number}" for number in range(len(threads))]
        self.owners, self.moves = {}, []

    def submit(self, book, wanted):
        """Compute the graph in the form in which a scheduler gets it."""
        graph = book.graph()
        for layer in graph.layers.values():
            for key in layer if layer.annotations else ():
                assert layer.annotations["allow_other_workers"]
                (self.owners[key],) = layer.annotations["workers"]
        for name, parents in graph.dependencies.items():
            for parent in parents:
                here, there = self.owners.get(name), self.owners.get(parent)
                if here != there and None not in (here, there):
                    self.moves.append((name, parent))
        values = self._get(dict(seal(graph)), [task.key for task in wanted])
        return [self.put(value, task.key) for task, value in zip(wanted, values, strict=True)]

    def keep(self, array):
        """Compute the blocks of an array by the same scheduler."""
        with dask.config.set(scheduler="sync"):
            return array.persist()
