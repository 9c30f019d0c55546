"""The pages as they were built: links lead somewhere, pictures have alternative texts, nothing is from another host.

Sphinx checks the references that it resolves itself; this checks what a browser would be given.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

# Attributes with which a page brings in a file; those of other elements are links to follow.
_BROUGHT = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


@dataclass
class Page(HTMLParser):
    """The anchors, links, files and pictures of a page."""

    text: str
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    brought: list[str] = field(default_factory=list)
    bare: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element refers to."""
        known = {name: value or "" for name, value in attrs}
        self.anchors.add(known.get("id", ""))
        if tag == "a" and known.get("href"):
            self.links.append(known["href"])
        if known.get(_BROUGHT.get(tag, "")):
            self.brought.append(known[_BROUGHT[tag]])
        # Docutils and MyST-NB give a picture without an alternative text the name of its file.
        alt = known.get("alt", "").strip()
        if tag == "img" and (not alt or alt == known.get("src") or alt.startswith(("../", "_images/"))):
            self.bare.append(known.get("src", ""))


def faults(site: Path, ours: Container[str] | None = None) -> Iterator[str]:
    """Find the faults of the pages in a folder.

    Parameters
    ----------
    site : Path
        The folder.
    ours : container of str, optional
        The pages to look at, without their ending: an earlier build may have left others. By default all.

    Yields
    ------
    str
        The page, and what is wrong.
    """
    site = site.resolve()
    pages = {file: Page(file.read_text(encoding="utf-8")) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        name = file.relative_to(site).as_posix()
        if ours is not None and name.removesuffix(".html") not in ours:
            continue
        for link in [*page.links, *page.brought]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.brought and parts.scheme != "data":
                    yield f"{name}: {link} is loaded from another host"
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                yield f"{name}: the link {link} leads to no file"
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors | {""}:
                yield f"{name}: the link {link} leads to no place on that page"
        yield from (f"{name}: the picture {picture} has no alternative text" for picture in page.bare)


def check(app: Any, exception: Exception | None) -> None:
    """Warn of each fault; with ``-W`` that fails the build."""
    from sphinx.util import logging

    if exception is None and app.builder.format == "html":
        for fault in faults(Path(app.outdir), app.env.found_docs | {"genindex", "py-modindex", "search"}):
            logging.getLogger(__name__).warning(fault)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx: after all that copy files at the end."""
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
