"""What is held of propagators that were sent, and for how long."""

import gc
import weakref

import dask
import pytest

from daskmgrit.executors.sharing import Shared, shared_by


class Owner:
    pass


class Client:
    def __init__(self):
        self.extensions = {}


class Future:
    status = "pending"


@pytest.fixture
def shared():
    return Shared()


def test_the_same_object_with_the_same_content_is_found(shared):
    owner, future = Owner(), Future()
    shared.hold(owner, "a", future)
    assert shared.find(owner, "a") is future
    assert shared.find(owner, "b") is None
    assert shared.find(Owner(), "a") is None
    newer = Future()
    shared.hold(owner, "b", newer)
    assert (shared.find(owner, "a"), shared.find(owner, "b")) == (None, newer)


@pytest.mark.parametrize(("status", "found"), [("finished", True), ("error", False), ("cancelled", False)])
def test_a_future_that_is_lost_is_not_found(shared, status, found):
    owner, future = Owner(), Future()
    shared.hold(owner, "a", future)
    future.status = status
    assert (shared.find(owner, "a") is future) == found


def test_what_was_annotated_otherwise_is_not_found(shared):
    owner = Owner()
    with dask.annotate(resources={"GPU": 1}):
        shared.hold(owner, "a", Future())
        assert shared.find(owner, "a") is not None
    assert shared.find(owner, "a") is None


def test_a_future_goes_with_its_owner(shared):
    owner, future = Owner(), Future()
    shared.hold(owner, "a", future)
    gone = weakref.ref(future)
    del future, owner
    gc.collect()
    assert gone() is None


def test_what_has_no_weak_references_is_not_held(shared):
    shared.hold(3, "a", Future())
    assert shared.find(3, "a") is None


def test_a_client_has_one_and_they_go_together():
    client = Client()
    assert shared_by(client) is shared_by(client)
    future, owner = Future(), Owner()
    future.client = client
    shared_by(client).hold(owner, "a", future)
    gone = weakref.ref(client)
    del client, future
    gc.collect()
    assert gone() is None
    assert owner
