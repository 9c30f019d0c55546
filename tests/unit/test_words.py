"""Plain English: phrases that sound translated are found in comments, docstrings, messages and pages."""

import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("daskmgrit", "benchmarks", "examples", "deploy", "docs", "tests")
KINDS = {".py", ".md", ".ipynb", ".yaml", ".sh", ".txt"}
# `daskmgrit paper` writes the one, the other has all the phrases.
UNREAD = {"docs/paper.md", "tests/unit/test_words.py"}

_SUBJECT = r"(?:it|they|there|this|that|these|nothing|mgrit|dask|(?:the|a|an|its|their|all|what) [a-z-]+)"
_VERB = (
    r"(?:is|are|was|were|has|have|had|may|can|could|would|will|does|do|did|calls|needs|takes|follows|holds|keeps|knows)"
)

# Phrases, in lower case, as regular expressions in which a space may be a line break; and what to write for them.
PHRASES = {
    r"so (?:many|much)(?! (?:as|more|that|faster|longer|larger))": "maximum number of, that many, or the number itself",
    # Identifiers, such as the option daskmgrit.beside, are not meant.
    r"(?<![.`'\"])beside(?!['\"`=:(])(?! :)": "besides, next to, in addition to, outside",
    r"(?:go|goes|going|gone|went) on(?! to)": "resume, continue",
    r"(?:get|gets|getting|got) on": "make progress",
    r"(?:come|comes|came) of": "result from",
    r"(?:nobody|anybody|whoever)": "no one, anyone who, or the subject itself",
    r"(?:client|cluster) (?:is )?about": "is active",
    r"(?:lest|hence|whence|thence|thereof|whereof|amid)": "because, so that, so",
    r"anew": "again, new",
    r"under ?way": "in progress",
    r"counts? as none": "counts as unchanged, is ignored",
    r"tens of times": "more than ten times",
    r"belongs? into": "belongs in",
    r"for want of": "because, without",
    r"gets? round": "avoid",
    r"next to nothing": "almost nothing",
    r"take note of": "record",
    r"put off": "defer",
    r"(?:can|may|to) be had": "available, supported",
    r"vouch(?:es)?": "declared pure",
    r"in the midst": "during",
    r"comes? round": "repeat",
    r"own matter": "chooses itself",
    rf"[,;] for {_SUBJECT} {_VERB}": "because",
}
# Where a docstring, a heading or a table begins.
OPENINGS = {
    ".py": {r'"""what': "a noun phrase", r'"""see that': "check that", r'"""have': "the verb itself"},
    ".md": {r"\n#+ what happens": "a noun phrase", r"\n\| what happens": "a noun phrase"},
}


def _pattern(phrase: str) -> re.Pattern[str]:
    """Compile a phrase: a space of it may be a line break in a comment, or between two parts of a string."""
    return re.compile(re.sub(r"(?<!\?!) ", lambda space: r"[\s#\"f]{1,60}", phrase) + r"\b")


# All begin with a word's boundary: then the search for any of them takes a tenth of the time.
_PHRASES = [(_pattern(rf"\b{phrase}"), word) for phrase, word in PHRASES.items()]
_OPENINGS = {kind: [(_pattern(form), word) for form, word in forms.items()] for kind, forms in OPENINGS.items()}
_ANY = re.compile("|".join(pattern.pattern for pattern, _ in _PHRASES))
# The prefix of a string is none.
_WORD = re.compile(r"\b(?!f\b)[a-z]+")


def markdown_of(notebook: str) -> str:
    """Return the Markdown cells of a notebook."""
    cells = [cell for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def prose_of(source: str) -> str:
    """Return a program's strings and comments, with blanks in place of all else."""
    lines = source.split("\n")
    kept = [" " * len(line) for line in lines]
    kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            for row in range(token.start[0] - 1, token.end[0]):
                first = token.start[1] if row == token.start[0] - 1 else 0
                last = token.end[1] if row == token.end[0] - 1 else len(lines[row])
                kept[row] = kept[row][:first] + lines[row][first:last] + kept[row][last:]
    return "\n".join(kept)


def findings(path: str, text: str) -> Iterator[str]:
    """Yield the place of each phrase that sounds translated, the phrase, and what to write.

    Lines of a notebook are those of its Markdown cells.
    """
    kind = Path(path).suffix
    text = markdown_of(text) if kind == ".ipynb" else text
    patterns = [] if path.startswith("tests/") else _OPENINGS.get(kind, [])
    # Few files have a phrase, so that few are taken apart.
    if _ANY.search(text.lower()):
        patterns = [*patterns, *_PHRASES]
        text = prose_of(text) if kind == ".py" else text
    for pattern, word in patterns:
        for found in pattern.finditer(text.lower()):
            line = text.count("\n", 0, found.start()) + 1
            phrase = " ".join(_WORD.findall(found.group()))
            yield f"{path}:{line}: {phrase!r}: write {word}"


def written() -> Iterator[tuple[str, str]]:
    """Yield the path and the text of all files that people read."""
    found = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*"))]
    for file in [*sorted(ROOT.glob("*.md")), *found]:
        path = file.relative_to(ROOT)
        # Building the site makes folders: of copies, too.
        made = {"_build", "__pycache__", "generated"} | ({"examples"} if path.parts[0] == "docs" else set())
        hidden = any(part in made or part.startswith(".") for part in path.parts)
        if file.suffix in KINDS and not hidden and path.as_posix() not in UNREAD:
            yield path.as_posix(), file.read_text(encoding="utf-8")


def test_plain_english():
    found = [line for path, text in written() for line in findings(path, text)]
    assert found == [], "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("path", "text", "found"),
    [
        ("a.py", '"""What a module does."""\n', ["a.py:1: 'what'"]),
        ("a.py", "x = 1\n# As many; so\n# many steps\n", ["a.py:2: 'so many'"]),
        ("a.py", "error = 1\n# Nobody\n", ["a.py:2: 'nobody'"]),
        ("a.py", 'f(\n    f"it goes "\n    f"on, for it is {x}"\n)\n', ["a.py:2: 'goes on'", "a.py:3: 'for it is'"]),
        ("a.py", 'beside = anew = {"beside": plan.beside}\n# `beside` and daskmgrit.beside are options\n', []),
        ("a.md", "# A\n\n## What happens\n\nBeside\nthe page.\n", ["a.md:2: 'what happens'", "a.md:5: 'beside'"]),
        ("a.yaml", "beside: auto\n# workers for want\n# of memory\n", ["a.yaml:2: 'for want of'"]),
        ("a.ipynb", '{"cells": [{"cell_type": "markdown", "source": ["It goes on"]}]}', ["a.ipynb:1: 'goes on'"]),
        ("a.ipynb", '{"cells": [{"cell_type": "code", "source": ["# It goes on"]}]}', []),
        ("a.md", "so much faster; it goes on to say; as many as so many as\n", []),
    ],
)  # fmt: skip
def test_phrases_are_found_in_prose_alone(path, text, found):
    assert [line.partition(": write")[0] for line in findings(path, text)] == found
