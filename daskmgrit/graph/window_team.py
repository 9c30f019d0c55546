"""Tasks of a parallel Newton solve on several processes, which hold the same window and share its evaluations.

The tasks of a round run at the same time, one on each process. They do the same sweeps, each task evaluates its slots,
and all get the evaluations of all, from worker to worker. The first of them, the leader, says who takes part: the work
of a process that does not come in time, or is lost, is done by the others. An error in any of them is that of the
leader, too, and so of the solve; but an error of Phi for a guess is a part of its evaluation.

Evaluations count only for the states that the others have, to the bit. A process that rounds otherwise begins again
with the leader's bits, and is done without if that happens again.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from daskmgrit.graph.exchange import Gone, Room, Slot, exchange_here
from daskmgrit.graph.window_tasks import Carrier, Share, Sweeping, Told
from daskmgrit.graph.window_threads import WindowThreads
from daskmgrit.newton.evaluate import RawEvaluation, merged
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.recurrence.meter import Record
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, to_host
from daskmgrit.utils.pickling import sendable

__all__ = ["Team", "follow", "lead"]

# Seconds that the leader waits for others: at first; for those who came last time, at least and, where a sweep takes
# long, at most; and for the rest.
FIRST, AGAIN, LONGEST, OTHERS = 2.0, 0.5, 10.0, 0.1
# Seconds that the others wait for the leader.
LEADER = 2.0
# Times in a round that a process may have other bits, before it is done without.
TIMES = 2


class Member(NamedTuple):
    """A process that takes part: its number, the address of its worker, and the threads that it evaluates on."""

    number: int
    address: str
    threads: int


class Hello(NamedTuple):
    """A process offers to take part: its worker, threads, and the number of sweeps after which it knows the window."""

    address: str
    threads: int
    sweeps: int


@dataclass(frozen=True)
class Crew:
    """Who takes part, how many sweeps are left to do, and the state of the solve for those who do not know it."""

    members: tuple[Member, ...]
    left: int
    carrier: Carrier | None


class Unlike(Gone):
    """Processes have evaluated other states, if only in their last bits."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        super().__init__(f"processes {numbers} have other states")
        self.numbers = numbers


@dataclass(frozen=True)
class Part:
    """The evaluations of one process: of which window, with the checksum of states, by runs of slots, and records."""

    place: tuple[int, int]
    mark: int
    rows: tuple[RawEvaluation, ...]
    records: tuple[Record, ...]


class _Request(NamedTuple):
    """A request of a sweep: each member with its slots, the own ones, and what is to come from others."""

    slots: list[tuple[Member, slice]]
    own: slice
    coming: dict[int, Future[Part]]
    place: tuple[int, int]
    states: _Marked


def _sendable(rows: RawEvaluation) -> RawEvaluation:
    return rows._replace(errors=tuple((row, sendable(error)) for row, error in rows.errors)) if rows.errors else rows


class _Marked:
    """The checksum of the bits of states that are added one after another."""

    def __init__(self) -> None:
        self.mark = 0

    def add(self, rows: Array) -> int:
        self.mark = zlib.crc32(np.ascontiguousarray(to_host(rows)).view(np.uint8).data, self.mark)
        return self.mark


