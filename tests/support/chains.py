"""The critical path, counted in the graphs that the scheduler ran."""

from dask.callbacks import Callback


class Chains(Callback):
    """Longest chain of phi calls behind every task, from the graphs that the scheduler ran."""

    def __init__(self, phi):
        super().__init__(start=self.begin, pretask=self.before, posttask=self.after)
        self.phi, self.depth = phi, {}

    def begin(self, graph):
        self.dependencies = {key: getattr(task, "dependencies", ()) for key, task in graph.items()}

    def before(self, key, graph, state):
        self.phi.calls = 0

    def after(self, key, value, graph, state, worker):
        behind = max((self.depth.get(name, 0) for name in self.dependencies[key]), default=0)
        self.depth[key] = max(self.depth.get(key, 0), behind + self.phi.calls)
