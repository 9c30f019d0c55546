"""Sessions for developers: ``nox -s quick`` and so on; ``nox -l`` lists them."""

from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "quick"]

DIST = Path("dist")
# One thread for BLAS: tests run side by side, and so do the tasks within them.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def environment(session: nox.Session, *requirements: str) -> None:
    """Install what a session needs; with ``--no-venv`` the current environment has it."""
    if session.virtualenv.is_sandboxed:
        session.install(*requirements)


@nox.session
def quick(session: nox.Session) -> None:
    """Unit tests."""
    environment(session, "-e", ".[test]")
    session.run("pytest", "-n", "2", "tests/unit", *session.posargs, env=ONE_THREAD)


@nox.session
def tests(session: nox.Session) -> None:
    """Unit and integration tests, as README's command runs them."""
    environment(session, "-e", ".[test]")
    session.run("pytest", "-n", "2", *session.posargs, env=ONE_THREAD)


@nox.session
def full(session: nox.Session) -> None:
    """All tests; those of a browser or of SLURM are skipped where their programs are missing."""
    environment(session, "-e", ".[ci]")
    session.run("pytest", "tests", "daskmgrit", *session.posargs, env=ONE_THREAD)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the unit tests."""
    environment(session, "-e", ".[test]", "pytest-cov")
    report = ["--cov", "--cov-branch", "--cov-report", "term:skip-covered"]
    session.run("pytest", "tests/unit", *report, *session.posargs, env=ONE_THREAD)


@nox.session
def doctests(session: nox.Session) -> None:
    """Examples in docstrings, links and file names in Markdown."""
    environment(session, "-e", ".[test]")
    session.run("pytest", "daskmgrit", "tests/unit/test_documents.py", *session.posargs, env=ONE_THREAD)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into docs/_build/html; warnings are errors, as are links that lead nowhere."""
    environment(session, "-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html", *session.posargs)


@nox.session
def links(session: nox.Session) -> None:
    """Links to other hosts: this needs the internet, so CI does not run it."""
    environment(session, "-e", ".[docs]")
    session.run("sphinx-build", "-q", "-b", "linkcheck", "docs", "docs/_build/links", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, the layering contract, spelling."""
    environment(session, "-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports")
    session.run("codespell")


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel into dist/ and check them."""
    environment(session, "build", "twine")
    for old in DIST.glob("daskmgrit-*"):
        old.unlink()
    session.run("python", "-m", "build", "--outdir", str(DIST))
    session.run("twine", "check", "--strict", *map(str, sorted(DIST.glob("daskmgrit-*"))))


@nox.session(python=["3.11", "3.12", "3.13", "3.14"], reuse_venv=False)
@nox.parametrize("package", ["wheel", "sdist"])
def smoke(session: nox.Session, package: str) -> None:
    """Install what `build` built in a new environment and solve with it."""
    (file,) = DIST.glob("daskmgrit-*.whl" if package == "wheel" else "daskmgrit-*.tar.gz")
    session.install(str(file))
    # Elsewhere than in the checkout, whose package would be imported instead.
    with session.chdir(session.create_tmp()):
        session.run("daskmgrit", "--version")
        session.run("daskmgrit", "solve", "xor", "--steps", "100")