class Team:
    """Evaluates the slots of successive windows together with other processes.

    Parameters
    ----------
    phi : callable
        The propagator.
    run : str
        Token of the solve.
    room : Room
        Where this process offers its evaluations.
    members : tuple of Member
        Who takes part.
    number : int
        The number of this process.
    silence : float
        Seconds to wait for a worker that does not answer.

    Attributes
    ----------
    cycle : int
        The sweep that asks.
    records : list of Record
        Those of all processes.
    """

    def __init__(
        self, phi: Phi, run: str, room: Room, members: tuple[Member, ...], number: int, silence: float
    ) -> None:
        self.silence = silence
        self.run, self.room, self.members, self.number, self.cycle = run, room, members, number, 0
        (own,) = [member for member in members if member.number == number]
        self.records: list[Record] = []
        self._threads = WindowThreads(phi, own.threads, run)
        self._requests = 0
        self._ahead: _Request | None = None
        self._now: _Request | None = None
        self._added = 0

    def _begin(self, cycle: int, begins: np.ndarray, lengths: np.ndarray) -> _Request:
        """Begin to evaluate, and ask the others for what they evaluate."""
        number, place = self._requests, (int(begins[0]), len(begins))
        self._requests += 1
        slots, mine, coming, states = _shares(self.members, len(begins)), slice(0, 0), {}, _Marked()
        for member, own in slots:
            if member.number == self.number:
                mine = own

                def offer(found: list[tuple[RawEvaluation, Record]]) -> None:
                    rows, records = zip(*found, strict=True)
                    part = Part(place, states.mark, tuple(map(_sendable, merged(rows))), records)
                    self.room.offer(str(number), part, len(self.members) - 1)

                self._threads.start(cycle, begins[own], lengths[own], offer)
            else:
                asked = _team(self.run, member.number), self.room.number, str(number)
                ask = self.room.exchange.ask
                coming[member.number] = ask(member.address, *asked, patience=OTHERS, silence=self.silence)
        self._added = 0
        return _Request(slots, mine, coming, place, states)

    def begin(self, begins: np.ndarray, lengths: np.ndarray) -> bool:
        """Tell of the next window's slots; their states are to be added one after another."""
        self._ahead = self._begin(self.cycle + 1, begins, lengths)
        return True

    def add(self, states: Array) -> None:
        """Add the states where the next slots begin."""
        request, first = self._ahead or self._now, self._added
        assert request is not None
        self._added += int(states.shape[0])
        lo, hi = max(request.own.start, first) - first, min(request.own.stop, self._added) - first
        if lo < hi:
            request.states.add(states[lo:hi, ...])
            self._threads.add(states[lo:hi, ...])

    def end(self) -> None:
        """Let the threads begin."""
        self._threads.end()

    def take(self, states: Array, begins: np.ndarray, lengths: np.ndarray) -> Iterator[RawEvaluation]:
        """Take the steps of each slot; parameters are those of :func:`daskmgrit.newton.evaluate.evaluate`.

        Raises
        ------
        Gone
            If a process does not take part any more, or has other states.
        """
        self._now, self._ahead = self._ahead, None
        if self._now is None:
            self._now = self._begin(self.cycle, begins, lengths)
            self.add(states)
        own: slice = self._now.own
        found: Iterator[RawEvaluation] = iter(())
        if own.stop:
            found = self._threads.take(states[own, ...], begins[own], lengths[own])
        return self._results(self._now, found, states)

    def _results(self, request: _Request, own: Iterator[RawEvaluation], states: Array) -> Iterator[RawEvaluation]:
        def is_like(member: Member, slots: slice) -> bool:
            part = request.coming[member.number].result()
            return part.place == request.place and part.mark == _Marked().add(states[slots, ...])

        for member, slots in request.slots:
            if member.number == self.number:
                yield from own
                continue
            if not is_like(member, slots):
                others = [each for each in request.slots if each[0].number != self.number]
                raise Unlike(tuple(each.number for each, slots in others if not is_like(each, slots)))
            part = request.coming[member.number].result()
            self.records += part.records
            yield from part.rows

    def close(self) -> None:
        """Give up what is not used."""
        self._threads.close()
        self.records += self._threads.records
        for request in (self._now, self._ahead):
            for coming in request.coming.values() if request is not None else ():
                coming.cancel()


def _team(run: str, member: int) -> str:
    """Return the name of a process in the exchange."""
    return f"{run}-{member}"


