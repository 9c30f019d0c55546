"""Norms of rows: the same bits however many rows there are."""

import numpy as np
import pytest

from daskmgrit.recurrence import norms
from daskmgrit.recurrence.norms import Squares, align, join, row_lengths, row_norms, row_squares


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_a_row_has_the_same_bits_alone_and_among_others(monkeypatch, dtype):
    random = np.random.default_rng(0)
    rows, minus = (random.standard_normal((2, 50, 33)) * (1 + (1j if dtype == "complex128" else 0))).astype(dtype)
    whole = row_norms(rows, minus)
    np.testing.assert_allclose(whole, (np.abs(rows - minus) ** 2).sum(axis=1), rtol=1e-6)
    assert whole.dtype == np.float64
    alone = [row_norms(rows[j : j + 1], minus[j : j + 1])[0] for j in range(50)]
    monkeypatch.setattr(norms, "GROUP_BYTES", 3 * rows[0].nbytes)
    assert np.array_equal(row_norms(rows, minus), whole)
    assert np.array_equal(alone, whole)


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_rows_of_another_library(dtype):
    xp = pytest.importorskip("array_api_strict")
    rows = np.arange(12).reshape(4, 3).astype(dtype) * (1 + (2j if dtype == "complex128" else 0))
    found = row_norms(xp.asarray(rows), xp.asarray(rows[::-1].copy()))
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, row_norms(rows, rows[::-1]), rtol=1e-15)


def test_a_device_without_double_precision(monkeypatch):
    xp = pytest.importorskip("array_api_strict")
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    try:
        on_device = xp.asarray(rows, device=xp.Device("no_float64"))
    except ValueError:
        pytest.skip("this version of array_api_strict has no such device")
    # This library brings nothing home by itself.
    monkeypatch.setattr(norms, "to_host", lambda block: np.asarray(block.to_device(xp.Device("CPU_DEVICE"))))
    assert np.array_equal(row_norms(on_device, xp.zeros_like(on_device)), row_norms(rows, 0 * rows))


@pytest.mark.parametrize("library", ["numpy", "array_api_strict"])
@pytest.mark.parametrize("exponent", [0, -300, -560, -1000, 530, 1000])
def test_any_magnitude_has_the_same_bits(library, exponent):
    xp, random = pytest.importorskip(library), np.random.default_rng(1)
    # Few bits each, so that the largest are whole also below the range of normal numbers.
    rows, minus = random.integers(-99, 99, (2, 7, 5)).astype(float)
    plain, lengths = row_squares(rows, minus).root_of_sum(), row_lengths(rows, minus)
    rows, minus = xp.asarray(np.ldexp(rows, exponent)), xp.asarray(np.ldexp(minus, exponent))
    assert row_squares(rows, minus).root_of_sum() == np.ldexp(plain, exponent)
    assert np.array_equal(row_lengths(rows, minus), np.ldexp(lengths, exponent))


def test_rows_of_different_magnitudes():
    rows = np.diag([1e-170, 0.0, 1.0, 1e200, np.inf, np.nan])
    np.testing.assert_allclose(row_lengths(rows)[:4], [1e-170, 0, 1, 1e200])
    assert not np.isfinite(row_lengths(rows)[4:]).any()
    parts = [row_squares(rows[j : j + 1], 0 * rows[:1]) for j in range(4)]
    assert join(parts[:2]).root_of_sum() == pytest.approx(1e-170)
    assert join(parts[:3]).root_of_sum() == 1.0
    assert join(parts).root_of_sum() == pytest.approx(1e200)
    assert len({part.exponent for part in align(parts)}) == 1
    assert join([Squares(np.zeros(2)), parts[0]]).root_of_sum() == pytest.approx(1e-170)
    assert join([Squares(np.zeros(0))]).root_of_sum() == 0.0
    assert np.isnan(row_squares(rows[5:], 0 * rows[:1]).root_of_sum())
