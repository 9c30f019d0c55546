"""The directive ``config-options``: a table of what a YAML file of ``dask.config`` defaults sets, from its comments."""

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

_ENTRY = re.compile(r"^( *)([\w-]+):(?: +(.*?))? *$")


def options_of(text: str) -> list[tuple[str, str, str]]:
    """List the options of a YAML file: dotted name, default, and the comment above it.

    A section, which has no default, is listed with "" if it has a comment.
    """
    options: list[tuple[str, str, str]] = []
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in text.splitlines():
        if line.strip().startswith("#"):
            comment.append(line.strip().lstrip("# "))
        elif entry := _ENTRY.match(line):
            indent = len(entry[1])
            path = [(depth, name) for depth, name in path if depth < indent] + [(indent, entry[2])]
            if entry[3] or comment:
                options.append((".".join(name for _, name in path), entry[3] or "", " ".join(comment)))
            comment = []
        elif line.strip():
            raise ValueError(f"{line!r} is neither a comment nor 'name: value'")
    return options


class ConfigOptions(SphinxDirective):
    """List the options of the YAML file that is the argument, relative to the page."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return a definition list: name and default, then what the comment says."""
        name, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(name)
        lines: list[str] = []
        for option, default, comment in options_of(Path(path).read_text()):
            term = f"`{option}`" + (f" = `{default}`" if default else "")
            # An option without a comment is described by that of its section.
            lines += ["", term, f": {comment}", ""] if comment else [f"  * {term}"]
        box = nodes.container(classes=["config-options"])
        self.state.nested_parse(StringList(lines, source=path), 0, box)
        return [box]


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("config-options", ConfigOptions)
    return {"parallel_read_safe": True}
