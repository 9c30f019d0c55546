"""Workers that are not there, whose exchanges reach each other on one event loop."""

import asyncio
import threading
from concurrent.futures import Future
from types import SimpleNamespace

from daskmgrit.graph import exchange, window_rounds, window_tasks


def received(value):
    """Return a value as it arrives."""
    if isinstance(value, dict):
        return {name: received(each) for name, each in value.items()}
    return getattr(value, "data", value) if type(value).__module__.startswith("distributed") else value


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
    """A connection to a worker, for one question at a time."""

    def __init__(self, network, address):
        self.network, self.address = network, address

    async def write(self, message, **options):
        self.message = {name: value for name, value in message.items() if name not in ("op", "reply")}

    async def read(self, **options):
        return await self.network.ask(self.address, **self.message)

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
    asked : list of tuple
        Who was asked for what.
    """

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.workers, self.exchanges = {}, {}
        self.lost, self.silent, self.asked = set(), set(), []
        self.here = threading.local()

    def worker(self, address):
        if address not in self.workers:
            self.workers[address] = SimpleNamespace(
                address=address, loop=SimpleNamespace(asyncio_loop=self.loop), handlers={}, rpc=Connections(self)
            )
        return self.workers[address]

    async def ask(self, address, **asked):
        self.asked.append((address, asked.get("key")))
        if address in self.lost:
            raise OSError("connection refused")
        if address in self.silent:
            await asyncio.sleep(60)
        handler = self.worker(address).handlers.get(exchange.OPERATION)
        if handler is None:
            return None
        reply = received(await handler(**received(asked)))
        if address in self.lost:
            raise OSError("connection closed")
        return reply

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

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()
