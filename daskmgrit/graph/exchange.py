"""Values that tasks which run at the same time on several workers give each other, without the scheduler.

A task opens a room on its worker. Others, who know that it is open, send values there over the connections of their
workers, one message for each value. The task waits for them there, and watches the rooms of the others: a wait ends
also when a room that is watched is closed, and when its worker is lost.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle

from daskmgrit.utils.pickling import sendable

__all__ = ["Exchange", "Gone", "Room", "Slot", "exchange_here"]

# The names under which workers take values, and answer who watches a room.
GIVE, WATCH = "daskmgrit_give", "daskmgrit_watch"
# Seconds after which a worker says that a room is not there yet, or is still open; and in which it can be reached.
TURN, CONNECT = 2.0, 5.0
# Seconds that a task waits for others in its slot of the worker.
PROMPT = 0.05
# Seconds until a worker that has never exchanged anything is asked again.
AGAIN = 0.5
# Seconds in which the last values of a task that has ended come: they may have a connection of their own.
LAST = 0.5
# Seconds for which others are told with what error a task ended.
KEPT = 60.0
# Tasks of which a worker remembers that a room was closed: a number for each solve and process.
REMEMBERED = 64

CLOSING = "the worker is closing"

_lock = threading.Lock()
_exchanges: WeakKeyDictionary[Any, Exchange] = WeakKeyDictionary()


class Gone(Exception):
    """A value will not come: its worker is lost, or its task has ended or did not begin."""


def exchange_here() -> Exchange:
    """Return the exchange of the worker that runs this task."""
    from distributed import get_worker

    worker = get_worker()
    with _lock:
        if worker not in _exchanges:
            _exchanges[worker] = Exchange(worker)
        return _exchanges[worker]


class Slot:
    """The slot of a task on its worker, which it leaves where those that it waits for may be queueing for one, too."""

    def __init__(self) -> None:
        self._left = False

    def wait(self, future: Future[Any]) -> Any:
        """Return a future's result."""
        if not self._left and not concurrent.futures.wait([future], PROMPT).done:
            from distributed import secede

            # A worker may have its tasks run by another kind of executor, which has no slots to leave.
            with suppress(AttributeError, KeyError, ValueError):
                secede()
            self._left = True
        return future.result()


