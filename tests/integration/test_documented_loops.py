"""The loops of docs/start.md, docs/frameworks.md and docs/propagators.md converge as they are printed there."""

import re
from pathlib import Path

import dask
import pytest

import daskmgrit as dm

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "frameworks.md").read_text()


def test_the_loop_to_get_started():
    first, second = re.findall(r"```python\n(.*?)```", (DOCS / "start.md").read_text(), re.DOTALL)
    known = {}
    for snippet in (first, second):
        exec(snippet, known)
        assert known["result"].converged, str(known["result"])
        # The problem's own solution, which is printed.
        assert known["result"].final.round(4).tolist() == list(range(8))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_pytorch_loop(dtype):
    torch = pytest.importorskip("torch")
    snippet = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL).group(1)
    # Its number of steps and its batch cost time, and are all that is changed.
    for printed, taken in (("steps=1024", "steps=128"), ("batch=256", "batch=64")):
        assert printed in snippet
        snippet = snippet.replace(printed, taken)
    torch.manual_seed(0)
    kind = getattr(torch, dtype)
    module = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)).to(kind)
    inputs = torch.randn(128, 20, dtype=kind)
    known = {"torch": torch, "module": module, "X": inputs, "Y": (inputs[:, 0] > 0).long()}
    exec(snippet, known)
    assert known["result"].converged, str(known["result"])
    assert known["result"].final.dtype.name == dtype


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_the_estimator(name):
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.linear_model import SGDClassifier
    from sklearn.preprocessing import scale

    page = (DOCS / "propagators.md").read_text()
    snippet = re.search(r"## A scikit-learn estimator\n\n```python\n(.*?)```", page, re.DOTALL).group(1)
    assert "steps=512" in snippet
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    known = {"dm": dm, "SGDClassifier": SGDClassifier, "scale": scale, "x": x, "y": y}
    with dask.config.set(scheduler="sync"):
        exec(snippet.replace("steps=512", "steps=32"), known)
    assert known["result"].converged, str(known["result"])
    assert known["trained"].score(scale(x), y) > 0.8
