"""Whose frames are taken out of a traceback."""

import os
from pathlib import Path

import dask
import pytest

import daskmgrit
from daskmgrit.utils import tracebacks

PACKAGE, DASK = (Path(module.__file__).parent for module in (daskmgrit, dask))


@pytest.mark.parametrize(
    ("file", "internal"),
    [
        (PACKAGE / "mgrit.py", True),
        (DASK / "local.py", True),
        (Path(os.__file__).parent / "concurrent" / "futures" / "thread.py", True),
        # What only begins alike is someone else's.
        (PACKAGE.with_name(f"{PACKAGE.name}_runs") / "train.py", False),
        (DASK.with_name("dask_ml") / "model.py", False),
    ],
)
def test_folders_are_told_by_their_whole_names(file, internal):
    code = compile("def f():\n    raise ValueError\n", str(file), "exec")
    names = {}
    exec(code, names)
    with pytest.raises(ValueError) as error:  # noqa: PT011
        names["f"]()
    tracebacks.shorten(error.value)
    files = []
    entry = error.value.__traceback__
    while entry is not None:
        files.append(entry.tb_frame.f_code.co_filename)
        entry = entry.tb_next
    assert (str(file) not in files) == internal
