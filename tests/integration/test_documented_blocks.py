"""The Python of the pages runs, converges, and prints what is printed there; so does `daskmgrit plan`.

Each page has its test here, which takes all of its blocks: a block more or less on a page fails it.
"""

import ast
import asyncio
import re
import sys
from pathlib import Path

import dask
import numpy as np
import pytest
from click.testing import CliRunner
from distributed import get_client

import daskmgrit as dm
from daskmgrit import problems
from daskmgrit.cli.main import main
from tests.support.optional import need
from tests.support.recurrences import Decay

ROOT = Path(__file__).parents[2]
# Pages whose blocks other files of tests run: they need processes of their own.
ELSEWHERE = {"README.md": "tests/system/test_examples.py", "deploy/README.md": "tests/system/test_deploy.py"}

_BLOCK = re.compile(r"^```(\S*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page, language="python"):
    """The fenced blocks of a page in a language; "" for those that name none."""
    return [text for kind, text in _BLOCK.findall((ROOT / page).read_text()) if kind == language]


def shorter(block, *replaced):
    """A block with smaller numbers, which cost time and are all that is changed."""
    for printed, taken in replaced:
        assert printed in block
        block = block.replace(printed, taken)
    return block


def test_every_page_with_python_has_its_test():
    pages = ["README.md", "CONTRIBUTING.md", "RELEASING.md", "CHANGELOG.md", "deploy/README.md"]
    pages += [page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").glob("*.md")] + ["docs/api/index.md"]
    here = set(re.findall(r'blocks\("([^"]+)"\)', Path(__file__).read_text()))
    assert {page for page in pages if blocks(page)} == here | set(ELSEWHERE)
    assert all((ROOT / file).exists() for file in ELSEWHERE.values())


# -- pages that need NumPy alone ------------------------------------------------------------------------------------


def test_start():
    first, second = blocks("docs/start.md")
    known = {}
    for block in (first, second):
        exec(block, known)
        assert known["result"].converged, str(known["result"])
        # The problem's own solution, which is printed.
        assert known["result"].final.round(4).tolist() == list(range(8))


def test_api():
    (block,) = blocks("docs/api/index.md")
    known = {}
    exec(block, known)
    assert known["dm"] is dm


def test_choose():
    (block,) = blocks("docs/choose.md")
    known = {"dm": dm, "phi": Decay(), "w0": np.ones(3)}
    first, second = block.splitlines(keepends=True)
    exec(first, known)
    by_mgrit = known["result"]
    exec(second, known)
    assert by_mgrit.converged
    assert known["result"].converged
    np.testing.assert_allclose(known["result"].final, by_mgrit.final, atol=1e-7)


def test_checkpoints(tmp_path, monkeypatch):
    need("zarr", "checkpoint")
    monkeypatch.chdir(tmp_path)
    save, resume, either = blocks("docs/checkpoints.md")
    known = {"dm": dm, "solver": dm.MGRIT(Decay(), steps=64), "w0": np.ones(3)}
    exec(save, known)
    saved = known["result"]
    exec(resume, known)
    assert known["result"].residuals == saved.residuals
    assert np.array_equal(known["result"].final, saved.final)
    for folder in ("run1", "run2"):
        exec(either.replace("run1", folder), known)
        assert known["result"].residuals == saved.residuals
        assert dm.Checkpoint(folder).latest()


def test_clusters(client):
    sweep, annotated = blocks("docs/clusters.md")
    known = {"dm": dm, "w0": np.ones(3), "client": client, "get_client": get_client, "rates": [2, 4], "phi": Decay}
    exec(sweep, known)
    assert [final.shape for final in known["finals"]] == [(3,), (3,)]
    # No worker here offers a GPU, so on threads: tests/integration/test_annotations.py has workers that offer some.
    known = {"dask": dask, "solver": dm.MGRIT(Decay(), steps=64), "w0": np.ones(3)}
    with dask.config.set(scheduler="threads"):
        exec(annotated, known)
    assert known["result"].converged


def test_dashboard():
    (block,) = blocks("docs/dashboard.md")
    with dask.config.set({"daskmgrit.dashboard": True}):
        exec(block, {"dask": dask})
        assert dask.config.get("daskmgrit.dashboard") is False


def test_an_asynchronous_client(cluster):
    (block,) = blocks("docs/notebooks.md")
    code = compile(
        shorter(block, ("tcp://127.0.0.1:8786", cluster.scheduler_address)),
        "notebooks.md",
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
    )
    known = {"solver": dm.MGRIT(Decay(), steps=64), "w0": np.ones(3)}
    asyncio.run(eval(code, known))
    assert known["result"].converged
    assert known["weights"].shape == (65, 3)


def test_plan(capsys):
    (block,) = blocks("docs/plan.md")
    known = {}
    exec(block, known)
    printed = capsys.readouterr().out
    assert isinstance(known["solver"], dm.ParallelNewton | dm.MGRIT)
    # Seconds and counts are of this machine, the lines are not.
    assert names(printed) == names(blocks("docs/plan.md", "")[0])


def names(text):
    """What the lines of a plan are called."""
    return [line[:17].strip() for line in text.splitlines()]


def test_propagators(tmp_path, monkeypatch):
    descent, functions, momentum, further, own, _, program = blocks("docs/propagators.md")
    w0 = np.ones(3)
    known = {"dm": dm, "np": np}
    exec(descent, known)
    for coarsening in (2, 4):
        phi = known["Descent"](coarsening)
        assert dm.MGRIT(phi, 64, coarsening=coarsening).solve(w0).converged
        with pytest.raises(ValueError, match="coarsening"):
            dm.MGRIT(phi, 64, coarsening=3)
        assert phi.with_coarsening(8).step_length(1) == 8

    known = {"dm": dm, "np": np}
    exec(momentum, known)
    assert dm.check_propagator(known["phi"], known["w0"])
    # 118 on the page.
    assert 100 <= known["result"].iterations <= 140
    np.testing.assert_allclose(known["weights"], [1, 2, 3, 4], atol=1e-5)
    exact = dm.ParallelNewton(known["phi"], steps=300, window=8).solve(known["w0"], tol=0)
    assert np.array_equal(exact.final, dm.train_serially(known["phi"], known["w0"], 300)[-1])
    exec(further, known)
    whole = dm.train_serially(known["phi"], known["w0"], 400)[-1]
    np.testing.assert_allclose(known["further"].final, whole, atol=1e-6)

    known = {"dm": dm, "f": lambda w, i: 0.9 * w}
    for line in functions.splitlines():
        exec(line, known)
        assert known["phi"](w0[None], np.array([0]), 0).tolist() == [[0.9] * 3]

    known = {"dm": dm, "phi": Decay(4), "w0": w0, "loss": np.sum, "metrics": lambda final: {"largest": final.max()}}
    exec(own, known)
    assert (known["problem"].name, known["problem"].coarsening) == ("heart", 4)

    monkeypatch.chdir(tmp_path)
    script = f"#!{sys.executable}\nimport sys\nimport numpy as np\n*_, length, before, after = sys.argv\n"
    (tmp_path / "simulate").write_text(script + "np.save(after, 0.5 ** int(length) * np.load(before))\n")
    (tmp_path / "simulate").chmod(0o755)
    known = {"dm": dm}
    exec(program, known)
    assert known["phi"](w0[None], np.array([0]), 1).tolist() == [[0.25] * 3]


# -- pages that need scikit-learn -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_the_estimator(name):
    datasets = need("sklearn.datasets", "digits")
    from sklearn.linear_model import SGDClassifier
    from sklearn.preprocessing import scale

    *_, block, _ = blocks("docs/propagators.md")
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    known = {"dm": dm, "SGDClassifier": SGDClassifier, "scale": scale, "x": x, "y": y}
    with dask.config.set(scheduler="sync"):
        exec(shorter(block, ("steps=512", "steps=32")), known)
    assert known["result"].converged, str(known["result"])
    assert known["trained"].score(scale(x), y) > 0.8


def test_newton():
    need("sklearn", "digits")
    (block,) = blocks("docs/newton.md")
    known = {}
    exec(shorter(block, ("400", "64")), known)
    assert known["result"].converged, str(known["result"])


# -- pages that need PyTorch or JAX ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_first_pytorch_loop(dtype):
    torch = need("torch", "torch")
    first, state, *_ = blocks("docs/frameworks.md")
    torch.manual_seed(0)
    known, usual = {}, torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        exec(shorter(first, ("1024", "128"), ("batch=256", "batch=64")), known)
    finally:
        torch.set_default_dtype(usual)
    result = known["result"]
    assert result.converged, str(result)
    assert result.final.dtype.name == dtype

    # Another propagator, of the module and the optimizer that the next block makes, begins where this one ended.
    exec(shorter(state, ("1024", "128")), known)
    loss, data = torch.nn.functional.cross_entropy, (known["X"], known["Y"])
    again = dm.torch.propagator(known["trained"], loss, known["optimizer"], data, batch=64)
    np.testing.assert_allclose(again.w0, result.final, rtol=1e-6, atol=1e-9)
    assert {float(each["step"]) for each in known["optimizer"].state.values()} == {128}


def test_learning_rate_schedulers():
    torch = need("torch", "torch")
    _, _, block, *_ = blocks("docs/frameworks.md")
    known = {"torch": torch}
    exec(block, known)
    assert known["schedule"][:101] + known["schedule"][200:201] == [1.0] * 100 + [0.5, 0.25]


def test_the_first_jax_loop():
    jax, optax = need("jax", "jax"), need("optax", "jax")
    _, _, _, block, *_ = blocks("docs/frameworks.md")
    jax.config.update("jax_enable_x64", True)
    inputs = jax.numpy.linspace(-1.0, 1.0, 32)
    known = {"dm": dm, "optax": optax, "params": {"a": jax.numpy.zeros(()), "b": jax.numpy.zeros(())}}
    known |= {"X": inputs, "Y": 2 * inputs + 1}
    known["loss"] = lambda params, x, y: ((params["a"] * x + params["b"] - y) ** 2).mean()
    exec(shorter(block, ("1024", "64")), known)
    assert known["result"].converged, str(known["result"])
    counts = [int(leaf) for leaf in jax.tree.leaves(known["opt_state"]) if leaf.dtype.kind == "i"]
    assert set(counts) == {64}


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_parallel_newton_with_optimizers(library):
    need(library, library)
    _, _, _, _, by_torch, by_jax, _ = blocks("docs/frameworks.md")
    known = {}
    exec(by_torch if library == "torch" else by_jax, known)
    assert known["result"].converged, str(known["result"])
    # 65 on the page.
    assert 55 <= known["result"].iterations <= 75


def test_stopping_by_the_loss():
    *_, block = blocks("docs/frameworks.md")

    class Known(Decay):
        w0 = np.ones(3)

        def loss(self, final):
            return 1.0 + float(np.sum(final**2))

    phi = Known()
    known = {"dm": dm, "phi": phi, "solver": dm.MGRIT(phi, steps=512)}
    exec(block, known)
    assert known["result"].reason in ("settled", "tol")
    assert len(known["result"].losses) == len(known["result"].residuals)


def test_networks():
    need("torch", "torch")
    (block,) = blocks("docs/networks.md")
    known = {}
    exec(shorter(block, ("2000", "20"), ("points=1000", "points=50")), known)
    assert known["result"].converged


def test_solver_4():
    stable, adapter, deflated = blocks("docs/solver4.md")
    known = {"dm": dm, "problem": problems.xor(), "N": 100}
    exec(deflated, known)
    assert known["result"].converged
    assert known["phi"].coarse.curvatures.rank == 16  # all that there are

    def descend(weights, index, level, rate):
        return weights - rate * np.sin(weights)

    def loop_body(weights, index, level):
        assert level == 0
        return descend(weights, index, level, 0.1)

    known = {"dm": dm, "descend": descend, "w0": np.ones(3), "rate": 0.1, "loop_body": loop_body}
    exec(stable, known)
    assert known["estimate"].max_rate > 0.1
    assert dm.MGRIT(known["phi"], 128).solve(np.ones(3)).converged
    torch = need("torch", "torch")
    import daskmgrit.torch

    module = torch.nn.Linear(3, 1).double()
    known = {"dm": dm, "N": 64, "daskmgrit": daskmgrit, "module": module, "loss": torch.nn.functional.mse_loss}
    known |= {"sgd": torch.optim.SGD(module.parameters(), lr=0.01)}
    known |= {"data": (torch.ones(8, 3, dtype=torch.float64), torch.ones(8, 1, dtype=torch.float64))}
    exec(adapter, known)
    assert known["result"].converged
    assert known["phi"].long.rule.curvatures.rank == 4


# -- what `daskmgrit plan` prints -----------------------------------------------------------------------------------


def planned(arguments):
    """What the command prints."""
    out = CliRunner().invoke(main, ["plan", *arguments])
    assert out.exit_code == 0, out.output
    return out.stdout


def same(printed, found):
    """Whether two texts are alike but for the last digit of numbers."""
    number = r"\d+(?:\.\d+)?"
    if re.sub(number, "#", printed) != re.sub(number, "#", found):
        return False
    return np.allclose(*([float(each) for each in re.findall(number, text)] for text in (printed, found)), rtol=0.02)


@pytest.mark.parametrize("page", ["docs/benchmarks.md", "docs/plan.md"])
def test_printed_plans(page):
    # The plan for ten million steps takes half a minute.
    texts = [text for text in blocks(page, "") if text.startswith("$ daskmgrit plan") and "10000000" not in text]
    assert texts
    for text in texts:
        command, *lines = text.splitlines()
        found = planned(command.split()[3:]).splitlines()
        lines = [line for line in lines if line != "…"]
        assert [line for line in lines if not any(same(line, each) for each in found)] == []


def test_tables_of_the_page_on_choosing():
    """A column of the first, all of the second, a row of the third."""
    text = (ROOT / "docs/choose.md").read_text()
    tables = [
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    ]
    workers, factors, predicted = (table for table in tables if table[0][0] in ("workers", "coarsening"))
    heads, _, mgrit, newton = workers
    column = heads.index("32")
    found = planned(["--steps", "1000", "--phi-cost", "100ms", "--workers", "32"])
    assert f"speedup {mgrit[column]}," in found
    assert f"speedup {newton[column]}," in found
    few = re.search(r"with `(--iterations \d+)`\s+the\s+command\s+predicts\s+([\d.]+)", text)
    assert f"speedup {few[2]}," in planned(
        ["--steps", "1000", "--phi-cost", "100ms", "--workers", "64", *few[1].split()]
    )

    for m, work, path in zip(factors[0][1:], factors[2][1:], factors[3][1:], strict=True):
        phi = dm.from_function(lambda states, index: 0.99 * states, vectorized=True, coarsening=int(m))
        result = dm.MGRIT(phi, 25600, coarsening=int(m)).solve(np.ones(1), tol=0, maxiter=10)
        assert [f"{sum(result.phi_evaluations) / 25600:.1f}", str(result.critical_path)] == [work, path]

    row = predicted[-1]
    command = re.search(r"`daskmgrit plan (--steps 100000 .*?)`", text)[1].split()
    assert row[0] == command[command.index("--coarsening") + 1]
    found = planned(command)
    assert f"MGRIT: {row[1]} workers" in found
    assert f"speedup {row[-1]}," in found


def test_the_comparison_of_plans_finds_differences():
    assert same("MGRIT  57.7 s: 1.73", "MGRIT  57.6 s: 1.73")
    assert not same("MGRIT  57.7 s: 1.73", "MGRIT  67.7 s: 1.73")
    assert not same("MGRIT  57.7 s", "parallel Newton  57.7 s")
