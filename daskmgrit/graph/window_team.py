"""Evaluation of a window's slots by several processes, each of which has the same window and its own slots.

Evaluations go from worker to worker, and count only for the states that the others have, to the bit.
"""

from __future__ import annotations

import concurrent.futures
import zlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from daskmgrit.graph.exchange import Gone, Room
from daskmgrit.graph.window_threads import WindowThreads
from daskmgrit.newton.evaluate import RawEvaluation, merged
from daskmgrit.recurrence.meter import Record
from daskmgrit.recurrence.propagator import Phi
from daskmgrit.utils.array_api import Array, to_host
from daskmgrit.utils.pickling import sendable

__all__ = ["Late", "Member", "Part", "Team", "Unlike"]

# A process is late that takes this many times as long as the one that waits, and that many seconds at least.
LONGER, LEAST = 10.0, 0.5


class Member(NamedTuple):
    """A process that takes part: its number, the address of its worker, and the threads that it evaluates on."""

    number: int
    address: str
    threads: int


class Unlike(Gone):
    """Processes have evaluated other states, if only in their last bits."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        super().__init__(f"processes {numbers} have other states")
        self.numbers = numbers


class Late(Gone):
    """A process takes much longer than this one."""

    def __init__(self, number: int) -> None:
        super().__init__(f"process {number} is late")
        self.number = number


@dataclass(frozen=True)
class Part:
    """The evaluations of one process: of which window, with the checksum of states, by runs of slots, and records."""

    place: tuple[int, int]
    mark: int
    rows: tuple[RawEvaluation, ...]
    records: tuple[Record, ...]


class _Request(NamedTuple):
    """A request of a sweep: each member with its slots, the own ones, what is to come from others, and the own time."""

    slots: list[tuple[Member, slice]]
    own: slice
    coming: dict[int, Future[Part]]
    place: tuple[int, int]
    states: _Marked
    done: Future[float]


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
    room : Room
        Where this process is given the evaluations of others.
    members : tuple of Member
        Who takes part.
    alone : bool, default False
        As of :class:`~daskmgrit.graph.window_threads.WindowThreads`.

    Attributes
    ----------
    cycle : int
        The sweep that asks.
    records : list of Record
        Those of all processes.
    """

    def __init__(self, phi: Phi, room: Room, members: tuple[Member, ...], alone: bool = False) -> None:
        self.room, self.members, self.cycle = room, members, 0
        (own,) = [member for member in members if member.number == self.room.member]
        self.records: list[Record] = []
        self._threads = WindowThreads(phi, own.threads, room.run, alone)
        self._others = [(member.number, member.address) for member in members if member != own]
        for other in self._others:
            # The leader is watched from before it said who takes part.
            if other[0]:
                room.watch(*other)
        self._requests = 0
        self._ahead: _Request | None = None
        self._now: _Request | None = None
        self._added = 0

    def _begin(self, cycle: int, begins: np.ndarray, lengths: np.ndarray) -> _Request:
        """Begin to evaluate, and to wait for what the others evaluate."""
        number, place = self._requests, (int(begins[0]), len(begins))
        self._requests += 1
        slots, mine, coming, states = _shares(self.members, len(begins)), slice(0, 0), {}, _Marked()
        done: Future[float] = Future()
        for member, own in slots:
            if member.number == self.room.member:
                mine = own

                def offer(found: list[tuple[RawEvaluation, Record]]) -> None:
                    if not found:
                        # The error is raised where the own evaluations are used: no wait before is without an end.
                        with suppress(InvalidStateError):
                            done.set_result(0.0)
                        return
                    rows, records = zip(*found, strict=True)
                    part = Part(place, states.mark, tuple(map(_sendable, merged(rows))), records)
                    self.room.send(self._others, str(number), part)
                    done.set_result(max(record.seconds for record in records))

                self._threads.start(cycle, begins[own], lengths[own], offer)
            else:
                coming[member.number] = self.room.wait(member.number, str(number))
        self._added = 0
        return _Request(slots, mine, coming, place, states, done)

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
            If a process does not take part any more, has other states, or is late.
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
            part = self._part(request, member)
            return part.place == request.place and part.mark == _Marked().add(states[slots, ...])

        for member, slots in request.slots:
            if member.number == self.room.member:
                yield from own
                continue
            if not is_like(member, slots):
                others = [each for each in request.slots if each[0].number != self.room.member]
                raise Unlike(tuple(each.number for each, slots in others if not is_like(each, slots)))
            part = self._part(request, member)
            self.records += part.records
            yield from part.rows

    def _part(self, request: _Request, member: Member) -> Part:
        """Wait for the evaluations of another process."""
        coming = request.coming[member.number]
        if request.own.stop and not coming.done():
            either: list[Future[Any]] = [coming, request.done]
            concurrent.futures.wait(either, return_when=FIRST_COMPLETED)
            if not coming.done():
                concurrent.futures.wait([coming], max(LEAST, LONGER * request.done.result()))
                if not coming.done():
                    raise Late(member.number)
        return coming.result()

    def close(self) -> None:
        """Give up what is not used."""
        self._threads.close()
        self.records += self._threads.records


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
