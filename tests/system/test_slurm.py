"""On a SLURM of three nodes, real but all on this machine."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import dask
import numpy as np
import pytest
import yaml

import daskmgrit as dm
from daskmgrit.checkpoint.saver import Saved
from daskmgrit.checkpoint.store import latest
from daskmgrit.cli.main import main
from daskmgrit.errors import ClusterError
from daskmgrit.executors.watchdog import absence
from daskmgrit.problems import xor
from tests.support import slurm_nodes
from tests.support.cli import CliRunner
from tests.support.optional import need
from tests.support.recurrences import Decay
from tests.support.waiting import wait_for

# Not imported as it is: that sets a handler of signals, which a worker that unpickles from here must not do.
if find_spec("dask_jobqueue") is None:
    pytest.skip("dask_jobqueue is not installed: pip install '.[slurm]'", allow_module_level=True)
need("cryptography", "slurm")

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        bool(slurm_nodes.missing()),
        reason=f"needs {', '.join(slurm_nodes.missing())}: {slurm_nodes.APT}",
    ),
]
# All nodes are on loopback.
JOB = {"cores": 1, "memory": "500 MB", "interface": "lo", "walltime": "00:10:00"}
ENVIRONMENT = {f"DASK_JOBQUEUE__SLURM__{name.upper()}": str(value) for name, value in JOB.items()}


@pytest.fixture(scope="module")
def slurm():
    """The nodes; until the end of the module this process and its children are on a login node of theirs."""
    with slurm_nodes.Slurm() as nodes, pytest.MonkeyPatch.context() as patch:
        for name, value in nodes.environment.items():
            patch.setenv(name, value)
        (nodes.folder / "home").mkdir()
        patch.chdir(nodes.folder / "home")  # where jobs write their logs
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))  # workers load phi from the tests
        import daskmgrit.slurm.cluster  # noqa: F401 - with the defaults of jobqueue.slurm

        settings = {f"jobqueue.slurm.{name}": value for name, value in JOB.items()}
        with dask.config.set(settings | {"daskmgrit.slurm.poll": "0.5s", "daskmgrit.slurm.wait": "90s"}):
            yield nodes


@pytest.fixture(scope="module")
def pool(slurm):
    """Two workers, in a job each."""
    from daskmgrit.slurm import SLURMCluster

    with SLURMCluster() as cluster:
        cluster.scale(jobs=2)
        wait_for(lambda: len(slurm.queue()) >= 2, "its jobs are in the queue")
        yield cluster


@pytest.fixture
def pool_client(pool):
    from distributed import Client

    with Client(pool) as client:
        client.wait_for_workers(2, timeout=60)
        yield client


def solve(*arguments, **settings):
    """Call the command, with settings as in jobqueue.slurm and, with a leading dot, daskmgrit.slurm of dask.config."""
    names = {
        f"{'daskmgrit' if name[0] == '.' else 'jobqueue'}.slurm.{name.lstrip('.')}": value
        for name, value in settings.items()
    }
    with dask.config.set(names):
        return CliRunner().invoke(main, ["solve", "xor", "--steps", "100", "--slurm", *arguments])


def test_a_phi_from_the_users_folder(slurm, tmp_path):
    """Workers of SLURM jobs run what they cannot import."""
    (tmp_path / "own_steps.py").write_text(
        "import numpy as np\n\n\ndef phi(weights, index, level):\n"
        "    return weights - min(0.05 * 2**level, 0.5) * np.sin(weights)\n\n\nw0 = np.full(3, 2.0)\n"
    )
    file = tmp_path / "own_steps.py"
    how = ["--w0", f"{file}:w0", "--steps", "100", "--slurm", "--workers", "1", "--json", "--check"]
    run = CliRunner().invoke(main, ["solve", f"{file}:phi", *how])
    assert run.exit_code == 0, run.stderr
    assert json.loads(run.stdout)["max_error"] < 1e-6


class Recording(Decay):
    """Writes a dot to a file for every state that it is given."""

    def __init__(self, path):
        super().__init__()
        self.path = str(path)

    def __call__(self, weights, index, level):
        with open(self.path, "a") as file:
            file.write(len(weights) * ".")
        return super().__call__(weights, index, level)


def calm(phi, w0, steps, **options):
    with dask.config.set(scheduler="sync"):
        return dm.MGRIT(phi, steps).solve(w0, **options)


def test_across_nodes(pool_client, decay, w0):
    where = pool_client.run(lambda: os.environ["SLURMD_NODENAME"])
    assert len(set(where.values())) == 2
    result = dm.MGRIT(decay, 200).solve(w0, client=pool_client, chunks=4)
    assert len({record.start for record in result.records}) > 1
    expected = calm(decay, w0, 200, chunks=4)
    assert result.residuals == expected.residuals
    np.testing.assert_array_equal(
        pool_client.compute(result.weights, sync=True), expected.weights.compute(), strict=True
    )


def test_who_has_no_key_is_refused(pool):
    from distributed import Client
    from distributed.security import Security

    address = pool.scheduler.address
    assert address.startswith("tls://")
    plain = address.replace("tls://", "tcp://")
    for stranger, security, words in (
        (plain, None, "Timed out|closed"),
        (address, Security.temporary(), "certificate does not match"),
    ):
        with pytest.raises(OSError, match=words):
            Client(stranger, security=security, timeout="3s", set_as_default=False)
    folder = pool._keys.folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {oct(file.stat().st_mode & 0o777) for file in folder.iterdir()} == {"0o600"}


def test_all_dashboards_are_on_loopback(pool, pool_client):
    assert pool.dashboard_link.startswith("http://127.0.0.1:")
    hosts = pool_client.run(lambda dask_worker: [s.getsockname()[0] for s in dask_worker.http_server._sockets.values()])
    assert len(hosts) == 2
    assert all(host == ["127.0.0.1"] for host in hosts.values())


def test_cancelled_job_is_replaced(slurm, pool_client, decay, w0):
    cancelled = []

    def cancel(iteration, residual, weights):
        if iteration == 2:
            cancelled.extend(slurm.queue())
            slurm.run("scancel", str(cancelled[0]))
            wait_for(lambda: len(pool_client.nthreads()) < 2, "the end of the worker")

    result = dm.MGRIT(decay, 200).solve(w0, client=pool_client, chunks=4, callback=cancel)
    assert len(cancelled) == 2
    expected = calm(decay, w0, 200, chunks=4)
    assert result.residuals == expected.residuals
    np.testing.assert_array_equal(result.final, expected.final, strict=True)
    wait_for(lambda: len(pool_client.nthreads()) == 2, "the worker of a new job")
    assert max(slurm.queue()) > max(cancelled)
    wait_for(lambda: cancelled[0] not in slurm.queue(), "the end of the job")


def test_walltime(slurm, pool_client, w0, tmp_path):
    """All jobs end at once, and with them all data but the checkpoint; those after them resume from there."""
    calls = tmp_path / "calls"
    calls.touch()
    ended = []

    def end(iteration, residual, weights):
        if iteration == 9:
            ended.extend(slurm.queue())
            for job in ended:
                slurm.run("scontrol", "update", f"JobId={job}", "EndTime=now")
            # SLURM looks every 30 s.
            wait_for(lambda: not pool_client.nthreads(), "the end of all workers", 90)
            ended.append(len(calls.read_text()))

    checkpoint = dm.Checkpoint(tmp_path / "checkpoint", every=3)
    solver = dm.MGRIT(Recording(calls), 200)
    result = solver.solve(w0, client=pool_client, chunks=4, tol=0, maxiter=12, callback=end, checkpoint=checkpoint)
    *jobs, before = ended
    assert len(jobs) == 2
    for job in jobs:
        assert "JobState=TIMEOUT" in slurm.run("scontrol", "show", "job", str(job))
    assert not set(jobs) & set(slurm.queue())
    # Three cycles, and one that may have been in progress: far from all that led to the checkpoint.
    assert len(calls.read_text()) - before < before / 2
    expected = calm(solver.phi, w0, 200, chunks=4, tol=0, maxiter=12)
    assert result.residuals == expected.residuals
    np.testing.assert_array_equal(result.final, expected.final, strict=True)


def test_no_job_comes_in_place_of_the_lost(slurm, pool_client, w0):
    def lose(iteration, residual, weights):
        if iteration == 1:
            slurm.run("scontrol", "update", "PartitionName=main", "State=DOWN")
            slurm.run("scancel", *map(str, slurm.queue()))
            wait_for(lambda: not pool_client.nthreads(), "the end of all workers")

    solver = dm.MGRIT(Decay(), 200)
    reason = r"all workers were lost and none came within 5 s .*\(2 jobs \(\d+, \d+\) are PENDING \(PartitionDown\)"
    try:
        with pytest.raises(ClusterError, match=reason):
            solver.solve(w0, client=pool_client, chunks=4, callback=lose, timeout=5)
    finally:
        slurm.run("scontrol", "update", "PartitionName=main", "State=UP")
    # Without timeout= the wait is as long as one for jobs may be, not as one for workers that are there.
    assert absence(pool_client, 1.0) == 90.0


def test_command(slurm, pool, caplog):
    """The pool has a CPU of two nodes, so one node is left for jobs of four."""
    text = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()
    line = re.search(r"^daskmgrit solve xor --slurm (--workers 32 --checkpoint run1)$", text, re.MULTILINE)[1]
    arguments = line.replace("32", "3").split()
    out = solve(*arguments, "--check", "--json", "--chunks", "4", **{".minimum": 1, "job-cpu": 4})
    assert out.exit_code == 0, out.stderr
    answer = json.loads(out.stdout)
    assert answer["max_error"] < 1e-6
    problem = xor()
    expected = calm(problem.propagator(), problem.w0, 100, initial_guess=problem.initial_guess, chunks=4)
    assert answer["residuals"] == expected.residuals
    assert Saved.load(latest(Path("run1"))).residuals == expected.residuals
    # A wait of less than a second is not told.
    assert not caplog.text or re.search(r"of 1 workers have come; .*job \d+ is PENDING", caplog.text)
    assert "1 workers have come; dashboard" in out.stderr
    assert re.search(r"dashboard http://127.0.0.1:(\d+)/mgrit, from elsewhere after ssh -N -L \1:127", out.stderr)
    # A job that has been cancelled stays in the queue until its node has cleaned up.
    wait_for(lambda: len(slurm.queue()) == 2, "two jobs are left")
    assert list(Path.cwd().glob(".daskmgrit-keys-*")) == [pool._keys.folder]


def test_rejected_job(slurm, caplog):
    out = solve("--workers", "2", queue="nowhere")
    assert out.exit_code == 3
    assert "0 of 2 workers have come, and no more will: sbatch refused a job: invalid partition" in out.stderr
    assert out.stdout == ""
    assert "Traceback" not in caplog.text


def test_pending_job(slurm):
    out = solve(**{"job-extra-directives": ["--hold"], ".wait": "3s"})
    assert out.exit_code == 3
    assert re.search(r"0 of 1 workers have come within 3 s: job \d+ is PENDING \(JobHeldUser\)", out.stderr)
    assert "daskmgrit.slurm.wait" in out.stderr
    assert "PENDING" not in slurm.queue().values()


def test_jobs_that_fail(slurm):
    out = solve(python="/no/such/python")
    assert out.exit_code == 3
    assert "jobs ended 3 times before a worker connected" in out.stderr
    assert "ended as FAILED (NonZeroExitCode) with exit code 127:0; the end of its log" in out.stderr
    assert "/no/such/python: No such file or directory" in out.stderr


def test_terminated_command_leaves_nothing(slurm, pool):
    kept = set(slurm.queue())
    held = os.environ | ENVIRONMENT | {"DASK_JOBQUEUE__SLURM__JOB_EXTRA_DIRECTIVES": "['--hold']"}
    command = [str(Path(sys.executable).with_name("daskmgrit")), "solve", "xor", "--slurm"]
    with subprocess.Popen(command, env=held, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        try:
            wait_for(lambda: set(slurm.queue()) - kept, "its job")
            running.terminate()
            running.communicate(timeout=30)
        finally:
            running.kill()
    assert running.returncode == 128 + signal.SIGTERM
    assert set(slurm.queue()) == kept
    assert list(Path.cwd().glob(".daskmgrit-keys-*")) == [pool._keys.folder]


@pytest.fixture
def deploy(slurm, monkeypatch, tmp_path):
    """A copy of deploy/slurm, where a user has settings and the environment on the PATH."""
    folder = tmp_path / "slurm"
    shutil.copytree(Path(__file__).parents[2] / "deploy" / "slurm", folder)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(folder)
    return folder


def run_python(*arguments):
    out = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert out.returncode == 0, out.stderr
    return out.stdout


def test_script(deploy):
    out = run_python("cluster.py", "1")
    assert "dashboard: http://127.0.0.1" in out
    assert "converged" in out


def test_script_with_a_checkpoint(deploy):
    first = run_python("cluster.py", "1", "run1")
    # Nothing is left to do for the second, which would be refused if it began again.
    second = run_python("cluster.py", "1", "run1")
    residuals = [next(line for line in out.splitlines() if line.startswith("residual")) for out in (first, second)]
    assert residuals[0] == residuals[1]


def test_notebook(deploy):
    notebook = json.loads((deploy / "cluster.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not [cell for cell in notebook["cells"] if cell.get("outputs") or cell.get("execution_count")]
    out = run_python("-c", "\n".join(cells).replace("jobs=2", "jobs=1").replace("2 * cluster", "cluster"))
    assert "#SBATCH -t 00:10:00" in out
    assert "converged" in out


def test_chain_of_batch_jobs(slurm, deploy, monkeypatch):
    """The signals are those that SLURM sends before and at the walltime, but sent at once."""
    runner = (deploy / "runner.py").read_text()
    runner = runner.replace("daskmgrit.problems import xor", "tests.support.slow_problem import xor")
    runner = runner.replace("checkpoint=checkpoint", "checkpoint=dm.Checkpoint(checkpoint, every=1)")
    (deploy / "runner.py").write_text(runner)
    monkeypatch.setenv("SBATCH_MEM_PER_CPU", "500")
    first = slurm.run("sbatch", "--parsable", "--ntasks=3", "batch.sh", "checkpoint").strip()
    saved = deploy / "checkpoint"
    wait_for(lambda: latest(saved), "the first checkpoint", 120)
    slurm.run("scancel", "--signal=USR1", "--batch", first)
    wait_for(lambda: len(slurm.queue("daskmgrit")) == 2, "the next job")
    slurm.run("scancel", first)
    (second,) = set(slurm.queue("daskmgrit")) - {int(first)}
    wait_for(lambda: not slurm.queue("daskmgrit"), "the end of the chain", 120)
    out = [(deploy / f"slurm-{number}.out").read_text() for number in (first, second)]
    assert f"the walltime is near: job {second} resumes" in out[0]
    assert "converged" not in out[0]
    assert "JobState=COMPLETED" in slurm.run("scontrol", "show", "job", str(second)), out[1]
    assert "converged" in out[1]
    assert re.search(r"dashboard: ssh -N -J LOGIN -L 8787:127.0.0.1:\d+ \S+, then", out[1])
    cycles = [re.findall(r"^ +(\d+)  +\d\.\d+e", text, re.MULTILINE) for text in out]
    assert cycles[0][0] == "0"
    assert 1 <= int(cycles[1][0]) <= int(cycles[0][-1])
    problem = xor()
    expected = calm(problem.propagator(), problem.w0, 100, initial_guess=problem.initial_guess)
    assert Saved.load(latest(saved)).residuals == expected.residuals
    assert not list(deploy.glob(".keys-*"))
    assert not list(deploy.glob("scheduler-*.json"))


def test_batch_job_with_gpus_where_jobs_get_no_environment(slurm, deploy, monkeypatch):
    """What batch.sh has for a site, with this environment's names: its tasks find Python, and workers take turns."""
    script = (deploy / "batch.sh").read_text()
    here = f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={os.environ['PYTHONPATH']}"
    for marked, named in (
        ("##SBATCH --nodes=1 --gres=gpu:4", "#SBATCH --nodes=1 --gres=gpu:2"),
        ('# . "$HOME/daskmgrit/.venv/bin/activate"', here),
    ):
        assert marked in script
        script = script.replace(marked, named)
    (deploy / "batch.sh").write_text(script)
    runner = (deploy / "runner.py").read_text()
    ask = "        print('GPUs', *client.run(lambda: os.environ['CUDA_VISIBLE_DEVICES']).values())\n"
    runner = runner.replace("        problem = xor()", f"{ask}        problem = xor()")
    (deploy / "runner.py").write_text(runner)
    monkeypatch.setenv("SBATCH_MEM_PER_CPU", "500")
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    job = slurm.run("sbatch", "--parsable", "--ntasks=4", "batch.sh", "checkpoint").strip()
    wait_for(lambda: int(job) not in slurm.queue(), "the end of the job", 120)
    out = (deploy / f"slurm-{job}.out").read_text()
    assert "converged" in out
    assert sorted(re.search(r"^GPUs (\d) (\d)$", out, re.MULTILINE).groups()) == ["0", "1"]


