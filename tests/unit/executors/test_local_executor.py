"""The executor of this process, by what the Protocol says."""

import dask
import dask.array as da
import numpy as np
import pytest
from dask.base import get_scheduler

from daskmgrit.executors.choose import choose_executor
from daskmgrit.graph.block_store import BlockStore
from daskmgrit.graph.submission import TaskBook


def add(a, b):
    return a + b


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_local_executor(scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=3):
        executor = choose_executor()
    assert executor.name == scheduler
    assert (executor.ahead, executor.hosts, executor.workers, executor.client) == (False, 1, None, None)
    assert executor.threads == [1 if scheduler == "sync" else 3]
    assert executor.check(lambda: None) is None
    assert executor.ask_workers(add, 1, 2) == {}
    with executor.session():
        one = executor.put(1, "one")
        book = TaskBook(executor.workers)
        (total,) = executor.submit(book, [book.add("total", add, one, 2, owner=0)])
        # A later graph builds on the result.
        book = TaskBook(executor.workers)
        (more,) = executor.submit(book, [book.add("more", add, total, 10, owner=0)])
    assert executor.fetch(total, "the total") == 3
    assert executor.fetch(more, "the rest") == 13
    kept = executor.keep(da.ones(4, chunks=2) + 1)
    assert not any(dask.core.get_dependencies(dict(kept.dask), key) for key in dict(kept.dask))
    np.testing.assert_array_equal(kept.compute(scheduler=get_scheduler(scheduler=scheduler)), [2, 2, 2, 2])


def test_store_beyond_the_limit_of_memory():
    with dask.config.set({"scheduler": "sync", "daskmgrit.memory": "1MB"}):
        executor = choose_executor()
        assert executor.store(1_000_000) is None
        assert isinstance(executor.store(1_000_001), BlockStore)
