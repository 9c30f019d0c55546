"""The user's own modules and files: imported for a command, and prepared for workers that lack them."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import site
import sys
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import cloudpickle

from daskmgrit.utils.install_hint import install_hint

__all__ = ["Sources", "Wanted", "failed", "place_of"]

PACKAGE = Path(__file__).resolve().parents[1]
# cloudpickle's name of the file of a function that it has sent.
SENT = "<dynamic-code>"
# Packages of this package's extras, by the names that are imported.
EXTRAS = {"jax": "jax", "matplotlib": "plot", "optax": "jax", "sklearn": "digits", "torch": "torch"}


class Wanted(NamedTuple):
    """A kind of object of a user's file.

    Attributes
    ----------
    words : str
        The kind.
    fits : callable
        ``fits(object) -> bool`` says whether an object looks like it.
    """

    words: str
    fits: Callable[[Any], bool]


class Sources:
    """Modules and files by the names that a command gives, each imported once.

    Workers on other machines cannot import modules of the current directory, or of the folder of a file. Functions and
    classes from there are pickled by value.
    """

    def __init__(self) -> None:
        self._modules: dict[str, ModuleType] = {}

    def attribute(self, place: str, attribute: str, name: str, wanted: Wanted) -> Any:
        """Return the object `attribute` of a module or a file.

        Parameters
        ----------
        place : str
            Name of a module, or path of a file.
        attribute : str
            A name, or several joined by dots.
        name : str
            Name of the two in errors.
        wanted : Wanted
            The kind of object, for a message that lists the names of such objects.

        Raises
        ------
        ValueError
            If there is no such object, or the module fails; the message lists the available names.
        ImportError
            If the module needs a package that is not installed.
        """
        is_file = place.endswith(".py") or "/" in place or "\\" in place
        key = str(Path(place).expanduser().resolve()) if is_file else place
        same = [each for each in self._modules.values() if is_file and str(Path(str(each.__file__)).resolve()) == key]
        if same:
            self._modules[key] = same[0]
        if key not in self._modules:
            folder = Path(key).parent if is_file else Path.cwd()
            before = set(sys.modules)
            # As for `python FILE.py` and `python -m MODULE`; worker processes on this machine look there, too.
            if str(folder) not in sys.path:
                sys.path.insert(0, str(folder))
            importlib.invalidate_caches()
            module = _from_file(Path(key), name) if is_file else _by_name(place, name)
            self._modules[key] = module
            for brought in {*sys.modules} - before | {module.__name__}:
                each = sys.modules.get(brought)
                if _is_local(each, folder.resolve()) and getattr(each, "__name__", "") == brought:
                    cloudpickle.register_pickle_by_value(each)
        found: Any = self._modules[key]
        for part in attribute.split("."):
            if not part or not hasattr(found, part):
                raise ValueError(f"{name}: {_nothing(place, part)}; {_what_is_there(found, wanted)}")
            found = getattr(found, part)
        return found


def _from_file(path: Path, name: str) -> ModuleType:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"{name}: {path} {what}: give the path of a Python file, FILE.py:NAME")
    # A file may be called as a module that is in use.
    module_name = path.stem if path.stem not in sys.modules else f"{path.stem}_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{name}: {path} is not a Python file: give FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        raise failed(name, error) from error
    return module


def _by_name(place: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise failed(name, error) from error
        raise ValueError(
            f"{name}: there is no module {error.name}, in the folder {Path.cwd()} or among installed packages: give "
            "PACKAGE.MODULE:NAME, or FILE.py:NAME for a file"
        ) from None
    except (Exception, SystemExit) as error:
        raise failed(name, error) from error


def failed(name: str, error: BaseException) -> Exception:
    """Return the error to raise if the user's own code failed."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, ModuleNotFoundError):
        extra = EXTRAS.get(str(error.name).partition(".")[0])
        remedy = install_hint(extra) if extra else f"install its package in the environment of {sys.executable}"
        return ImportError(f"{name} needs a package that is not installed ({error}): {remedy}")
    if isinstance(error, SystemExit):
        what += ', so put its script code under if __name__ == "__main__"'
    elif isinstance(error, ImportError) and "relative import" in str(error):
        what += "; give a file of a package as PACKAGE.MODULE:NAME"
    place = place_of(error)
    return ValueError(f"{name} raised {what}{f' ({place})' if place else ''}")


def place_of(error: BaseException) -> str:
    """Return file and line of the user's own code that an error came from; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == SENT:
            return f"line {frame.lineno}, in {frame.name}"
        if Path(frame.filename).is_file() and not _is_installed(Path(frame.filename)):
            return f"{frame.filename}, line {frame.lineno}"
    return ""


def _is_local(module: Any, folder: Path) -> bool:
    """Whether a module is in the user's own folder, not in a package that is installed below it."""
    file = getattr(module, "__file__", None)
    if file is None:
        return False
    path = Path(file).resolve()
    return path.is_relative_to(folder) and not _is_installed(path)


def _is_installed(path: Path) -> bool:
    places = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths = {*places, *site.getsitepackages(), site.getusersitepackages()}
    return path.is_relative_to(PACKAGE) or any(path.is_relative_to(Path(each).resolve()) for each in paths)


def _nothing(place: str, part: str) -> str:
    return f"there is no {part!r} in {place}" if part else f"name an object in it, as {place}:NAME"


def _what_is_there(found: Any, wanted: Wanted) -> str:
    """Return the names of a module that may be meant: its own, of objects that fit."""
    own = getattr(found, "__name__", None)

    def fits(value: Any) -> bool:
        if inspect.isroutine(value) or inspect.isclass(value):
            return getattr(value, "__module__", None) in (own, None) and wanted.fits(value)
        return not isinstance(value, ModuleType) and wanted.fits(value)

    names = [name for name, value in getattr(found, "__dict__", {}).items() if name[:1] != "_" and fits(value)]
    return f"it has {', '.join(names)}" if names else f"no name in it is {wanted.words}"
