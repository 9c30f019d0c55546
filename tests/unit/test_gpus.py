"""A GPU for each worker process: which there are, and who gets which."""

import asyncio

import pytest

from daskmgrit import gpus


class Nanny:
    def __init__(self):
        self.env = {}


@pytest.fixture(autouse=True)
def nobody_has_any(monkeypatch):
    monkeypatch.setattr(gpus, "_taken", type(gpus._taken)())


def given(count, monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nannies = [Nanny() for _ in range(count)]
    for nanny in nannies:
        asyncio.run(gpus.dask_setup(nanny))
    return nannies


def test_each_worker_gets_one(monkeypatch):
    assert [nanny.env["CUDA_VISIBLE_DEVICES"] for nanny in given(2, monkeypatch, "3,1")] == ["3", "1"]


def test_several_workers_share_a_gpu(monkeypatch):
    nannies = given(5, monkeypatch, "MIG-a,MIG-b")
    assert [nanny.env["CUDA_VISIBLE_DEVICES"] for nanny in nannies] == ["MIG-a", "MIG-b"] * 2 + ["MIG-a"]


def test_the_gpu_of_a_worker_that_is_gone_is_free(monkeypatch):
    nannies = given(3, monkeypatch, "0,1,2")
    del nannies[1]
    again = Nanny()
    asyncio.run(gpus.dask_setup(again))
    assert again.env["CUDA_VISIBLE_DEVICES"] == "1"


def test_without_gpus_it_says_so(monkeypatch):
    with pytest.raises(RuntimeError, match="no GPU here"):
        given(1, monkeypatch, "")
    with pytest.raises(RuntimeError, match="--preload-nanny"):
        asyncio.run(gpus.dask_setup(object()))


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("", []),
        ("GPU 0: A (UUID: GPU-1)\nGPU 1: A (UUID: GPU-2)\n", ["GPU-1", "GPU-2"]),
        (
            "GPU 0: A (UUID: GPU-1)\n  MIG 1g Device 0: (UUID: MIG-2)\n  MIG 1g Device 1: (UUID: MIG-3)\n",
            ["MIG-2", "MIG-3"],
        ),
    ],
)
def test_what_nvidia_smi_lists(listed, found, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.devices(listed=lambda: listed) == found


def test_tasks_take_turns():
    taken = []
    for number in range(4):
        environment = {"CUDA_VISIBLE_DEVICES": "0,1"}
        taken.append(gpus.take_device(number, environment))
        assert environment["CUDA_VISIBLE_DEVICES"] == taken[-1]
    assert taken == ["0", "1", "0", "1"]
    assert gpus.take_device(0, {"CUDA_VISIBLE_DEVICES": ""}) is None
