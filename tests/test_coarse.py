"""Stabilised coarse steps and window gradients, against closed forms and plain loops."""

import math
import re

import cloudpickle
import dask
import numpy as np
import pytest
from conftest import Counting, Decay
from numpy.polynomial.chebyshev import Chebyshev
from test_counts import Chains

import daskmgrit as dm
from daskmgrit.coarse import (
    METHODS,
    CoarseRule,
    chebyshev_stages,
    chebyshev_step,
    estimate_max_rate,
    from_fine,
    published_bound,
    stabilise,
    stability_bound,
    substep_count,
    window_steps,
)
from daskmgrit.models import MLP, Averaged, CappedRate, ConstantRate, GradientDescent, Repeat, Serial, Window
from daskmgrit.problems import adder, digits, xor

# -- the Chebyshev step on the linear test equation w' = -z w, a step of length one ------------------------------------


def growth(z, stages, damping):
    """Factor by which the step multiplies each of the modes z."""
    return chebyshev_step(lambda w: z * w, np.ones((1, len(z))), 1.0, stages, damping)[0]


def closed_form(z, stages, damping):
    polynomial, w0 = Chebyshev.basis(stages), 1 + damping / stages**2
    w1 = polynomial(w0) / polynomial.deriv()(w0)
    return polynomial(w0 - w1 * z) / polynomial(w0), (w0 + 1) / w1, 1 / polynomial(w0), 2 * w0 / w1