def _shares(members: tuple[Member, ...], count: int) -> list[tuple[Member, slice]]:
    """Return the slots of each member that has some, in proportion to threads."""
    total, before = sum(member.threads for member in members), 0
    found = []
    for member in members:
        # Rounded up, so that the first have most where there are too few.
        lo, hi = -(-before * count // total), -(-(before + member.threads) * count // total)
        before += member.threads
        if lo < hi:
            found.append((member, slice(lo, hi)))
    return found


def lead(
    phi: Phi,
    settings: NewtonSettings,
    before: Carrier | Share,
    count: int,
    number: int,
    threads: tuple[int, ...],
    run: str,
    keep: bool,
    silence: float,
) -> Share:
    """Sweep a number of times with the others that come; without them where they are lost.

    Parameters
    ----------
    phi, settings, before, count, run, keep
        As in :func:`daskmgrit.graph.window_tasks.sweeps`.
    number : int
        The number of the round.
    threads : tuple of int
        Threads of each process.
    silence : float
        Seconds to wait for a worker that does not answer.
    """
    work, exchange = Sweeping(phi, settings, before, count, keep), exchange_here()
    leader, records = Member(0, exchange.address, threads[0]), list[Record]()
    everyone = tuple(range(1, len(threads)))
    others, patience = (before.others, AGAIN) if isinstance(before, Share) else (everyone, FIRST)
    slot, attempt, alone = Slot(), 0, False
    unlike, apart = Counter[int](), dict[int, str]()
    try:
        while not work.over:
            room, left = exchange.open(_team(run, 0), (number, attempt)), work.left
            members: tuple[Member, ...] = (leader,)
            try:
                if not alone:
                    members = _gather(room, slot, work, leader, others, everyone, patience, tuple(apart))
                _sweep(work, Team(phi, run, room, members, 0, silence), records)
            except Unlike as error:
                unlike.update(error.numbers)
                apart |= {each.number: each.address for each in members if unlike[each.number] >= TIMES}
            except Gone:
                # Who fails at once may do so again.
                alone = attempt > 0 and work.left == left
            except Exception as error:
                room.close(error)
                raise
            finally:
                room.close()
            # Also those who came too late this time.
            others = tuple(sorted(room.notes((), 0.0).result()))
            attempt, patience = attempt + 1, AGAIN
    finally:
        exchange.end(_team(run, 0), (number + 1,))
    return replace(work.share(records, others, exchange.address), apart=tuple(apart.values()))


def _gather(
    room: Room,
    slot: Slot,
    work: Sweeping,
    leader: Member,
    expected: tuple[int, ...],
    everyone: tuple[int, ...],
    patience: float,
    apart: tuple[int, ...],
) -> tuple[Member, ...]:
    """Wait for others, and tell all of them who takes part: those who came, without those apart."""
    hellos: dict[int, Hello] = slot.wait(room.notes(expected, max(patience, min(work.seconds, LONGEST))))
    if len(hellos) < len(everyone):
        hellos = slot.wait(room.notes(everyone, OTHERS))
    for each in apart:
        hellos.pop(each, None)
    members = (leader, *(Member(each, hellos[each].address, hellos[each].threads) for each in sorted(hellos)))
    first = not room.number[1]
    for each, hello in hellos.items():
        # After a failure, whatever it was, all begin with the leader's bits.
        known = first and hello.sweeps == work.carrier.sweeps
        room.offer(f"crew-{each}-{hello.address}", Crew(members, work.left, None if known else work.carrier), 1)
    return members


def _sweep(work: Sweeping, team: Team, records: list[Record]) -> None:
    try:
        work.go_on(team)
    finally:
        team.close()
        records += team.records


def follow(
    phi: Phi,
    settings: NewtonSettings,
    before: Carrier | Share,
    head: Carrier | Told,
    number: int,
    member: int,
    threads: int,
    run: str,
    silence: float,
) -> Share:
    """Take part in the sweeps of a round, if its leader is there.

    Parameters
    ----------
    phi, settings, number, run, silence
        As in :func:`lead`.
    before : Carrier or Share
        Where the solve stood when this process took part last.
    head : Carrier or Told
        Where it stands.
    member : int
        The number of this process.
    threads : int
        Its threads.
    """
    work, exchange = Sweeping(phi, settings, before, 0, False), exchange_here()
    slot, attempt = Slot(), 0
    over = head.over(settings.steps) if isinstance(head, Carrier) else head.over
    while not over:
        room = exchange.open(_team(run, member), (number, attempt))
        try:
            hello = member, Hello(exchange.address, threads, work.carrier.sweeps)
            # Its task may be behind this one, where there is one slot for both.
            patience = OTHERS if head.address == exchange.address else LEADER
            if attempt:
                # It has not noticed the failure before its own slots are done.
                patience = silence
            asked = _team(run, 0), room.number, f"crew-{member}-{exchange.address}"
            coming = exchange.ask(head.address, *asked, hello, patience, silence)
            crew: Crew = slot.wait(coming)
            work.carrier, work.left = crew.carrier or work.carrier, crew.left
            try:
                _sweep(work, Team(phi, run, room, crew.members, member, silence), [])
                break
            except Gone:
                attempt += 1
        except Gone:
            break
        except Exception as error:
            room.close(error)
            raise
        finally:
            room.close()
    return Share(work.carrier)
