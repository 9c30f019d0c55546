"""Values that tasks give each other: each comes to those who have a room open, none is waited for in vain."""

import threading
import time
from concurrent.futures import TimeoutError as StillWaiting

import pytest

from daskmgrit.graph import exchange
from daskmgrit.graph.exchange import Gone, Slot
from tests.support.network import Network

FIRST = (1, 0)


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


def rooms(network, address):
    network.settle()
    return network.exchange(address)._rooms


def ending(room, **options):
    """Watch the room on worker a, and return a value of it that never comes."""
    room.watch(0, "a", **options)
    return room.wait(0, "never given")


def test_a_value_comes_to_all_whether_they_wait_already_or_not(network, a, b):
    given, one, two = a.open("run", 0, FIRST), a.open("run", 2, FIRST), b.open("run", 1, FIRST)
    before = one.wait(0, "x")
    with pytest.raises(StillWaiting):
        before.result(0.01)
    given.send([(2, "a"), (1, "b")], "x", [1, 2])
    assert before.result(10) == [1, 2]
    network.settle()
    after = two.wait(0, "x")
    assert after.done()
    assert after.result() == [1, 2]
    given.send([(1, "b")], "y", "another")
    assert two.wait(0, "y").result(10) == "another"
    assert not two._values
    assert not two._waits


def test_a_value_is_that_of_its_sender_and_room(network, a, b):
    given, taken = a.open("run", 0, FIRST), b.open("run", 1, FIRST)
    later = b.open("run", 1, (1, 1))
    given.send([(1, "b")], "x", "of 0")
    a.open("run", 2, FIRST).send([(1, "b")], "x", "of 2")
    assert taken.wait(2, "x").result(10) == "of 2"
    assert taken.wait(0, "x").result(10) == "of 0"
    network.settle()
    assert not later._values
    given.send([], "x", "to none")


def test_who_has_no_room_open_is_given_nothing(network, a, b):
    given = a.open("run", 0, FIRST)
    given.send([(1, "b"), (1, "lost")], "x", 1)
    network.settle()
    taken = b.open("run", 1, FIRST)
    assert not taken.wait(0, "x").done()
    taken.close()
    given.send([(1, "b")], "y", 1)
    network.settle()
    assert not taken._values
    assert rooms(network, "b") == {}


def test_a_lost_worker_hinders_nothing(network, a, b):
    given, taken = a.open("run", 0, FIRST), b.open("run", 1, FIRST)
    network.lose("c")
    given.send([(2, "c"), (1, "b")], "x", 1)
    assert taken.wait(0, "x").result(10) == 1


def test_the_end_of_a_watched_room(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "LAST", 0.01)
    given, taken = a.open("run", 0, FIRST), b.open("run", 1, FIRST)
    never = ending(taken)
    network.settle()
    assert not never.done()
    given.close()
    with pytest.raises(Gone, match="ended"):
        never.result(10)
    with pytest.raises(Gone, match="ended"):
        taken.wait(0, "later").result(0)
    assert not taken.wait(2, "of another").done()
    assert rooms(network, "a") == {}


def test_the_last_value_may_come_after_the_end(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "LAST", 1.0)
    given, taken = a.open("run", 0, FIRST), b.open("run", 1, FIRST)
    taken.watch(0, "a")
    last = taken.wait(0, "last")
    network.settle()
    given.close()
    network.settle()
    given.send([(1, "b")], "last", 1)
    assert last.result(10) == 1


def test_who_leaves_before_the_end_gives_nothing_more(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "LAST", 60.0)
    given = a.open("run", 0, FIRST)
    never = ending(b.open("run", 1, FIRST))
    network.settle()
    with pytest.raises(Gone), given:
        raise Gone("another is lost")
    with pytest.raises(Gone, match="a: left"):
        never.result(10)
    assert rooms(network, "a") == {}


def test_who_is_given_nothing_does_not_wait_for_more(network, a, b, monkeypatch):
    """After an offer to take part, only that begins a wait for last values."""
    monkeypatch.setattr(exchange, "LAST", 60.0)
    given, taken, other = a.open("run", 0, FIRST), b.open("run", 1, FIRST), b.open("run", 2, FIRST)
    never, later = ending(taken, note="here"), ending(other, note="here")
    given.send([(2, "b")], "crew", (0, 2))
    assert other.wait(0, "crew").result(10) == (0, 2)
    given.close()
    with pytest.raises(Gone, match="ended"):
        never.result(10)
    assert not later.done()


def test_who_comes_too_late_does_not_wait(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "LAST", 60.0)
    a.open("run", 0, FIRST).close()
    with pytest.raises(Gone, match="over"):
        ending(b.open("run", 1, FIRST)).result(10)


def test_a_room_that_opens_later(network, a, b):
    taken = b.open("run", 1, (2, 0))
    never = ending(taken, patience=60, note="here")
    a.open("run", 0, (1, 0))
    network.settle()
    room = a.open("run", 0, (2, 0))
    assert room.notes([1], 10).result(10) == {1: "here"}
    assert not never.done()


def test_a_room_that_never_opens(network, a, b):
    with pytest.raises(Gone, match="absent"):
        ending(b.open("run", 1, FIRST), patience=0.05).result(10)