def test_a_gpu_for_each_worker(slurm):
    """Of three workers in a job with two GPUs each sees one, and none stays without."""
    from distributed import Client

    from daskmgrit.slurm import SLURMCluster

    settings = yaml.safe_load((Path(__file__).parents[2] / "deploy" / "slurm" / "gpu.yaml").read_text())
    settings = settings["jobqueue"]["slurm"]
    with SLURMCluster(
        cores=3,
        processes=3,
        job_cpu=settings["job-cpu"] // 8,
        memory="1500 MB",
        job_extra_directives=[text.replace("gpu:4", "gpu:2") for text in settings["job-extra-directives"]],
        worker_extra_args=settings["worker-extra-args"],
    ) as cluster:
        cluster.scale(jobs=1)
        with Client(cluster) as client:
            client.wait_for_workers(3, timeout=90)
            seen = client.run(lambda: os.environ["CUDA_VISIBLE_DEVICES"])
    assert sorted(seen.values()) in (["0", "0", "1"], ["0", "1", "1"])


def test_more_workers_than_were_wanted(slurm):
    from daskmgrit.slurm import SLURMCluster

    with SLURMCluster(cores=8) as cluster:
        text = cluster.what_is_started(1, wanted=2)
        assert text.startswith("SLURM jobs: 1, workers: 8 for the 2 requested, because a job has 8 worker processes")
        assert "jobqueue.slurm.cores" in text
        assert cluster.what_is_started(2, wanted=16) == cluster.what_is_started(2) == "SLURM jobs: 2, workers: 16"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"cores": None}, "jobqueue.slurm.cores is not set"),
        ({"cores": None}, "{config}/jobqueue.yaml"),
        ({".jobs": 0}, "daskmgrit.slurm.jobs=0"),
        ({".minimum": 2}, "daskmgrit.slurm.minimum=2"),
        ({"cores": "zwei"}, "jobqueue.slurm.cores='zwei'"),
        ({"memory": "banana"}, "jobqueue.slurm.memory='banana'"),
        ({".wait": "banana"}, "daskmgrit.slurm.wait in dask.config='banana'"),
        ({".poll": -1}, "daskmgrit.slurm.poll in dask.config=-1"),
    ],
)
def test_bad_settings(slurm, settings, words):
    out = solve(**settings)
    assert out.exit_code == 2, out.stderr
    assert words.format(config=dask.config.PATH) in out.stderr


