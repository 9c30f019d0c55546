"""Values that tasks give each other: taken once by each reader, never waited for in vain."""

import threading
import time

import pytest

from daskmgrit.graph import exchange
from daskmgrit.graph.exchange import Gone, Slot
from tests.support.network import Network


@pytest.fixture
def network():
    network = Network()
    yield network
    network.close()


@pytest.fixture
def a(network):
    return network.exchange("a")


@pytest.fixture
def b(network):
    return network.exchange("b")


def settled(network):
    """Wait until the event loop has done what it was given."""
    done = network.exchange("a").run(_nothing)
    done.result(10)


async def _nothing():
    return None


def rooms(network, address):
    settled(network)
    return network.exchange(address)._rooms


def test_values_are_forgotten_when_all_have_read_them(network, a, b):
    room = a.open("team", (1, 0))
    asked = [b.ask("a", "team", (1, 0), "x") for _ in range(2)]
    assert not asked[0].done()
    room.offer("x", [1, 2], 2)
    assert [each.result(10) for each in asked] == [[1, 2], [1, 2]]
    room.offer("not wanted", 3, 0)
    settled(network)
    assert room.values == {}
    room.close()
    assert rooms(network, "a") == {}
    with pytest.raises(Gone, match="ended"):
        b.ask("a", "team", (1, 0), "x").result(10)


def test_what_was_offered_can_be_taken_after_the_end(network, a, b):
    room = a.open("team", (1, 0))
    room.offer("x", 1, 1)
    room.close()
    with pytest.raises(Gone):
        b.ask("a", "team", (1, 0), "y").result(10)
    assert b.ask("a", "team", (1, 0), "x").result(10) == 1
    assert rooms(network, "a") == {}


def test_what_nobody_takes_is_forgotten(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "KEPT", 0.01)
    room = a.open("team", (1, 0))
    room.offer("x", 1, 1)
    room.close()
    end = time.monotonic() + 10
    while rooms(network, "a") and time.monotonic() < end:
        time.sleep(0.01)
    assert rooms(network, "a") == {}


def test_a_room_that_opens_later(network, a, b):
    asked = b.ask("a", "team", (2, 0), "x", patience=60)
    settled(network)
    a.open("team", (1, 0)).offer("x", "another", 1)
    a.open("team", (2, 0)).offer("x", 1, 1)
    assert asked.result(10) == 1


def test_a_room_that_never_opens(network, a, b):
    with pytest.raises(Gone, match="absent"):
        b.ask("a", "team", (2, 0), "x", patience=0.05).result(10)


def test_a_later_number_has_ended_it(network, a, b):
    asked = b.ask("a", "team", (2, 5), "x", patience=60)
    a.end("team", (3,))
    with pytest.raises(Gone, match="ended"):
        asked.result(10)
    a.open("team", (3, 0)).offer("x", 1, 1)
    assert b.ask("a", "team", (3, 0), "x").result(10) == 1


def test_a_value_that_takes_long_is_asked_for_again(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "TURN", 0.01)
    room, asked = a.open("team", (1, 0)), b.ask("a", "team", (1, 0), "x")
    end = time.monotonic() + 10
    while len(network.asked) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    room.offer("x", 1, 1)
    assert asked.result(10) == 1


def test_a_worker_that_is_lost_or_silent(network, a, b):
    network.lost.add("a")
    with pytest.raises(Gone, match="OSError"):
        b.ask("a", "team", (1, 0), "x", patience=60).result(10)
    network.lost.clear()
    network.silent.add("a")
    with pytest.raises(Gone, match="TimeoutError"):
        b.ask("a", "team", (1, 0), "x", patience=60, silence=0.05).result(10)


def test_a_worker_that_has_not_exchanged_anything_before(network, b, monkeypatch):
    monkeypatch.setattr(exchange, "AGAIN", 0.01)
    asked = b.ask("new", "team", (1, 0), "x", patience=60)
    settled(network)
    network.exchange("new").open("team", (1, 0)).offer("x", 1, 1)
    assert asked.result(10) == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, ConnectionError, FileNotFoundError, TimeoutError, RuntimeError])
def test_the_error_of_a_task_is_raised_by_who_waits_for_it(network, a, b, error):
    room = a.open("team", (1, 0))
    room.offer("x", 1, 1)
    asked = b.ask("a", "team", (1, 0), "y")
    room.close(error("of the task"))
    room.close()
    with pytest.raises(error, match="of the task"):
        asked.result(10)
    assert b.ask("a", "team", (1, 0), "x").result(10) == 1


class Locked(Exception):
    """An error that can't be sent."""

    def __init__(self, text):
        super().__init__(text)
        self.lock = threading.Lock()


class Picky(Exception):
    """An error that can be pickled, but not made from the pickle."""

    def __init__(self, name, value):
        super().__init__(f"{name} is {value}")


@pytest.mark.parametrize("error", [Locked("of the task"), Picky("it", "of the task")])
def test_an_error_that_cannot_be_sent_is_told_by_its_text(network, a, b, error):
    a.open("team", (1, 0)).close(error)
    with pytest.raises(RuntimeError, match=f"{type(error).__name__}: .*of the task"):
        b.ask("a", "team", (1, 0), "x").result(10)


def test_a_room_that_is_opened_again_is_not_forgotten_with_the_first(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "KEPT", 0.05)
    first = a.open("team", (1, 0))
    first.offer("x", 1, 1)
    first.close()
    again = a.open("team", (1, 0))
    time.sleep(0.2)
    again.offer("x", 2, 1)
    assert b.ask("a", "team", (1, 0), "x").result(10) == 2


def test_notes(network, a, b):
    room = a.open("team", (1, 0))
    assert room.notes([], 0.0).result(10) == {}
    notes = room.notes([1, 2], 60)
    b.ask("a", "team", (1, 0), "x", (2, "two"))
    settled(network)
    assert not notes.done()
    b.ask("a", "team", (1, 0), "x", (1, "one"))
    assert notes.result(10) == {1: "one", 2: "two"}
    assert room.notes([1, 3], 0.01).result(10) == {1: "one", 2: "two"}


def test_a_slot_is_left_once_and_only_for_long_waits(network, a, monkeypatch):
    left = []
    monkeypatch.setattr("distributed.secede", lambda: left.append(1))
    monkeypatch.setattr(exchange, "PROMPT", 0.2)
    room, slot = a.open("team", (1, 0)), Slot()
    assert slot.wait(room.notes([], 0)) == {}
    assert left == []
    monkeypatch.setattr(exchange, "PROMPT", 0.01)
    for _ in range(2):
        assert slot.wait(room.notes([1], 0.1)) == {}
    assert left == [1]
