"""Norms of rows: the same bits however many rows there are."""

import numpy as np
import pytest

from daskmgrit.recurrence import norms
from daskmgrit.recurrence.norms import row_norms


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