class _Changes:
    """Wakes the coroutines of one event loop that wait for a change."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, end: float) -> bool:
        """Wait for a change; return False if there is none until `end`, by ``time.monotonic``."""
        try:
            await asyncio.wait_for(self._next.wait(), max(0.0, end - time.monotonic()))
        except TimeoutError:
            return False
        return True


class Room:
    """The values that others give a task while it runs.

    Parameters
    ----------
    exchange : Exchange
        That of its worker.
    run, member : str, int
        The token of the solve, and the number of the process.
    number : tuple of int
        The number of the room, the same for those who give each other values; numbers increase.
    silence : float
        Seconds to wait for any answer of another worker.
    """

    def __init__(self, exchange: Exchange, run: str, member: int, number: tuple[int, ...], silence: float) -> None:
        self.exchange, self.run, self.member, self.number, self.silence = exchange, run, member, number, silence
        self.closed = self.left = False
        self.failed: Exception | None = None
        self.changes = _Changes()
        self._notes: dict[int, Any] = {}
        # Values that came before they were waited for, waits for those that have not come, and who sends no more.
        self._lock = threading.Lock()
        self._values: dict[tuple[int, str], Any] = {}
        self._waits: dict[tuple[int, str], Future[Any]] = {}
        self._gone: dict[int, Exception] = {}
        self._givers: set[int] = set()

    def wait(self, sender: int, key: str) -> Future[Any]:
        """Return the value that another process gives under a key.

        It raises :class:`Gone` if none will come from a room that is watched, and the error with which its task failed.
        """
        found: Future[Any] = Future()
        with self._lock:
            if (sender, key) in self._values:
                found.set_result(self._values.pop((sender, key)))
            elif sender in self._gone:
                found.set_exception(self._gone[sender])
            else:
                self._waits[sender, key] = found
        return found

    def send(self, others: Iterable[tuple[int, str]], key: str, value: Any) -> None:
        """Give others a value: each of them a process, which has a room with this number open, and its worker."""
        from distributed.protocol.serialize import Serialized, serialize

        others = list(others)
        if others:
            # Once for all of them.
            data = Serialized(*serialize(value, on_error="raise"))
            self.exchange.send(self, others, sender=self.member, key=key, value=data)

    def watch(self, member: int, address: str, note: Any = None, patience: float = 0.0) -> None:
        """Watch the room with this number of another process, from which values come, until that or this is closed.

        Parameters
        ----------
        member, address : int, str
            The process and its worker.
        note : object, optional
            What the other room is told.
        patience : float, default 0
            Seconds to wait for the other room to be opened.
        """

        def lost(error: Exception) -> None:
            with self._lock:
                self._gone[member] = error
                waits = [self._waits.pop(each) for each in list(self._waits) if each[0] == member]
            for each in waits:
                each.set_exception(error)

        async def watch() -> None:
            try:
                await self.exchange.end_of(self, member, address, note, patience)
            except Gone as error:
                # A last value may be on its way, but not to one who offered to take part in vain.
                if error.args[1:] == ("ended",) and (note is None or member in self._givers) and not self.closed:
                    await asyncio.sleep(LAST)
                lost(error)
            except Exception as error:
                lost(error)
            except BaseException:
                lost(Gone(CLOSING))
                raise

        self.exchange.call(lambda: self.exchange.spawn(watch()))

    def notes(self, expected: Collection[int], seconds: float) -> Future[dict[int, Any]]:
        """Wait for the notes of others, by their numbers; at most `seconds` for those of the `expected`."""
        found: Future[dict[int, Any]] = Future()

        async def wait() -> None:
            end = time.monotonic() + seconds
            try:
                while not self._notes.keys() >= set(expected) and await self.changes.wait(end):
                    pass
                found.set_result(dict(self._notes))
            except BaseException:
                found.set_exception(Gone(CLOSING))
                raise

        self.exchange.call(lambda: self.exchange.spawn(wait()))
        return found

    def __enter__(self) -> Room:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Close it, with the error of the block."""
        self.close(error if isinstance(error, Exception) else None)

    def close(self, failed: Exception | None = None) -> None:
        """Take nothing more; who watches is told so, or is told the error with which the task failed.

        With :class:`Gone`, the task left before its work was done.
        """

        def end() -> None:
            if not self.closed:
                self.closed, self.left = True, isinstance(failed, Gone)
                self.failed = None if self.left else failed
                self._values.clear()
                self.changes.tell()
                (self.exchange.keep if self.failed else self.exchange.forget)(self)

        # Where the worker is closed, no one watches any more.
        with suppress(RuntimeError):
            self.exchange.end(self.run, self.member, self.number)
            self.exchange.call(end)

    def take(self, sender: int, key: str, value: Any) -> None:
        """Take a value that was sent; on the event loop."""
        with self._lock:
            self._givers.add(sender)
            found = self._waits.pop((sender, key), None)
            if found is None:
                self._values[sender, key] = value
        if found is not None:
            found.set_result(value)

    def hear(self, sender: int, note: Any) -> None:
        """Take a note; on the event loop."""
        self._notes[sender] = note
        self.changes.tell()


