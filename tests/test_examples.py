"""The examples and the commands that the documents print, as a user runs them."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_example(name):
    out = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)], capture_output=True, text=True, timeout=200, check=False
    )
    assert out.returncode == 0, out.stderr
    assert "converged" in out.stdout
    assert "NOT" not in out.stdout
    for difference in re.findall(r"difference from serial training:? ([\d.e+-]+)", out.stdout):
        assert float(difference) < 1e-7


def test_readme_python():
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert out.returncode == 0, out.stderr
    assert "converged" in out.stdout


def test_deploy_commands():
    """`dask scheduler` and `dask worker` as deploy/README.md prints them, but on a free port."""
    text = (ROOT / "deploy" / "README.md").read_text()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    commands = [
        line.replace("8786", port).split() for line in text.splitlines() if line.startswith(("dask ", "daskmgrit "))
    ]
    assert [command[:2] for command in commands] == [["dask", "scheduler"], ["dask", "worker"], ["daskmgrit", "solve"]]
    programs = [[str(Path(sys.executable).with_name(name)), *rest] for name, *rest in commands]
    programs[0] += ["--dashboard-address", "127.0.0.1:0"]
    running = []
    try:
        for program in programs[:2]:
            running.append(subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            time.sleep(1)
        out = subprocess.run(programs[2], capture_output=True, text=True, timeout=100, check=False)
        assert out.returncode == 0, out.stderr
        assert "converged" in out.stdout
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
