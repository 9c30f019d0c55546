"""Settings of the documentation site: ``nox -s docs`` builds it."""

import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from daskmgrit import __version__  # noqa: E402

project = "daskmgrit"
author = "The daskmgrit developers"
project_copyright = author
release = version = __version__

extensions = [
    "check_pages",
    "config_options",
    "myst_nb",
    "numpydoc",
    "repository",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
]
# The first is that of the pages that autosummary writes.
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
default_role = "code"
smartquotes = False
highlight_language = "none"  # what a fence without a language holds: commands and what they print
# Every name that a docstring refers to is a name of the reference, but for these of other packages and of the inside.
nitpicky = True
nitpick_ignore = [
    ("py:class", "ChunkPlan"),
    ("py:class", "daskmgrit.recurrence.split_propagator.SplitPropagator"),
    ("py:func", "torch.func.vmap"),
    ("py:meth", "wait_for_workers"),
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # links such as plan.md#workers

nb_execution_mode = "off"  # notebooks are stored with their outputs

# The API is read without the packages of its extras.
autodoc_mock_imports = ["dask_jobqueue", "jax", "optax", "sklearn", "torch"]
autodoc_typehints = "none"  # numpydoc's tables have the types
autosummary_generate = True
autosummary_ignore_module_all = False
autosummary_imported_members = True
numpydoc_show_class_members = False

html_theme = "furo"
pygments_dark_style = "monokai"
html_title = f"daskmgrit {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def mend_references(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make references of a docstring independent of those of its class and module, which are on other pages."""
    text = "\n".join(lines)
    # "J. B. Schroder" would begin a list, of which J is the tenth item.
    text = re.sub(r"^( *\.\. \[\d+\] )([A-Z]\. )", r"\1\\\2", text, flags=re.MULTILINE)
    lone = {number for number in re.findall(r"\[(\d+)\]_", text) if f".. [{number}]" not in text}
    lines[:] = re.sub(r" *\[(\d+)\]_", lambda match: "" if match[1] in lone else match[0], text).split("\n")


def describe_data(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """List the values of a constant; the docstring that Python gives it is that of its type."""
    if what != "data":
        return
    if isinstance(obj, dict) and all(isinstance(value, str) for value in obj.values()):
        lines[:] = [line for key, value in obj.items() for line in (f'``"{key}"``', f"    {value}")]
    else:
        lines[:] = [", ".join(f'``"{key}"``' for key in obj)]


def mark_addresses(app: Any, context: Any, lines: list[str]) -> None:
    """Print the address of a scheduler in an option's help as code, because it would become a link otherwise."""
    lines[:] = [re.sub(r"\b(?:tcp|tls)://[\w.:]+\w", r"``\g<0>``", line) for line in lines]


def setup(app: Any) -> None:
    """Register with Sphinx: before numpydoc, which renames references."""
    app.connect("autodoc-process-docstring", mend_references, priority=100)
    app.connect("autodoc-process-docstring", describe_data)
    app.connect("sphinx-click-process-options", mark_addresses)
