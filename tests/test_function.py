"""Functions and programs as propagators."""

import functools
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import daskmgrit as dm

RATE = 0.02


def in_place(w, i):
    w -= RATE * np.sin(w) * (1 + i % 2)
    return w


def stateless(w):
    return w - RATE * np.sin(w)


def levelled(w, i, level):
    return w - RATE * 2**level * np.sin(w)


def batched(weights, index):
    return weights - RATE * np.sin(weights) * (1 + index % 2)[:, None]


@pytest.mark.parametrize(
    ("f", "vectorized"),
    [
        (in_place, False),
        (stateless, False),
        (levelled, False),
        (batched, True),
        (stateless, True),
        (functools.partial(levelled, level=0), False),
    ],
)
def test_a_loop_body_in_one_line(f, vectorized):
    w0 = np.linspace(0.5, 1, 4)
    phi = dm.from_function(f, vectorized, cap=16)
    assert dm.check_propagator(phi, w0, levels=3).ok
    result = dm.MGRIT(phi, 64).solve(w0)
    assert result.converged
    w = w0.copy()
    for i in range(64):
        w = {in_place: in_place, stateless: lambda w, i: stateless(w)}.get(
            f, lambda w, i: batched(w[None], np.array([i]))[0] if f is batched else levelled(w, i, 0)
        )(w, i)
    np.testing.assert_allclose(result.final, w, atol=1e-7)


def test_coarse_steps_of_a_loop_without_levels():
    phi = dm.from_function(lambda w, i: w - 0.1 * (i + 1), coarsening=[4, 2], cap=6)
    steps = phi(np.zeros((2, 1)), np.array([0, 3]), 1)
    np.testing.assert_allclose(steps[:, 0], [-0.1 * 4 * 1, -0.1 * 4 * 13])
    np.testing.assert_allclose(phi(np.zeros((1, 1)), np.array([2]), 2), [[-0.1 * 6 * 17]])


def test_a_level_argument_is_found_by_its_name():
    phi = dm.from_function(lambda w, i, level=0: w + level)
    assert phi(np.zeros((1, 1)), np.array([0]), 3) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((3,), TypeError, ["f=3", "f(w, i, level)"]),
        ((lambda: 0,), TypeError, ["takes ()"]),
        ((lambda w, i, rate, data: w,), TypeError, ["(w, i, rate, data)", "functools.partial"]),
    ],
)
def test_what_is_no_loop_body(arguments, error, words):
    with pytest.raises(error) as caught:
        dm.from_function(*arguments)
    assert all(word in str(caught.value) for word in words)


def test_a_solver_with_another_coarsening():
    with pytest.raises(ValueError, match="phi was made for coarsening=2, but the solver coarsens by 4, 4"):
        dm.MGRIT(dm.from_function(lambda w: 0.9 * w), 64, coarsening=4, min_coarse=4)


@pytest.mark.parametrize(("option", "value"), [("cap", 0), ("coarsening", 1), ("coarsening", [])])
def test_bad_lengths(option, value):
    with pytest.raises(ValueError, match=option):
        dm.from_function(stateless, **{option: value})


def test_a_loop_body_that_returns_nothing():
    def forgets(w, i):
        w *= 0.9

    with pytest.raises(dm.PropagatorError, match="returned None"):
        dm.check_propagator(dm.from_function(forgets), np.ones(2))


# -- programs ----------------------------------------------------------------------------------------------------

TEXT = "import sys\nfor line in sys.stdin: print(repr(0.95 ** int(sys.argv[1]) * float(line)))"
FILES = "import sys, numpy as np; a, i, o = sys.argv[1:]; np.save(o, 0.95 ** int(a) * np.load(i))"
# An npy file read from a pipe needs a buffer that can be sought in.
PIPE = (
    "import io, sys, numpy as np; w = np.load(io.BytesIO(sys.stdin.buffer.read())); b = io.BytesIO();"
    "np.save(b, 0.95 ** int(sys.argv[1]) * w); sys.stdout.buffer.write(b.getvalue())"
)


