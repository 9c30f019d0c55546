"""The paper's tables: what was published, what is measured for N <= 400, the speedup model, the command."""

import json
import math

import pytest
from click.testing import CliRunner

from daskmgrit.cli.main import main, paper
from daskmgrit.paper.report import difference, iterations_text
from daskmgrit.paper.run import Measurements, measure
from daskmgrit.paper.speedup import bounded_speedup, potential_speedup, sigma_f, sigma_v, sigma_v_on
from daskmgrit.paper.tables import figures, tables

# Iterations measured with the fixed seeds, for each reading of a table in its first columns.
MEASURED = {
    1: [[14, 18, 25], [9, 12, 16]],
    2: [[5, 5, 6], [3, 3, 3]],
    3: [[5, 5, 8], [3, 3, 3]],
    4: [[5, 5, 5]],
    5: [[11, 13, 15], [11, 12, 14]],
    6: [[11, 13, 16], [11, 13, 15]],
    7: [[10, 11, 12], [6, 6, 7], [14, 18, 23], [13, 17, 21], [10, 12, 15], [14, 19, 26]],
    8: [[10, 11, 13], [6, 7, 9], [10, 12, 15], [6, 9, 13], [14, 18, 24], [13, 17, 23], [10, 12, 15], [14, 19, 26]],
    9: [[10], [9, 13]],
    10: [[10], [8]],
    11: [[10], [8, 11]],
    12: [[10], [4]],
    13: [[6], [4]],
    14: [[6], [5]],
    15: [[6], [5]],
    16: [[6], [6]],
    17: [[6], [5], [5]],
    18: [[6], [5], [5]],
    19: [[7], [5], [6]],
    20: [[9], [6], [7]],
}


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


@pytest.mark.parametrize("number", sorted(MEASURED))
def test_measured_counts(number):
    table = tables()[number]
    for reading, counts in zip(table.readings, MEASURED[number], strict=True):
        measured = [measure(reading, steps) for steps in table.columns[: len(counts)]]
        assert [m["iterations"] for m in measured] == counts
        assert all(m["converged"] for m in measured)


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


def run(*arguments):
    return CliRunner().invoke(main, ["paper", *arguments])


def test_command(tmp_path):
    out = tmp_path / "report"
    first = run("--out", str(out), "--table", "4", "--table", "3", "--max-steps", "200")
    assert first.exit_code == 0, first.output
    assert "4 columns of 2 tables" in first.stdout
    names = {path.name for path in out.iterdir()}
    assert names == {"paper.md", "paper.csv", "paper.json"}
    text = (out / "paper.md").read_text()
    assert "### Table 3" in text
    assert "### Table 1\n" not in text
    assert "| 100 | 5 | 0.07 | 5 |" in text
    lines = (out / "paper.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 + 2 * 2


def test_command_resumes(tmp_path, monkeypatch):
    arguments = ("--out", str(tmp_path), "--table", "2", "--max-steps", "200")
    calls = []

    def interrupted(reading, steps, on_cycle):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append((reading, steps))
        return measure(reading, steps, on_cycle=on_cycle)

    monkeypatch.setattr(paper, "measure", interrupted)
    stopped = run(*arguments)
    assert stopped.exit_code == 130
    assert "goes on from" in stopped.stderr
    kept = json.loads((tmp_path / "paper.json").read_text())["columns"]
    assert len(kept) == 2
    more = []

    def rest(reading, steps, on_cycle):
        more.append((reading, steps))
        return measure(reading, steps, on_cycle=on_cycle)

    monkeypatch.setattr(paper, "measure", rest)
    again = run(*arguments)
    assert again.exit_code == 0
    assert "2 of 4 columns were solved before" in again.stderr
    report = (tmp_path / "paper.md").read_text()
    (tmp_path / "paper.md").unlink()
    assert run(*arguments, "--no-solve").exit_code == 0
    assert (tmp_path / "paper.md").read_text() == report
    assert run("--out", str(tmp_path / "empty"), "--no-solve").exit_code == 2
    assert len(more) == 2
    assert not set(more) & set(calls)


def test_command_draws_figures(tmp_path):
    out = run("--out", str(tmp_path), "--table", "16", "--table", "15", "--max-steps", "100")
    assert out.exit_code == 0
    assert (tmp_path / "figure7.png").read_bytes()[:4] == b"\x89PNG"
    assert "![Figure 7" in (tmp_path / "paper.md").read_text()


def test_remarks(tmp_path):
    out = run("--out", str(tmp_path), "--table", "16", "--max-steps", "100", "--remarks")
    assert out.exit_code == 0
    text = (tmp_path / "paper.md").read_text()
    assert "## Remark 1" in text
    assert "injected from level 0" in text
    assert "## Remark 3" in text
    assert "## Remark 4" in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--table", "21"], "21"), (["--max-steps", "30"], "smallest N of these tables is 40"), ([], "--out")],
)
def test_bad_usage(arguments, words, tmp_path):
    out = run(*(arguments and ["--out", str(tmp_path / "x"), *arguments]))
    assert out.exit_code == 2
    assert words in out.stderr


