"""Private parts of other packages are used in one module."""

import ast
from pathlib import Path

import daskmgrit

ROOT = Path(daskmgrit.__file__).parent
MARKED = "utils/private_api.py"
# Documented in the standard library, whatever their names say.
PUBLIC = {"__future__", "_thread"}


def private_imports(source):
    """Names of private modules, or private names of modules, of other packages that a source imports."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, *parts = name.split(".")
            private = any(part.startswith("_") and not part.endswith("__") for part in parts)
            if package != "daskmgrit" and package not in PUBLIC and (private or package.startswith("_")):
                found.append(name)
    return found


def test_what_is_found():
    assert private_imports("import numpy._core") == ["numpy._core"]
    assert private_imports("def f():\n    from dask._task_spec import Task") == ["dask._task_spec.Task"]
    assert private_imports("from dask.distributed import _x, y") == ["dask.distributed._x"]
    assert private_imports("from daskmgrit._version import __version__\nfrom dask.task_spec import Task") == []


def private_names(source):
    """Private names, as constants, of attributes that a source gets or sets by ``getattr`` and ``setattr``."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    named = [call.args[1] for call in calls if getattr(call.func, "id", "") in ("getattr", "setattr")]
    values = [name.value for name in named if isinstance(name, ast.Constant)]
    # Of notebooks, which look for _repr_html_.
    return [name for name in values if name.startswith("_") and not name.endswith("_")]


def test_private_names_by_getattr():
    assert private_names("getattr(server, '_applications', None)\nsetattr(x, '_y', 1)") == ["_applications", "_y"]
    assert private_names("getattr(x, 'y')\ngetattr(x, '_repr_html_')\ngetattr(x, name)") == []
    found = {str(path.relative_to(ROOT)): private_names(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
    assert set(found.pop(MARKED)) == {"_applications", "_scheduler_identity"}
    assert {name: names for name, names in found.items() if names} == {}


def test_one_module_imports_private_parts():
    found = {str(path.relative_to(ROOT)): private_imports(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
    assert len(found) > 100
    assert {name: names for name, names in found.items() if names} == {MARKED: ["numpy._core.multiarray.c_einsum"]}
