"""The paper's tables as published, the speedup model, and the record of what was solved."""

import math

import pytest

from daskmgrit.paper.report import difference, iterations_text
from daskmgrit.paper.run import Measurements, measure
from daskmgrit.paper.speedup import bounded_speedup, potential_speedup, sigma_f, sigma_v, sigma_v_on
from daskmgrit.paper.tables import figures, tables


def test_published_tables_are_whole():
    found = tables()
    assert sorted(found) == list(range(1, 21))
    for table in found.values():
        assert len(table.columns) == len(table.iterations) == len(table.rho)
        assert table.columns == sorted(table.columns)
        for count, rho in zip(table.iterations, table.rho, strict=True):
            assert (count == "50+") == (rho == "*")
            assert int(count.rstrip("+")) <= 50
    assert found[1].iterations[:7] == ["14", "19", "24", "31", "40", "49", "50+"]
    assert sum(len(table.columns) for table in found.values()) == 8 * 9 + 4 * 6 + 8 * 8
    assert [figure.tables for figure in figures()] == [[3, 4, 8], [16, 15], [19, 18]]


def test_speedup_model():
    # Equation (18) for L levels: 7 on level 0, 8 on each between, 10 on the coarsest.
    assert [sigma_v(levels) for levels in (2, 3, 5)] == [17, 25, 41]
    assert sigma_v(5, iterations=6) == 6 * 41
    # Equation (19), written out for five levels: sigma_V of 1, 2 and 3 levels.
    assert sigma_f(5) == 17 + 17 + 25
    assert sigma_f(5, iterations=3) == 3 * 59
    assert math.isnan(potential_speedup(100, 2, "F", 5))
    # The paper's best for the four-layer net: 11 V-cycles at N = 6400 on 11 levels.
    assert potential_speedup(6400, 11, "V", 11) == pytest.approx(6.54, abs=0.01)
    # Remark 3: with processors enough it is equation (18), the coarsest level taken at its size.
    steps = [1600, 800, 400, 200, 100, 50, 25, 12, 6]
    assert sigma_v_on(steps, 10**6) == sigma_v(len(steps)) - 10 + 6
    assert sigma_v_on(steps, 1) > 100 * sigma_v_on(steps, 800)
    assert bounded_speedup(1000, 5000, 50, 10**9) == pytest.approx(20, rel=1e-6)


def test_differences_as_printed():
    reached, failed = {"iterations": 7, "converged": True, "reason": "tol"}, {"iterations": 50, "converged": False}
    assert difference("9", reached) == "-2"
    assert difference("7", reached) == "+0"
    assert difference("50+", reached) == "<-43"
    assert difference("11", failed | {"reason": "maxiter"}) == ">+39"
    assert difference("50+", failed | {"reason": "maxiter"}) == ""
    assert iterations_text(reached) == "7"
    assert iterations_text(failed | {"reason": "maxiter"}) == "50+"
    assert iterations_text(failed | {"reason": "diverged"}) == "diverged"


def test_two_runs_into_one_folder_keep_both(tmp_path):
    first, second = Measurements(tmp_path / "s.json"), Measurements(tmp_path / "s.json")
    reading = tables()[4].readings[0]
    measured = measure(reading, 100)
    first.put(reading, 100, measured)
    second.put(reading, 200, measured)
    first.put(reading, 400, measured)
    assert len(Measurements(tmp_path / "s.json").columns) == 3


def test_store_keeps_settings_apart(tmp_path):
    store = Measurements(tmp_path / "s.json")
    reading = tables()[4].readings[0]
    measured = measure(reading, 100)
    store.put(reading, 100, measured)
    assert store.get(reading, 100)["iterations"] == measured["iterations"]
    assert store.get(reading, 200) is None
    assert store.get(tables()[3].readings[0], 100) is None
    assert Measurements(tmp_path / "s.json").get(reading, 100)["iterations"] == measured["iterations"]
