"""Workers that are not there, whose exchanges reach each other on one event loop."""

import asyncio
import threading
from concurrent.futures import Future
from types import SimpleNamespace

from distributed.protocol.serialize import Serialize, Serialized, deserialize

from daskmgrit.graph import exchange, window_rounds, window_tasks


def received(value):
    """Return a value as it arrives."""
    if isinstance(value, dict):
        return {name: received(each) for name, each in value.items()}
    if isinstance(value, Serialized):
        return deserialize(value.header, value.frames)
    return value.data if isinstance(value, Serialize) else value


class Connections:
    """The connections of a worker."""

    def __init__(self, network):
        self.network = network

    async def connect(self, address, timeout):
        if address in self.network.lost:
            raise OSError("connection refused")
        return Connection(self.network, address)

    def reuse(self, address, comm):
        pass


class Connection:
    """A connection to a worker, for one message at a time."""

    def __init__(self, network, address):
        self.network, self.address = network, address

    async def write(self, message, **options):
        self.operation = message["op"]
        self.message = {name: value for name, value in message.items() if name not in ("op", "reply")}
        if not message["reply"]:
            await self.network.tell(self.address, self.operation, **self.message)

    async def read(self, **options):
        return await self.network.ask(self.address, self.operation, **self.message)

    def abort(self):
        pass

    async def close(self):
        pass


class Network:
    """Runs a function on each worker, as a task of it.

    Attributes
    ----------
    lost, silent : set of str
        Addresses that cannot be reached, and that do not answer.
    asked, told : list of tuple
        Who was asked what, and who was told what under which key.
    """

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.workers, self.exchanges = {}, {}
        self.lost, self.silent, self.asked, self.told, self.answers = set(), set(), [], [], []
        self.here = threading.local()

    def worker(self, address):
        if address not in self.workers:
            self.workers[address] = SimpleNamespace(
                address=address, loop=SimpleNamespace(asyncio_loop=self.loop), handlers={}, rpc=Connections(self)
            )
        return self.workers[address]

    async def tell(self, address, operation, **told):
        self.told.append((address, told["key"]))
        if address in self.lost:
            raise OSError("connection closed")
        if address not in self.silent:
            self.worker(address).handlers[operation](**received(told))

    async def ask(self, address, operation, **asked):
        self.asked.append((address, operation))
        if address in self.lost:
            raise OSError("connection refused")
        if address in self.silent:
            await asyncio.sleep(60)
        handler = self.worker(address).handlers.get(operation)
        if handler is None:
            return None
        answer = asyncio.ensure_future(handler(**received(asked)))
        self.answers.append((address, answer))
        try:
            return received(await answer)
        except asyncio.CancelledError:
            if address in self.lost:
                raise OSError("connection closed") from None
            raise
        finally:
            self.answers.remove((address, answer))

    def lose(self, address):
        """Cut a worker off: its connections end."""
        self.lost.add(address)

        def end():
            for each, answer in self.answers:
                if each == address:
                    answer.cancel()

        self.loop.call_soon_threadsafe(end)

    def exchange(self, address):
        if address not in self.exchanges:
            self.exchanges[address] = exchange.Exchange(self.worker(address))
        return self.exchanges[address]

    def run(self, pool, address, function, *args) -> Future:
        """Run a function of a task on a worker."""

        def task():
            self.here.address = address
            return function(*args)

        return pool.submit(task)

    def use(self, monkeypatch):
        """Let tasks find the exchange of the worker that they run on."""
        for module in (window_rounds, window_tasks):
            monkeypatch.setattr(module, "exchange_here", lambda: self.exchange(self.here.address))
        monkeypatch.setattr("distributed.secede", lambda: None)

    def settle(self):
        """Wait until the event loop has done what it was given, and what follows from that."""
        for _ in range(3):
            done = threading.Event()
            self.loop.call_soon_threadsafe(lambda done=done: self.loop.call_later(0.01, done.set))
            assert done.wait(10)

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
            self.loop.run_until_complete(asyncio.wait([task]))
        self.loop.close()
