"""A discrete-event replay of a traced solve: every task, message and transfer, one by one."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.oracle.trace import Submitted, Task, Trace, Waited
from daskmgrit.planning.cost import PhiCost
from daskmgrit.planning.machine import Machine

__all__ = ["Replay", "replay"]


@dataclass(frozen=True, slots=True)
class Replay:
    """The course of a solve.

    Attributes
    ----------
    setup : float
        Seconds up to the residual of the initial guess.
    cycles : tuple of float
        Seconds of each cycle.
    tasks : int
        Tasks of the solve.
    moved : float
        Bytes between workers.
    scheduler_busy, worker_busy : float
        Share of the time that the scheduler, and the busiest worker's process, spend on tasks' overheads.
    phi_share : float
        Share of all threads' time that is inside Phi.
    """

    setup: float
    cycles: tuple[float, ...]
    tasks: int
    moved: float
    scheduler_busy: float
    worker_busy: float
    phi_share: float

    @property
    def cycle(self) -> float:
        """Seconds of a cycle in mid-solve: the mean without the first, which fills the pipeline, and the last."""
        inner = self.cycles[1:-1] or self.cycles
        return sum(inner) / len(inner)

    def total(self, iterations: int) -> float:
        """Return the seconds of a solve with this number of cycles."""
        if iterations <= 0:
            return self.setup
        ends = self.cycles[0] + self.cycles[-1] if len(self.cycles) > 1 else self.cycles[0]
        return self.setup + ends + self.cycle * (iterations - min(2, len(self.cycles)))


class _Cpu:
    """Cores that processes share: an operation needs its process and a core."""

    def __init__(self, cores: int | None) -> None:
        self.free = [0.0] * cores if cores else []
        self.process: defaultdict[Any, float] = defaultdict(float)
        self.busy: defaultdict[Any, float] = defaultdict(float)

    def run(self, name: Any, now: float, seconds: float) -> float:
        """Return the time at which an operation of this process is done if it may begin now."""
        start = max(now, self.process[name])
        if self.free and seconds > 0:
            # The core that was busy last, of those that are free by then.
            core = max((free for free in self.free if free <= start), default=min(self.free))
            start = max(start, core)
            self.free[self.free.index(core)] = start + seconds
        self.process[name] = start + seconds
        self.busy[name] += seconds
        return start + seconds


class _Run:
    def __init__(self, trace: Trace, machine: Machine, cost: PhiCost, row_bytes: int) -> None:
        self.machine, self.cost, self.row_bytes = machine, cost, row_bytes
        self.program = deque(trace.events)
        self.cpu = _Cpu(machine.cores)
        self.clock = itertools.count()
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.tasks: dict[str, Task] = {}
        self.missing: dict[str, int] = {}
        self.children: defaultdict[str, list[str]] = defaultdict(list)
        self.known: set[str] = set()
        self.idle = [machine.threads] * machine.workers
        self.queues: list[list[tuple[tuple[int, ...], str]]] = [[] for _ in range(machine.workers)]
        self.copies: dict[tuple[str, int], float] = {}
        self.waiting: Waited | None = None
        self.settled: dict[int, float] = {}
        self.moved = self.phi = 0.0

    def at(self, when: float, what: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self.events, (when, next(self.clock), what, args))

    def go(self) -> float:
        self.at(0.0, self.client)
        now = 0.0
        while self.events:
            now, _, what, args = heapq.heappop(self.events)
            what(now, *args)
        return now

    def client(self, now: float) -> None:
        """Take the client's next action."""
        while self.program:
            event = self.program[0]
            if isinstance(event, Waited):
                if event.key not in self.known:
                    self.waiting = event
                    return
                self.settled.setdefault(event.cycle, now)
                self.program.popleft()
                continue
            self.program.popleft()
            now = self.cpu.run("client", now, len(event.tasks) * self.machine.client)
            self.at(now + self.machine.latency, self.graph, event)
            self.at(now, self.client)
            return

    def graph(self, now: float, event: Submitted) -> None:
        """A graph reaches the scheduler."""
        # Dask's scheduler sends the tasks that can run in the order of their priority.
        for task in sorted(event.tasks, key=lambda task: task.rank):
            self.tasks[task.key] = task
            needs = [key for key in task.needs if key not in self.known]
            self.missing[task.key] = len(needs)
            for key in needs:
                self.children[key].append(task.key)
            if not needs:
                self.at(now, self.dispatch, task.key)

    def dispatch(self, now: float, key: str) -> None:
        """The scheduler sends a task to its worker."""
        # A task costs the scheduler half on its way out and half on its way back.
        done = self.cpu.run("scheduler", now, self.machine.scheduler / 2)
        self.at(done + self.machine.latency, self.arrive, key)

    def arrive(self, now: float, key: str) -> None:
        """A worker gets a task, and fetches what it needs from others."""
        task, machine = self.tasks[key], self.machine
        done = self.cpu.run(task.owner, now, machine.worker / 2)
        size, there = 0.0, done
        fetched: list[tuple[str, int]] = []
        for need in task.needs:
            other = self.tasks[need]
            if other.owner == task.owner:
                continue
            name = (need, task.owner)
            if name in self.copies:
                there = max(there, self.copies[name])
            else:
                size += other.rows * self.row_bytes
                fetched.append(name)
        if fetched:
            there = max(there, done + machine.transfer + size / machine.bandwidth)
            self.moved += size
            self.copies.update(dict.fromkeys(fetched, there))
        done = there
        self.at(done, self.ready, key)

    def ready(self, now: float, key: str) -> None:
        owner = self.tasks[key].owner
        heapq.heappush(self.queues[owner], (self.tasks[key].rank, key))
        self.start(now, owner)

    def start(self, now: float, owner: int) -> None:
        """Give waiting tasks to idle threads."""
        while self.idle[owner] and self.queues[owner]:
            _, key = heapq.heappop(self.queues[owner])
            self.idle[owner] -= 1
            spent = sum(self.cost.seconds([rows], level) for level, rows in self.tasks[key].calls)
            self.phi += spent
            self.at(now + spent, self.finish, key)

    def finish(self, now: float, key: str) -> None:
        owner = self.tasks[key].owner
        self.idle[owner] += 1
        self.start(now, owner)
        done = self.cpu.run(owner, now, self.machine.worker / 2)
        self.at(done + self.machine.latency, self.report, key)

    def report(self, now: float, key: str) -> None:
        """The scheduler receives the report that a task is done."""
        done = self.cpu.run("scheduler", now, self.machine.scheduler / 2)
        self.at(done, self.release, key)

    def release(self, now: float, key: str) -> None:
        self.known.add(key)
        for child in sorted(self.children.pop(key, ()), key=lambda child: self.tasks[child].rank):
            self.missing[child] -= 1
            if not self.missing[child]:
                self.dispatch(now, child)
        if self.waiting is not None and self.waiting.key == key:
            # The client is told, and fetches the result.
            self.waiting = None
            self.at(now + 2 * self.machine.latency, self.client)


def replay(trace: Trace, machine: Machine, cost: PhiCost, row_bytes: int = 0) -> Replay:
    """Replay a trace.

    The scheduler handles one message after another, as does each worker's process; a worker's threads run tasks side by
    side, in the order of their submission where they have to queue.

    Parameters
    ----------
    trace : Trace
        Submissions and waits of the client.
    machine : Machine
        Overheads. Its workers and threads must be those of the trace.
    cost : PhiCost
        Cost of Phi.
    row_bytes : int
        Bytes of a state.
    """
    run = _Run(trace, machine, cost, row_bytes)
    end = run.go()
    ends = [run.settled[cycle] for cycle in sorted(run.settled)]
    busy = max(seconds for name, seconds in run.cpu.busy.items() if isinstance(name, int))
    return Replay(
        setup=ends[0],
        cycles=tuple(b - a for a, b in itertools.pairwise(ends)),
        tasks=len(run.tasks),
        moved=run.moved,
        scheduler_busy=run.cpu.busy["scheduler"] / end,
        worker_busy=busy / end,
        phi_share=run.phi / end / machine.slots,
    )
