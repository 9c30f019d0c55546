"""Times and sizes: one parser for each."""

import dask
import pytest

from daskmgrit.utils.units import bytes_option, nbytes, seconds, time_option, time_setting


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("90", 90.0),
        (" 0.5 ", 0.5),
        (".5", 0.5),
        ("1e-3", 1e-3),
        ("250ms", 0.25),
        ("5min", 300.0),
        ("5 mins", 300.0),
        ("5m", 300.0),
        ("5 minutes", 300.0),
        ("1h", 3600.0),
        ("-3", -3.0),
        (7, 7.0),
    ],
)
def test_seconds(value, expected):
    assert seconds(value) == pytest.approx(expected)


@pytest.mark.parametrize("value", ["", "soon", "min", "s", "5 bananas", "10:00", "1.5.2", None, [1]])
def test_what_is_no_time(value):
    with pytest.raises(ValueError, match=r"is not a time: give seconds, or e.g. 250ms or 5min") as caught:
        seconds(value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(("value", "expected"), [("4096", 4096), ("100kB", 100_000), ("1.5 GiB", 3 << 29), (8, 8)])
def test_nbytes(value, expected):
    assert nbytes(value) == expected


@pytest.mark.parametrize("value", ["", "GB", "banana", "-5", -5, True, None, float("inf"), float("nan")])
def test_what_is_no_size(value):
    with pytest.raises(ValueError, match="is not an amount of memory: give bytes"):
        nbytes(value)


@pytest.mark.parametrize("value", ["soon", "", "nan", "0", 0, -1, True, None, float("inf")])
def test_a_bad_time_names_its_option(value):
    with pytest.raises(ValueError, match=r"^timeout=.* it is a time in seconds"):
        time_option("timeout", value)


def test_settings():
    with dask.config.set({"daskmgrit.worker-timeout": "2 min", "daskmgrit.memory": "1kB"}):
        assert time_setting("daskmgrit.worker-timeout") == 120
        assert bytes_option("daskmgrit.memory", 1000) == 1000
        with pytest.raises(ValueError, match="of at least 1001 bytes"):
            bytes_option("daskmgrit.memory", 1001)
    with (
        dask.config.set({"daskmgrit.worker-timeout": "soon"}),
        pytest.raises(ValueError, match=r"daskmgrit.worker-timeout in dask.config='soon'"),
    ):
        time_setting("daskmgrit.worker-timeout")
