"""`daskmgrit new` writes a problem that is solved at once."""

import json
import sys

import pytest

import daskmgrit as dm
from daskmgrit.cli.main import main
from daskmgrit.problems.find import find_problem
from tests.support.cli import CliRunner
from tests.support.optional import need


def run(*arguments):
    return CliRunner().invoke(main, arguments)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize("framework", ["numpy", "torch", "jax"])
def test_what_is_written_is_solved_at_once(framework, folder):
    if framework != "numpy":
        need(framework, framework)
    # A name of its own: modules stay imported.
    file = f"begun_with_{framework}.py"
    written = run("new", file, "--framework", framework)
    assert written.exit_code == 0
    assert written.stdout == f"daskmgrit solve {file}:problem --check\n"
    text = (folder / file).read_text()
    assert f"daskmgrit solve {file}:problem" in text
    assert " problem.py" not in text
    solved = run(*written.stdout.split()[1:], "--json")
    assert solved.exit_code == 0, solved.stderr
    answer = json.loads(solved.stdout)
    assert answer["iterations"] < 15
    assert answer["max_error"] < 1e-3
    problem = find_problem(f"{file}:problem")
    assert problem.tell(problem.w0)["loss"] > answer["metrics"]["loss"]
    assert dm.check_propagator(problem.phi, problem.w0, raises=False).problems == []


def test_by_the_other_method():
    run("new", "begun_for_newton.py")
    assert run("solve", "begun_for_newton.py:problem", "--method", "newton").exit_code == 0


@pytest.mark.parametrize(
    ("file", "words"),
    [("there.py", "already exists"), ("there", "must end in .py"), ("no/where.py", "does not exist")],
)
def test_refusals(folder, file, words):
    (folder / "there.py").write_text("mine")
    out = run("new", file)
    assert out.exit_code == 2
    assert words in out.stderr
    assert (folder / "there.py").read_text() == "mine"
    assert list(folder.iterdir()) == [folder / "there.py"]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 3)])
def test_a_file_is_written_whole_or_not_at_all(folder, monkeypatch, error, status):
    class Template:
        def joinpath(self, *names):
            return self

        def read_text(self, encoding):
            return self

        def replace(self, old, new):
            raise error

    monkeypatch.setattr("daskmgrit.cli.new.files", lambda package: Template())
    assert run("new", "half.py").exit_code == status
    assert not (folder / "half.py").exists()