@pytest.mark.parametrize("damping", [0.01, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("stages", [1, 2, 3, 5, 8, 20, 60])
def test_stability_over_the_whole_interval(stages, damping):
    bound = stability_bound(stages, damping)
    z = np.linspace(0, bound, 4001)
    wanted, exact, most, last = closed_form(z, stages, damping)
    assert bound == pytest.approx(exact, rel=1e-9)
    factors = growth(z, stages, damping)
    np.testing.assert_allclose(factors, wanted, atol=1e-9)
    assert np.abs(factors).max() <= 1
    # Past the first few modes it is damped, as far as the interval goes; not much beyond it grows.
    w1 = 2 * (1 + damping / stages**2) / last
    damped = z >= damping / stages**2 / w1
    assert np.abs(factors[damped]).max() <= most * (1 + 1e-9) < 1
    assert abs(growth(np.array([1.01 * last]), stages, damping)[0]) > 1


def test_published_bound():
    for damping in (0.01, 0.05, 0.1):
        for stages in range(1, 200):
            published, exact = published_bound(stages, damping), stability_bound(stages, damping)
            # The published one is the first two terms in the damping: never more than what holds, and close to it.
            assert published <= exact
            assert exact / published < 1 + damping / stages**2 + damping**2
    assert published_bound(10, 0.0) == 200
    assert stability_bound(10, 1e-9) == pytest.approx(200, rel=1e-6)


@pytest.mark.parametrize("ratio", [1.001, 1.5, 2, 7, 64, 1000])
def test_stages_are_the_fewest_that_are_stable(ratio):
    stages = chebyshev_stages(ratio * 0.3, 0.3)
    assert published_bound(stages) >= 2 * ratio
    assert stages == 2 or published_bound(stages - 1) < 2 * ratio
    assert stability_bound(stages) >= 2 * ratio


@pytest.mark.parametrize("stages", [1, 2, 3, 6, 15])
def test_order_one(stages):
    errors = []
    for length in (1e-2, 5e-3, 2.5e-3):
        steps = round(1 / length)
        w = np.array([[1.0, -0.5]])
        for _ in range(steps):
            # dw/dt = -w**2 (1 + w): not linear.
            w = chebyshev_step(lambda v: v**2 * (1 + v), w, length, stages)
        errors.append(w)
    ratio = np.abs(errors[0] - errors[1]) / np.abs(errors[1] - errors[2])
    np.testing.assert_allclose(ratio, 2, rtol=0.05)


@pytest.mark.parametrize("max_stages", [None, 1, 3])
@pytest.mark.parametrize("method", METHODS)
def test_every_level_is_stable_where_alpha_max_is(method, max_stages):
    top, rule = 0.3, CoarseRule(method, 0.3, max_stages=max_stages)
    curvature = np.linspace(0, 2 / top, 1001)
    for level in range(21):
        length = 0.02 * 2**level
        stages = rule.stages(length, level)
        if max_stages is None and stages > 3000:
            continue
        w = rule.step(lambda v: curvature * v, np.ones((1, 1001)), length, level)
        assert np.abs(w).max() <= 1 + 1e-9
        # It covers the length that it says, to first order.
        slope = 1e6 * length * (1 - rule.step(lambda v, z=1e-6 / length: z * v, np.ones((1, 1)), length, level)[0, 0])
        assert slope == pytest.approx(rule.covered(length, level), rel=1e-4)
        if max_stages is None and method != "capped":
            assert rule.covered(length, level) == length
    assert CoarseRule("chebyshev", 0.3).stages(0.02 * 2**20, 20) == math.ceil(
        math.sqrt(2 * 0.02 * 2**20 / 0.3 / (2 - 4 / 3 * 0.05))
    )


def test_one_stage_is_the_plain_step_and_a_fixed_point_stays():
    w = np.random.default_rng(0).standard_normal((3, 4))
    assert np.array_equal(chebyshev_step(np.sin, w, 0.3, 1), w - 0.3 * np.sin(w))
    assert np.array_equal(chebyshev_step(np.zeros_like, w, 50.0, 9), w)
    single = w.astype(np.float32)
    assert chebyshev_step(lambda v: 0.1 * v, single, 50.0, 9).dtype == np.float32
    held = w.copy()
    held.flags.writeable = False
    chebyshev_step(lambda v: 0.1 * v, held, 50.0, 9)
    assert np.array_equal(held, w)


# -- the choice per level ----------------------------------------------------------------------------------------------


def test_method_per_level():
    rule = CoarseRule(["capped", "substeps", "chebyshev"], 1.0)
    assert [rule.stages(8.0, level) for level in range(4)] == [1, 8, 3, 3]
    assert [rule.covered(8.0, level) for level in range(4)] == [1, 8, 8, 8]
    assert substep_count(0.3, 0.1) == 3
    assert substep_count(0.31, 0.1) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "rk4"}, "coarse='rk4' is not known: give one of capped"),
        ({"method": []}, r"coarse=\[\] is empty"),
        ({"max_rate": -1.0}, "max_rate=-1.0 is out of range"),
        ({"damping": 0.0}, "damping=0.0 is out of range"),
        ({"damping": 2.0}, "damping=2.0 is out of range"),
        ({"max_stages": 0}, "max_stages=0 is not an integer of at least 1"),
    ],
)
def test_bad_rule(arguments, words):
    with pytest.raises(ValueError, match=words):
        CoarseRule(**arguments)


def test_descent_by_stages_is_a_loop_over_plain_steps():
    """Substeps of the built-in descent against the plain descent, and Chebyshev against the model's gradient."""
    problem = adder(examples=6)
    states = np.stack([problem.w0, 0.9 * problem.w0, 1.1 * problem.w0])
    index, rule = np.arange(3), Serial(6)
    plain = GradientDescent(problem.model, problem.x, problem.y, ConstantRate(0.05), rule)
    phi = GradientDescent(problem.model, problem.x, problem.y, CappedRate(0.025, 0.05), rule, coarse="substeps")
    wanted = states
    for _ in range(4):
        wanted = plain(wanted, index, 3)
    np.testing.assert_allclose(phi(states, index, 3), wanted, rtol=1e-13)
    phi = GradientDescent(problem.model, problem.x, problem.y, CappedRate(0.025, 0.05), rule, coarse="chebyshev")

    def gradient(w):
        return problem.model.gradient(w, problem.x[index][:, None], problem.y[index][:, None])

    assert phi.stages(3) == 3
    assert np.array_equal(phi(states, index, 3), chebyshev_step(gradient, states, 0.2, 3))


# -- any phi that takes a rate -----------------------------------------------------------------------------------------


