"""Solves that save, what they should be the same as, and ways to damage a checkpoint."""

import shutil

import dask
import numpy as np
import pytest

import daskmgrit as dm
from tests.support.optional import need
from tests.support.recurrences import Decay
from tests.support.stop import Stop, stop_at

need("zarr", "checkpoint")

STEPS = 100


def straight(phi, w0, options, **how):
    with dask.config.set(scheduler="sync"):
        result = dm.MGRIT(phi, STEPS, **options).solve(w0, chunks=1, **how)
        return result, result.weights.compute()


def assert_same(result, expected, weights):
    assert result.residuals == expected.residuals
    assert (result.reason, result.iterations) == (expected.reason, expected.iterations)
    assert np.array_equal(result.weights.compute(), weights)
    assert np.array_equal(result.final, weights[-1])


def snapshot(directory):
    return {path: path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


def save(directory, w0):
    """Leave the checkpoint of cycle 3 in a directory, and return that."""
    policy = dm.Checkpoint(directory, every=3)
    with pytest.raises(Stop):
        dm.MGRIT(Decay(), STEPS).solve(w0, chunks=3, tol=0, maxiter=6, callback=stop_at(4), checkpoint=policy)
    return policy.directory


def damage_truncated(path):
    file = max((path / "c_points").glob("c.*"))
    file.write_bytes(file.read_bytes()[:-3])


def damage_bit(path):
    file = max((path / "c_points").glob("c.*"))
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)


def damage_swapped(path):
    first, second, *_ = sorted((path / "c_points").glob("c.*"))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


DAMAGE = {
    "truncated chunk": (damage_truncated, r"chunk c\.\d+\.0"),
    "wrong bit": (damage_bit, r"checksum of chunk c\.\d+\.0"),
    "swapped chunks": (damage_swapped, r"checksum of chunk c\.0\.0"),
    "missing chunk": (lambda path: max((path / "c_points").glob("c.*")).unlink(), r"chunk c\.\d+\.0.*No such file"),
    "missing array": (lambda path: shutil.rmtree(path / "c_points"), "c_points"),
    "missing zarr.json": (lambda path: (path / "c_points/zarr.json").unlink(), "zarr.json"),
    "other zarr.json": (lambda path: (path / "c_points/zarr.json").write_text("{}"), "checksum of zarr.json"),
    "missing manifest": (lambda path: (path / "manifest.json").unlink(), "manifest.json.*No such file"),
    "truncated manifest": (lambda path: (path / "manifest.json").write_text('{"format": "dask'), "manifest.json"),
    "other manifest": (
        lambda path: (path / "manifest.json").write_text(
            (path / "manifest.json").read_text().replace('"tol": 0', '"tol": 1')
        ),
        "checksum",
    ),
    "future format": (
        lambda path: (path / "manifest.json").write_text(
            (path / "manifest.json").read_text().replace("checkpoint 1", "checkpoint 2")
        ),
        "has the format 'daskmgrit checkpoint 2', not 'daskmgrit checkpoint 1'",
    ),
}