def test_foreign_file_is_not_overwritten(tmp_path):
    (tmp_path / "paper.json").write_text("[1, 2]")
    out = run("--out", str(tmp_path), "--table", "4", "--max-steps", "100")
    assert out.exit_code == 2
    assert "not a record of this command" in out.stderr
    assert (tmp_path / "paper.json").read_text() == "[1, 2]"


def test_two_runs_into_one_folder_keep_both(tmp_path):
    first, second = Measurements(tmp_path / "s.json"), Measurements(tmp_path / "s.json")
    reading = tables()[4].readings[0]
    measured = measure(reading, 100)
    first.put(reading, 100, measured)
    second.put(reading, 200, measured)
    first.put(reading, 400, measured)
    assert len(Measurements(tmp_path / "s.json").columns) == 3


@pytest.mark.parametrize(
    "content", ['{"columns": []}', '{"columns": {"a": {}}}', '{"columns": {"a": {"iterations": "x"}}}']
)
def test_damaged_record(tmp_path, content):
    (tmp_path / "paper.json").write_text(content)
    out = run("--out", str(tmp_path), "--table", "4", "--max-steps", "100")
    assert out.exit_code == 2
    assert "not a record of this command" in out.stderr


def test_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    out = run("--out", str(tmp_path / "file" / "sub"), "--table", "4", "--max-steps", "100")
    assert out.exit_code == 2
    assert "--out" in out.stderr


def test_store_keeps_settings_apart(tmp_path):
    store = Measurements(tmp_path / "s.json")
    reading = tables()[4].readings[0]
    store.put(reading, 100, measure(reading, 100))
    assert store.get(reading, 100)["iterations"] == 5
    assert store.get(reading, 200) is None
    assert store.get(tables()[3].readings[0], 100) is None
    assert Measurements(tmp_path / "s.json").get(reading, 100)["iterations"] == 5


@pytest.mark.parametrize("name", ["paper.md", "paper.csv", "figure6.png"])
def test_foreign_report_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("# My notes\n")
    out = run("--out", str(tmp_path), "--table", "4", "--max-steps", "100")
    assert out.exit_code == 2
    assert f"{name} is not of this command" in out.stderr
    assert (tmp_path / name).read_text() == "# My notes\n"


def test_report_keeps_what_was_solved_before(tmp_path):
    assert run("--out", str(tmp_path), "--table", "4", "--max-steps", "100").exit_code == 0
    out = run("--out", str(tmp_path), "--table", "2", "--max-steps", "100")
    assert out.exit_code == 0
    assert "2 columns of 2 tables" in out.stdout
    text = (tmp_path / "paper.md").read_text()
    assert "### Table 2\n" in text
    assert "### Table 4\n" in text


def test_remark_without_its_table_is_said(tmp_path):
    out = run("--out", str(tmp_path), "--table", "4", "--max-steps", "100", "--remarks")
    assert out.exit_code == 0
    assert "no Remark 3" in out.stderr


def test_out_must_name_a_folder():
    out = run("--out", "", "--table", "4", "--max-steps", "100")
    assert out.exit_code == 2
    assert "--out" in out.stderr


def test_figure_that_lacks_a_table_is_said(tmp_path):
    out = run("--out", str(tmp_path), "--table", "15", "--max-steps", "100")
    assert out.exit_code == 0
    assert "no Figure 7: it needs Table 16 too" in out.stderr
    assert not (tmp_path / "figure7.png").exists()


def test_record_of_other_settings_alone(tmp_path):
    assert run("--out", str(tmp_path), "--table", "4", "--max-steps", "100").exit_code == 0
    out = run("--out", str(tmp_path), "--table", "2", "--max-steps", "100", "--no-solve")
    assert out.exit_code == 2
    assert "none of this was solved" in out.stderr
