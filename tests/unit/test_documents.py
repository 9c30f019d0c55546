"""The Markdown pages: links lead somewhere, and the architecture pages name files that are there."""

import importlib.util
import re
import unicodedata
from pathlib import Path

import pytest

import daskmgrit

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "daskmgrit"
PAGES = sorted(
    page.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/**/*.md")
    for page in ROOT.glob(pattern)
)

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_FILE = re.compile(r"`((?:[a-z_0-9.]+/)*[a-z_0-9]+(?:\.(?:py|yaml|md|toml)|/))`")


def text_of(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def anchor(heading: str) -> str:
    """The fragment that hosts of Markdown give a heading."""
    plain = "".join(c for c in heading.lower() if c in " -_" or unicodedata.category(c)[0] in "LN")
    return plain.replace(" ", "-")


def broken_links(page: Path) -> list[str]:
    """The links of a page to files and headings that are not there; addresses elsewhere are not looked at."""
    broken = []
    for target in _LINK.findall(text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (fragment and fragment not in map(anchor, _HEADING.findall(text_of(file)))):
            broken.append(target)
    return broken


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    assert broken_links(ROOT / page) == []


@pytest.mark.parametrize("page", ["docs/design.md", "docs/internals.md", "CONTRIBUTING.md", "RELEASING.md"])
def test_named_files_are_there(page):
    named = _FILE.findall(text_of(ROOT / page))
    assert len(named) > 3
    missing = [name for name in named if not (PACKAGE / name).exists() and not (ROOT / name).exists()]
    assert missing == []


def test_nothing_tells_people_to_install_a_name_that_is_in_no_index():
    """Anyone could register the name and have their code run: install a clone, or the package's own source."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *PACKAGE.rglob("*.py")]
    files += [file for folder in ("deploy", "examples") for file in (ROOT / folder).rglob("*") if file.suffix != ".pyc"]
    named = re.compile(r"pip3? install (-\S+ )*[\"']?daskmgrit")
    assert [str(file) for file in files if file.is_file() and named.search(file.read_text())] == []


def test_every_page_can_be_reached_from_the_first():
    reached, queue = set(), [ROOT / "README.md"]
    while queue:
        page = queue.pop().resolve()
        page = page / "README.md" if page.is_dir() else page
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        queue += [page.parent / link.partition("#")[0] for link in _LINK.findall(text_of(page)) if ":" not in link]
    assert {(ROOT / page).resolve() for page in PAGES} - reached == set()


def test_the_reference_lists_every_public_name():
    listed = re.findall(r"^   (\w+)$", (ROOT / "docs/api/index.md").read_text(), re.MULTILINE)
    assert sorted([*listed, "__version__"]) == sorted(dir(daskmgrit))


def extension(name):
    """One of the site's own extensions of Sphinx."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs/_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_out_of_docs_lead_to_pages_of_the_site():
    repository = extension("repository")
    page = ROOT / "docs/project/page.md"

    def shown(text):
        return repository.retarget(text, ROOT, page)

    assert shown("[jobs](deploy/README.md#slurm)") == "[jobs](../deploy.md#slurm)"
    assert shown("[docs/plan.md](docs/plan.md)") == "[](../plan.md)"
    assert shown("[a loop](examples/torch_digits.py)") == "[a loop](../../examples/torch_digits.py)"
    assert shown("[notes](CHANGELOG.md)") == "[notes](changelog.md)"
    for same in ("[Dask](https://www.dask.org)", "[here](#slurm)", "models[name](w0)", "```\n[deploy](deploy)\n```"):
        assert shown(same) == same
    assert [name for name in repository.SHOWN if not (ROOT / name).exists()] == []


def test_the_check_of_the_site_finds_its_faults(tmp_path):
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "index.html").write_text('<a href="../index.html#here">a</a> <img src="../a.png" alt="a plot">')
    (tmp_path / "a.png").write_bytes(b"")
    page = tmp_path / "index.html"
    good = '<h1 id="here">A</h1> <a href="#here">b</a> <a href="api/">c</a> <a href="https://example.org/">d</a>'
    page.write_text(good + '<img src="data:image/png;base64,AA" alt="a plot">')
    faults = extension("check_pages").faults
    assert list(faults(tmp_path)) == []
    page.write_text(
        good + '<a href="gone.html">e</a> <a href="api/index.html#gone">f</a> <script src="https://example.org/a.js">'
        '</script> <img src="a.png"> <img src="a.png" alt="a.png"> <img src="a.png" alt="_images/b.png">'
    )
    assert [fault.removeprefix("index.html: ") for fault in faults(tmp_path)] == [
        "the link gone.html leads to no file",
        "the link api/index.html#gone leads to no place on that page",
        "https://example.org/a.js is loaded from another host",
        *3 * ["the picture a.png has no alternative text"],
    ]


def test_the_check_finds_broken_links(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One `heading`, two\n[a](page.md) [b](missing.md) [c](#one-heading-two) [d](#gone) [e](https://example.org)\n"
        "```\n[f](in_code.md)\n```\n"
    )
    assert broken_links(page) == ["missing.md", "#gone"]
