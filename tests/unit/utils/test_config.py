"""The package's section of dask.config."""

import dask
import pytest

from daskmgrit.utils.config import setting


def test_what_is_set_comes_before_the_default():
    default = setting("daskmgrit.worker-timeout")
    with dask.config.set({"daskmgrit.worker-timeout": "5s"}):
        assert setting("daskmgrit.worker-timeout") == "5s"
    assert setting("daskmgrit.worker-timeout") == default


def test_a_section_that_a_block_took_away_is_there_again(monkeypatch):
    monkeypatch.delitem(dask.config.config, "daskmgrit", raising=False)
    with dask.config.set({"daskmgrit.slurm.poll": "1s"}):
        assert setting("daskmgrit.slurm")["poll"] == "1s"
        assert setting("daskmgrit.slurm.wait")
    assert "daskmgrit" not in dask.config.config
    assert setting("daskmgrit.slurm.poll") != "1s"
    # Nothing of what is set gets into the defaults.
    setting("daskmgrit.slurm")["poll"] = "2s"
    del dask.config.config["daskmgrit"]
    assert setting("daskmgrit.slurm.poll") != "2s"


def test_unknown():
    with pytest.raises(KeyError):
        setting("daskmgrit.nothing")
