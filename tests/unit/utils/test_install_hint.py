"""The hint fits how the package was installed, and names an index only if the package is from one."""

import json
import shlex

import pytest

from daskmgrit.utils.install_hint import install_hint

REQUIRES = [
    "numpy>=1.26",
    "matplotlib>=3.7; extra == 'plot'",
    'torch>=2.1; extra == "torch"',
    "pandas; extra == 'plots'",
]


class Installed:
    """A distribution, as far as the hint asks."""

    version = "0.1.0"
    requires = REQUIRES

    def __init__(self, source=None, installer="pip"):
        self.files = {"direct_url.json": source and json.dumps(source), "INSTALLER": installer}

    def read_text(self, name):
        return self.files[name]


def test_a_clone(tmp_path):
    source = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    assert shlex.split(install_hint("plot", Installed(source))) == ["pip", "install", "-e", f"{tmp_path}[plot]"]
    source["dir_info"] = {}
    assert shlex.split(install_hint("plot", Installed(source))) == ["pip", "install", f"{tmp_path}[plot]"]


def test_a_folder_with_a_space(tmp_path):
    folder = tmp_path / "my clone"
    folder.mkdir()
    hint = install_hint("plot", Installed({"url": folder.as_uri(), "dir_info": {"editable": True}}))
    assert shlex.split(hint)[-1] == f"{folder}[plot]"


def test_a_repository():
    vcs = {"vcs": "git", "commit_id": "abc123", "requested_revision": "main"}
    hint = install_hint("plot", Installed({"url": "https://example.org/d.git", "vcs_info": vcs}))
    assert shlex.split(hint)[2:] == ["daskmgrit[plot] @ git+https://example.org/d.git@abc123"]


@pytest.mark.parametrize("name", ["https://example.org/daskmgrit-0.1.0-py3-none-any.whl", "file"])
def test_a_wheel(name, tmp_path):
    if name == "file":
        wheel = tmp_path / "daskmgrit-0.1.0-py3-none-any.whl"
        wheel.touch()
        name = wheel.as_uri()
    hint = install_hint("plot", Installed({"url": name, "archive_info": {}}))
    assert shlex.split(hint)[2:] == [f"daskmgrit[plot] @ {name}"]


def test_an_index():
    assert shlex.split(install_hint("plot", Installed()))[2:] == ["daskmgrit[plot]==0.1.0"]


@pytest.mark.parametrize(
    "installed",
    [
        Installed({"url": "file:///gone/daskmgrit-0.1.0-py3-none-any.whl", "archive_info": {}}),
        Installed({"url": "file:///gone", "dir_info": {"editable": True}}),
        Installed(installer="conda"),
        Installed(installer=None),
    ],
)
def test_elsewhere_it_names_the_packages(installed):
    assert shlex.split(install_hint("plot", installed)) == ["pip", "install", "matplotlib>=3.7"]


def test_this_installation():
    hint = install_hint("plot")
    assert "plot" in hint or "matplotlib" in hint
