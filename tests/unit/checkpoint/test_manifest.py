"""Manifests with a right checksum that no solve wrote: each is refused, whatever is wrong, and nothing else happens."""

import copy
import json

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.checkpoint import store
from daskmgrit.checkpoint.window_files import FORMAT, write_window
from daskmgrit.solver import window_iteration
from tests.support.checkpoints import STEPS, save, snapshot
from tests.support.optional import need
from tests.support.recurrences import Decay
from tests.support.stop import Stop, stop_at

need("zarr", "checkpoint")

MISSING = object()


def forge(path, names, value, form):
    """Replace an entry of a manifest, and make its checksum right again."""
    content = json.loads((path / "manifest.json").read_text())["content"]
    inner = content
    for name in names[:-1]:
        inner = inner[name]
    if value is MISSING:
        del inner[names[-1]]
    else:
        inner[names[-1]] = value
    (path / "manifest.json").write_text(
        json.dumps({"format": form, "checksum": store._checksum_of_json(content), "content": content})
    )


FORGED = [
    ("residuals", []),
    ("residuals", [-1.0] * 4),
    ("residuals", [1.0] * 3),
    ("residuals", ["small"] * 4),
    ("residuals", [1.0, 1.0, 1.0, float("inf")]),
    ("residuals", None),
    ("residuals", MISSING),
    ("phi_evaluations", []),
    ("phi_evaluations", [1.5]),
    ("phi_evaluations", "many"),
    ("depth", -1),
    ("depth", None),
    ("losses", {"a": 1}),
    ("chunk", [0, 0]),
    ("chunk", [1]),
    ("chunk", [3, 2]),
    ("chunk", [10**9, 5]),
    ("chunk", None),
    ("checksums", None),
    ("checksums", {}),
    ("checksums", {"zarr.json": 1}),
    ("problem", None),
    ("problem", {}),
    ("problem.options", None),
    ("problem.options.steps", [STEPS]),
    ("problem.options.steps", None),
    ("problem.options.more", 1),
    ("problem.options.w0", MISSING),
    ("problem.phi", None),
    ("problem.phi.tried", [[0]]),
    ("problem.phi.tried", []),
    ("problem.phi.tried", [[0, 0, "1", "x"]]),
    ("problem.phi.tried", [[0, 0, "0x1p+99999", "0x1p+1"]]),
    ("problem.phi.transfers", [[]]),
    ("problem.phi.size", "large"),
    ("solve", None),
    ("solve.tol", None),
    ("solve.tol", -1),
    ("solve.maxiter", 1.5),
    ("solve.every", 0),
    ("solve.seconds", "soon"),
    ("solve.storage", "lean"),
    *[
        (name, value)
        for name in ("solve.tol", "solve.seconds", "problem.phi.size", "problem.options.weight")
        for value in (float("inf"), float("nan"), 10**400)
    ],
    ("problem.phi.tried", [[0, 0, "inf", "inf"]]),
    ("problem.options.weight", [float("inf")]),
]


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(("names", "value"), FORGED)
def test_mgrit(tmp_path, w0, names, value):
    directory = save(tmp_path / "saved", w0)
    path = dm.Checkpoint(directory).latest()
    forge(path, names.split("."), value, store.FORMAT)
    before = snapshot(directory)
    with pytest.raises(dm.CheckpointError, match=str(path)):
        dm.MGRIT(Decay(), STEPS).resume(directory, maxiter=7)
    assert snapshot(directory) == before


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("text", ["[]", "3", "null", '"cycle"', '{"content": []}', '{"content": null, "format": 1}'])
def test_what_is_no_table(tmp_path, w0, text):
    directory = save(tmp_path / "saved", w0)
    path = dm.Checkpoint(directory).latest()
    (path / "manifest.json").write_text(text)
    with pytest.raises(dm.CheckpointError, match=r"manifest\.json: it is no table of entries"):
        dm.MGRIT(Decay(), STEPS).resume(directory)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(
    ("text", "missing"), [('{"format": 1}', "content"), ('{"content": {}}', "format"), (MISSING, "cycle")]
)
def test_an_entry_that_is_missing(tmp_path, w0, text, missing):
    directory = save(tmp_path / "saved", w0)
    path = dm.Checkpoint(directory).latest()
    if text is MISSING:
        forge(path, [missing], MISSING, store.FORMAT)
    else:
        (path / "manifest.json").write_text(text)
    with pytest.raises(dm.CheckpointError, match=rf"manifest\.json: it has no entry '{missing}'"):
        dm.MGRIT(Decay(), STEPS).resume(directory)


