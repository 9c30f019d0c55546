"""What happens at import, in a fresh interpreter."""

import json
import re
import subprocess
import sys

import pytest

from daskmgrit.utils.install_hint import install_hint
from tests.support.optional import need


def test_nothing_happens_at_import():
    code = (
        "import sys, logging, json, daskmgrit.cli.entry;"
        "print(json.dumps([[name for name in ('click', 'dask', 'numpy', 'yaml') if name in sys.modules],"
        " len(logging.getLogger().handlers)]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(out.stdout) == [[], 0]


def test_works_without_matplotlib_and_jupyter():
    code = """
import sys
for name in ("matplotlib", "IPython", "ipywidgets"):
    sys.modules[name] = None
import numpy as np
import daskmgrit as dm
solver = dm.MGRIT(dm.vectorize(lambda w, i, level: 0.9 * w), 100)
print(solver._repr_html_(), solver.solve(np.ones(2), progress=True)._repr_html_())
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert len(re.findall("<svg", out.stdout)) == 1


def test_without_torch():
    code = "import sys; sys.modules['torch'] = None\nimport daskmgrit.torch"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert install_hint("torch") in out.stderr


@pytest.mark.parametrize("missing", ["jax", "optax"])
def test_without_jax(missing):
    code = f"import sys; sys.modules['{missing}'] = None\nimport daskmgrit.jax"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert install_hint("jax") in out.stderr
    assert missing in out.stderr


def test_double_precision_that_is_not_on():
    need("jax", "jax")
    need("optax", "jax")
    code = """
import jax.numpy as jnp, optax, daskmgrit.jax
try:
    daskmgrit.jax.propagator(lambda p: (p**2).sum(), jnp.ones(3), optax.sgd(0.1), dtype="float64")
except ValueError as error:
    print(error)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=False)
    assert 'jax.config.update("jax_enable_x64", True)' in out.stdout
