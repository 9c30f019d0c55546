"""Tables of Solver 4."""

import numpy as np

from daskmgrit.paper import solver4
from daskmgrit.paper.run import Measurements


def test_loss_that_agrees():
    assert solver4._agreed([1.0, 0.5, 0.50001, 0.5], 0.5) == 2
    assert solver4._agreed([0.5, 0.4, 0.5], 0.5) == 3
    assert solver4._agreed([0.5, 0.4], 0.5) is None
    assert solver4._agreed([], 0.5) is None
    assert solver4._agreed([np.inf], 0.5) is None


def test_tables_of_the_document_are_those_of_the_record(request):
    folder = request.config.rootpath / "docs"
    store = Measurements(folder / "solver4.json")
    text = (folder / "solver4.md").read_text()
    assert solver4.tables(store) in text
    assert solver4.splice(text, solver4.tables(store)) == text
    # The record is of the settings as they are now.
    for make in solver4.GROUPS:
        group = make()
        assert any(store.get(variant, group.columns[0]) for variant in group.variants if variant.solver == "4")


def test_gradients_of_a_hessian_are_counted():
    """XOR has four examples and 16 weights; a step of level 0 is a plain one."""
    variant = solver4.Variant("", "xor", "1", coarse="exponential")
    assert [solver4._examples(variant, level) for level in (0, 1)] == [4, 4 * (2 * 16 + 1)]


def test_gradients_that_found_curvatures_are_counted():
    """A deflated step is one gradient of the data of its step; what came before the solve is added."""
    variant = solver4.Variant("", "xor", "1", coarse="deflated", rank=4, initial_guess="rough")
    assert [solver4._examples(variant, level) for level in (0, 1)] == [4, 4]
    phi = variant.propagator(64)
    found = phi.coarse.curvatures.preparation
    cell = solver4.measure(variant, 64)
    assert cell["before"] == found.evaluations > 0
    assert cell["examples"] == 4 * sum(cell["phi_evaluations"])
    alone = solver4.critical_path(64, cell["stages"], cell["iterations"])
    assert cell["critical_path"] == alone + found.path
    row = solver4._row(variant, 64, cell)
    assert row[-1] == f"{sum(cell['phi_evaluations']) / 64:.0f}"
