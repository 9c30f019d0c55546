"""Asking a solve in another thread to end."""

import contextvars

import pytest

from daskmgrit.executors.cancellation import Stop, Stopped, current_stop, with_stop


def test_waits_end_when_asked_to_and_only_those_under_way_are_woken():
    stop, woken = Stop(), []
    with stop.waking(lambda: woken.append("over")):
        stop.check()
    with stop.waking(lambda: woken.append("first")), stop.waking(lambda: woken.append("second")):
        stop.ask()
        with pytest.raises(Stopped):
            stop.check()
    assert woken == ["first", "second"]


def test_no_wait_begins_after_that():
    stop = Stop()
    stop.ask()
    with pytest.raises(Stopped), stop.waking(lambda: None):
        pytest.fail("this wait is not to begin")


def test_the_end_is_no_exception_that_user_code_catches():
    assert not issubclass(Stopped, Exception)


def test_a_stop_belongs_to_its_context():
    stop = Stop()

    def within():
        with_stop(stop)
        return current_stop()

    assert contextvars.copy_context().run(within) is stop
    assert current_stop() is not stop
