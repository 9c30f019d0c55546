"""The values of options: what they become, and what an error says."""

import click
import pytest

from daskmgrit.cli.values import BYTES, CHUNKS, RELAXATION, SECONDS, WAIT, PerLevel


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (SECONDS, "0", 0.0),
        (SECONDS, "5min", 300.0),
        (WAIT, "300ms", 0.3),
        (BYTES, "100kB", 100_000),
        (CHUNKS, "auto", "auto"),
        (CHUNKS, "4", 4),
        (RELAXATION, "2", 2),
        (RELAXATION, "FCF, 0", ("FCF", 0)),
        (PerLevel(int), "2", (2,)),
        (PerLevel(float, single=True), "0.5", 0.5),
        (PerLevel(float, single=True), "0.5,1", (0.5, 1.0)),
    ],
)
def test_values(kind, text, expected):
    assert kind.convert(text, None, None) == expected


@pytest.mark.parametrize(
    ("kind", "text", "remedy"),
    [
        (SECONDS, "soon", "give seconds"),
        (SECONDS, "-1", "give at least 0 seconds"),
        (SECONDS, "1e400", "give seconds"),
        (SECONDS, "nan", "give at least 0 seconds"),
        (WAIT, "0", "give more than 0 seconds"),
        (BYTES, "-5", "give bytes"),
        (CHUNKS, "many", 'give "auto" or a number'),
        (PerLevel(int), "2,x", "one per level"),
    ],
)
def test_errors_name_option_value_and_remedy(kind, text, remedy):
    command = click.Command("test", params=[click.Option(["--option"], type=kind)])
    with pytest.raises(click.BadParameter) as caught:
        command.make_context("test", ["--option", text])
    message = caught.value.format_message()
    assert "--option" in message
    assert repr(text) in message
    assert remedy in message
