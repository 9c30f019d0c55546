"""The layering rule of pyproject.toml, for every kind of import: top-level, inside functions, for type checkers.

import-linter checks the same contract; this test needs nothing but the standard library, also finds circles between
modules of one room, and counts imports by ``importlib.import_module``.
"""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import daskmgrit

PACKAGE = Path(daskmgrit.__file__).parent
PYPROJECT = PACKAGE.parent / "pyproject.toml"
MAX_LINES = 400

pytestmark = pytest.mark.skipif(not PYPROJECT.exists(), reason="needs the checkout: the layers are in pyproject.toml")


def modules_of(root: Path) -> dict[str, Path]:
    """Every module below a package's folder, by its full name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[tuple[str, int]]:
    """The modules of its own package that a module imports anywhere in its source, each with the line."""
    root = name.partition(".")[0]
    here = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*here[: len(here) - node.level + 1], *filter(None, [node.module])])
            base = base if node.level else node.module or ""
            named = [f"{base}.{alias.name}" for alias in node.names]
            targets = [each if each in known else base for each in named]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module":
            # The name of the package alone is a question to another machine: is it installed there?
            named = [each.value for each in node.args if isinstance(each, ast.Constant)]
            targets = [each for each in named if each != root]
        else:
            continue
        for target in dict.fromkeys(targets):
            if target == root or target.startswith(f"{root}."):
                yield target, node.lineno


class Layers:
    """The contract: how low each room stands, and which rooms share a layer without importing each other."""

    def __init__(self, layers: list[str], ignored: list[str] = ()) -> None:
        rooms = [[room.strip() for room in layer.split("|")] for layer in layers]
        self.depth = {room: depth for depth, line in enumerate(rooms, 1) for room in line}
        self.ignored = set(ignored)
        # What starts the program is above all rooms; a fact such as the version, which imports nothing, below them.
        self.depth |= dict.fromkeys(ignored, len(layers) + 1) | {"": 0, "__main__": 0}

    @staticmethod
    def room(module: str) -> str:
        """The room of a module; the package's own ``__init__`` has none."""
        return [*module.split("."), ""][1]

    def allows(self, importer: str, imported: str) -> bool:
        """Whether a module may import another."""
        one, other = self.room(importer), self.room(imported)
        return one == other != "" or self.depth[one] < self.depth[other]


def import_graph(root: Path) -> dict[str, dict[str, int]]:
    """The modules that each module imports, with the line of the first import."""
    known = modules_of(root)
    graph: dict[str, dict[str, int]] = {}
    for name, path in known.items():
        imported = graph.setdefault(name, {})
        for target, line in imports_of(name, path, known):
            imported.setdefault(target, line)
    return graph


def upward(graph: Mapping[str, Mapping[str, int]], layers: Layers) -> list[str]:
    """The imports that the contract forbids."""
    return [
        f"{name}:{line} imports {target}"
        for name, imported in graph.items()
        for target, line in imported.items()
        if not layers.allows(name, target)
    ]


def circle(graph: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Modules that import each other in a circle, the first again at the end; empty if there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


@pytest.fixture(scope="module")
def layers() -> Layers:
    contracts = tomllib.loads(PYPROJECT.read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["type"] == "layers"]
    assert contract["exhaustive"]
    return Layers(contract["layers"], contract["exhaustive_ignores"])


@pytest.fixture(scope="module")
def graph() -> dict[str, dict[str, int]]:
    return import_graph(PACKAGE)


def test_no_import_runs_up_the_layers(graph, layers):
    assert upward(graph, layers) == []


def test_no_modules_import_each_other_in_a_circle(graph):
    assert circle(graph) == []


def test_every_module_has_a_room_and_every_room_a_module(graph, layers):
    rooms = {layers.room(name) for name in graph}
    assert rooms == set(layers.depth)


def test_every_import_of_the_package_is_of_a_module_that_exists(graph):
    assert {target for imported in graph.values() for target in imported} <= set(graph)


def test_no_module_is_longer_than_can_be_read_at_once():
    lengths = {name: len(path.read_text().splitlines()) for name, path in modules_of(PACKAGE).items()}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from toy.top import thing", ["toy.low:1 imports toy.top"]),
        ("import toy.top", ["toy.low:1 imports toy.top"]),
        ("from .top import thing", ["toy.low:1 imports toy.top"]),
        ("from . import top", ["toy.low:1 imports toy.top"]),
        ("from toy import thing", ["toy.low:1 imports toy"]),
        ("from toy.beside import thing", ["toy.low:1 imports toy.beside"]),
        ("def f():\n    from toy.top import thing", ["toy.low:2 imports toy.top"]),
        ("def f():\n    import_module('toy.top')", ["toy.low:2 imports toy.top"]),
        ("if TYPE_CHECKING:\n    from toy.top import thing", ["toy.low:2 imports toy.top"]),
        ("from toy.bottom import thing\nimport toys.top", []),
    ],
)
def test_the_check_finds_an_import_that_runs_up(tmp_path, source, found):
    root = tmp_path / "toy"
    root.mkdir()
    for name in ("__init__", "top", "low", "beside", "bottom"):
        (root / f"{name}.py").write_text("")
    (root / "low.py").write_text(source)
    assert upward(import_graph(root), Layers(["top", "low | beside", "bottom"])) == found


def test_the_check_finds_a_circle_within_a_room(tmp_path):
    room = tmp_path / "toy" / "room"
    room.mkdir(parents=True)
    for name, source in {"one": "from toy.room.two import x", "two": "def f():\n    from toy.room import one"}.items():
        (room / f"{name}.py").write_text(source)
    graph = import_graph(tmp_path / "toy")
    assert upward(graph, Layers(["room"])) == []
    assert set(circle(graph)) == {"toy.room.one", "toy.room.two"}
