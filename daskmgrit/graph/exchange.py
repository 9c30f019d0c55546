"""Values that tasks which run at the same time on several workers give each other, without the scheduler.

A task opens a room on its worker and offers values there. Others ask for them, over the connections of their workers,
and wait until they are there. The wait ends when the room is closed, and when the connection is.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import pickle
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

import cloudpickle

from daskmgrit.utils.pickling import sendable

__all__ = ["Exchange", "Gone", "Room", "Slot", "exchange_here"]

# The name under which workers answer.
OPERATION = "daskmgrit_exchange"
# Seconds after which a worker says that a room, or a value, is not there yet; and those in which it can be reached.
TURN, CONNECT = 2.0, 5.0
# Seconds that a task waits for others in its slot of the worker.
PROMPT = 0.05
# Seconds until a worker that has never exchanged anything is asked again.
AGAIN = 0.5
# Seconds that values are kept for others after their room was closed.
KEPT = 60.0
# Teams of which a worker remembers that a room was closed.
REMEMBERED = 64

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
    """The values that one task offers.

    Parameters
    ----------
    exchange : Exchange
        That of its worker.
    team, number : str, tuple of int
        The team, and the number of the room; a team's numbers increase.
    """

    def __init__(self, exchange: Exchange, team: str, number: tuple[int, ...]) -> None:
        self.exchange, self.team, self.number = exchange, team, number
        self.values: dict[str, Any] = {}
        self.closed = False
        self.failed: Exception | None = None
        self.changes = _Changes()
        self._readers: dict[str, int] = {}
        self._notes: dict[int, Any] = {}

    def offer(self, key: str, value: Any, readers: int) -> None:
        """Offer a value, which is forgotten when that many others have taken it, or some time after the end."""

        def put() -> None:
            if readers and not self.closed:
                self.values[key], self._readers[key] = value, readers
                self.changes.tell()

        self.exchange.call(put)

    def notes(self, expected: Collection[int], seconds: float) -> Future[dict[int, Any]]:
        """Wait for the notes of others, by their numbers; at most `seconds` for those of the `expected`."""

        async def wait() -> dict[int, Any]:
            end = time.monotonic() + seconds
            while not self._notes.keys() >= set(expected) and await self.changes.wait(end):
                pass
            return dict(self._notes)

        return self.exchange.run(wait)

    def close(self, failed: Exception | None = None) -> None:
        """Offer nothing more. What was offered can still be taken for a while.

        Who waits for more is told so, or has the error with which the task failed raised.
        """

        def end() -> None:
            if not self.closed:
                self.closed, self.failed = True, failed
                self.changes.tell()
                (self.exchange.keep if self.values or failed else self.exchange.forget)(self)

        # Where the worker is closed, no one asks any more.
        with suppress(RuntimeError):
            self.exchange.end(self.team, self.number)
            self.exchange.call(end)

    def take(self, key: str) -> Any:
        """Return a value to one of its readers; on the event loop."""
        value = self.values[key]
        self._readers[key] -= 1
        if not self._readers[key]:
            del self.values[key], self._readers[key]
            if self.closed and not self.values and not self.failed:
                self.exchange.forget(self)
        return value

    def hear(self, sender: int, note: Any) -> None:
        """Take a note; on the event loop."""
        self._notes[sender] = note
        self.changes.tell()


class Exchange:
    """The rooms of one worker, which answers others from now on.

    Parameters
    ----------
    worker : distributed.Worker
        The worker.
    """

    def __init__(self, worker: Any) -> None:
        self.address: str = worker.address
        self._loop, self._rpc = worker.loop.asyncio_loop, worker.rpc
        self._rooms: dict[tuple[str, tuple[int, ...]], Room] = {}
        self._ended: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._changes = _Changes()

        async def daskmgrit_exchange(**asked: Any) -> dict[str, Any]:
            return await self._answer(**asked)

        worker.handlers[OPERATION] = daskmgrit_exchange

    def call(self, function: Callable[[], Any]) -> None:
        """Call a function on the worker's event loop, soon."""
        self._loop.call_soon_threadsafe(function)

    def run(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Run a coroutine function on the worker's event loop, until its future is cancelled."""
        found: Future[Any] = Future()

        async def outcome() -> None:
            try:
                value = await function(*args)
            except BaseException as error:
                gone = error if isinstance(error, Exception) else Gone("the worker is closing")
                if found.set_running_or_notify_cancel():
                    found.set_exception(gone)
                if gone is not error:
                    raise
            else:
                if found.set_running_or_notify_cancel():
                    found.set_result(value)

        def begin() -> None:
            task = self._loop.create_task(outcome())

            def end(future: Future[Any]) -> None:
                if future.cancelled():
                    self.call(task.cancel)

            found.add_done_callback(end)

        self.call(begin)
        return found

    def open(self, team: str, number: tuple[int, ...]) -> Room:
        """Open a room for a task."""
        room = Room(self, team, number)

        def add() -> None:
            self._rooms[team, number] = room
            self._changes.tell()

        self.call(add)
        return room

    def ask(
        self,
        address: str,
        team: str,
        number: tuple[int, ...],
        key: str,
        note: tuple[int, Any] | None = None,
        patience: float = 0.0,
        silence: float = 60.0,
    ) -> Future[Any]:
        """Ask a worker for a value of a room.

        Parameters
        ----------
        address : str
            The worker.
        team, number, key : str, tuple of int, str
            The room and the value.
        note : tuple of int and object, optional
            The number of who asks, and what the room is told.
        patience : float, default 0
            Seconds to wait for the room to be opened.
        silence : float, default 60
            Seconds to wait for any answer.

        Returns
        -------
        Future
            Its result is the value; or it raises :class:`Gone`.
        """
        return self.run(self._ask, address, team, number, key, note, patience, silence)

    async def _ask(
        self,
        address: str,
        team: str,
        number: tuple[int, ...],
        key: str,
        note: tuple[int, Any] | None,
        patience: float,
        silence: float,
    ) -> Any:
        from distributed.protocol import to_serialize

        end = time.monotonic() + patience
        while True:
            left, turn = max(0.0, end - time.monotonic()), min(TURN, silence / 4)
            asked = {"team": team, "number": number, "key": key, "note": to_serialize(note), "wait": left, "turn": turn}
            reply = await self._call(address, silence, **asked)
            # A worker that has not exchanged anything before has no answer.
            said = reply["said"] if reply else "absent"
            if said == "value":
                return reply["value"]
            if said == "failed":
                raise pickle.loads(reply["error"])
            if said == "ended" or (said == "absent" and time.monotonic() >= end):
                raise Gone(f"{address}: {said}")
            if not reply:
                await asyncio.sleep(AGAIN)

    async def _call(self, address: str, silence: float, **asked: Any) -> Any:
        from distributed.core import send_recv

        try:
            # To a worker that is lost Dask tries to connect for longer.
            comm = await self._rpc.connect(address, timeout=min(CONNECT, silence))
        except (OSError, TimeoutError, RuntimeError) as error:
            raise Gone(f"{address}: {type(error).__name__}") from None
        try:
            return await asyncio.wait_for(send_recv(comm, op=OPERATION, **asked), silence)
        except (OSError, TimeoutError) as error:
            raise Gone(f"{address}: {type(error).__name__}") from None
        finally:
            self._rpc.reuse(address, comm)

    async def _answer(
        self,
        team: str,
        number: Sequence[int],
        key: str,
        note: tuple[int, Any] | None,
        wait: float,
        turn: float,
    ) -> dict[str, Any]:
        from distributed.protocol import to_serialize

        number = tuple(number)
        end = time.monotonic() + min(wait, turn)
        while (room := self._rooms.get((team, number))) is None:
            if number <= self._ended.get(team, ()):
                return {"said": "ended"}
            if not await self._changes.wait(end):
                return {"said": "absent"}
        if note is not None:
            room.hear(*note)
        end = time.monotonic() + turn
        while key not in room.values:
            if room.failed is not None:
                # Raised here, an OSError would look like a lost worker.
                return {"said": "failed", "error": cloudpickle.dumps(sendable(room.failed))}
            if room.closed:
                return {"said": "ended"}
            if not await room.changes.wait(end):
                return {"said": "later"}
        return {"said": "value", "value": to_serialize(room.take(key))}

    def end(self, team: str, number: tuple[int, ...]) -> None:
        """Tell who asks for a room with this or a smaller number that it has been closed."""

        def note() -> None:
            self._ended[team] = max(number, self._ended.get(team, ()))
            self._ended.move_to_end(team)
            if len(self._ended) > REMEMBERED:
                self._ended.popitem(last=False)
            self._changes.tell()

        self.call(note)

    def forget(self, room: Room) -> None:
        """Forget a room and what it still has; on the event loop."""
        if self._rooms.get((room.team, room.number)) is room:
            del self._rooms[room.team, room.number]

    def keep(self, room: Room) -> None:
        """Forget a closed room after a while; on the event loop."""
        self._loop.call_later(KEPT, self.forget, room)
