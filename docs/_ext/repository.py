"""Links between the site and the rest of the repository.

Pages are written for a reader of the repository, where ``../deploy/README.md`` is a file. On the site, a link to a file
that the site shows leads to its page; a link to any other file offers that file, which MyST copies.
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
}

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")
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
        if ":" in target:
            return match[0]
        file = (folder / target).resolve()
        if not file.is_relative_to(ROOT):
            return match[0]
        name = file.relative_to(ROOT).as_posix()
        file = DOCS / SHOWN[name] if name in SHOWN else file
        return f"]({Path(os.path.relpath(file, page.parent)).as_posix()}{fragment})"

    pieces, end = [], 0
    for fence in _FENCE.finditer(text):
        pieces += [_LINK.sub(link, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*pieces, _LINK.sub(link, text[end:])])


def read_page(app: Any, docname: str, source: list[str]) -> None:
    """Put in what a page includes from elsewhere in the repository, and lead links out of ``docs/`` to their pages."""
    page = Path(app.env.doc2path(docname))
    if page.suffix != ".md":
        return

    def included(match: re.Match[str]) -> str:
        file = (page.parent / match[1]).resolve()
        app.env.note_dependency(str(file))
        return retarget(file.read_text(), file.parent, page)

    own = retarget(source[0], page.parent, page)
    source[0] = _INCLUDE.sub(included, own)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", read_page)
    return {"parallel_read_safe": True}
