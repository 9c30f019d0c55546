"""The best plan by the replay of every task, among those that are near the best stage by stage."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, replace

from daskmgrit.plan.machine import Machine
from daskmgrit.plan.replay import Replay, replay
from daskmgrit.plan.search import Planner
from daskmgrit.plan.setting import Plan
from daskmgrit.plan.trace import trace

__all__ = ["Exact", "Predicted"]

# A plan of more tasks per cycle is not replayed one by one.
MOST_TASKS = 3000
# Stage by stage, a plan is taken to be at most so many times too long or too short, compared with another.
NEAR = 1.1
# By so much break-even may then be too high.
AROUND = 1.3


@dataclass(frozen=True, slots=True)
class Predicted:
    """A plan with what it takes: by its replay, or stage by stage where there is none."""

    plan: Plan
    replay: Replay | None

    @property
    def cycles(self) -> float:
        """Cycles; in a replay a part of one is done as a whole one."""
        return math.ceil(self.plan.iterations - 0.01) if self.replay else self.plan.iterations

    @property
    def cycle(self) -> float:
        """Seconds of a cycle."""
        return self.replay.cycle if self.replay else self.plan.prediction.cycle

    @property
    def seconds(self) -> float:
        """Seconds of the solve."""
        return self.replay.total(int(self.cycles)) if self.replay else self.plan.seconds

    @property
    def scheduler_busy(self) -> float:
        """Share of the time that the scheduler spends on tasks."""
        return self.replay.scheduler_busy if self.replay else self.plan.prediction.scheduler_busy

    @property
    def pays_up_to(self) -> int:
        """The largest number of cycles with which it would beat serial training; 0 if one is too many."""
        rest = self.seconds - self.cycles * self.cycle
        return max(0, math.ceil((self.plan.serial - rest) / self.cycle) - 1)


class Exact:
    """Replays plans of a planner."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self._known: dict[object, Predicted] = {}

    def best(self, machine: Machine) -> Predicted:
        """Return the best plan for a cluster or a part of it."""
        first = self.planner.best(machine)
        if first.prediction.tasks > 4 * MOST_TASKS:
            # None that is near has so few tasks that it could be replayed.
            return self.predicted(first)
        best: Predicted | None = None
        for plan in self.planner.candidates(machine, NEAR):
            if best is None or plan.seconds < NEAR * best.seconds:
                tried = self.predicted(plan)
                if best is None or tried.seconds < best.seconds:
                    best = tried
        assert best is not None
        return best

    def predicted(self, plan: Plan) -> Predicted:
        """Replay a plan, unless it has too many tasks."""
        if plan.setting not in self._known:
            small = plan.prediction.tasks <= MOST_TASKS
            self._known[plan.setting] = Predicted(plan, self._replay(plan) if small else None)
        return self._known[plan.setting]

    def break_even(self, machine: Machine) -> int | None:
        """Return the least number of worker threads with which MGRIT beats serial training; None if none does.

        Where that is stage by stage, the replay is near; there it decides.
        """
        guess = self.planner.break_even(machine)
        if guess is None or self.planner.best(replace(machine, workers=guess)).prediction.tasks > MOST_TASKS:
            return guess and guess * machine.threads

        def pays(workers: int) -> bool:
            plans = self.planner.candidates(replace(machine, workers=workers), NEAR)
            serial = plans[0].serial
            if not serial / NEAR < plans[0].seconds < serial * NEAR:
                return plans[0].seconds < serial
            return any(self.predicted(plan).seconds < serial for plan in plans)

        # More workers may be of no use for a while.
        tried = self.planner.workers(machine, int(guess / AROUND), 4 * guess)
        place = bisect.bisect_left(tried, True, key=pays)
        return (tried[place] if place < len(tried) else guess) * machine.threads

    def on_all(self, best: Predicted, machine: Machine) -> Predicted:
        """Predict the same setting where the solve is given all workers of a cluster."""
        plan = best.plan
        # More than one for every other chunk's task make no difference.
        workers = min(machine.workers, max(plan.machine.workers, 4 * plan.chunks))
        if workers == plan.machine.workers:
            return best
        whole = self.planner.plan(
            plan.coarsening, plan.hierarchy.cycle, replace(plan.machine, workers=workers), plan.chunks
        )
        return self.predicted(whole) if best.replay else Predicted(whole, None)

    def _replay(self, plan: Plan) -> Replay:
        machine, cost, row_bytes = plan.machine, self.planner.cost(plan.coarsening), self.planner.row_bytes
        traced = trace(
            plan.hierarchy,
            [machine.threads] * machine.workers,
            cost,
            plan.chunks,
            cycles=4,
            row_bytes=row_bytes,
            hosts=machine.hosts,
        )
        return replay(traced, machine, cost, row_bytes)
