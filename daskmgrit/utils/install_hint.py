"""The command that installs an extra of this package, derived from the package's own installation."""

from __future__ import annotations

import json
import re
import shlex
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["install_hint"]

NAME = "daskmgrit"


def install_hint(extra: str, installed: Distribution | None = None) -> str:
    """Return the command that installs an extra from the source of the package itself.

    The command uses a name in an index only if the package is from there: elsewhere the name may be a stranger's.

    Parameters
    ----------
    extra : str
        Its name, as in ``pyproject.toml``.
    installed : Distribution, optional
        The package as it was installed.
    """
    try:
        found = installed or distribution(NAME)
    except PackageNotFoundError:  # it runs from a folder
        return f"install the packages that the extra {extra!r} has in {NAME}'s pyproject.toml"
    source = json.loads(found.read_text("direct_url.json") or "{}")
    target = _target(extra, source)
    if target is not None:
        return f"pip install {'-e ' * bool(source.get('dir_info', {}).get('editable'))}{shlex.quote(target)}"
    if not source and (found.read_text("INSTALLER") or "").strip() in ("pip", "uv", "poetry"):
        return f"pip install {shlex.quote(f'{NAME}[{extra}]=={found.version}')}"
    return " ".join(["pip install", *map(shlex.quote, _requirements(extra, found.requires or []))])


def _target(extra: str, source: dict[str, Any]) -> str | None:
    """Return the argument for pip, None if the source of the package does not exist any more."""
    url = source.get("url", "")
    path = Path(url2pathname(urlsplit(url).path)) if url.startswith("file:") else None
    if path is not None and not path.exists():
        return None
    if "dir_info" in source:
        return f"{path}[{extra}]"
    if "vcs_info" in source:
        vcs = source["vcs_info"]
        return f"{NAME}[{extra}] @ {vcs['vcs']}+{url}@{vcs['commit_id']}"
    return f"{NAME}[{extra}] @ {url}" if "archive_info" in source else None


def _requirements(extra: str, required: list[str]) -> list[str]:
    """Return the packages of an extra, without their markers."""
    marked = [line.partition(";") for line in required]
    wanted = re.compile(rf"""extra\s*==\s*["']{extra}["']""")
    return [name.strip() for name, _, marker in marked if wanted.search(marker)]
