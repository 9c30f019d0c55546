"""Programs as propagators."""

import os
import sys
import tempfile
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.propagators import program
from tests.support.processes import ended
from tests.support.waiting import wait_for

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
    assert "no valid state in format 'text'" in failing("print('done')")
    phi = dm.from_command(["/no/such/program"])
    with pytest.raises(dm.CommandError, match="could not be started"):
        phi(np.ones((1, 1)), np.array([0]), 0)
    phi = dm.from_command([sys.executable, "-S", "-c", "", "{output}"])
    with pytest.raises(dm.CommandError, match=r"its file \{output\} was not written"):
        phi(np.ones((1, 1)), np.array([0]), 0)


@pytest.mark.parametrize("how", ["", "start_new_session=True"])
def test_a_program_that_hangs_dies_with_what_it_started(tmp_path, how):
    note = tmp_path / "pid"
    # It is written whole, or not at all.
    child = (
        f"import os, time; open({str(note)!r} + '.new', 'w').write(str(os.getpid()))\n"
        f"os.rename({str(note)!r} + '.new', {str(note)!r}); time.sleep(300)"
    )
    code = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-S', '-c', {child!r}], {how})\n"
        "time.sleep(300)"
    )
    message = failing(code, timeout=8 if os.environ.get("CI") else 5)
    assert "took longer than timeout" in message
    # On a busy machine it may not have got that far.
    if note.exists():
        wait_for(lambda: ended(int(note.read_text())))


def test_what_holds_the_output_of_a_program_that_has_ended():
    child = "import time; time.sleep(300)"
    code = f"import subprocess, sys; print(1.0, 2.0); subprocess.Popen([sys.executable, '-S', '-c', {child!r}])"
    message = failing(code, timeout=5)
    assert "has ended, but a process that it started still held its output open after timeout=5 s" in message


def test_bytes_after_a_state():
    code = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data + b'more')"
    phi = dm.from_command([sys.executable, "-S", "-c", code])
    with pytest.raises(dm.CommandError, match=r"no valid state in format 'npy'.*4 bytes come after the state"):
        phi(np.ones((1, 2)), np.array([0]), 0)


LEAVES = """
import subprocess, sys
nothing = subprocess.DEVNULL
child = subprocess.Popen(
    [sys.executable, "-S", "-c", "import time; time.sleep(300)"],
    stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True,
)
open(sys.argv[1], "w").write(str(child.pid))
print(0.5 * float(sys.stdin.read()))
"""


