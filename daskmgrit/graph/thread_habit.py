"""The number of threads on which a window's slots are evaluated: that which was quickest."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass, field

__all__ = ["Habit", "habit_of"]

# Seconds of an evaluation up to which fewer threads are tried at once: Phi may be a matter of microseconds.
SHORT = 0.02
# Evaluations before the first trial: the very first is slower.
FIRST = 2
# A single trial that takes this many times as long is not believed.
DISTURBED = 2.5
# The part of a solve's time that evaluations may take on a number of threads that is slower.
SPENT = 0.01
# Solves whose habit is remembered.
REMEMBERED = 64
# Evaluations on each number of threads that are remembered of a solve.
REMEMBERED_CALLS = 3

_lock = threading.Lock()
_habits: OrderedDict[str, Habit] = OrderedDict()


@dataclass(slots=True)
class Habit:
    """Seconds per slot of a solve's last evaluations, by the number of threads.

    A Phi of microseconds is quicker in one call, which holds the interpreter once; one that waits, on all threads. All
    give the same bits. Half and twice the number of threads are tried, and again when what they cost more is a small
    part of the time since. The minimum of a few measurements counts: a single one may have waited for something else.
    """

    number: int | None = None
    calls: int = 0
    trial: int = -2
    seconds: dict[int, deque[float]] = field(default_factory=dict)
    tried: dict[int, int] = field(default_factory=dict)

    def threads(self, slots: int, most: int) -> int:
        """Return the number of threads for the next evaluation of that many slots."""
        here = most if self.number is None else min(self.number, most)
        # An evaluation may begin before the time of the one before it is known.
        if here not in self.seconds or self.calls < max(FIRST, self.trial + 2):
            return here
        now = min(self.seconds[here])
        for other in {(here + 1) // 2, min(2 * here, most)} - {here}:
            known = self.seconds.get(other, ())
            # Half the threads take twice as long at most: more is a disturbance.
            if not known or (len(known) == 1 and known[0] > DISTURBED * now):
                passed, more = math.inf if slots * now < SHORT else self.calls, now
            else:
                passed, more = self.calls - self.tried[other], min(min(known) - now, now)
            if passed * now * SPENT >= more:
                self.trial = self.calls
                return other
        return here

    def note(self, number: int, seconds: float, slots: int) -> None:
        """Remember the time of an evaluation on a number of threads."""
        self.calls += 1
        self.tried[number] = self.calls
        self.seconds.setdefault(number, deque(maxlen=REMEMBERED_CALLS)).append(seconds / slots)
        now = self.seconds.get(self.number or number)
        if self.number is None or now is None or min(self.seconds[number]) < min(now):
            self.number = number


def habit_of(run: str) -> Habit:
    """Return the habit of a solve, by its token."""
    with _lock:
        habit = _habits.setdefault(run, Habit())
        _habits.move_to_end(run)
        if len(_habits) > REMEMBERED:
            _habits.popitem(last=False)
    return habit
