"""Problems by their names: built in, installed, in modules and in files."""

import re
import sys
from importlib.metadata import EntryPoint

import cloudpickle
import numpy as np
import pytest

from daskmgrit.problems import OwnProblem, Problem, find
from daskmgrit.problems.find import find_problem
from daskmgrit.utils.install_hint import install_hint

SOURCE = """
import numpy as np

from daskmgrit.problems import OwnProblem
import sibling_of_{name}

w0 = np.array([1.0, 2.0])
start = [1, 2, 3]
number = 5
table = np.ones((2, 2))
settings = {{"rate": 0.1}}


def phi(weights, index, level):
    return weights - sibling_of_{name}.RATE * weights


def one_state(w, i):
    return w


def make():
    return OwnProblem(phi, w0, 40, "mine", metrics=lambda final: {{"least": final.min()}})


def pair(scale=1.0):
    return phi, scale * w0


def fails():
    return 1 / 0


def three_options(a=1, b=2, c=3):
    return make()


def loss(w):
    return w.sum()


def loads(*folders):
    return folders


class Data:
    pass


class Model:
    def __init__(self, x, y, rate):
        self.rate = rate

    def __call__(self, weights, index, level):
        return weights


class Step:
    w0 = np.ones(4)

    def __call__(self, weights, index, level):
        return 0.5 * weights


problem = make()
step = Step()
together = phi, w0
several = phi, w0, 3
"""
# The names in it that may be a problem, and an initial state.
NAMES = "it has phi, make, pair, fails, three_options, Step, problem, step, together"
NO_ARGUMENTS = "make, pair, fails, three_options"


