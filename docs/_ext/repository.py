"""Links between the site and the rest of the repository.

Pages are written for a reader of the repository, where ``../deploy/README.md`` is a file. On the site, a link to a file
that the site shows leads to its page; a link to any other file offers that file, which MyST copies. Notebooks are
copied to where Sphinx finds them.
"""

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
# Files of the repository that are pages of the site, and folders that a page of it describes.
SHOWN = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "RELEASING.md": "project/releasing.md",
    "deploy": "deploy.md",
    "deploy/README.md": "deploy.md",
    "examples": "examples.md",
    "deploy/slurm/cluster.ipynb": "examples/slurm_cluster.ipynb",
} | {f"examples/{file.name}": f"examples/{file.name}" for file in (ROOT / "examples").glob("*.ipynb")}

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
# A link whose text is the name of the file: the title of its page says more.
_NAME = re.compile(r"\[(?:\w+/)*(?:\w+\.md|deploy/|examples/)\](?=\([^)\s]+\.md(?:#[^)\s]*)?\))")
_INCLUDE = re.compile(r"^```\{include\} (\S+)\n```$", re.MULTILINE)


def retarget(text: str, folder: Path, page: Path) -> str:
    """Rewrite the links of a text for the page that shows it.

    Parameters
    ----------
    text : str
        Markdown.
    folder : Path
        The folder of the file that the text is from: its links are relative to this.
    page : Path
        The page of the site.
    """

    def link(match: re.Match[str]) -> str:
        target, fragment = match[1], match[2] or ""
        if ":" in target:  # an address elsewhere
            return match[0]
        file = (folder / target).resolve()
        if not file.exists() or not file.is_relative_to(ROOT):  # in a notebook it may be no link: table[key](value)
            return match[0]
        name = file.relative_to(ROOT).as_posix()
        file = DOCS / SHOWN[name] if name in SHOWN else file
        return f"]({Path(os.path.relpath(file, page.parent)).as_posix()}{fragment})"

    def outside_fences(text: str) -> str:
        return _NAME.sub("[]", _LINK.sub(link, text))

    pieces, end = [], 0
    for fence in _FENCE.finditer(text):
        pieces += [outside_fences(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*pieces, outside_fences(text[end:])])


def read_page(app: Any, docname: str, source: list[str]) -> None:
    """Put in what a page includes from elsewhere in the repository, and lead links out of ``docs/`` to their pages."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return

    def included(match: re.Match[str]) -> str:
        file = (page.parent / match[1]).resolve()
        app.env.note_dependency(str(file))
        return retarget(file.read_text(encoding="utf-8"), file.parent, page)

    own = retarget(source[0], page.parent, page)
    source[0] = _INCLUDE.sub(included, own)


def copy_notebooks(app: Any, config: Any) -> None:
    """Copy notebooks into ``docs/``; one that is the same stays, so that it is not read again."""
    for name, shown in SHOWN.items():
        source, copy = ROOT / name, DOCS / shown
        if source.suffix == ".ipynb":
            text = retarget(source.read_text(encoding="utf-8"), source.parent, copy)
            if not copy.exists() or copy.read_text(encoding="utf-8") != text:
                copy.parent.mkdir(exist_ok=True)
                copy.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", copy_notebooks)
    app.connect("source-read", read_page)
    return {"parallel_read_safe": True}
