"""Checkpoints: the same bits after a resume, whatever happens to the files or the directory."""

import errno
import json
import os
import pickle
import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.checkpoint import place, store
from daskmgrit.utils.install_hint import install_hint
from tests.support.checkpoints import DAMAGE, STEPS, assert_same, save, snapshot, straight
from tests.support.recurrences import Counting, Decay


@pytest.fixture
def saved(tmp_path, w0):
    """A directory with the checkpoint of cycle 3."""
    return save(tmp_path / "saved", w0)


# -- resuming ----------------------------------------------------------------------------------------------------


def test_counts_are_those_of_phi(saved, w0, synchronous):
    before = json.loads((saved / "cycle-000003/manifest.json").read_text())["content"]["phi_evaluations"]
    phi = Counting(Decay())
    result = dm.MGRIT(phi, STEPS).resume(saved, chunks=3)
    tried = [8 if level == 0 else 3 for level in range(len(before))]
    done = [a + b - c for a, b, c in zip(before, phi.counts(len(before)), tried, strict=True)]
    assert result.phi_evaluations == done


def test_options_of_the_first_solve_hold(saved, w0):
    solver = dm.MGRIT(Decay(), STEPS)
    seen = []
    result = solver.resume(saved, w0, callback=lambda k, r, w: seen.append(k))
    assert (result.iterations, result.reason, result.tol) == (6, "maxiter", 0)
    assert seen == [4, 5, 6]
    # It is done, so there is nothing to do; with other options there is.
    assert solver.resume(saved, callback=lambda k, r, w: seen.append(k)).residuals == result.residuals
    assert solver.resume(saved, maxiter=2).iterations == 6
    assert len(seen) == 3
    result = solver.resume(saved, tol=1e-9, maxiter=50)
    assert result.reason == "tol"
    assert result.residuals == solver.solve(w0, tol=1e-9).residuals


def test_callback_that_stops(tmp_path, w0):
    solver = dm.MGRIT(Decay(), STEPS)
    first = solver.solve(w0, callback=lambda k, r, w: k == 2, checkpoint=tmp_path)
    assert first.reason == "callback"
    assert solver.resume(tmp_path).residuals == solver.solve(w0).residuals


def test_other_dtypes(tmp_path):
    def phi(weights, index, level):
        return (weights * weights.dtype.type(0.97 ** (2**level))).astype(weights.dtype)

    for dtype in (np.float32, np.complex128):
        w0 = (np.linspace(1, 2, 5) * (1 + 0.5j if dtype == np.complex128 else 1)).astype(dtype)
        expected, weights = straight(phi, w0, {}, tol=0, maxiter=3)
        dm.MGRIT(phi, STEPS).solve(w0, tol=0, maxiter=1, checkpoint=tmp_path / dtype.__name__)
        result = dm.MGRIT(phi, STEPS).resume(tmp_path / dtype.__name__, maxiter=3)
        assert_same(result, expected, weights)
        assert result.weights.dtype == dtype
    with pytest.raises(dm.CheckpointError, match=r"w0 has dtype .*f8, f4|w0 has dtype .*use"):
        dm.MGRIT(phi, STEPS).solve(np.ones(2, np.longdouble), checkpoint=tmp_path / "long")
    assert not (tmp_path / "long").exists()


class Pairs:
    """Coarse states are the sums of pairs of weights, times a factor on the way back."""

    def __init__(self, back=0.5):
        self.back = back

    def restrict(self, weights, level):
        return weights[:, ::2] + weights[:, 1::2]

    def interpolate(self, weights, level):
        return self.back * np.repeat(weights, 2, axis=1)


def test_states_of_other_sizes_on_coarse_levels(tmp_path):
    w0, options = np.linspace(1, 2, 8), {"transfer": [Pairs(), None]}
    expected, weights = straight(Decay(), w0, options, tol=0, maxiter=3)
    solver = dm.MGRIT(Decay(), STEPS, **options)
    solver.solve(w0, tol=0, maxiter=1, checkpoint=tmp_path)
    with pytest.raises(dm.CheckpointError, match="its solver had another transfer"):
        dm.MGRIT(Decay(), STEPS, transfer=[Pairs(0.4), None]).resume(tmp_path)
    with pytest.raises(dm.CheckpointError, match="is of another problem"):
        dm.MGRIT(Decay(), STEPS).resume(tmp_path)
    assert_same(solver.resume(tmp_path, maxiter=3), expected, weights)


