"""Bad arguments of `from_command`."""

import pytest

import daskmgrit as dm


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"command": ["ls", 3]}, TypeError, "command has 3"),
        ({"command": ["ls", "{stp}"]}, ValueError, "command has {stp}: use only the placeholders {step}"),
        ({"command": ["ls"], "environment": {"A": 1}}, TypeError, "environment has 'A': 1"),
    ],
)
def test_bad_programs(arguments, error, words):
    with pytest.raises(error, match=words):
        dm.from_command(**arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("./simulate --step 1",), TypeError, "one string"),
        (([],), ValueError, "empty"),
        ((["a"], "csv"), ValueError, "format='csv'"),
        ((["a"], "npy", 0), ValueError, "timeout=0"),
    ],
)
def test_bad_commands(arguments, error, words):
    with pytest.raises(error, match=words):
        dm.from_command(*arguments)
