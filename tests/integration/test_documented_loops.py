"""The loops of docs/frameworks.md converge as they are printed there."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text()


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