@pytest.mark.parametrize("timeout", ["banana", "nan", "-3"])
def test_bad_timeout(slurm, timeout):
    before = slurm.queue()
    out = solve("--timeout", timeout)
    assert out.exit_code == 2, out.stderr
    assert "--timeout" in out.stderr
    assert repr(timeout) in out.stderr
    assert slurm.queue() == before


def test_interface_that_is_not_there(slurm):
    out = solve(interface="ib7")
    assert out.exit_code == 3, out.stderr
    assert "'ib7' is not a valid network interface" in out.stderr
    assert "jobqueue.slurm in dask.config: check interface" in out.stderr


def test_folder_that_no_script_can_name(slurm, tmp_path):
    from daskmgrit.slurm import SLURMCluster

    odd = tmp_path / "a b; touch c"
    odd.mkdir()
    with pytest.raises(ValueError, match="cannot be named in a job script"):
        SLURMCluster(shared_temp_directory=str(odd))
    with pytest.raises(ValueError, match=r"no TLS keys.*No such file"):
        SLURMCluster(shared_temp_directory=str(tmp_path / "none"))


def test_adapt_takes_over_from_scale(slurm, pool, monkeypatch):
    from daskmgrit.slurm import SLURMCluster

    rounds = []
    monkeypatch.setattr(SLURMCluster, "_say", lambda self: rounds.append(self) or "")
    kept = set(slurm.queue())
    with SLURMCluster(job_extra_directives=["--hold"]) as cluster:
        cluster.scale(jobs=1)
        wait_for(lambda: set(slurm.queue()) - kept, "its job")
        cluster.adapt(maximum=0, interval="100ms")
        wait_for(lambda: set(slurm.queue()) == kept, "the end of its job")
        before = len(rounds)
        wait_for(lambda: len(rounds) > before + 1, "the look-out for lost jobs has come by")
        assert set(slurm.queue()) == kept


