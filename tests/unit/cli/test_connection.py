"""Options that say where to connect."""

import pytest

from daskmgrit.cli.main import main
from tests.support.cli import CliRunner


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scheduler", "tls://127.0.0.1:1", "--keys", "/nowhere"], "/nowhere/certificate.pem does not exist"),
        (["--scheduler", "tcp://127.0.0.1:1", "--keys", "/nowhere"], "tls://HOST:PORT"),
        (["--scheduler", "tcp://127.0.0.1:1", "--slurm"], "exclude"),
    ],
)
def test_bad_usage(arguments, words):
    out = CliRunner().invoke(main, ["solve", "xor", *arguments])
    assert out.exit_code == 2
    assert words in out.stderr