@pytest.fixture
def source(tmp_path, monkeypatch, request):
    """A file of the user's with a module next to it, named for the test: modules stay imported."""
    name = f"own_{abs(hash(request.node.nodeid))}"
    path = tmp_path / f"{name}.py"
    path.write_text(SOURCE.format(name=name))
    (tmp_path / f"sibling_of_{name}.py").write_text("RATE = 0.25\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return path


def test_built_in():
    assert isinstance(find_problem("xor"), Problem)
    assert (find_problem("xor", seed=2).w0 != find_problem("xor").w0).any()
    with pytest.raises(ValueError, match=r"--w0 w0.npy is for a Phi of your own"):
        find_problem("xor", w0="w0.npy")


@pytest.mark.parametrize("form", ["{name}.py", "{folder}/{name}.py", "./{name}.py", "{name}"])
def test_places(source, form):
    target = form.format(name=source.stem, folder=source.parent)
    found = find_problem(f"{target}:problem")
    assert (found.name, found.steps) == ("mine", 40)
    assert found.tell(np.array([3.0, 2.0])) == {"least": 2.0}
    assert find_problem(f"{target}:problem", steps=7).steps == 7


@pytest.mark.parametrize(
    ("attribute", "w0", "size"),
    [
        ("make", None, 2),
        ("problem", "{file}:start", 3),
        ("pair", None, 2),
        ("three_options", None, 2),
        ("phi", "{file}:w0", 2),
        ("phi", "{module}:w0", 2),
        ("phi", "start.npy", 5),
        ("step", None, 4),
        ("Step", None, 4),
        ("step.__call__", "{file}:w0", 2),
    ],
)
def test_what_an_attribute_may_be(source, attribute, w0, size):
    np.save("start.npy", np.arange(5.0))
    w0 = w0 and w0.format(file=source.name, module=source.stem)
    found = find_problem(f"{source.name}:{attribute}", w0=w0, steps=8)
    assert isinstance(found, OwnProblem)
    assert (np.size(found.w0), found.steps) == (size, 8)
    assert found.phi(np.ones((2, size)), np.arange(2), 0).shape == (2, size)


@pytest.mark.parametrize("place", ["{name}", "{name}.py"])
def test_a_file_is_imported_once_and_its_neighbours_are_found(source, place):
    with source.open("a") as file:
        file.write("\nopened = open('log', 'a').write('x')\n")
    find_problem(f"{place.format(name=source.stem)}:phi", w0=f"./{source.name}:w0", steps=8)
    assert (source.parent / "log").read_text() == "x"


def test_what_lies_in_the_users_folder_is_pickled_by_value(source):
    phi = find_problem(f"{source.name}:step", steps=8).phi
    pickled = cloudpickle.dumps(phi)
    del sys.modules[type(phi).__module__]
    assert (cloudpickle.loads(pickled)(np.ones((1, 4)), np.arange(1), 0) == 0.5).all()
    assert "numpy" not in cloudpickle.list_registry_pickle_by_value()


@pytest.mark.parametrize(
    ("target", "w0", "words"),
    [
        ("nonsense", None, "PROBLEM nonsense is not known: give one of xor, adder, digits"),
        ("gone.py:phi", None, "gone.py does not exist"),
        ("no_such_module:phi", None, "no module no_such_module"),
        ("{file}", None, "name an object in it, as {file}:NAME; {names}"),
        ("{file}:gone", None, "there is no 'gone' in {file}; {names}"),
        ("{file}:Step.gone", None, "there is no 'gone' in {file}; no name in it is a Phi, phi(weights"),
        ("{file}:phi", None, "give --w0 FILE.npy"),
        ("{file}:number", None, "is 5: give a Phi"),
        ("{file}:one_state", None, "daskmgrit.from_function(f)"),
        ("{file}:fails", None, "raised ZeroDivisionError: division by zero ({folder}/{file}, line 31)"),
        ("{file}:phi", "gone.npy", "--w0 gone.npy cannot be read"),
        ("{file}:phi", "{file}:gone", "--w0 {file}:gone: there is no 'gone' in {file}; it has w0, start, {no_args}"),
        ("{file}:phi", "square.npy", "--w0 square.npy: w0 has shape (2, 2)"),
        ("{file}:phi", "{file}:number", "shape ()"),
        ("{file}:phi", "ones", "--w0 ones is no initial state"),
        ("broken.py:phi", None, "raised SyntaxError"),
        ("exits.py:phi", None, 'if __name__ == "__main__"'),
        ("relative.py:phi", None, "as PACKAGE.MODULE:NAME"),
    ],
)
def test_what_is_wrong_is_said(source, target, w0, words):
    np.save("square.npy", np.ones((2, 2)))
    for name, text in {"broken": "def", "exits": "exit(1)", "relative": "from . import thing"}.items():
        (source.parent / f"{name}.py").write_text(text)
    target, w0, words = (
        text and text.format(file=source.name, folder=source.parent, names=NAMES, no_args=NO_ARGUMENTS)
        if isinstance(text, str)
        else text
        for text in (target, w0, words)
    )
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        find_problem(target, w0=w0, steps=8)
    assert words in str(caught.value)


def test_a_phi_has_no_number_of_steps(source):
    with pytest.raises(ValueError, match="--steps N"):
        find_problem(f"{source.name}:step")


def test_a_package_that_is_missing_is_another_matter(tmp_path, monkeypatch):
    (tmp_path / "needs.py").write_text("import a_package_that_nobody_has")
    with pytest.raises(
        ImportError, match=r"a_package_that_nobody_has.*: install its package in the environment of "
    ) as e:
        find_problem(f"{tmp_path}/needs.py:phi")
    assert str(e.value).endswith(sys.executable)
    # What comes with an extra is installed as that is.
    (tmp_path / "more.py").write_text("import optax.losses")
    monkeypatch.setitem(sys.modules, "optax", None)
    with pytest.raises(ImportError, match=re.escape(install_hint("jax"))):
        find_problem(f"{tmp_path}/more.py:phi")


def test_installed_problems(source, monkeypatch):
    monkeypatch.syspath_prepend(str(source.parent))
    entries = [EntryPoint("mine", f"{source.stem}:make", find.GROUP), EntryPoint("gone", "no_such:x", find.GROUP)]
    monkeypatch.setattr(find, "entry_points", lambda group: entries if group == find.GROUP else [])
    assert find_problem("mine").name == "mine"
    with pytest.raises(ImportError, match="the entry point no_such:x"):
        find_problem("gone")
    with pytest.raises(ValueError, match="cnn, mine, gone, or a Phi"):
        find_problem("other")
