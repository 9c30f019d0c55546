"""Tasks of a parallel Newton solve on several processes, which hold the same window and share its evaluations.

The tasks of a round run at the same time, one on each process. They do the same sweeps, each task evaluates its slots,
and all get the evaluations of all, from worker to worker. The first of them, the leader, says who takes part: the work
of a process that does not come in time, or is lost, is done by the others. An error in any of them is that of the
leader, too, and so of the solve; but an error of Phi for a guess is a part of its evaluation.

Evaluations count only for the states that the others have, to the bit. A process that rounds otherwise begins again
with the leader's bits, and is done without if that happens again. One that takes much longer than the others, or never
ends, is done without in that round.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

from daskmgrit.graph.exchange import Gone, Room, Slot, exchange_here
from daskmgrit.graph.window_tasks import LATE, UNLIKE, Apart, Carrier, Share, Sweeping, Told
from daskmgrit.graph.window_team import Late, Member, Team, Unlike
from daskmgrit.newton.settings import NewtonSettings
from daskmgrit.recurrence.meter import Record
from daskmgrit.recurrence.propagator import Phi

__all__ = ["follow", "lead"]

# Seconds that the leader waits for others: at first; for those who came last time, at least and, where a sweep takes
# long, at most; and for the rest.
FIRST, AGAIN, LONGEST, OTHERS = 2.0, 0.5, 10.0, 0.1
# Seconds that the others wait for the leader.
LEADER = 2.0
# Times in a round that a process may have other bits, before it is done without.
TIMES = 2
# The key under which the leader says who takes part.
CREW = "crew"


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
    unlike, left_out, apart = Counter[int](), set[int](), set[Apart]()
    try:
        while not work.over:
            room, left = exchange.open(run, 0, (number, attempt), silence), work.left
            members: tuple[Member, ...] = (leader,)
            try:
                with room:
                    if not alone:
                        members = _gather(room, slot, work, leader, others, everyone, patience, left_out)
                    _sweep(work, Team(phi, room, members, alone=settings.exactly), records)
            except Unlike as error:
                unlike.update(error.numbers)
                left_out |= {each for each, times in unlike.items() if times >= TIMES}
                apart |= {Apart(each.address, UNLIKE) for each in members if unlike[each.number] >= TIMES}
            except Late as error:
                # It would be late again.
                left_out.add(error.number)
                apart |= {Apart(each.address, LATE) for each in members if each.number == error.number}
            except Gone:
                # Who fails at once may do so again.
                alone = attempt > 0 and work.left == left
            # Also those who came too late this time.
            others = tuple(sorted(room.notes((), 0.0).result()))
            attempt, patience = attempt + 1, AGAIN
    finally:
        exchange.end(run, 0, (number + 1,))
    return replace(work.share(records, others, exchange.address), apart=tuple(sorted(apart)))


def _gather(
    room: Room,
    slot: Slot,
    work: Sweeping,
    leader: Member,
    expected: tuple[int, ...],
    everyone: tuple[int, ...],
    patience: float,
    left_out: set[int],
) -> tuple[Member, ...]:
    """Wait for others, and tell those of them who take part: who came, and is not left out."""
    expected = tuple(each for each in expected if each not in left_out)
    hellos: dict[int, Hello] = slot.wait(room.notes(expected, max(patience, min(work.seconds, LONGEST))))
    if len(hellos) < len(everyone):
        hellos = slot.wait(room.notes(everyone, OTHERS))
    hellos = {each: hello for each, hello in hellos.items() if each not in left_out}
    members = (leader, *(Member(each, hellos[each].address, hellos[each].threads) for each in sorted(hellos)))
    first = not room.number[1]
    for each, hello in hellos.items():
        # After a failure, whatever it was, all begin with the leader's bits.
        known = first and hello.sweeps == work.carrier.sweeps
        crew = Crew(members, work.left, None if known else work.carrier)
        room.send([(each, hello.address)], CREW, crew)
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
    work, exchange = Sweeping(phi, settings, before, 0, False, reports=False), exchange_here()
    slot, attempt = Slot(), 0
    over = head.over(settings.steps) if isinstance(head, Carrier) else head.over
    while not over:
        crew: Crew | None = None
        try:
            with exchange.open(run, member, (number, attempt), silence) as room:
                hello = Hello(exchange.address, threads, work.carrier.sweeps)
                # Its task may be behind this one, where there is one slot for both.
                patience = OTHERS if head.address == exchange.address else LEADER
                if attempt:
                    # It has not noticed the failure before its own slots are done.
                    patience = silence
                room.watch(0, head.address, hello, patience)
                crew = slot.wait(room.wait(0, CREW))
                work.carrier, work.left = crew.carrier or work.carrier, crew.left
                _sweep(work, Team(phi, room, crew.members, alone=settings.exactly), [])
            break
        except Gone:
            if crew is None:
                break
            attempt += 1
    return Share(work.carrier)
