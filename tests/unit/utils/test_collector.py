"""The garbage collector is paused while graphs are built, and as it was after that."""

import gc
import threading

import pytest

from daskmgrit.utils.collector import collector_paused


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    gc.enable()


def test_it_runs_again_afterwards_also_after_an_error():
    seen = []

    @collector_paused()
    def failing():
        seen.append(gc.isenabled())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert seen == [False]
    assert gc.isenabled()


def test_blocks_within_each_other():
    with collector_paused():
        with collector_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_the_last_of_two_threads_ends_the_pause():
    entered, leave = threading.Event(), threading.Event()

    def other():
        with collector_paused():
            entered.set()
            assert leave.wait(30)

    thread = threading.Thread(target=other)
    with collector_paused():
        thread.start()
        assert entered.wait(30)
    assert not gc.isenabled()
    leave.set()
    thread.join(30)
    assert gc.isenabled()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    with collector_paused():
        pass
    assert not gc.isenabled()


def test_it_runs_where_a_pause_is_not_wanted():
    with collector_paused(False):
        assert gc.isenabled()
    with collector_paused():
        with collector_paused(False):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
