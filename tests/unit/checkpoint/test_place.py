"""One directory, several solves: one of them runs at a time, and none removes what another has saved."""

import logging
import os
import sys

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.checkpoint import store
from tests.support.checkpoints import STEPS, save, snapshot
from tests.support.recurrences import Decay

fcntl = pytest.importorskip("fcntl", reason="this system has no locks")


class BeforeTheLock:
    """Does something once, when a file is about to be locked."""

    def __init__(self):
        self.act = None
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        if event == "fcntl.flock" and self.act is not None:
            act, self.act = self.act, None
            act()


BEFORE_THE_LOCK = BeforeTheLock()


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("solver", [dm.MGRIT(Decay(), STEPS), dm.ParallelNewton(Decay(), STEPS)])
def test_a_solve_that_ends_just_before_another_has_the_lock(tmp_path, w0, solver):
    seen = []

    def other():
        result = solver.solve(np.ones(8), checkpoint=tmp_path)
        seen.append((result.final, snapshot(tmp_path)))

    BEFORE_THE_LOCK.act = other
    with pytest.raises(dm.CheckpointError, match="already holds a checkpoint"):
        solver.solve(w0, tol=0, checkpoint=tmp_path)
    ((final, files),) = seen
    assert snapshot(tmp_path) == files
    assert np.array_equal(solver.resume(tmp_path).final, final)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("target", ["somewhere", "nowhere"])
def test_a_symbolic_link_with_the_name_of_a_checkpoint(tmp_path, w0, target, caplog):
    directory = save(tmp_path / "saved", w0)
    (tmp_path / "somewhere").mkdir()
    (tmp_path / "somewhere" / "precious").touch()
    names = ["cycle-000001", "cycle-000002.0123456789ab.partial"]
    for name in names:
        (directory / name).symlink_to(tmp_path / target)
    with caplog.at_level(logging.WARNING, "daskmgrit"):
        result = dm.MGRIT(Decay(), STEPS).resume(directory)
    assert result.iterations == 6
    assert store.latest(directory).name == "cycle-000006"
    assert sorted(entry.name for entry in directory.iterdir()) == [*names, "cycle-000006", "lock"]
    assert (tmp_path / "somewhere" / "precious").exists()
    for name in names:
        assert sum(f"{name} is a symbolic link" in message for message in caplog.messages) == 1


def make(kind, path):
    """Make something that is named like a checkpoint and is none; return what it is called."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("precious")
    else:
        path.symlink_to(path.parent if kind == "link" else "nowhere")
    return "not a directory" if kind in ("fifo", "file") else "a symbolic link"


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("solver", [dm.MGRIT(Decay(), STEPS), dm.ParallelNewton(Decay(), STEPS)])
@pytest.mark.parametrize("kind", ["fifo", "file", "link", "dangling link"])
def test_what_is_named_like_a_newer_checkpoint(tmp_path, w0, solver, kind, caplog):
    whole = solver.solve(w0, tol=0)
    # That of the last cycle is in the way, one is older, one is newer than all.
    names = [f"cycle-{cycle:06d}" for cycle in (1, whole.iterations, 999)]
    what = {name: make(kind, tmp_path / name) for name in names}
    with pytest.raises(dm.CheckpointError, match=f"no complete checkpoint; cycle-000001 is {what[names[0]]}"):
        solver.resume(tmp_path)
    with caplog.at_level(logging.WARNING, "daskmgrit"):
        result = solver.solve(w0, tol=0, checkpoint=dm.Checkpoint(tmp_path, every=2))
        assert np.array_equal(result.final, whole.final)
        assert np.array_equal(solver.resume(tmp_path).final, whole.final)
    for name in names:
        assert any(f"{name} is {what[name]}" in message for message in caplog.messages)
        path = tmp_path / name
        assert path.is_symlink() if "link" in kind else not path.is_dir()
    assert store.latest(tmp_path).name == f"cycle-0{whole.iterations:06d}"


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(
    ("solver", "name"),
    [
        (dm.MGRIT(Decay(), STEPS), "manifest.json"),
        (dm.MGRIT(Decay(), STEPS), "c_points/zarr.json"),
        (dm.MGRIT(Decay(), STEPS), "c_points/c.0.0"),
        (dm.ParallelNewton(Decay(), STEPS), "manifest.json"),
        (dm.ParallelNewton(Decay(), STEPS), "states.npy"),
    ],
)
def test_a_pipe_within_a_checkpoint_is_not_waited_for(tmp_path, w0, solver, name):
    solver.solve(w0, checkpoint=tmp_path)
    path = store.latest(tmp_path) / name
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(dm.CheckpointError, match="is damaged"):
        solver.resume(tmp_path)
