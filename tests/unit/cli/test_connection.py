"""Options that say where to connect."""

import click
import pytest

from daskmgrit.cli import local_cluster
from daskmgrit.cli.main import main
from tests.support.cli import CliRunner


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scheduler", "tls://127.0.0.1:1", "--keys", "/nowhere"], "/nowhere/certificate.pem does not exist"),
        (["--scheduler", "tcp://127.0.0.1:1", "--keys", "/nowhere"], "tls://HOST:PORT"),
        (["--scheduler", "tcp://127.0.0.1:1", "--slurm"], "exclude"),
        (["--threads", "8", "--slurm"], "by cores: 8 and processes: 1 of jobqueue.slurm in dask.config"),
        (["--threads", "8", "--scheduler", "tcp://127.0.0.1:1"], "its workers have theirs"),
        (["--workers", "1000000"], "worker processes at most"),
    ],
)
def test_bad_usage(arguments, words):
    out = CliRunner().invoke(main, ["solve", "xor", *arguments])
    assert out.exit_code == 2
    assert words in out.stderr


def test_no_more_workers_than_the_machine_can_hold(monkeypatch):
    monkeypatch.setattr(local_cluster, "CPU_COUNT", 4)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 1 << 40)
    local_cluster.check_workers(32)
    with pytest.raises(click.UsageError, match=r"--workers 33: this machine has 4 cores .* 32 worker processes"):
        local_cluster.check_workers(33)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 1 << 30)
    with pytest.raises(click.UsageError, match=r"1\.07 GB of memory, for 8 worker processes"):
        local_cluster.check_workers(9)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 1 << 20)
    local_cluster.check_workers(1)


def test_the_dashboard_says_it_too():
    out = CliRunner().invoke(main, ["dashboard", "xor", "--workers", "1000000"])
    assert out.exit_code == 2
    assert "--workers 1000000" in out.stderr