WINDOW = [
    ("first", -1),
    ("first", None),
    ("spent", -1.0),
    ("spent", "none"),
    ("pace", MISSING),
    ("growth", None),
    ("age", -1),
    ("tol", -1.0),
    ("size", None),
    ("size.rule", "Any"),
    ("size.values", {}),
    ("size.values", {"first": 0}),
    ("size.values", {"first": 4, "more": 1}),
    ("reports", []),
    ("reports", [[0]]),
    ("reports", None),
    ("problem", None),
    ("problem.options.steps", 0),
    ("problem.options.steps", 3),
    ("problem.options.interval", 0),
    ("problem.options.weights", 4),
    ("problem.options.dtype", "none"),
    ("problem.phi.tried", [[0]]),
    ("every", 0),
    ("seconds", -1),
    ("arrays", None),
    ("arrays", {}),
    ("arrays", {"w0": "0"}),
    *[
        (name, value)
        for name in ("spent", "pace", "tol", "seconds", "problem.phi.size")
        for value in (float("inf"), float("nan"), 10**400)
    ],
]


@pytest.fixture
def window(tmp_path, w0, monkeypatch):
    """A directory with the checkpoint of sweep 4, and its solver."""
    solver, policy = dm.ParallelNewton(Decay(), STEPS, window=8, jacobian="lowrank"), dm.Checkpoint(tmp_path / "w", 4)
    monkeypatch.setattr(window_iteration, "ROUND_SECONDS", 0.0)
    with pytest.raises(Stop):
        solver.solve(w0, checkpoint=policy, callback=stop_at(5))
    return policy.directory, solver


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize(("names", "value"), WINDOW)
def test_newton(window, names, value):
    directory, solver = window
    path = dm.Checkpoint(directory).latest()
    forge(path, names.split("."), value, FORMAT)
    before = snapshot(directory)
    with pytest.raises(dm.CheckpointError, match=str(path)):
        solver.resume(directory)
    assert snapshot(directory) == before


ARRAYS = {
    "no states": lambda arrays: arrays.pop("states"),
    "slots": lambda arrays: arrays.update(states=arrays["states"][:1]),
    "too many slots": lambda arrays: arrays.update(states=np.repeat(arrays["states"], 99, axis=0)),
    "length": lambda arrays: arrays.update(states=arrays["states"][:, :2]),
    "dtype": lambda arrays: arrays.update(states=arrays["states"].astype(np.float32)),
    "nan": lambda arrays: arrays.update(states=arrays["states"] * np.nan),
    "text": lambda arrays: arrays.update(ends=np.full(len(arrays["ends"]), "last")),
    "number": lambda arrays: arrays.update(states=np.float64(1)),
    "before": lambda arrays: arrays.pop("before"),
    "values": lambda arrays: arrays.update(values=arrays["values"][:1]),
    "basis": lambda arrays: arrays.pop("basis"),
    "flat basis": lambda arrays: arrays.update(basis=arrays["basis"].ravel()),
    "matrices": lambda arrays: arrays.update(matrices=arrays["matrices"][:, :1]),
    "jacobians": lambda arrays: arrays.update(jacobians=np.ones((1, 3, 2))),
    "another": lambda arrays: arrays.update(another=np.ones(3)),
}


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_a_window(window, tmp_path, name):
    directory, solver = window
    path = dm.Checkpoint(directory).latest()
    content = json.loads((path / "manifest.json").read_text())["content"]
    arrays = {file.stem: np.load(file) for file in path.glob("*.npy")}
    for forged in (False, True):
        if forged:
            ARRAYS[name](arrays)
        (tmp_path / str(forged)).mkdir()
        write_window(tmp_path / str(forged), content["cycle"], copy.deepcopy(content), arrays)
    assert solver.resume(tmp_path / "False").converged
    with pytest.raises(dm.CheckpointError, match="is damaged"):
        solver.resume(tmp_path / "True")


@pytest.mark.usefixtures("synchronous")
def test_the_estimated_error_is_unknown_after_one_of_version_0_2_0(window, tmp_path):
    """It saved rates of growth, and of the estimated error its size alone."""
    directory, solver = window
    path = dm.Checkpoint(directory).latest()
    content = json.loads((path / "manifest.json").read_text())["content"]
    arrays = {file.stem: np.load(file) for file in path.glob("*.npy")}
    arrays.pop("error", None)
    arrays["rates"] = np.ones(len(arrays["states"]) - 1)
    (tmp_path / "before").mkdir()
    write_window(tmp_path / "before", content["cycle"], content | {"growth": 1e-9}, arrays)
    result = solver.resume(tmp_path / "before")
    assert np.array_equal(result.final, solver.resume(directory).final)
    assert np.isnan(result.error)
    assert dict(result.summary())["error of weights"].startswith("unknown")


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("value", ["inf", "nan"])
def test_a_measure_that_is_not_finite_is_like_no_other(tmp_path, w0, value):
    directory = save(tmp_path / "saved", w0)
    path = dm.Checkpoint(directory).latest()
    tried = json.loads((path / "manifest.json").read_text())["content"]["problem"]["phi"]["tried"]
    forge(path, ["problem", "phi", "tried"], [[*each[:2], value, each[3]] for each in tried], store.FORMAT)
    with pytest.raises(dm.CheckpointError, match="phi gives other weights"):
        dm.MGRIT(Decay(), STEPS).resume(directory, maxiter=7)