def test_what_a_program_leaves_running_ends_with_the_step(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_search", 0.0)
    note = tmp_path / "pid"
    phi = dm.from_command([sys.executable, "-S", "-c", LEAVES, str(note)], "text")
    assert phi(np.ones((1, 1)), np.array([0]), 0) == 0.5
    wait_for(lambda: ended(int(note.read_text())))


def test_what_short_programs_leave_running_ends_with_a_later_step(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "_search", 1e9)
    note = tmp_path / "pid"
    phi = dm.from_command([sys.executable, "-S", "-c", LEAVES, str(note)], "text")
    phi(np.ones((1, 1)), np.array([0]), 0)
    left = int(note.read_text())
    assert not ended(left)
    monkeypatch.setattr(program, "_search", 0.0)
    phi(np.ones((1, 1)), np.array([1]), 0)
    wait_for(lambda: ended(left))


def test_a_program_that_is_killed_takes_no_other_along(tmp_path, monkeypatch):
    """Marks are numbered, and one number may begin as another does."""
    monkeypatch.setattr(program, "_numbers", iter([10, 1]))
    note = tmp_path / "up"
    code = f"import sys, time; w = sys.stdin.read(); open({str(note)!r}, 'w').close(); sys.stdin.close(); "
    first = dm.from_command([sys.executable, "-S", "-c", "while True: print('1' * 1000)"], "text")
    second = dm.from_command(
        [sys.executable, "-S", "-c", f"{code}\nwhile open({str(note)!r}).read() != 'go': time.sleep(0.01)\nprint(w)"],
        "text",
    )

    def run_first():
        wait_for(note.exists)
        with pytest.raises(dm.CommandError, match="wrote more than"):
            first(np.ones((1, 1)), np.array([0]), 0)
        note.write_text("go")

    # The second is started first, with number 10; the one that is killed has number 1.
    with ThreadPoolExecutor(2) as pool:
        later = pool.submit(second, np.ones((1, 1)), np.array([0]), 0)
        pool.submit(run_first).result(60)
        assert later.result(60) == 1.0


@pytest.mark.parametrize("format", ["npy", "text"])
def test_a_program_that_writes_without_end(format):
    phi = dm.from_command([sys.executable, "-S", "-c", "while True: print('1' * 1000)"], format, timeout=600)
    tracemalloc.start()
    try:
        with pytest.raises(dm.CommandError, match=r"wrote more than \d+ bytes to standard output.*write one state"):
            phi(np.ones((1, 2)), np.array([5]), 0)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_program_that_says_much():
    """All but the end of what it says is forgotten, where it is not the state."""
    code = (
        "import sys; w = float(sys.stdin.read()); text = 'x' * 1_000_000; print(text, file=sys.stderr)\n"
        "if len(sys.argv) > 1: print(text); open(sys.argv[1], 'w').write(str(w / 2))\n"
        "else: print(w / 2)"
    )
    for words in ([], ["{output}"]):
        phi = dm.from_command([sys.executable, "-S", "-c", code, *words], "text")
        assert phi(np.ones((1, 1)), np.array([0]), 0) == 0.5
    assert len(failing("import sys; print('x' * 1_000_000, file=sys.stderr); sys.exit(1)")) < 5000


@pytest.mark.parametrize(("stream", "words"), [("stderr", []), ("stdout", ["{output}"])])
def test_a_program_that_says_things_without_end(stream, words, monkeypatch):
    monkeypatch.setattr(program, "MESSAGES", 1 << 20)
    phi = dm.from_command(
        [sys.executable, "-S", "-c", f"import sys\nwhile True: print('1' * 1000, file=sys.{stream})", *words],
        timeout=600,
    )
    name = {"stderr": "error", "stdout": "output"}[stream]
    with pytest.raises(dm.CommandError, match=rf"wrote more than \d+ bytes to standard {name}.*reduce its messages"):
        phi(np.ones((1, 2)), np.array([5]), 0)


@pytest.mark.usefixtures("synchronous")
def test_nan_in_what_a_program_returns_is_divergence():
    code = "import sys; a = sys.argv[1]; print('nan' if a == '3' else sys.stdin.read())"
    phi = dm.from_command([sys.executable, "-S", "-c", code, "{step}"], "text")
    result = dm.MGRIT(phi, 6).solve(np.ones(1))
    assert result.reason == "diverged"
    assert "step 3" in result.message or "nan" in result.message


def test_a_large_state_through_pipes():
    code = "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data)"
    w = np.random.default_rng(0).standard_normal((1, 300_000))
    for format in ("npy", "text"):
        assert np.array_equal(dm.from_command([sys.executable, "-S", "-c", code], format)(w, np.array([0]), 0), w)


def npy(dtype, shape):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode("latin1")


OUTPUTS = {
    "a claim": (npy("<f8", (10**13,)), r"shape \(10000000000000,\), not \(2,\).*write all weights"),
    "no data": (npy("<f8", (2,)), "no valid state in format 'npy'"),
    "half": (npy("<f8", (2,)) + bytes(8), "no valid state in format 'npy'"),
    "single precision": (npy("<f4", (2,)) + bytes(8), "returned float32 for a state of float64.*let the"),
    "objects": (npy("|O", (2,)) + bytes(16), "no valid state in format 'npy'.*Python objects"),
    "text": (b"1.0", "no valid state in format 'npy'"),
    "version": (b"\x93NUMPY\x09\x00" + bytes(200), "no valid state in format 'npy'"),
    "too much": (npy("<f8", (2,)) + bytes(1 << 20), "far more than a state"),
}


@pytest.mark.parametrize("place", ["standard output", "file"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_that_are_no_state(tmp_path, place, name):
    data, words = OUTPUTS[name]
    (tmp_path / "data").write_bytes(data)
    command = ["cp", tmp_path / "data", "{output}"] if place == "file" else ["cat", tmp_path / "data"]
    with pytest.raises(dm.CommandError, match=words) as caught:
        dm.from_command(command)(np.ones((1, 2)), np.array([5]), 0)
    assert "level 0, step 5" in str(caught.value)
    assert str(command[:1])[1:-1] in str(caught.value)


def test_another_byte_order(tmp_path):
    np.save(tmp_path / "new.npy", np.array([1.0, 2.0], ">f8"))
    new = dm.from_command(["cat", tmp_path / "new.npy"])(np.ones((1, 2)), np.array([0]), 0)
    assert new.tolist() == [[1.0, 2.0]]
    assert new.dtype == np.float64


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["mkdir", "{output}"], "is not a regular file"),
        (["mkfifo", "{output}"], "is not a regular file"),
        (["ln", "-s", "/dev/zero", "{output}"], "is not a regular file"),
        (["ln", "-s", "{output}", "{output}"], "cannot be read"),
        (["true", "{output}"], "was not written"),
    ],
)
def test_files_that_are_no_output(command, words):
    with pytest.raises(dm.CommandError, match=rf"its file {{output}} {words}.*level 0, step 0.*write one state"):
        dm.from_command(command)(np.ones((1, 1)), np.array([0]), 0)


def test_no_room_for_files(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(dm.CommandError, match=r"no temporary files could be made.*TMPDIR"):
        dm.from_command(["cat"])(np.ones((1, 1)), np.array([0]), 0)


def test_no_shell_sees_the_arguments():
    code = TEXT.replace("sys.argv[1]", "len(sys.argv[2])")
    phi = dm.from_command([sys.executable, "-S", "-c", code, "{length}", "$HOME; *"], "text")
    np.testing.assert_array_equal(phi(np.ones((1, 1)), np.array([0]), 0), [[0.95**8]])


def test_environment_of_a_program():
    code = "import os, sys; print(os.environ['SCALE'])"
    phi = dm.from_command([sys.executable, "-S", "-c", code], "text", environment={"SCALE": "0.25"})
    assert phi(np.ones((1, 1)), np.array([0]), 0) == 0.25
