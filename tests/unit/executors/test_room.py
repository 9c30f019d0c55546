"""States that no memory and no disk of this machine could hold are refused before anything is computed."""

import dask
import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.cli.main import main
from daskmgrit.executors.room import check_room
from tests.support.cli import CliRunner

STEPS = 10**15


def phi(weights, index, level):
    pytest.fail("phi was called")


@pytest.mark.parametrize(("coarsening", "storage"), [(2, "full"), (4, "c-points")])
def test_what_no_machine_holds(coarsening, storage):
    with pytest.raises(MemoryError, match=rf"N = {STEPS} steps with storage='{storage}' hold at least \d+ TB.*Newton"):
        dm.MGRIT(phi, STEPS, coarsening=coarsening).solve(np.ones(4), storage=storage)


def test_what_is_little_or_has_no_folder():
    check_room(10**6, 2, 100, "full")
    check_room(10**12, 10**9, 100, "c-points")
    # The store for blocks refuses it, with its own words.
    with dask.config.set({"temporary-directory": "/nowhere/at/all"}):
        check_room(STEPS, 2, 100, "full")


def test_on_the_command_line():
    out = CliRunner().invoke(main, ["solve", "xor", "--steps", str(STEPS)])
    assert out.exit_code == 3
    # No table of levels before it.
    assert out.stderr.startswith(f"Error: out of memory (N = {STEPS} steps")
