"""The command line as a user calls it."""

import json

import pytest

from daskmgrit.cli.main import main
from tests.support.cli import CliRunner
from tests.support.counts import close

FIELDS = {
    "problem",
    "solver",
    "steps",
    "levels",
    "cycle",
    "iterations",
    "residuals",
    "converged",
    "reason",
    "convergence_factor",
    "phi_evaluations",
    "critical_path",
    "tasks",
    "storage",
    "seconds",
}


def call(*arguments):
    return CliRunner().invoke(main, ["solve", *arguments])


def test_json_is_one_object_on_standard_output():
    out = call("xor", "--steps", "100", "--solver", "naive", "--max-levels", "2", "--json", "--check")
    assert out.exit_code == 0
    answer = json.loads(out.stdout)
    assert set(answer) >= FIELDS | {"max_error", "serial_seconds", "metrics"}
    assert close(answer["iterations"], 14)
    assert answer["levels"] == [100, 50]
    assert (answer["problem"], answer["solver"], answer["cycle"], answer["reason"]) == ("xor", "naive", "V", "tol")
    assert answer["converged"] is True
    assert len(answer["residuals"]) == answer["iterations"] + 1
    assert answer["max_error"] < 1e-6
    assert "level" in out.stderr
    assert f"{answer['iterations']}  " in out.stderr


def test_summary_for_a_person():
    out = call("digits", "--steps", "100", "--check")
    assert out.exit_code == 0
    for words in ("converged", "convergence factor", "Phi evaluations", "test accuracy", "largest error", "serial"):
        assert words in out.stdout


def test_json_says_what_storage_it_was(tmp_path):
    for storage in ("full", "c-points"):
        out = call(
            "xor", "--steps", "60", "--maxiter", "1", "--storage", storage, "--checkpoint", tmp_path / storage, "--json"
        )
        assert json.loads(out.stdout)["storage"] == storage
    out = call("xor", "--steps", "60", "--maxiter", "2", "--checkpoint", tmp_path / "c-points", "--resume", "--json")
    assert json.loads(out.stdout)["storage"] == "c-points"


def test_not_converged_is_status_1():
    out = call("xor", "--steps", "100", "--maxiter", "2", "--json")
    assert out.exit_code == 1
    assert json.loads(out.stdout)["reason"] == "maxiter"


def test_diverged_is_status_1_and_valid_json():
    # A rate far beyond the stable one: the adder's summed gradients blow up.
    out = call("digits", "--steps", "64", "--solver", "naive", "--learning-rate", "1e308", "--json")
    assert out.exit_code == 1
    answer = json.loads(out.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert answer["reason"] == "diverged"
    assert "level" in answer["message"]


def test_no_scheduler_there():
    out = call("xor", "--scheduler", "tcp://127.0.0.1:1", "--timeout", "1s")
    assert out.exit_code == 3
    assert out.stdout == ""
    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in out.stderr


def test_tls_needs_keys():
    out = call("xor", "--scheduler", "tls://127.0.0.1:1")
    assert out.exit_code == 2
    assert "--keys FOLDER" in out.stderr


def test_options_by_level():
    out = call("xor", "--steps", "200", "--coarsening", "4,2", "--relaxation", "FCF,F", "--weight", "1.0,0.9", "--json")
    answer = json.loads(out.stdout)
    assert answer["levels"] == [200, 50, 25, 12, 6]


def test_cycle_and_guess():
    out = call("xor", "--steps", "100", "--cycle", "f", "--initial-guess", "nested", "--json")
    answer = json.loads(out.stdout)
    assert answer["cycle"] == "F"
    assert answer["residuals"][0] < 1


def test_plot(tmp_path):
    file = tmp_path / "history.png"
    assert call("xor", "--steps", "100", "--plot", str(file)).exit_code == 0
    assert file.read_bytes()[:4] == b"\x89PNG"
    assert list(tmp_path.iterdir()) == [file]


def test_on_a_cluster(client):
    out = call("xor", "--steps", "100", "--scheduler", client.scheduler.address, "--chunks", "2", "--json", "--check")
    assert out.exit_code == 0
    assert json.loads(out.stdout)["max_error"] < 1e-6
    assert f"cluster {client.scheduler.address}, dashboard {client.dashboard_link.replace('/status', '/mgrit')}\n" in (
        out.stderr
    )


def solve_and_resume(directory, *how):
    return call("xor", "--steps", "100", "--checkpoint", str(directory), "--json", *how)


def test_a_part_of_a_solve_is_not_compared_with_serial_training(tmp_path):
    how = ("xor", "--steps", "100", "--checkpoint", str(tmp_path))
    assert call(*how, "--maxiter", "3").exit_code == 1
    out = call(*how, "--resume", "--maxiter", "50", "--check")
    assert "not comparable, because the solve was resumed" in out.stdout
    assert " times faster" not in out.stdout
    assert " times slower" not in out.stdout


def test_checkpoint_and_resume(tmp_path, monkeypatch):
    straight = json.loads(call("xor", "--steps", "100", "--json").stdout)
    out = solve_and_resume(tmp_path, "--resume", "--maxiter", "3", "--checkpoint-every", "2")
    assert out.exit_code == 1
    assert f"no checkpoint in {tmp_path} yet: beginning from the initial guess" in out.stderr
    out = solve_and_resume(tmp_path)
    assert out.exit_code == 3
    assert "already holds a checkpoint, cycle-000003" in out.stderr
    out = solve_and_resume(tmp_path, "--resume", "--learning-rate", "0.5")
    assert out.exit_code == 3
    assert "is of another problem" in out.stderr
    # As a shell leaves it in --checkpoint=~/DIR.
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert "beginning" not in solve_and_resume(f"~/{tmp_path.name}", "--resume").stderr
    # Without --maxiter that of the first run holds.
    out = solve_and_resume(tmp_path, "--resume")
    assert json.loads(out.stdout)["iterations"] == 3
    assert "cycle-000003, with --maxiter 3 as before" in out.stderr
    out = solve_and_resume(tmp_path, "--resume", "--maxiter", "50", "--checkpoint-minutes", "60", "--chunks", "3")
    assert out.exit_code == 0
    assert "as before" not in out.stderr
    answer = json.loads(out.stdout)
    assert answer["residuals"] == straight["residuals"]
    manifest = json.loads(next(tmp_path.glob("cycle-*/manifest.json")).read_text())["content"]
    assert (manifest["solve"]["every"], manifest["solve"]["seconds"]) == (10, 3600)


def test_timeout_for_workers():
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster:
        out = call("xor", "--scheduler", cluster.scheduler_address, "--timeout", "2")
        assert out.exit_code == 3
        assert "no workers and none came within 2 s" in out.stderr
        assert call("xor", "--timeout", "300ms", "--steps", "40").exit_code == 0
        assert "'--timeout': 'soon' is not a time" in call("xor", "--timeout", "soon").stderr


@pytest.mark.parametrize("storage", ["full", "c-points"])
def test_float32(storage):
    arguments = ("digits", "--steps", "100", "--dtype", "float32", "--storage", storage)
    out = call(*arguments, "--check", "--json")
    assert out.exit_code == 0, out.stderr
    assert json.loads(out.stdout)["tol"] >= 1e-5 * 10
    # Single precision throughout: rounding is what is left, and it is that of a float32.
    assert 1e-9 < json.loads(out.stdout)["max_error"] < 1e-4
    # What does not converge says why.
    out = call(*arguments, "--tol", "1e-12")
    assert out.exit_code == 1
    assert "rounding of float32" in out.stdout
    assert "advice" in out.stdout