def test_without_tls(slurm):
    from daskmgrit.slurm import SLURMCluster

    before = list(Path.cwd().glob(".daskmgrit-keys-*"))
    with dask.config.set({"daskmgrit.slurm.tls": False}), SLURMCluster() as cluster:
        assert cluster.scheduler.address.startswith("tcp://")
        assert list(Path.cwd().glob(".daskmgrit-keys-*")) == before


def test_no_slurm_here(monkeypatch):
    from daskmgrit.slurm import SLURMCluster

    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ClusterError, match="there is no sbatch"):
        SLURMCluster()


def test_import():
    """When it is needed only, in any thread, as a worker unpickles in any; and Ctrl-C stays what it was."""
    code = """
import signal, sys, threading, daskmgrit.cli
assert "dask_jobqueue" not in sys.modules
before, setter = signal.getsignal(signal.SIGINT), signal.signal

def load():
    from daskmgrit.slurm import SLURMCluster
    print(SLURMCluster.__name__)

if in_thread:
    thread = threading.Thread(target=load)
    thread.start()
    thread.join()
else:
    load()
assert signal.getsignal(signal.SIGINT) is before
assert signal.signal is setter
"""
    for in_thread in (False, True):
        assert "SLURMCluster" in run_python("-c", f"in_thread = {in_thread}\n{code}")
