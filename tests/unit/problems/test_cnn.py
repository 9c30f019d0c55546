"""The convolutional network: its data, and that its training is PyTorch's own loop."""

import re
import sys

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.problems.cnn import cnn
from daskmgrit.recurrence.serial import train_serially
from daskmgrit.utils.install_hint import install_hint

SMALL = {"channels": 2, "batch": 16}


@pytest.mark.parametrize(("missing", "extra"), [("torch", "torch"), ("sklearn.datasets", "digits")])
def test_without_a_package_the_error_says_what_to_install(monkeypatch, missing, extra):
    if missing != "torch":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"of which {missing} is not installed: {re.escape(install_hint(extra))}"):
        cnn()


@pytest.mark.parametrize("bad", [{"steps": 0}, {"channels": 0}, {"learning_rate": 0.0}, {"weight_decay": -1.0}])
def test_values_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        cnn(**bad)


class TestTraining:
    @pytest.fixture(autouse=True)
    def needs_packages(self):
        pytest.importorskip("torch", reason="PyTorch is not installed")
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")

    def test_it_trains_on_the_first_half_shifted_and_is_tested_on_the_second(self):
        from sklearn.datasets import load_digits

        problem = cnn(steps=1, **SMALL)
        inputs, targets = (part.numpy() for part in problem.phi.data.parts)
        images, labels = load_digits(return_X_y=True)
        images = images.reshape(-1, 1, 8, 8) / 16
        assert inputs.shape == (5 * 898, 1, 8, 8)
        first = np.pad(images[0, 0], 1)
        for row, column in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2)):
            same = (inputs[:, 0] == first[row : row + 8, column : column + 8]).all(axis=(1, 2))
            assert targets[same].tolist() == [labels[0]]
        module = problem.phi.module(problem.w0)
        outputs = module(problem.phi.data.parts[0].new_tensor(images[898:])).detach().numpy()
        expected = (outputs.argmax(axis=1) == labels[898:]).mean()
        assert problem.tell(problem.w0)["test_accuracy"] == pytest.approx(expected)

    def test_it_is_the_loop_of_pytorch(self):
        import torch

        problem = cnn(steps=10, **SMALL)
        module, (inputs, targets) = problem.phi.module(problem.w0), problem.phi.data.parts
        optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
        for step in range(10):
            rows = slice(16 * step, 16 * step + 16)
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(inputs[rows]), targets[rows]).backward()
            optimizer.step()
            schedule.step()
        expected = torch.cat([p.detach().ravel() for p in module.parameters()]).numpy()
        final = train_serially(problem.phi, problem.w0, 10)[-1]
        assert np.allclose(final[: expected.size], expected, rtol=1e-6, atol=1e-8)

    def test_parallel_newton_trains_it_as_the_serial_loop_does(self):
        problem = cnn(steps=24, **SMALL)
        dm.check_propagator(problem.phi, problem.w0)
        serial = train_serially(problem.phi, problem.w0, problem.steps)
        result = dm.ParallelNewton(problem.phi, problem.steps, window=4).solve(problem.w0, tol=0)
        assert np.array_equal(result.final, serial[-1])
        assert problem.loss(result.final) < problem.loss(problem.w0)
