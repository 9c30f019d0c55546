"""The costs of a cluster in addition to Phi."""

from __future__ import annotations

from dataclasses import dataclass

from daskmgrit.utils.validation import integer_option, number_option

__all__ = ["Machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """The overheads of a cluster.

    Defaults were measured on two quiet cores with everything on one machine (``python -m benchmarks scale`` and
    ``newton``); ``daskmgrit plan --measure`` measures them on a cluster.

    Parameters
    ----------
    workers : int
        Worker processes.
    threads : int, default 1
        Threads of each.
    scheduler : float
        Seconds of the scheduler for each task, one after another.
    worker : float
        Seconds of a worker process for each task besides running it, one after another.
    client : float
        Seconds of the client to build and send each task.
    latency : float
        Seconds of a message between scheduler and worker.
    transfer : float
        Seconds to fetch a result from another worker, besides its bytes.
    bandwidth : float
        Bytes per second between workers.
    cores : int, optional
        Cores that client, scheduler and workers share, where they are all on one machine. By default each has its
        own. Phi itself is taken to run undisturbed.

    Raises
    ------
    ValueError
        If a value is out of range.
    """

    workers: int
    threads: int = 1
    scheduler: float = 0.9e-3
    worker: float = 1.8e-3
    client: float = 0.1e-3
    latency: float = 1.6e-3
    transfer: float = 2e-3
    bandwidth: float = 1e9
    cores: int | None = None

    def __post_init__(self) -> None:
        integer_option("workers", self.workers, 1, "it is the number of worker processes")
        integer_option("threads", self.threads, 1, "it is the number of threads of each worker")
        for name in ("scheduler", "worker", "client", "latency", "transfer"):
            number_option(name, getattr(self, name), "it is a time in seconds", least=0)
        number_option("bandwidth", self.bandwidth, "it is in bytes per second", above=0)
        if self.cores is not None:
            integer_option("cores", self.cores, 1, "it is the number of cores that all processes share")

    @property
    def slots(self) -> int:
        """Threads of all workers."""
        return self.workers * self.threads

    @property
    def in_words(self) -> str:
        """The numbers of threads and of processes, in words."""
        slots, workers = self.slots, self.workers
        return f"{slots} thread{'s' * (slots > 1)} in {workers} worker process{'es' * (workers > 1)}"

    @property
    def hosts(self) -> int:
        """Machines that handle their own tasks: if cores are shared, the cost of tasks is shared, too."""
        return 1 if self.cores else self.workers
