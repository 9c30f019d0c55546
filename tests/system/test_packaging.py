"""The files that a release consists of: what is in them, and what is not."""

import email
import email.message
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("build", "setuptools"))
    or int(version("setuptools").partition(".")[0]) < 77,
    reason="needs build, and setuptools 77 or newer: pip install -e '.[dev]'",
)


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with an sdist, and the wheel built from it, of a copy: what earlier builds left is not to get in."""
    source = tmp_path_factory.mktemp("source") / "daskmgrit"
    left = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=left)
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def wheel(dist):
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture(scope="module")
def unpacked(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    wheel.extractall(folder)
    return folder


def package_files():
    """The files of the package in the checkout: its modules and its data."""
    package = ROOT / "daskmgrit"
    return {
        path.relative_to(ROOT).as_posix() for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }


def test_the_wheel_is_the_package_and_nothing_else(wheel, project):
    info = f"daskmgrit-{project['version']}.dist-info/"
    files = {name for name in wheel.namelist() if not name.startswith(info)}
    assert files == package_files()
    assert {"daskmgrit/py.typed", "daskmgrit/daskmgrit.yaml", "daskmgrit/paper/published.yaml"} <= files


def test_the_wheel_says_what_pyproject_says(wheel, project):
    info = f"daskmgrit-{project['version']}.dist-info"
    metadata: email.message.Message = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert metadata["Version"] == project["version"]
    assert metadata["License-Expression"] == project["license"]
    assert set(metadata.get_all("Provides-Extra")) == set(project["optional-dependencies"])
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    commands = wheel.read(f"{info}/entry_points.txt").decode()
    assert "daskmgrit = daskmgrit.cli.entry:main" in commands
    assert "[dask_cli]" in commands


def test_every_module_of_the_wheel_compiles(unpacked):
    command = [sys.executable, "-W", "error", "-m", "compileall", "-q", "-f", "daskmgrit"]
    done = subprocess.run(command, cwd=unpacked, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unpacked_wheel_knows_its_version(unpacked, project):
    code = "import daskmgrit; print(daskmgrit.__version__, daskmgrit.__file__)"
    # -I: neither the checkout nor PYTHONPATH; the installed package may be this checkout, so the wheel comes first.
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r}); {code}"
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=unpacked, capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == [project["version"], str(unpacked / "daskmgrit" / "__init__.py")], done.stderr


def test_the_sdist_has_what_it_takes_to_build_and_test(dist, project):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert package_files() <= names
    tests = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    assert tests <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "docs/design.md"} <= names
    assert not [name for name in names if name.endswith(".pyc") or "__pycache__" in name]