def test_a_later_number_has_ended_it(network, a, b):
    never = ending(b.open("run", 1, (2, 5)), patience=60)
    a.end("run", 0, (3,))
    with pytest.raises(Gone, match="over"):
        never.result(10)


def test_a_long_watch_is_renewed(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "TURN", 0.01)
    monkeypatch.setattr(exchange, "LAST", 0.0)
    given, never = a.open("run", 0, FIRST), ending(b.open("run", 1, FIRST))
    end = time.monotonic() + 10
    while len(network.asked) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(network.asked) >= 4
    assert not never.done()
    given.close()
    with pytest.raises(Gone):
        never.result(10)


def test_a_watch_ends_with_the_room_it_is_for(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "TURN", 0.01)
    a.open("run", 0, FIRST)
    taken = b.open("run", 1, FIRST)
    taken.watch(0, "a")
    taken.close()
    network.settle()
    asked = len(network.asked)
    time.sleep(0.1)
    assert len(network.asked) == asked
    assert not b._tasks


def test_a_worker_that_is_lost_or_silent(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "LAST", 0.01)
    network.lose("a")
    with pytest.raises(Gone, match="OSError"):
        ending(b.open("run", 1, (1, 0)), patience=60).result(10)
    network.lost.clear()
    network.silent.add("a")
    with pytest.raises(Gone, match="TimeoutError"):
        ending(b.open("run", 1, (1, 1), 0.05), patience=60).result(10)


def test_a_worker_that_closes_lets_its_tasks_go(network, a, b):
    a.open("run", 0, FIRST)
    taken = b.open("run", 1, FIRST)
    never, notes = ending(taken), taken.notes([0], 60)
    network.settle()

    def close():
        for task in list(b._tasks):
            task.cancel()

    network.loop.call_soon_threadsafe(close)
    for each in never, notes:
        with pytest.raises(Gone, match="the worker is closing"):
            each.result(10)


def test_a_worker_that_has_not_exchanged_anything_before(network, b, monkeypatch):
    monkeypatch.setattr(exchange, "AGAIN", 0.01)
    taken = b.open("run", 1, FIRST)
    taken.watch(0, "new", "here", patience=60)
    network.settle()
    assert network.exchange("new").open("run", 0, FIRST).notes([1], 10).result(10) == {1: "here"}


@pytest.mark.parametrize("error", [ZeroDivisionError, ConnectionError, FileNotFoundError, TimeoutError, RuntimeError])
def test_the_error_of_a_task_is_raised_by_who_waits_for_it(network, a, b, error):
    given = a.open("run", 0, FIRST)
    never = ending(b.open("run", 1, FIRST))
    network.settle()
    with pytest.raises(error), given:
        raise error("of the task")
    given.close()
    with pytest.raises(error, match="of the task"):
        never.result(10)
    # And by who asks later.
    with pytest.raises(error, match="of the task"):
        ending(b.open("run", 2, FIRST)).result(10)


def test_what_failed_is_forgotten_after_a_while(network, a, monkeypatch):
    monkeypatch.setattr(exchange, "KEPT", 0.01)
    a.open("run", 0, FIRST).close(RuntimeError("of the task"))
    end = time.monotonic() + 10
    while rooms(network, "a") and time.monotonic() < end:
        time.sleep(0.01)
    assert rooms(network, "a") == {}


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
    a.open("run", 0, FIRST).close(error)
    with pytest.raises(RuntimeError, match=f"{type(error).__name__}: .*of the task"):
        ending(b.open("run", 1, FIRST)).result(10)


def test_a_room_that_is_opened_again_is_not_forgotten_with_the_first(network, a, b, monkeypatch):
    monkeypatch.setattr(exchange, "KEPT", 0.05)
    a.open("run", 0, FIRST).close(RuntimeError("of the first"))
    again = a.open("run", 0, FIRST)
    time.sleep(0.2)
    b.open("run", 1, FIRST).send([(0, "a")], "x", 2)
    assert again.wait(1, "x").result(10) == 2


def test_notes(network, a, b):
    room, one, two = a.open("run", 0, FIRST), b.open("run", 1, FIRST), b.open("run", 2, FIRST)
    assert room.notes([], 0.0).result(10) == {}
    notes = room.notes([1, 2], 60)
    two.watch(0, "a", "two")
    network.settle()
    assert not notes.done()
    one.watch(0, "a", "one")
    assert notes.result(10) == {1: "one", 2: "two"}
    assert room.notes([1, 3], 0.01).result(10) == {1: "one", 2: "two"}


def test_a_slot_is_left_once_and_only_for_long_waits(network, a, monkeypatch):
    left = []
    monkeypatch.setattr("distributed.secede", lambda: left.append(1))
    monkeypatch.setattr(exchange, "PROMPT", 0.2)
    room, slot = a.open("run", 0, FIRST), Slot()
    assert slot.wait(room.notes([], 0)) == {}
    assert left == []
    monkeypatch.setattr(exchange, "PROMPT", 0.01)
    for _ in range(2):
        assert slot.wait(room.notes([1], 0.1)) == {}
    assert left == [1]
