"""What a reader of the public API sees, and that names in docstrings and pages exist."""

import ast
import importlib
import re
import sys
from functools import cache
from pathlib import Path

import pytest

import daskmgrit
from daskmgrit.utils.config import setting
from daskmgrit.utils.install_hint import install_hint

PACKAGE = Path(daskmgrit.__file__).parent
ROOT = PACKAGE.parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
MODULES = {"coarse", "jax", "models", "planning", "problems", "slurm", "torch", "tune"}


def test_dir_lists_public_names_only():
    # Whatever submodules have been imported: they are attributes, too.
    importlib.import_module("daskmgrit.solver.solve")
    assert hasattr(daskmgrit, "solver")
    assert dir(daskmgrit) == sorted({*daskmgrit.__all__, *MODULES})
    assert not [name for name in dir(daskmgrit) if name.startswith("_") and name != "__version__"]
    assert len(set(daskmgrit.__all__)) == len(daskmgrit.__all__)


@pytest.mark.parametrize("name", sorted({*daskmgrit.__all__, *MODULES} - {"torch", "jax"}))
def test_public_names_are_there(name):
    assert getattr(daskmgrit, name) is not None


@pytest.mark.parametrize(("name", "package"), [("torch", "torch"), ("jax", "jax")])
def test_modules_whose_package_is_missing(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"daskmgrit.{name}", raising=False)
    monkeypatch.delitem(vars(daskmgrit), name, raising=False)
    with pytest.raises(ImportError, match=re.escape(install_hint(name))):
        getattr(daskmgrit, name)


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="'daskmgrit' has no attribute 'nothing'"):
        _ = daskmgrit.nothing


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_what_it_imports(room):
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text())
    assert ast.get_docstring(tree)
    brought = {
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("daskmgrit")
        for alias in node.names
    }
    public = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]
    exported = set(public[0]) if public else set()
    assert brought <= exported
    assert not [name for name in exported if name.startswith("_")]


# -- names in docstrings and pages ---------------------------------------------------------------------------------

_DOTTED = re.compile(r"(?<![\w./-])daskmgrit(?:\.[A-Za-z_][\w-]*)+")
# Files and hosts of that name, not modules.
_ENDINGS = re.compile(r"\.(yaml|md|json|git|ipynb|whl|tar)$")


@cache
def parsed(path):
    """Names that a module binds, those of its classes as "Class.name", and where it has imported names from."""
    tree = ast.parse(path.read_text())
    sources = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("daskmgrit")
        for alias in node.names
    }
    return names_of(tree), sources


def names_of(tree):
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for name in names_of(ast.Module(node.body, []))}
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def _is_setting(dotted):
    try:
        setting(dotted)
    except (KeyError, TypeError):
        return False
    return True


@cache
def exists(dotted):
    """Whether a dotted name is a module of the package, something in one, or an entry of its configuration."""
    place, parts = PACKAGE, dotted.split(".")[1:]
    while parts and (place / parts[0]).is_dir():
        place = place / parts.pop(0)
    source = place / "__init__.py"
    if parts and (place / f"{parts[0]}.py").exists():
        source = place / f"{parts.pop(0)}.py"
    if not parts or _is_setting(dotted):
        return True
    names, sources = parsed(source)
    if parts[0] in sources:
        return exists(".".join([sources[parts[0]], *parts[1:]]))
    return ".".join(parts) in names


def missing_names(text):
    return sorted({name for name in _DOTTED.findall(text) if not _ENDINGS.search(name) and not exists(name)})


def test_what_exists():
    assert missing_names("daskmgrit.MGRIT, daskmgrit.coarse.CoarseRule, daskmgrit.solver.stopping.Settled.holds") == []
    assert missing_names("set daskmgrit.worker-timeout or daskmgrit.slurm.wait; python -m daskmgrit.tls") == []
    text = "daskmgrit.taskbook.TaskBook, daskmgrit.solver.stopping.Settled.gone, daskmgrit.no-such-option"
    assert missing_names(text) == [
        "daskmgrit.no-such-option",
        "daskmgrit.solver.stopping.Settled.gone",
        "daskmgrit.taskbook.TaskBook",
    ]


@pytest.mark.parametrize("folder", ["daskmgrit", "docs", "examples", "benchmarks", "deploy", "."])
def test_named_parts_of_the_package_exist(folder):
    pages = (ROOT / folder).glob("*.md") if folder == "." else (ROOT / folder).rglob("*")
    files = [path for path in pages if path.suffix in (".py", ".md", ".ipynb", ".sh", ".yaml")]
    assert files
    found = {str(path.relative_to(ROOT)): missing_names(path.read_text()) for path in files}
    assert {name: missing for name, missing in found.items() if missing} == {}
