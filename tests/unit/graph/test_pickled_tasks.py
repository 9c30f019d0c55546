"""Graphs as they are sent: what is in them once, and what as bytes."""

import pickle

import numpy as np

from daskmgrit.graph.pickled_tasks import seal
from daskmgrit.graph.submission import TaskBook
from daskmgrit.graph.tasks import attempt
from daskmgrit.multigrid.block import Keep


def sealed(count):
    """As many tasks of one function of this package, which take a constant of it, an array, and each other."""
    book, before = TaskBook(["tcp://a", "tcp://b"]), []
    for number in range(count):
        before = [book.add(f"task-{number}", attempt, Keep.TO_RELAX, np.ones(2), *before, owner=number)]
    return book, dict(seal(book.graph()))


def test_functions_and_constants_are_in_a_graph_once():
    _, graph = sealed(20)
    tasks = list(graph.values())
    assert len({id(task.args[0]) for task in tasks}) == 1
    assert len({id(task.args[1]) for task in tasks}) == 1
    assert len({id(task.args[2]) for task in tasks}) == 20
    # So a task adds its own arguments to what is sent, and not the function once more.
    few, many = (len(pickle.dumps(sealed(count)[1])) for count in (20, 40))
    assert (many - few) / 20 < 1.2 * len(pickle.dumps(np.ones(2))) + 200


def test_notes_of_a_worker_are_made_once():
    book, _ = sealed(20)
    notes = [layer.annotations for layer in book.graph().layers.values()]
    assert len({id(note) for note in notes}) == 2
    assert notes[0]["workers"] == ["tcp://a"]
    assert notes[1]["workers"] == ["tcp://b"]


def test_a_function_that_cannot_be_found_by_its_name_travels_by_value():
    def local(value):
        return value + 1

    local.__module__ = "daskmgrit.graph.tasks"
    book = TaskBook()
    book.add("task", attempt, local, owner=0)
    (task,) = dict(seal(book.graph())).values()
    assert task.args[1]()(1) == 2
