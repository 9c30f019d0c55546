"""Places for task groups on Dask's page: parents to the left, circles allowed."""

import sys

from daskmgrit.dashboard.groups import group_layout


def test_parents_are_to_the_left_in_whatever_order_groups_come():
    dependencies = {"sum": {"add", "x"}, "add": {"x", "y"}, "x": set(), "y": set(), "alone": set()}
    for names in (list(dependencies), sorted(dependencies), sorted(dependencies, reverse=True)):
        places, arrows = group_layout({name: dependencies[name] for name in names})
        assert places.keys() == arrows.keys() == dependencies.keys()
        assert len({(place["x"], place["y"]) for place in places.values()}) == len(places)
        for name, parents in dependencies.items():
            assert all(places[parent]["x"] < places[name]["x"] for parent in parents)
            assert arrows[name] == {"nstart": sorted(parents), "nend": [name] * len(parents)}


def test_a_circle_is_closed_by_one_arrow():
    cycle = ["relax.L0", "restrict.L0", "coarse_solve.L1", "correct.L0"]
    dependencies = {name: {cycle[number - 1]} for number, name in enumerate(cycle)} | {"residual.L0": {"relax.L0"}}
    places, arrows = group_layout(dependencies)
    left = [
        (start, end)
        for name in dependencies
        for start, end in zip(arrows[name]["nstart"], arrows[name]["nend"], strict=True)
        if places[start]["x"] >= places[end]["x"]
    ]
    assert len(left) == 1


def test_what_does_not_count():
    places, arrows = group_layout({"a": {"a", "gone"}})
    assert places == {"a": {"x": 0, "y": 0}}
    assert arrows == {"a": {"nstart": [], "nend": []}}
    assert group_layout({}) == ({}, {})


def test_long_chains():
    count = 2 * sys.getrecursionlimit()
    places, _ = group_layout({str(number): {str(number - 1)} for number in range(count)})
    assert places[str(count - 1)] == {"x": count - 1, "y": 0}
