"""Places for the task groups on Dask's page ``/groups``, also where their dependencies run in circles.

The tasks of a solve are grouped by what they do and on which level, not by their cycle, so the groups of a cycle depend
on each other in a circle: ``relax.L0``, …, ``correct.L0`` and ``relax.L0`` again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["group_layout"]


def group_layout(
    dependencies: Mapping[str, set[str]],
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, list[str]]]]:
    """Return a place for each group, to the right of its dependencies, and its arrows.

    Parameters
    ----------
    dependencies : mapping of str to set of str
        Groups that each group depends on. The group itself and removed groups do not count.

    Returns
    -------
    dict of str to dict
        x and y of each group.
    dict of str to dict
        Where each group's arrows start (``nstart``) and end (``nend``); an arrow that closes a circle points left.

    Examples
    --------
    >>> group_layout({"b": {"a", "b"}, "a": {"c"}, "c": {"b"}})[0]
    {'c': {'x': 0, 'y': 0}, 'a': {'x': 1, 'y': 0}, 'b': {'x': 2, 'y': 0}}
    """
    known = {name: sorted((parents & dependencies.keys()) - {name}) for name, parents in dependencies.items()}
    places: dict[str, dict[str, int]] = {}
    taken: set[tuple[int, int]] = set()
    for name in _parents_first(known):
        # A parent without a place closes a circle.
        parents = [places[parent] for parent in known[name] if parent in places]
        x = max((place["x"] + 1 for place in parents), default=0)
        y = max((place["y"] for place in parents), default=0)
        while (x, y) in taken:
            y += 1
        taken.add((x, y))
        places[name] = {"x": x, "y": y}
    arrows = {name: {"nstart": known[name], "nend": [name] * len(known[name])} for name in places}
    return places, arrows


def _parents_first(parents: Mapping[str, list[str]]) -> list[str]:
    """Return all groups, each after its parents except those that close a circle."""
    found: dict[str, Any] = {}
    begun: set[str] = set()
    for last in parents:
        path = [last]
        while path:
            name = path[-1]
            begun.add(name)
            following = next((parent for parent in parents[name] if parent not in begun), None)
            if following is None:
                found[path.pop()] = None
            else:
                path.append(following)
    return list(found)
