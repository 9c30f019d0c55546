"""Click's runner, with standard error apart from standard output in every version."""

import inspect
from functools import partial

from click import testing

# Before Click 8.2 the two were mixed unless this was said.
_apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(testing.CliRunner).parameters else {}
CliRunner = partial(testing.CliRunner, **_apart)
