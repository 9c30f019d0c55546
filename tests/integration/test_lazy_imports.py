"""``import daskmgrit`` brings no large or optional package; ``daskmgrit.torch`` and others are there when asked for."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

CODE = """
import sys
import daskmgrit
dir(daskmgrit)
large = {"torch", "jax", "optax", "distributed", "matplotlib", "sklearn", "zarr", "bokeh", "dask_jobqueue", "IPython"}
print(sorted(large & set(sys.modules)))
if len(sys.argv) > 1:
    module = getattr(daskmgrit, sys.argv[1])
    print(module.__name__, callable(module.propagator), sorted({"torch", "jax"} & set(sys.modules)))
"""


def run(*arguments):
    out = subprocess.run([sys.executable, "-c", CODE, *arguments], capture_output=True, text=True, timeout=120)
    assert out.returncode == 0, out.stderr
    return out.stdout.splitlines()


def test_import_is_light():
    assert run() == ["[]"]


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_modules_are_imported_when_they_are_asked_for(name):
    if any(find_spec(package) is None for package in {"torch": ["torch"], "jax": ["jax", "optax"]}[name]):
        pytest.skip(f"daskmgrit.{name} needs packages that are not installed")
    assert run(name) == ["[]", f"daskmgrit.{name} True ['{name}']"]
