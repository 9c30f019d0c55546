"""A SLURM of three nodes on this machine: munged, slurmctld and slurmd as children, in a temporary directory."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

PROGRAMS = ["slurmctld", "slurmd", "sbatch", "srun", "squeue", "munged", "setpriv", "unshare"]
APT = "apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge"

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory,CR_LLN
DefMemPerCPU=100
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
KillWait=2
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
NODE = (
    "NodeName=node{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
    "CPUs=4 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=8000 Gres=gpu:2"
)
# What stands for GPUs: SLURM wants files that are there, and numbers them.
GPUS = "Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n"


def missing():
    """Programs that are not installed; Debian keeps the daemons where a user's PATH does not look."""
    return [name for name in PROGRAMS if program(name) is None]


def program(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def free_ports(count):
    with_sockets = [socket.socket() for _ in range(count)]
    try:
        for one in with_sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in with_sockets]
    finally:
        for one in with_sockets:
            one.close()


class Slurm:
    """Nodes of four CPUs and two pretended GPUs; a job goes to the least loaded.

    Up on entry, no process of it left on exit.
    """

    def __init__(self, nodes=3):
        # Not pytest's, which has mode 0700: munged wants its socket to be within everyone's reach.
        self._temporary = tempfile.TemporaryDirectory(prefix="slurm-")
        self.folder = Path(self._temporary.name)
        self.nodes = nodes
        self._isolated = os.getuid() == 0  # each node's processes are in a namespace of their own
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        self._daemons = []

    def __enter__(self):
        for name in ("munge", "state", "spool", "log"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        (self.folder / "munge").chmod(0o711)
        key = self.folder / "munge" / "key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        (self.folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.folder / "gres.conf").write_text(GPUS)
        host = socket.gethostname().split(".")[0]
        port, *ports = free_ports(self.nodes + 1)
        names = [f"node{number}" for number in range(1, self.nodes + 1)]
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                folder=self.folder,
                host=host,
                port=port,
                user=pwd.getpwuid(os.getuid()).pw_name,
                nodes="\n".join(
                    NODE.format(number=number, host=host, port=port) for number, port in enumerate(ports, 1)
                ),
            )
        )
        try:
            files = ("socket", "pid-file", "log-file", "seed-file")
            munge = [f"--{name}={self.folder}/munge/{name}" for name in files]
            self._start("munged", "--foreground", f"--key-file={key}", *munge)
            self._until(lambda: (self.folder / "munge" / "socket").exists(), "munged's socket")
            self._start("slurmctld", "-D", "-i")
            for name in names:
                self._start("slurmd", "-D", "-N", name)
            self._until(
                lambda: sorted(self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N", check=False).split()) == names,
                f"{', '.join(names)} to be idle",
            )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            # slurmd may leave the processes of its jobs behind, so they have to end first.
            if len(self._daemons) > 1:
                self.cancel_all()
        finally:
            for daemon in reversed(self._daemons):
                if not self._isolated:
                    daemon.terminate()
                    with suppress(subprocess.TimeoutExpired):
                        daemon.wait(timeout=10)
                daemon.kill()
                daemon.wait()
            self._daemons.clear()
            self._temporary.cleanup()

    def _start(self, name, *arguments):
        # However this process ends, the daemon does too; and with a node all of its jobs do, where that is possible.
        guard = ["setpriv", "--pdeathsig", "KILL"]
        if name == "slurmd" and self._isolated:
            guard += ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
            # The first process of a namespace has to reap the others: bash does, slurmd would not.
            guard += ["bash", "-c", '"$@" & wait', "node"]
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            daemon = subprocess.Popen(
                [*guard, program(name), *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=os.environ | self.environment,
                cwd=self.folder,
            )
        self._daemons.append(daemon)

    def _until(self, done, what, seconds=30):
        end = time.monotonic() + seconds
        while not done():
            for daemon in self._daemons:
                assert daemon.poll() is None, f"{daemon.args} ended while waiting for {what}: {self._logs()}"
            assert time.monotonic() < end, f"{what}: not within {seconds} s: {self._logs()}"
            time.sleep(0.05)

    def _logs(self):
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in (self.folder / "log").iterdir())

    def run(self, name, *arguments, check=True):
        """Run a SLURM command; returns what it prints."""
        out = subprocess.run(
            [program(name), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=os.environ | self.environment,
        )
        assert out.returncode == 0 or not check, f"{name} {arguments}: {out.stderr}"
        return out.stdout

    def queue(self, name=None):
        """The states of all jobs that are not over, or those of a name, by number."""
        lines = self.run("squeue", "-h", "-o", "%i %T", *([f"--name={name}"] if name else [])).splitlines()
        return {int(job): state for job, state in (line.split() for line in lines)}

    def cancel_all(self, seconds=20):
        """Cancel all jobs and wait until none is left."""
        end = time.monotonic() + seconds
        while jobs := self.queue():
            assert time.monotonic() < end, f"jobs that would not end: {jobs}"
            self.run("scancel", *map(str, jobs), check=False)
            time.sleep(0.2)
