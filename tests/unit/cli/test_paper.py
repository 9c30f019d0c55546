"""Usage errors of `daskmgrit paper`."""

import pytest

from daskmgrit.cli.main import main
from tests.support.cli import CliRunner


def run(*arguments):
    return CliRunner().invoke(main, ["paper", *arguments])


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


@pytest.mark.parametrize("name", ["paper.md", "paper.csv", "figure6.png"])
def test_foreign_report_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("# My notes\n")
    out = run("--out", str(tmp_path), "--table", "4", "--max-steps", "100")
    assert out.exit_code == 2
    assert f"{name} is not from this command" in out.stderr
    assert (tmp_path / name).read_text() == "# My notes\n"


def test_out_must_name_a_folder():
    out = run("--out", "", "--table", "4", "--max-steps", "100")
    assert out.exit_code == 2
    assert "--out" in out.stderr
