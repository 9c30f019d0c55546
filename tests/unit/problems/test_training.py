"""Which Phi a solver or an optimizer means, and what is told of it."""

import numpy as np
import pytest

from daskmgrit.problems import OwnProblem, xor
from daskmgrit.problems.training import OPTIMIZERS, training


def changed(phi, w0, level=0):
    return phi(np.tile(w0, (2, 1)), np.arange(2), level)


@pytest.mark.parametrize("solver", [None, "naive", "2", "4"])
def test_gradient_descent_is_that_of_the_solver(solver):
    task = xor()
    problem = training(task, solver=solver, levels={"coarsening": 4, "min_coarse": None}, learning_rate=0.5)
    phi = task.propagator(solver, 0.5, coarsening=4)
    assert (changed(problem.phi, task.w0, 2) == changed(phi, task.w0, 2)).all()
    assert problem.hierarchy() == {"coarsening": 4, "relaxation": "FCF", "min_coarse": 10}
    assert (problem.initial_guess, problem.steps, problem.name) == (task.guess(solver), task.steps, "xor")
    assert problem.tell(task.w0) == task.metrics(task.w0)


@pytest.mark.parametrize("name", OPTIMIZERS[1:])
def test_an_optimizer_has_its_moments_in_the_state(name):
    task = xor()
    problem, phi = training(task, name, steps=9, dtype=np.float32), task.optimizer(name, dtype=np.float32)
    assert problem.w0.dtype == np.float32
    assert (problem.w0 == phi.w0).all()
    assert (changed(problem.phi, problem.w0) == changed(phi, phi.w0)).all()
    assert problem.steps == 9
    assert problem.tell(problem.w0) == task.metrics(phi.w0[: task.w0.size])


def test_a_problem_of_ones_own_has_its_phi():
    own = OwnProblem(lambda weights, index, level: 0.5 * weights, np.ones(2), 30, coarsening=4)
    found = training(own, levels={"min_coarse": 3, "relaxation": None})
    assert found.phi is own.phi
    assert found.hierarchy() == {"coarsening": 4, "relaxation": "FCF", "min_coarse": 3}
    assert (found.steps, training(own, steps=5).steps) == (30, 5)
