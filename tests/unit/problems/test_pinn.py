"""The physics-informed network: the equation's solution, the network's derivatives, and the training of it."""

import math
import re
import sys

import numpy as np
import pytest

import daskmgrit as dm
from daskmgrit.problems.pinn import VISCOSITY, burgers, pinn
from daskmgrit.recurrence.serial import train_serially
from daskmgrit.utils.install_hint import install_hint

SMALL = {"points": 12, "hidden": 2, "width": 4}


class TestSolution:
    def test_it_has_the_initial_and_boundary_values(self):
        x = np.linspace(-1, 1, 9)
        assert np.allclose(burgers(0, x), -np.sin(np.pi * x), atol=1e-14)
        assert np.allclose(burgers([0.1, 1.0], [[1.0], [-1.0]]), 0, atol=1e-13)

    def test_it_is_odd_in_space(self):
        assert np.allclose(burgers(0.7, [0.01, 0.3]), -burgers(0.7, [-0.01, -0.3]), atol=1e-13)

    def test_it_solves_the_equation(self):
        t, x, h = np.array([0.1, 0.4, 0.9]), np.array([0.3, -0.6, 0.5]), 1e-3
        u, right, left = burgers(t, x), burgers(t, x + h), burgers(t, x - h)
        u_t = (burgers(t + h, x) - burgers(t - h, x)) / (2 * h)
        residual = u_t + u * (right - left) / (2 * h) - VISCOSITY * (right - 2 * u + left) / h**2
        assert np.abs(residual).max() < 1e-4

    def test_its_steepest_slope_is_the_published_one(self):
        """Basdevant et al. 1986: |u_x| at x = 0 is largest at pi*t = 1.6037, 152.00516."""
        t, h = 1.6037 / math.pi, 1e-6
        slope = (burgers(t, -h) - burgers(t, h)) / (2 * h)
        assert slope == pytest.approx(152.00516, rel=1e-5)


def test_without_pytorch_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="pinn problem needs PyTorch.*" + re.escape(install_hint("torch"))):
        pinn()


@pytest.mark.parametrize("bad", [{"steps": 0}, {"points": 0}, {"hidden": 0}, {"width": 0}, {"learning_rate": 0.0}])
def test_values_out_of_range_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        pinn(**bad)


class TestTraining:
    @pytest.fixture(autouse=True)
    def needs_torch(self):
        pytest.importorskip("torch", reason="PyTorch is not installed")

    def test_derivatives_are_those_of_the_network(self):
        import torch

        from daskmgrit.problems.pinn import solution

        problem = pinn(**SMALL)
        module = problem.phi.module(problem.w0)

        def u(place):
            return solution(module, place[None])[0][0, 0]

        places = torch.tensor([[0.2, 0.3], [0.9, -0.6]], dtype=torch.float64)
        _, u_t, u_x, u_xx = solution(module, places)
        for i, place in enumerate(places):
            first = torch.autograd.functional.jacobian(u, place)
            second = torch.autograd.functional.hessian(u, place)
            assert u_t[i, 0].item() == pytest.approx(first[0].item(), rel=1e-9)
            assert u_x[i, 0].item() == pytest.approx(first[1].item(), rel=1e-9)
            assert u_xx[i, 0].item() == pytest.approx(second[1, 1].item(), rel=1e-9)

    def test_initial_and_boundary_values_hold_for_any_weights(self):
        import torch

        from daskmgrit.problems.pinn import solution

        problem = pinn(seed=3, **SMALL)
        places = torch.tensor([[0.0, 0.4], [0.7, 1.0], [0.7, -1.0], [0.7, 0.0]], dtype=torch.float64)
        u = solution(problem.phi.module(problem.w0), places)[0].detach().numpy().ravel()
        assert np.allclose(u, [-np.sin(0.4 * np.pi), 0, 0, 0], atol=1e-14)

    def test_the_seed_decides_the_start(self):
        assert np.array_equal(pinn(seed=2, **SMALL).w0, pinn(seed=2, **SMALL).w0)
        assert not np.array_equal(pinn(seed=2, **SMALL).w0, pinn(seed=3, **SMALL).w0)

    def test_parallel_newton_trains_it_as_the_serial_loop_does(self):
        problem = pinn(steps=24, **SMALL)
        dm.check_propagator(problem.phi, problem.w0)
        serial = train_serially(problem.phi, problem.w0, problem.steps)
        result = dm.ParallelNewton(problem.phi, problem.steps, window=4).solve(problem.w0, tol=0)
        assert np.array_equal(result.final, serial[-1])
        assert problem.loss(result.final) < problem.loss(problem.w0)

    def test_the_error_is_relative_to_the_solution(self):
        """The network that is zero leaves -sin(pi x), whose error needs no network."""
        problem = pinn(**SMALL)
        t, x = np.meshgrid(np.linspace(0, 1, 100), np.linspace(-1, 1, 256), indexing="ij")
        exact = burgers(t, x)
        expected = np.linalg.norm(-np.sin(np.pi * x) - exact) / np.linalg.norm(exact)
        assert problem.tell(np.zeros_like(problem.w0))["relative_l2_error"] == pytest.approx(expected, rel=1e-9)