def test_large_states_in_several_chunks(tmp_path, w0, monkeypatch):
    """Rows and columns of the array are cut where they are large, and no chunk has rows of two blocks."""
    monkeypatch.setattr(store, "CHUNK_BYTES", 100)
    w0 = np.linspace(1, 2, 29)
    expected, weights = straight(Decay(), w0, {}, tol=0, maxiter=2)
    for chunks in (1, 3):
        where = tmp_path / str(chunks)
        dm.MGRIT(Decay(), STEPS).solve(w0, chunks=chunks, tol=0, maxiter=1, checkpoint=where)
        assert len(list((where / "cycle-000001/c_points").glob("c.*.2"))) == 51
        assert_same(dm.MGRIT(Decay(), STEPS).resume(where, maxiter=2, chunks=2), expected, weights)


def test_saved_array_is_plain_zarr(saved, w0):
    import zarr

    array = zarr.open_array(saved / "cycle-000003/c_points", mode="r")
    _, weights = straight(Decay(), w0, {}, tol=0, maxiter=3)
    assert np.array_equal(array[:], weights[::2])


def test_nothing_is_unpickled(saved, w0, monkeypatch, synchronous):
    files = list(snapshot(saved).values())
    read = []
    loads = pickle.loads
    monkeypatch.setattr(pickle, "loads", lambda data, **options: read.append(bytes(data)) or loads(data, **options))
    monkeypatch.setattr(pickle, "load", lambda *args, **options: pytest.fail("a file was unpickled"))
    assert dm.MGRIT(Decay(), STEPS).resume(saved).iterations == 6
    # Dask does unpickle, for names of tasks; but nothing of the checkpoint.
    assert not any(data in file for data in read for file in files)


# -- the process dies --------------------------------------------------------------------------------------------


class Breakdown:
    """From the n-th operation on files of a directory on, each one fails; as if the process had died there."""

    def __init__(self):
        self.directory, self.left, self.count = None, None, 0
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        if self.directory is None or event not in {
            *("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.scandir", "shutil.rmtree"),
        }:
            return
        if any(isinstance(name, str | os.PathLike) and self.directory in os.fspath(name) for name in args):
            self.count += 1
            if self.left is not None and self.count > self.left:
                raise OSError(errno.EIO, "the disk is gone")


BREAKDOWN = Breakdown()


@pytest.mark.parametrize("old", [False, True], ids=["first save", "a later one"])
def test_save_broken_off_at_every_step(tmp_path, w0, old, synchronous):
    """Whatever operation is the last one, the old checkpoint or the new one is there, and whole."""
    solver = dm.MGRIT(Decay(), STEPS)
    results = {k: solver.solve(w0, tol=0, maxiter=k) for k in (2, 3)}
    made = set()
    for step in range(200):
        directory = tmp_path / str(step)
        if old:
            solver.solve(w0, chunks=2, tol=0, maxiter=2, checkpoint=directory)
        BREAKDOWN.count, BREAKDOWN.left, BREAKDOWN.directory = 0, step, str(directory)
        try:
            if old:
                solver.resume(directory, maxiter=3, chunks=2)
            else:
                solver.solve(w0, chunks=2, tol=0, maxiter=3, checkpoint=directory)
            failed = False
        except (dm.CheckpointError, OSError):
            failed = True
        finally:
            BREAKDOWN.directory = None
        path = store.latest(directory)
        if path is None:
            assert not old
            assert failed
            made.add(None)
        else:
            cycle = store.cycle_of(path.name)
            made.add(cycle)
            found = solver.resume(directory, maxiter=cycle)
            assert found.residuals == results[cycle].residuals
            assert np.array_equal(found.weights.compute(), results[cycle].weights.compute())
        if not failed:
            break
    assert not failed
    assert step > 15
    # Both outcomes were seen; what was left behind is gone after the next solve.
    assert made == {2 if old else None, 3}
    assert sorted(entry.name for entry in directory.iterdir()) == ["cycle-000003", "lock"]


