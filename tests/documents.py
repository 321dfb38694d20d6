"""What the documents tell people to type."""

import dataclasses
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
_FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4}.*\n)+", re.MULTILINE)
_INLINE = re.compile(r"`([^`]+)`")
_PYTHON = re.compile(r"\bpython -m \w")


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block: its language and its text."""

    language: str
    text: str


def fenced_blocks(text: str) -> list[Block]:
    """Returns the fenced blocks of a document, in order."""
    return [Block(m[1], m[2]) for m in _FENCED.finditer(text)]


def shell_commands(text: str) -> list[list[str]]:
    """Splits lines of a shell into words; continued lines are one command."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [command for command in words if command]


def python_commands(text: str) -> list[list[str]]:
    """Returns the commands `python -m experiments...` and `tools...` of a document.

    From blocks and from running text, where they stand between backticks; each from the
    module's name on.
    """
    texts = [block.text for block in fenced_blocks(text) if block.language != "python"]
    rest = _FENCED.sub("", text)
    texts += [match[0] for match in _INDENTED.finditer(rest)]
    texts += inline_code(text)
    lines = [
        line
        for part in texts
        for line in part.replace("\\\n", " ").splitlines()
        if _PYTHON.search(line)
    ]
    found = []
    for words in shell_commands("\n".join(lines)):
        start = words.index("-m") + 1
        if "..." in words:  # a command of which not all is said
            continue
        if words[start].startswith(("experiments.", "tools.")):
            found.append([word for word in words[start:] if word != "&"])
    return found


def inline_code(text: str) -> list[str]:
    """Returns what stands between backticks in running text, on one line each."""
    rest = _INDENTED.sub("", _FENCED.sub("", text))
    return [" ".join(match[1].split()) for match in _INLINE.finditer(rest)]