class Exchange:
    """The rooms of one worker, which others reach from now on.

    Parameters
    ----------
    worker : distributed.Worker
        The worker.
    """

    def __init__(self, worker: Any) -> None:
        self.address: str = worker.address
        self._loop, self._rpc = worker.loop.asyncio_loop, worker.rpc
        self._rooms: dict[tuple[str, int, tuple[int, ...]], Room] = {}
        self._ended: OrderedDict[tuple[str, int], tuple[int, ...]] = OrderedDict()
        self._changes = _Changes()
        self._tasks: set[asyncio.Task[None]] = set()

        async def daskmgrit_watch(**asked: Any) -> dict[str, Any]:
            return await self._watched(**asked)

        def daskmgrit_give(run: str, member: int, number: Sequence[int], sender: int, key: str, value: Any) -> None:
            room = self._rooms.get((run, member, tuple(number)))
            if room is not None and not room.closed:
                room.take(sender, key, value)

        worker.handlers |= {WATCH: daskmgrit_watch, GIVE: daskmgrit_give}

    def call(self, function: Callable[[], Any]) -> None:
        """Call a function on the worker's event loop, soon."""
        self._loop.call_soon_threadsafe(function)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine; on the event loop, which itself would forget it."""
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def open(self, run: str, member: int, number: tuple[int, ...], silence: float = 60.0) -> Room:
        """Open a room for a task; parameters are those of :class:`Room`."""
        room = Room(self, run, member, number, silence)

        def add() -> None:
            self._rooms[run, member, number] = room
            self._changes.tell()

        self.call(add)
        return room

    def send(self, room: Room, others: list[tuple[int, str]], **message: Any) -> None:
        """Send a message from a room to those of others."""

        async def send(member: int, address: str) -> None:
            # Who watches that worker will know.
            with suppress(Gone):
                await self._call(room, member, address, GIVE, reply=False, **message)

        def begin() -> None:
            for other in others:
                self.spawn(send(*other))

        self.call(begin)

    async def end_of(self, room: Room, member: int, address: str, note: Any, patience: float) -> None:
        """Wait until another room with a room's number is closed, and raise why; parameters are those of a watch."""
        from distributed.protocol import to_serialize

        end = time.monotonic() + patience
        while not room.closed:
            left, turn = max(0.0, end - time.monotonic()), min(TURN, room.silence / 4)
            told = None if note is None else to_serialize((room.member, note))
            reply = await self._call(room, member, address, WATCH, note=told, wait=left, turn=turn)
            # A worker that has not exchanged anything before has no answer.
            said = reply["said"] if reply else "absent"
            if said == "failed":
                raise pickle.loads(reply["error"])
            if said in ("ended", "left", "over") or (said == "absent" and time.monotonic() >= end):
                raise Gone(f"{address}: {said}", said)
            if not reply:
                await asyncio.sleep(AGAIN)

    async def _call(self, room: Room, member: int, address: str, operation: str, **message: Any) -> Any:
        from distributed.core import send_recv

        message |= {"op": operation, "run": room.run, "member": member, "number": room.number}
        try:
            # To a worker that is lost Dask tries to connect for longer.
            comm = await self._rpc.connect(address, timeout=min(CONNECT, room.silence))
        except (OSError, TimeoutError, RuntimeError) as error:
            raise Gone(f"{address}: {type(error).__name__}") from None
        try:
            return await asyncio.wait_for(send_recv(comm, **message), room.silence)
        except (OSError, TimeoutError) as error:
            raise Gone(f"{address}: {type(error).__name__}") from None
        finally:
            self._rpc.reuse(address, comm)

    async def _watched(
        self, run: str, member: int, number: Sequence[int], note: tuple[int, Any] | None, wait: float, turn: float
    ) -> dict[str, Any]:
        number = tuple(number)
        end = time.monotonic() + min(wait, turn)
        while (room := self._rooms.get((run, member, number))) is None:
            if number <= self._ended.get((run, member), ()):
                return {"said": "over"}
            if not await self._changes.wait(end):
                return {"said": "absent"}
        if note is not None:
            room.hear(*note)
        end = time.monotonic() + turn
        while not room.closed:
            if not await room.changes.wait(end):
                return {"said": "later"}
        if room.failed is None:
            return {"said": "left" if room.left else "ended"}
        # Raised here, an OSError would look like a lost worker.
        return {"said": "failed", "error": cloudpickle.dumps(sendable(room.failed))}

    def end(self, run: str, member: int, number: tuple[int, ...]) -> None:
        """Tell who watches a room with this or a smaller number that it has been closed."""

        def note() -> None:
            self._ended[run, member] = max(number, self._ended.get((run, member), ()))
            self._ended.move_to_end((run, member))
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
            self._changes.tell()

        self.call(note)

    def forget(self, room: Room) -> None:
        """Forget a room; on the event loop."""
        if self._rooms.get((room.run, room.member, room.number)) is room:
            del self._rooms[room.run, room.member, room.number]

    def keep(self, room: Room) -> None:
        """Forget a closed room after a while; on the event loop."""
        self._loop.call_later(KEPT, self.forget, room)