class Quadratic:
    """Descent on a quadratic with a slow drift; counts its calls."""

    def __init__(self, curvature=(0.02, 0.3, 1.0)):
        self.curvature, self.calls = np.array(curvature), 0

    def __call__(self, weights, index, level, rate):
        self.calls += 1
        return weights - rate * (self.curvature * weights + 0.01 * np.sin(weights) + 1e-3 * (index % 2)[:, None])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("m", [2, 4, (2, 4)])
def test_stabilised_phi_converges_to_serial_training(method, m):
    descend = Quadratic()
    phi = stabilise(descend, 0.25, 1.9, m, method)
    w0 = np.array([1.0, -2.0, 0.5])
    assert dm.check_propagator(phi, w0, levels=6).ok
    result = dm.MGRIT(phi, 600, coarsening=m if isinstance(m, int) else list(m)).solve(w0)
    assert result.converged
    serial = dm.train_serially(lambda w, i, level: descend(w, i, level, 0.25), w0, 600)
    np.testing.assert_allclose(result.weights.compute(), serial, atol=1e-7)


def test_stabilised_phi_is_the_chebyshev_step_of_its_gradient():
    descend = Quadratic()
    phi = stabilise(descend, 0.25, 1.9)
    w, index = np.array([[1.0, -2.0, 0.5], [0.1, 0.2, 0.3]]), np.array([4, 5])

    def gradient(states):
        return states - descend(states, index, 5, 1.0)

    stages = phi.stages(5)
    assert stages == chebyshev_stages(8.0, 1.9) == 3
    np.testing.assert_allclose(phi(w, index, 5), chebyshev_step(gradient, w, 8.0, stages), rtol=1e-12)
    assert np.array_equal(phi(w, index, 2), descend(w, index, 2, 1.0))
    assert [phi.shortfall(level) for level in (2, 8)] == [1, 1]
    capped = stabilise(descend, 0.25, 2.0, method="capped")
    assert [capped.shortfall(level) for level in (2, 3, 8)] == [1, 1, 32]


def test_stages_are_calls():
    for method in METHODS:
        descend = Quadratic()
        phi = stabilise(descend, 0.25, 1.9, method=method)
        for level in range(8):
            descend.calls = 0
            phi(np.ones((2, 3)), np.arange(2), level)
            assert descend.calls == phi.stages(level)


def test_bad_stabilise():
    with pytest.raises(TypeError, match="phi_of_rate=1 is not callable"):
        stabilise(1, 0.1, 1.0)
    with pytest.raises(ValueError, match=r"max_rate=0.1 is below rate=1.0"):
        stabilise(Quadratic(), 1.0, 0.1)
    with pytest.raises(ValueError, match="rate=0 is out of range"):
        stabilise(Quadratic(), 0, 0.1)


@pytest.mark.parametrize("window", [1, 8])
def test_a_loop_that_knows_no_levels(window):
    """Level 0 of the built-in descent, made into Solver 4 from outside."""
    problem = adder(examples=30)
    fine = problem.propagator("2")
    phi = stabilise(from_fine(fine, 2, window, period=30), 1.0, 4.0)
    inside = problem.propagator("2", max_learning_rate=0.1, coarse="chebyshev", data="window", window=window)
    states, index = np.stack([problem.w0, 0.9 * problem.w0]), np.array([1, 2])
    for level in range(6):
        np.testing.assert_allclose(phi(states, index, level), inside(states, index, level), rtol=1e-9, atol=1e-12)
        assert phi.stages(level) == inside.stages(level)
    assert np.array_equal(phi(states, index, 0), fine(states, index, 0))
    result = dm.MGRIT(phi, 60).solve(problem.w0, "constant")
    np.testing.assert_allclose(result.final, dm.train_serially(fine, problem.w0, 60)[-1], atol=1e-7)
    with pytest.raises(TypeError, match="phi=2 is not callable"):
        from_fine(2)


# -- counting ----------------------------------------------------------------------------------------------------------


class Staged:
    """A phi whose calls on coarse levels count several, with the states that it was given weighted so."""

    def __init__(self, m):
        self.phi, self.calls, self.states = Decay(m), 0, {}

    def stages(self, level):
        return 1 + 2 * level

    def __call__(self, weights, index, level):
        self.calls += self.stages(level)
        self.states[level] = self.states.get(level, 0) + len(weights) * self.stages(level)
        return self.phi(weights, index, level)


