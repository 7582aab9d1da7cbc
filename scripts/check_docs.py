"""Check that the documents say what is so: links, `make` targets, commands, the changelog.

Run by `make check`; each finding is one line, `file: what is wrong`.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from scripts import commands

ROOT = Path(__file__).resolve().parents[1]
README_COMMANDS = ("make demo", "make test")
COMMAND_REFERENCE = "docs/reference/cli.md"
"""Made from the tree of commands itself, with usage lines that are no commands."""

_SKIPPED = {".venv", "build", ".git", "node_modules"}
_MAKE = re.compile(r"\bmake ([a-z][a-z-]*)")
_TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)
_UNRELEASED = re.compile(r"^## \[?Unreleased\]?\s*$", re.MULTILINE)


def findings(root: Path) -> Iterator[str]:
    """Everything that is wrong below `root`, which holds the Makefile and the documents."""
    targets = frozenset(_TARGET.findall((root / "Makefile").read_text()))
    for document in documents(root):
        tokens = MarkdownIt().parse(document.read_text())
        name = document.relative_to(root)
        for link in _links(tokens):
            if not _resolves(document, link):
                yield f"{name}: the link {link} leads nowhere"
        for target in sorted(set(_MAKE.findall(_code(tokens))) - targets):
            yield f"{name}: the Makefile has no target {target}"
        if name.as_posix() != COMMAND_REFERENCE:
            yield from (f"{name}: {wrong}" for wrong in _wrong_commands(tokens))
    readme = _code(MarkdownIt().parse((root / "README.md").read_text()))
    for command in README_COMMANDS:
        if command not in readme:
            yield f"README.md: does not show {command}"
    if not _UNRELEASED.search((root / "CHANGELOG.md").read_text()):
        yield "CHANGELOG.md: has no section Unreleased"


def documents(root: Path) -> list[Path]:
    """The project's Markdown files, without what was installed or built."""
    found = (path for path in root.rglob("*.md") if not _SKIPPED & set(path.parts))
    return sorted(found)


def _walk(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from _walk(token.children or [])


def _links(tokens: list[Token]) -> Iterator[str]:
    for token in _walk(tokens):
        link = token.attrGet("href") or token.attrGet("src")
        if isinstance(link, str) and not re.match(r"[a-z]+:", link):
            yield link


def _code(tokens: list[Token]) -> str:
    kinds = {"fence", "code_block", "code_inline"}
    return "\n".join(token.content for token in _walk(tokens) if token.type in kinds)


def _wrong_commands(tokens: list[Token]) -> Iterator[str]:
    """A script's commands must parse as they stand; in running text, what is named must exist."""
    for token in _walk(tokens):
        if token.type == "fence" and token.info in {"sh", "console"}:
            yield from commands.wrong(token.content, whole=True)
        elif token.type == "code_inline":
            yield from commands.wrong(token.content, whole=False)


def _resolves(document: Path, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    target = document.parent / path if path else document
    if not target.exists():
        return False
    if not anchor or target.suffix != ".md":
        return True
    return anchor in _anchors(MarkdownIt().parse(target.read_text()))


def _anchors(tokens: list[Token]) -> set[str]:
    """The anchors that forges make of headings: lower case, hyphens for spaces."""
    opened = (index for index, token in enumerate(tokens) if token.type == "heading_open")
    headings = (tokens[index + 1].content for index in opened)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def main() -> int:
    wrong = list(findings(ROOT))
    print("\n".join(wrong) or "documents: in step")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
