"""The paper's tables: what is measured for N <= 400, and the command."""

import json
import re

import pytest

from daskmgrit.cli import paper
from daskmgrit.cli.main import main
from daskmgrit.paper.run import measure
from daskmgrit.paper.tables import tables
from tests.support.cli import CliRunner
from tests.support.counts import close

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


@pytest.mark.parametrize("number", sorted(MEASURED))
def test_measured_counts(number):
    table = tables()[number]
    for reading, counts in zip(table.readings, MEASURED[number], strict=True):
        measured = [measure(reading, steps) for steps in table.columns[: len(counts)]]
        assert all(close(m["iterations"], count) for m, count in zip(measured, counts, strict=True))
        assert all(m["converged"] for m in measured)


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
    # Published, and measured here.
    row = re.search(r"^\| 100 \| 5 \| 0\.07 \| (\d+) \|", text, re.MULTILINE)
    assert close(int(row[1]), 5)
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
    assert "resumes from" in stopped.stderr
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


def test_figure_that_lacks_a_table_is_said(tmp_path):
    out = run("--out", str(tmp_path), "--table", "15", "--max-steps", "100")
    assert out.exit_code == 0
    assert "no Figure 7: it needs Table 16 too" in out.stderr
    assert not (tmp_path / "figure7.png").exists()


def test_record_of_other_settings_alone(tmp_path):
    assert run("--out", str(tmp_path), "--table", "4", "--max-steps", "100").exit_code == 0
    out = run("--out", str(tmp_path), "--table", "2", "--max-steps", "100", "--no-solve")
    assert out.exit_code == 2
    assert "has no results of these tables yet" in out.stderr