@pytest.mark.usefixtures("synchronous")
@pytest.mark.parametrize("cycle", ["V", "F"])
@pytest.mark.parametrize(("m", "relaxation"), [(2, "FCF"), (2, ["FCF", "F"]), (4, "FCF"), (3, 2)])
def test_stages_count_in_evaluations_and_in_the_critical_path(cycle, m, relaxation):
    phi, steps = Staged(m), 96
    solver = dm.MGRIT(phi, steps, coarsening=m, cycle=cycle, relaxation=relaxation)
    chains = Chains(phi)
    with chains, dask.config.set({"daskmgrit.agglomerate": 99, "daskmgrit.beside": True}):
        result = solver.solve(np.ones(2), tol=0, maxiter=2, chunks=steps // m + 1)
    longest = max(depth for key, depth in chains.depth.items() if str(key).startswith("residual"))
    assert result.critical_path == longest
    assert result.phi_evaluations == [phi.states[level] for level in range(len(result.levels))]
    assert solver.stages == [1 + 2 * level for level in range(len(result.levels))]
    assert "stages" in str(solver)


@pytest.mark.usefixtures("synchronous")
def test_each_level_costs_its_stages_in_a_row():
    def path(cycles, stages):
        return dm.tune.critical_path(128, stages, cycles)

    one = path(3, [1] * 5) - path(2, [1] * 5)
    assert one == 4 * 4 + 7
    # Levels 128, 64, 32, 16 are relaxed with four Phi in a row each, the eight steps of the coarsest take seven. Where
    # the coarse step beside the residual takes more stages than that, it is what lies on the path.
    staged = path(3, [1, 1, 1, 2, 3]) - path(2, [1, 1, 1, 2, 3])
    assert staged == 3 * 4 + 1 + 4 * 2 + 1 + 7 * 3


def test_stages_on_level_0_count_in_the_initial_guess():
    class Twice(Counting):
        def stages(self, level):
            return 2

    once = dm.MGRIT(Decay(), 32).solve(np.ones(2), maxiter=0)
    twice = dm.MGRIT(Twice(Decay()), 32).solve(np.ones(2), maxiter=0)
    assert twice.critical_path == 2 * once.critical_path
    assert sum(twice.phi_evaluations) == 2 * sum(once.phi_evaluations)


@pytest.mark.parametrize("count", [0, 1.5, "two", None])
def test_bad_stages_are_named(count):
    class Wrong(Decay):
        def stages(self, level):
            return count

    with pytest.raises(dm.PropagatorError, match=r"phi.stages\(0\) is .* an integer of at least 1"):
        dm.MGRIT(Wrong(), 32).solve(np.ones(2))
    assert "phi.stages" in str(dm.check_propagator(Wrong(), np.ones(2), raises=False))


# -- window gradients --------------------------------------------------------------------------------------------------


def test_window_steps():
    for factor, level, width in ((2, 3, 8), (4, 2, 16), ((4, 2), 3, 16), (3, 0, 1)):
        steps = window_steps(np.array([0, 5]), level, factor)
        assert steps.tolist() == [list(range(width)), list(range(5 * width, 6 * width))]
    few = window_steps(np.arange(7), 6, 2, size=10)
    assert few.shape == (7, 10)
    for row, steps in enumerate(few):
        # One from each of ten equal parts of the window.
        assert np.array_equal((steps - 64 * row) * 10 // 64, np.arange(10))


def test_a_sample_repeats_no_step():
    for width in (8, 64, 256):
        for size in range(1, width + 1):
            steps = window_steps(np.array([0]), width.bit_length() - 1, 2, size)[0]
            assert len(set(steps)) == size
            assert (steps[0], steps.min(), steps.max() < width) == (0, 0, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"factor": 0}, "factor=0"), ({"factor": ()}, "factor=()"), ({"size": 0}, "size=0"), ({"period": 0}, "period=0")],
)
def test_bad_window_steps(arguments, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        window_steps(np.array([0]), 2, **arguments)


@pytest.mark.parametrize("period", [4, 5, 8, 50])
@pytest.mark.parametrize("level", [8, 10, 13])
def test_a_sampled_window_sees_every_part_of_the_data(period, level):
    """No remainder of the step's number is left out, whatever the step from one sampled place to the next."""
    size = 128
    seen = window_steps(np.array([3]), level, 2, size)[0] % period
    parts = min(period, 8)
    counts = np.bincount(seen * parts // period, minlength=parts)
    assert counts.min() > 0.6 * size / parts
    assert counts.max() < 1.5 * size / parts


@pytest.mark.parametrize("level", [9, 11, 15])
def test_a_sample_of_a_round_is_of_distinct_examples(level):
    window = Window(Serial(500), 2, size=128)
    for row in window(np.array([0, 1, 2]), level):
        assert len(set(row)) == 128
        assert np.bincount(row // 50).min() >= 10


@pytest.mark.parametrize("rule", [Serial(12), Serial(12, batch=2), Repeat(12), Repeat(12, batch=3)])
def test_a_window_of_whole_rounds_sees_each_example_alike(rule):
    window = Window(rule, 2, size=30)
    for level in (5, 6, 7):
        seen = window(np.array([0, 1, 5]), level)
        assert seen.shape[1] == rule.period * rule.batch <= 30 * rule.batch
        for row in seen:
            assert len(set(np.bincount(row, minlength=12))) == 1
    assert rule.period == next(
        n for n in range(1, 30) if np.array_equal(rule(np.arange(60), 0), rule(np.arange(60) + n, 0))
    )


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize(("rule", "batch"), [(Serial, 1), (Serial, 3), (Repeat, 1), (Repeat, 2)])
@pytest.mark.parametrize("make", [adder, digits])
def test_window_gradient_is_the_mean_of_the_fine_steps_gradients(make, rule, batch, size):
    problem = make()
    fine = rule(30, batch, offset=1)
    x, y = problem.x[:30], problem.y[:30]
    phi = GradientDescent(problem.model, x, y, CappedRate(0.01, 100.0, (2, 3)), Window(fine, (2, 3), size))
    one = GradientDescent(problem.model, x, y, ConstantRate(0.01), fine)
    states, index = np.stack([problem.w0, 0.9 * problem.w0]), np.array([2, 7])
    for level, width in ((0, 1), (1, 2), (2, 6), (3, 18)):
        moved = phi(states, index, level) - states
        steps = window_steps(index, level, (2, 3), size, fine.period)
        wanted = np.mean([one(states, steps[:, j], 0) - states for j in range(steps.shape[1])], axis=0)
        np.testing.assert_allclose(moved, width * wanted, rtol=1e-9, atol=1e-12)


def test_window_of_whole_rounds_is_the_batch_gradient():
    problem = xor()
    batch = problem.propagator("1", 0.01, 100.0)
    window = problem.propagator("2", 0.04, 400.0, data="window")
    w, index = problem.w0[None], np.array([3])
    # Four examples in a row: their mean, at four times the rate, is the sum that batch descent takes.
    np.testing.assert_allclose(window(w, index, 4), batch(w, index, 4), rtol=1e-12)


def test_remark_1_rules_follow_the_coarsening_factors():
    problem, index = adder(examples=50), np.array([0, 1])
    injected = problem.propagator("2", factor=[4, 2], data="injected").data
    assert [injected(index, level).ravel().tolist() for level in range(3)] == [[0, 1], [0, 4], [0, 8]]
    averaged = problem.propagator("2", factor=4, data="averaged").data
    assert isinstance(averaged, Averaged)
    assert averaged(index, 1).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("solver", "arguments", "words"),
    [
        ("1", {"data": "window"}, "data=window has no effect with solver='1'"),
        ("4", {"window": 8}, "window=8 has no effect with solver='4'"),
        ("naive", {"coarse": "chebyshev"}, "coarse=chebyshev has no effect with solver='naive'"),
        ("1", {"coarse": "x"}, "coarse='x' is not known"),
    ],
)
def test_options_without_effect_are_refused(solver, arguments, words):
    with pytest.raises(ValueError, match=words):
        xor().propagator(solver, **arguments)


def test_bad_data_options():
    with pytest.raises(ValueError, match="data='all' is not known: give one of step, window, injected, averaged"):
        adder().propagator("2", data="all")
    with pytest.raises(ValueError, match="window=8 has no effect with data='step': leave it out"):
        adder().propagator("2", window=8)
    with pytest.raises(ValueError, match="window=0 is not an integer of at least 1"):
        adder().propagator("4", window=0)


# -- Solver 4 ----------------------------------------------------------------------------------------------------------


def iterations(problem, steps, solver="4", guess="constant", **options):
    propagator = {name: options.pop(name) for name in ("coarse", "max_learning_rate") if name in options}
    phi = problem.propagator(solver, factor=options.get("coarsening", 2), **propagator)
    return dm.MGRIT(phi, steps, **options).solve(problem.w0, initial_guess=guess)


@pytest.mark.parametrize("guess", ["zero", "constant"])
@pytest.mark.parametrize(("m", "most"), [(2, 10), (4, 11)])
def test_xor_counts_stay_flat(m, most, guess):
    for steps in (400, 1600):
        for options in ({"solver": "4"}, {"solver": "1", "coarse": "chebyshev"}, {"solver": "1", "coarse": "substeps"}):
            result = iterations(xor(), steps, guess=guess, coarsening=m, **options)
            assert result.converged
            assert result.iterations <= most
    if guess == "zero" and m == 2:
        assert [iterations(xor(), steps, "1", guess).iterations for steps in (400, 1600)] == [11, 17]


def test_xor_potential_speedup():
    for seed in (1, 2):
        solver_4, solver_1 = iterations(xor(seed), 6400), iterations(xor(seed), 6400, "1")
        assert solver_4.converged
        assert solver_4.iterations <= 10
        assert solver_1.iterations > 30
        assert solver_4.critical_path < solver_1.critical_path


@pytest.mark.parametrize("seed", [2, 3, 4, 5])
def test_counts_stay_flat_for_other_seeds(seed):
    """The default alpha_max is stable all along training, not only for the seed that it was chosen with."""
    assert max(iterations(xor(seed), steps).iterations for steps in (400, 1600)) <= 10


def test_adder_counts():
    problem = adder()
    result = dm.MGRIT(problem.propagator("4"), 400, **problem.hierarchy("4")).solve(problem.w0, problem.guess("4"))
    assert result.converged
    assert result.iterations <= 3
    serial = dm.train_serially(problem.propagator("4"), problem.w0, 400)
    np.testing.assert_allclose(result.final, serial[-1], atol=1e-7)
    other = iterations(problem, 400, "2")
    assert other.iterations == 7
    assert 400 / result.critical_path > 2 * 400 / other.critical_path


@pytest.mark.parametrize("name", ["xor", "adder", "digits"])
def test_same_bits_for_every_chunking_and_scheduler(name, client):
    problem = {"xor": xor, "adder": lambda: adder(examples=20), "digits": digits}[name]()
    phi = cloudpickle.loads(cloudpickle.dumps(problem.propagator("4", max_learning_rate=problem.learning_rate * 2)))
    solver, found = dm.MGRIT(phi, 64, **problem.hierarchy("4")), []
    assert max(solver.stages) > 1
    for scheduler, chunks in (("sync", 1), ("sync", 7), ("threads", 5)):
        with dask.config.set(scheduler=scheduler):
            found.append(solver.solve(problem.w0, "constant", tol=0, maxiter=2, chunks=chunks))
    found.append(solver.solve(problem.w0, "constant", tol=0, maxiter=2, chunks=4, client=client))
    weights = [result.weights.compute(scheduler="sync") for result in found[:-1]] + [found[-1].weights.compute()]
    for result, values in zip(found[1:], weights[1:], strict=True):
        assert np.array_equal(values, weights[0])
        assert result.residuals == found[0].residuals
        assert result.critical_path == found[0].critical_path
        assert result.phi_evaluations == found[0].phi_evaluations


# -- the estimate of alpha_max -----------------------------------------------------------------------------------------


def quadratic(curvature):
    return lambda weights, index, level, rate: weights - rate * weights * np.array(curvature)


def test_estimate_on_a_quadratic():
    # A negative eigenvalue of larger modulus is not in the way.
    for curvature in ([0.1, 1.0, 4.0], [-9.0, 0.5, 4.0, 3.9]):
        found = estimate_max_rate(quadratic(curvature), np.ones(len(curvature)), 0.01, steps=0)
        assert found.eigenvalue == pytest.approx(4, rel=1e-3)
        assert found.max_rate == pytest.approx(0.8 * 2 / 4, rel=1e-3)
        assert found.settled
    assert "safety" in str(found)
    assert estimate_max_rate(quadratic([-1.0, -2.0]), np.ones(2), 0.01, steps=0).max_rate == math.inf


def test_estimate_against_the_hessian():
    problem = xor()
    phi = problem.propagator("1")
    found = estimate_max_rate(phi.at_rate, problem.w0, 1.0, steps=30, states=4)
    states, step = dm.train_serially(phi, problem.w0, 30)[found.steps], 1e-5
    largest = []
    for state in states:
        rows = np.concatenate((state + step * np.eye(16), state - step * np.eye(16)))
        gradient = problem.model.gradient(rows, problem.x, problem.y)
        hessian = (gradient[:16] - gradient[16:]) / (2 * step)
        largest.append(np.linalg.eigvalsh((hessian + hessian.T) / 2).max())
    assert found.steps == [0, 10, 20, 30]
    np.testing.assert_allclose(found.eigenvalues, largest, rtol=0.02)
    assert found.eigenvalue == max(found.eigenvalues)


def test_estimate_takes_few_phi_in_blocks():
    calls = []

    def counted(weights, index, level, rate):
        calls.append(len(weights))
        return quadratic([0.1, 1.0, 4.0])(weights, index, level, rate)

    found = estimate_max_rate(counted, np.ones(3), 0.1, steps=20, states=5)
    assert calls == [1] * 20 + [10] * found.iterations
    assert found.phi_evaluations == sum(calls)


def test_windows_allow_a_larger_rate():
    problem = adder(examples=60)
    phi = problem.propagator("4")
    noisy, calm = (estimate_max_rate(phi.at_rate, problem.w0, 0.025, steps=16, level=level) for level in (0, 6))
    assert calm.max_rate > 2 * noisy.max_rate


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rate": -1}, "rate=-1 is out of range"),
        ({"steps": -1}, "steps=-1"),
        ({"states": 0}, "states=0"),
        ({"safety": 1.5}, "safety=1.5"),
        ({"rate": 1e300, "steps": 8}, r"returned nan or inf on level 0 at rate=1e\+300"),
    ],
)
def test_bad_estimate(arguments, words):
    with np.errstate(over="ignore", invalid="ignore"), pytest.raises(ValueError, match=words):
        estimate_max_rate(quadratic([1.0, 2.0]), np.ones(2), **({"rate": 0.1} | arguments))
    with pytest.raises(TypeError, match="phi_of_rate=3 is not callable"):
        estimate_max_rate(3, np.ones(2), 0.1)


def test_estimate_holds_phi_to_its_contract():
    def in_place(weights, index, level, rate):
        weights -= rate * weights
        return weights

    with pytest.raises(dm.PropagatorError, match="wrote to its input"):
        dm.estimate_max_rate(in_place, np.ones(3), 0.1)
    with pytest.raises(dm.PropagatorError, match="returned NoneType"):
        dm.estimate_max_rate(lambda *_: None, np.ones(3), 0.1)
    with pytest.raises(ValueError, match=r"max_rate=inf: no positive curvature"):
        stabilise(Quadratic(), 1.0, dm.estimate_max_rate(lambda w, i, level, a: w + 0, np.ones(3), 0.1).max_rate)


def test_estimate_is_public():
    assert dm.estimate_max_rate is estimate_max_rate
    assert dm.coarse.stabilise is stabilise
    assert MLP([2, 1]).reduction == "sum"