@pytest.mark.parametrize(
    ("code", "words", "format"),
    [
        (TEXT, ["{length}"], "text"),
        (PIPE, ["{length}"], "npy"),
        (FILES.replace("np.save(o,", "np.save(open(o, 'wb'),"), ["{length}", "{input}", "{output}"], "npy"),
        (FILES, ["{length}", "{input}", "{output}"], "npy"),
    ],
    ids=["text", "pipe", "open files", "files"],
)
def test_a_program(code, words, format):
    phi = dm.from_command([sys.executable, "-c", code, *words], format)
    w0 = np.array([1.0, 1 / 3])
    block = np.stack([w0, 2 * w0])
    np.testing.assert_array_equal(phi(block, np.arange(2), 0), 0.95 * block)
    np.testing.assert_array_equal(phi(block, np.arange(2), 2), 0.95**4 * block)


def test_a_program_solved_on_a_cluster(client):
    phi = dm.from_command(
        [sys.executable, "-S", "-c", TEXT.replace("sys.argv[1]", "1"), "{step}"], "text", coarsening=4, cap=8
    )
    result = dm.MGRIT(phi, 12, coarsening=4, max_levels=2).solve(np.ones(2), "constant", chunks=2, client=client)
    np.testing.assert_allclose(result.final, 0.95**12, atol=1e-8)


def failing(code, **options):
    phi = dm.from_command([sys.executable, "-S", "-c", code, "{level}"], "text", **options)
    with pytest.raises(dm.CommandError) as caught:
        phi(np.ones((1, 2)), np.array([5]), 1)
    assert "level 1, step 5" in str(caught.value)
    return str(caught.value)


def test_a_program_that_fails():
    message = failing("import sys; print('no such mesh', file=sys.stderr); sys.exit(3)")
    assert "exited with status 3" in message
    assert "no such mesh" in message
    assert "killed by signal 9" in failing("import os; os.kill(os.getpid(), 9)")
    assert "standard error is empty" in failing("import os; os._exit(1)")


def test_a_program_that_returns_something_else():
    assert "shape (1,), not (2,)" in failing("print(1.0)")
    assert "no state in format 'text'" in failing("print('done')")
    phi = dm.from_command(["/no/such/program"])
    with pytest.raises(dm.CommandError, match="could not be started"):
        phi(np.ones((1, 1)), np.array([0]), 0)
    phi = dm.from_command([sys.executable, "-S", "-c", "", "{output}"])
    with pytest.raises(dm.CommandError, match="wrote no file"):
        phi(np.ones((1, 1)), np.array([0]), 0)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"command": ["ls", 3]}, TypeError, "command has 3"),
        ({"command": ["ls", "{stp}"]}, ValueError, "command has {stp}: what is filled in is {step}"),
        ({"command": ["ls"], "environment": {"A": 1}}, TypeError, "environment has 'A': 1"),
    ],
)
def test_bad_programs(arguments, error, words):
    with pytest.raises(error, match=words):
        dm.from_command(**arguments)


def test_a_program_that_hangs_dies_with_what_it_started(tmp_path):
    note = tmp_path / "pid"
    child = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    code = (
        f"import subprocess, sys, os, time; subprocess.Popen([sys.executable, '-S', '-c', {child!r}])\n"
        f"while not (os.path.exists({str(note)!r}) and open({str(note)!r}).read()): time.sleep(0.01)\n"
        "time.sleep(300)"
    )
    message = failing(code, timeout=20 if os.environ.get("CI") else 5)
    assert "took longer than timeout" in message
    if note.exists():
        status = Path("/proc", note.read_text(), "stat")
        deadline = time.monotonic() + 30
        while status.exists() and status.read_text().split(")")[1].split()[0] != "Z" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not status.exists() or status.read_text().split(")")[1].split()[0] == "Z"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("./simulate --step 1",), TypeError, "one string"),
        (([],), ValueError, "empty"),
        ((["a"], "csv"), ValueError, "format='csv'"),
        ((["a"], "npy", 0), ValueError, "timeout=0"),
    ],
)
def test_bad_commands(arguments, error, words):
    with pytest.raises(error, match=words):
        dm.from_command(*arguments)


def test_no_shell_sees_the_arguments():
    code = TEXT.replace("sys.argv[1]", "len(sys.argv[2])")
    phi = dm.from_command([sys.executable, "-S", "-c", code, "{length}", "$HOME; *"], "text")
    np.testing.assert_array_equal(phi(np.ones((1, 1)), np.array([0]), 0), [[0.95**8]])


def test_environment_of_a_program():
    code = "import os, sys; print(os.environ['SCALE'])"
    phi = dm.from_command([sys.executable, "-S", "-c", code], "text", environment={"SCALE": "0.25"})
    assert phi(np.ones((1, 1)), np.array([0]), 0) == 0.25
