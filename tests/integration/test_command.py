"""Programs as propagators."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import daskmgrit as dm

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


def test_no_shell_sees_the_arguments():
    code = TEXT.replace("sys.argv[1]", "len(sys.argv[2])")
    phi = dm.from_command([sys.executable, "-S", "-c", code, "{length}", "$HOME; *"], "text")
    np.testing.assert_array_equal(phi(np.ones((1, 1)), np.array([0]), 0), [[0.95**8]])


def test_environment_of_a_program():
    code = "import os, sys; print(os.environ['SCALE'])"
    phi = dm.from_command([sys.executable, "-S", "-c", code], "text", environment={"SCALE": "0.25"})
    assert phi(np.ones((1, 1)), np.array([0]), 0) == 0.25
