"""A client of a cluster that is not there: it answers what a test says."""

from types import SimpleNamespace


class Clock:
    """Stands in for the module `time`: it moves when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


def worker(status="running", silent=0.0, involved=True, running=False, memory=0.5, cancelled=False):
    """A worker as the scheduler's answer has it."""
    return status, silent, involved, running, memory, cancelled


def view(workers, moves=0, waits=(), stranded="", patience=5.0):
    """The scheduler's answer to how its cluster is."""
    return {"moves": moves, "patience": patience, "workers": workers, "waits": list(waits), "stranded": stranded}


class ScriptedClient:
    """Answers with the views it is given, the last one repeating; an exception among them is raised.

    Attributes
    ----------
    status : str
        The client's status.
    asked : list of str
        Names of the functions that were run on the scheduler, besides the look, with their first argument.
    futures : dict
        What the graphs that are sent come to, by the beginning of a key.
    sent : list
        The graphs that were sent.
    """

    scatter = None

    def __init__(self, *views, threads=None):
        self.views, self.asked, self.sent, self.futures = list(views), [], [], {}
        self.extensions = {}
        self.status, self.threads = "running", threads or {"tcp://a:1": 2, "tcp://b:1": 1}

    def sync(self, call, callback_timeout):
        return call()

    def run_on_scheduler(self, function, *args):
        if function.__name__ != "look":
            self.asked.append((function.__name__, *args[:1]))
            return None
        answer = self.views.pop(0) if len(self.views) > 1 else self.views[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def nthreads(self):
        return self.threads

    def get(self, graph, keys, sync):
        assert not sync
        self.sent.append(graph)
        return [next((f for name, f in self.futures.items() if key.startswith(name)), ScriptedFuture()) for key in keys]


class ScriptedFuture:
    """A future whose waits end as they are told to: an exception is raised, anything else is the result."""

    def __init__(self, *results, waits=()):
        self.results, self.waits = list(results), list(waits)
        self.status, self.released, self.key = "finished", 0, "key"

    def exception(self, timeout):
        if self.waits and (outcome := self.waits.pop(0)) is not None:
            raise outcome

    def result(self, timeout):
        outcome = self.results.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def release(self):
        self.released += 1


def scheduler(workers=(), unrunnable=(), valid=(), moves=7, tasks=None):
    """A scheduler as far as functions see it that run there."""
    running = [ws for ws in workers if ws.status.name == "running"]
    return SimpleNamespace(
        workers={ws.address: ws for ws in workers},
        tasks=tasks or {},
        transition_counter=moves,
        unrunnable=list(unrunnable),
        running=running,
        valid_workers=lambda ts: set(valid),
    )