# -- what is wrong with the files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DAMAGE)
def test_damage(saved, name):
    act, words = DAMAGE[name]
    act(saved / "cycle-000003")
    before = snapshot(saved)
    with pytest.raises(dm.CheckpointError, match=words) as caught:
        dm.MGRIT(Decay(), STEPS).resume(saved)
    assert "cycle-000003" in str(caught.value)
    assert snapshot(saved) == before


class Named(Decay):
    def __init__(self, name):
        super().__init__()
        self.name = name

    def fingerprint(self):
        return self.name


class Other(Decay):
    def __call__(self, weights, index, level):
        return super().__call__(weights, index, level) + 1e-4 * (level == 2)


OTHERS = {
    "steps": ({"steps": 101}, {}, r"its steps is \[100, 50, .*, here it is \[101, 50"),
    "cycle": ({"cycle": "F"}, {}, "its cycle is 'V', here it is 'F'"),
    "relaxation": ({"relaxation": "F"}, {}, "its relaxation"),
    "weight": ({"weight": 0.9}, {}, "its weight"),
    "coarsening": ({"coarsening": 4}, {}, "its steps"),
    "w0": ({}, {"w0": np.linspace(1, 2.0000001, 5)}, "its w0"),
    "size": ({}, {"w0": np.ones(4)}, "its number of weights is 5, here it is 4"),
    "dtype": ({}, {"w0": np.ones(5, np.float32)}, "its dtype"),
    "phi": ({"phi": Other()}, {}, "phi gives other weights on level 2, step 0"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_problem(saved, name):
    options, arguments, words = OTHERS[name]
    before = snapshot(saved)
    with pytest.raises(dm.CheckpointError, match=words) as caught:
        dm.MGRIT(**({"phi": Decay(), "steps": STEPS} | options)).resume(saved, **arguments)
    assert "is of another problem" in str(caught.value)
    # What has just failed is not recommended.
    assert "solver.resume" not in " ".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert snapshot(saved) == before


def test_what_a_file_system_leaves_does_not_keep_from_going_on(saved, w0):
    (saved / ".nfs0001").touch()
    calm = dm.MGRIT(Decay(), STEPS).solve(w0, tol=0, maxiter=6)
    assert dm.MGRIT(Decay(), STEPS).resume(saved).residuals == calm.residuals
    assert (saved / ".nfs0001").exists()


def test_a_checkpoint_under_another_cycles_name(saved):
    before = dm.Checkpoint(saved).latest()
    before.rename(saved / "cycle-000099")
    with pytest.raises(dm.CheckpointError, match=r"is damaged: manifest.json: it is of cycle \d+\."):
        dm.MGRIT(Decay(), STEPS).resume(saved)


def test_what_phi_says_of_itself(tmp_path, w0):
    dm.MGRIT(Named("one"), STEPS).solve(w0, maxiter=1, checkpoint=tmp_path)
    with pytest.raises(dm.CheckpointError, match=r"fingerprint\(\) was 'one', here it is 'two'"):
        dm.MGRIT(Named("two"), STEPS).resume(tmp_path)
    assert dm.MGRIT(Named("one"), STEPS).resume(tmp_path, maxiter=2).iterations == 2
    # One that says nothing is known by what it does.
    assert dm.MGRIT(Decay(), STEPS).resume(tmp_path, maxiter=3).iterations == 3
    wrapped = dm.vectorize(Named("one"))
    from daskmgrit.checkpoint.fingerprint import word_of

    assert word_of(wrapped) == "one"


def test_rounding_of_another_machine_is_no_other_problem(saved):
    class Rounded(Decay):
        def __call__(self, weights, index, level):
            return super().__call__(weights, index, level) * (1 + 4e-16)

    assert dm.MGRIT(Rounded(), STEPS).resume(saved).iterations == 6


# -- what is wrong with the directory ------------------------------------------------------------------------------


def test_directory_with_a_checkpoint_is_not_begun_again(saved, w0):
    before = snapshot(saved)
    with pytest.raises(
        dm.CheckpointError, match=r"already holds a checkpoint, cycle-000003: resume from it with solver\.resume"
    ):
        dm.MGRIT(Decay(), STEPS).solve(w0, checkpoint=saved)
    assert snapshot(saved) == before


def test_directory_that_holds_something_else(tmp_path, w0):
    (tmp_path / "thesis.tex").write_text("precious")
    before = snapshot(tmp_path)
    with pytest.raises(dm.CheckpointError, match=r"holds something else \(thesis.tex\): give a directory"):
        dm.MGRIT(Decay(), STEPS).solve(w0, checkpoint=tmp_path)
    assert snapshot(tmp_path) == before
    with pytest.raises(dm.CheckpointError, match=r"thesis\.tex is a file, not a directory"):
        dm.MGRIT(Decay(), STEPS).resume(tmp_path / "thesis.tex")
    with pytest.raises(dm.CheckpointError, match="cannot be used: "):
        dm.MGRIT(Decay(), STEPS).solve(w0, checkpoint=tmp_path / "thesis.tex")


@pytest.mark.skipif(
    not Path("/proc/version").exists(), reason="needs a directory that no one can write to: Linux's /proc"
)
def test_directory_that_cannot_be_written_to(w0):
    with pytest.raises(dm.CheckpointError, match="checkpoint='/proc/daskmgrit' cannot be used"):
        dm.MGRIT(Decay(), STEPS).solve(w0, checkpoint="/proc/daskmgrit")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: dm.Checkpoint(3), "checkpoint=3"),
        (lambda: dm.Checkpoint("x", every=0), "every=0"),
        (lambda: dm.Checkpoint("x", every=1.5), "every=1.5"),
        (lambda: dm.Checkpoint("x", seconds=-1), "seconds=-1"),
        (lambda: dm.MGRIT(Decay(), STEPS).solve([1.0], checkpoint=7), "checkpoint=7"),
        (lambda: dm.MGRIT(Decay(), STEPS).resume(None), "checkpoint=None"),
        (lambda: dm.MGRIT(Decay(), STEPS).solve([1.0], timeout=0), "timeout=0"),
        (lambda: dm.MGRIT(Decay(), STEPS).solve([1.0], timeout="soon"), "timeout='soon'"),
    ],
)
def test_arguments(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_nothing_to_go_on_from(tmp_path):
    solver = dm.MGRIT(Decay(), STEPS)
    with pytest.raises(dm.CheckpointError, match=r"no checkpoint to resume from.*nowhere does not exist"):
        solver.resume(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(dm.CheckpointError, match="holds no complete checkpoint"):
        solver.resume(tmp_path)


def test_two_solves_in_one_directory(tmp_path, w0):
    inside, leave = threading.Event(), threading.Event()

    def hold(iteration, residual, weights):
        inside.set()
        assert leave.wait(60)

    solver = dm.MGRIT(Decay(), STEPS)
    first = threading.Thread(target=solver.solve, args=(w0,), kwargs={"callback": hold, "checkpoint": tmp_path})
    first.start()
    try:
        assert inside.wait(60)
        with pytest.raises(dm.CheckpointError, match="is in use by another solve"):
            solver.solve(w0, checkpoint=tmp_path)
    finally:
        leave.set()
        first.join(60)
    assert store.latest(tmp_path)


def test_full_disk(saved, w0, monkeypatch):
    """Nothing is lost but what was being written."""
    import zarr

    before = snapshot(saved)
    solver = dm.MGRIT(Decay(), STEPS)
    written = []

    def full(self, *args, **kwargs):
        written.append(args)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Array, "__setitem__", full)
        with pytest.raises(dm.CheckpointError, match=r"cannot be written.*No space left on device") as caught:
            solver.resume(saved)
    assert written
    assert any("the checkpoint of cycle 3 is in" in note for note in caught.value.__notes__)
    assert snapshot(saved) == before
    assert [path.name for path in sorted(saved.iterdir())] == ["cycle-000003", "lock"]
    assert solver.resume(saved).iterations == 6


def test_directory_that_workers_do_not_share(tmp_path):
    """What a worker answers that sees another directory, or none."""
    assert "does not see the client's file" in place.look(str(tmp_path / "nowhere"), "token")
    (tmp_path / "client").write_text("another")
    assert "another directory" in place.look(str(tmp_path), "token")


def test_without_zarr(tmp_path, w0, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match="zarr.*" + re.escape(install_hint("checkpoint"))):
        dm.MGRIT(Decay(), STEPS).solve(w0, checkpoint=tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
