"""The problem for a name on the command line: built in, installed, in a module or in a file."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np

from daskmgrit.errors import PropagatorError
from daskmgrit.problems import LOOPS, PROBLEMS
from daskmgrit.problems.own import OwnProblem
from daskmgrit.problems.problem import Problem
from daskmgrit.problems.source_files import Sources, Wanted, failed
from daskmgrit.recurrence.state import initial_state
from daskmgrit.utils.validation import brief

__all__ = ["GROUP", "find_problem", "known_names"]

# Installed packages offer problems as entry points of this group.
GROUP = "daskmgrit.problems"

CONTRACT = "phi(weights, index, level) -> new weights"


def known_names() -> list[str]:
    """Return the names of problems: built-in ones, and those of installed packages."""
    return list(dict.fromkeys([*PROBLEMS, *LOOPS, *(entry.name for entry in entry_points(group=GROUP))]))


def find_problem(
    target: str, *, w0: str | None = None, steps: int | None = None, seed: int = 1, argument: str = "PROBLEM"
) -> Problem | OwnProblem:
    """Return the problem for a name on the command line.

    Parameters
    ----------
    target : str
        "xor", "adder", "digits", "pinn" or "cnn"; the name of an entry point of the group ``daskmgrit.problems``;
        ``package.module:attribute``, found from the current directory; ``file.py:attribute``. The attribute is a Phi,
        an :class:`OwnProblem`, a pair (phi, w0), or a function without arguments that returns one of these.
    w0 : str, optional
        The initial state of a Phi without one: ``module:attribute``, ``file.py:attribute`` or a ``.npy`` file.
    steps : int, optional
        N in place of the problem's own; a Phi alone has none.
    seed : int, default 1
        Of the initial weights of a built-in problem.
    argument : str
        Name of `target` in errors.

    Raises
    ------
    ValueError
        If there is no such object, or it is none of these; the message lists the available names.
    ImportError
        If it needs a package that is not installed.
    """
    if target in PROBLEMS or target in LOOPS:
        if w0 is not None:
            raise ValueError(f"--w0 {w0} is for a Phi of your own: {target} has its own initial weights, see --seed")
        if target in PROBLEMS:
            return PROBLEMS[target](seed=seed)
        # The rate of each step depends on how many there are.
        return LOOPS[target](seed=seed) if steps is None else LOOPS[target](seed=seed, steps=steps)
    sources, name = Sources(), f"{argument} {target}"
    found = _made(_found(target, name, sources), name)
    if isinstance(found, Problem):
        if w0 is not None:
            raise ValueError(f"--w0 {w0} is for a Phi without an initial state: {target} has one")
        return found
    state = None if w0 is None else _state(w0, sources)
    if isinstance(found, OwnProblem):
        given: dict[str, Any] = {"w0": state, "steps": steps}
        return _checked(name, lambda: replace(found, **{key: each for key, each in given.items() if each is not None}))
    phi, own = found if isinstance(found, tuple) else (found, getattr(found, "w0", None))
    state = own if state is None else state
    if state is None:
        raise ValueError(
            f"{name} is a Phi without an initial state: give --w0 FILE.npy, or --w0 FILE.py:NAME or MODULE:NAME"
        )
    if steps is None:
        raise ValueError(f"{name} is a Phi, which has no number of steps: give --steps N")
    return _checked(name, lambda: OwnProblem(phi, state, steps, target.rpartition(":")[2] or target))


def _found(target: str, name: str, sources: Sources) -> Any:
    """Return the object that a target names."""
    place, colon, attribute = target.rpartition(":")
    if colon:
        return sources.attribute(place, attribute, name, PROBLEM)
    if target.endswith(".py"):
        return sources.attribute(target, "", name, PROBLEM)
    installed = {entry.name: entry for entry in entry_points(group=GROUP)}
    if target in installed:
        try:
            return installed[target].load()
        except Exception as error:
            raise failed(f"{name}, the entry point {installed[target].value},", error) from error
    raise ValueError(
        f"{name} is not known: give one of {', '.join(known_names())}, or a Phi of your own as "
        "FILE.py:NAME or PACKAGE.MODULE:NAME"
    )


def _made(found: Any, name: str) -> Any:
    """Return the problem, Phi or pair that was found, made by the factory if it is one."""
    if isinstance(found, OwnProblem | Problem):
        return found
    if _is_factory(found, name):
        try:
            found = found()
        except Exception as error:
            raise failed(f"{name}, called without arguments,", error) from error
        name = f"{name}()"
        if isinstance(found, OwnProblem | Problem):
            return found
        if callable(found) and _is_factory(found, name):
            raise ValueError(f"{name} is {brief(found)}, which takes no weights: return a Phi, {CONTRACT}")
    if isinstance(found, tuple) and len(found) == 2 and callable(found[0]):
        return found
    if not callable(found):
        raise ValueError(f"{name} is {brief(found)}: give {PROBLEM.words}")
    return found


def _is_factory(found: Any, name: str) -> bool:
    """Whether a callable returns a problem when called without arguments; otherwise it is a Phi.

    Its signature shows it: all parameters of a factory have defaults, and a Phi takes three.
    """
    if not callable(found):
        return False
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # a function that is not Python's need not tell
        return False
    parameters = signature.parameters.values()
    if any(each.kind == each.VAR_POSITIONAL for each in parameters):
        return False
    if all(each.default is not each.empty or each.kind == each.VAR_KEYWORD for each in parameters):
        return True
    try:
        signature.bind(None, None, 0)
    except TypeError:
        raise ValueError(
            f"{name} takes {signature}, but a Phi is called as {CONTRACT}: a loop's body f(w) or f(w, i) for one state "
            "becomes one by daskmgrit.from_function(f); a function that returns a problem takes no arguments"
        ) from None
    return False


def _may_be_problem(found: Any) -> bool:
    """Whether an object looks like a problem, a Phi, a pair or a function that returns one; nothing is called."""
    if isinstance(found, OwnProblem | Problem):
        return True
    if isinstance(found, tuple):
        return len(found) == 2 and callable(found[0])
    try:
        parameters = inspect.signature(found).parameters.values()
        # A module or loss of PyTorch takes any arguments, too.
        if any(each.kind == each.VAR_POSITIONAL for each in parameters):
            return False
        is_factory = _is_factory(found, "")
    except (TypeError, ValueError):
        return False
    if isinstance(found, type):
        return is_factory and (issubclass(found, OwnProblem) or any("__call__" in vars(each) for each in found.__mro__))
    return True


def _may_be_state(found: Any) -> bool:
    """Whether an object is an initial state, or looks like a function that returns one, which is not called."""
    if callable(found) and not hasattr(found, "shape"):
        return not isinstance(found, type) and _may_be_problem(found) and _is_factory(found, "")
    try:
        initial_state(found)
    except Exception:
        return False
    return True


def _state(text: str, sources: Sources) -> Any:
    """Return the initial state that ``--w0`` names."""
    name = f"--w0 {text}"
    place, colon, attribute = text.rpartition(":")
    if text.endswith(".npy"):
        try:
            state = np.load(Path(text).expanduser(), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"{name} cannot be read ({error}): give a file that numpy.save wrote") from None
    elif colon:
        state = sources.attribute(place, attribute, name, STATE)
        if callable(state) and not hasattr(state, "shape"):
            try:
                state = state()
            except Exception as error:
                raise failed(f"{name}, called without arguments,", error) from error
    else:
        raise ValueError(f"{name} is no initial state: give FILE.npy, FILE.py:NAME or PACKAGE.MODULE:NAME")
    try:
        initial_state(state)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from None
    return state


def _checked(name: str, make: Callable[[], OwnProblem]) -> OwnProblem:
    try:
        return make()
    except (TypeError, ValueError, PropagatorError) as error:
        raise ValueError(f"{name}: {error}") from None


PROBLEM = Wanted(
    f"a Phi, {CONTRACT}, an OwnProblem, (phi, w0), or a function without arguments that returns one of these",
    _may_be_problem,
)
STATE = Wanted("a vector of floating-point numbers, or a function without arguments that returns one", _may_be_state)
