"""A Markdown page as its readers see it: block tokens, and the source lines they stand on.

HTML comments and front matter are not seen, and so not here; every other character is kept. Only
blocks are parsed: their number of levels is bounded, and with it the work.
"""

from collections.abc import Iterator, Sequence
from itertools import dropwhile

import msgspec
from markdown_it import MarkdownIt
from markdown_it.token import Token

_FRONT_MATTER_LINES = 200

# Without "reference" a link's definition stays a paragraph, and so is not lost.
_PARSER = MarkdownIt("commonmark").disable(["inline", "reference"])


class Page(msgspec.Struct, frozen=True):
    """The tokens of a page, and its lines by number; None is a line that held only a comment."""

    tokens: list[Token]
    lines: list[str | None]

    @classmethod
    def read(cls, text: str) -> "Page":
        """The page of a text whose lines end in \\n."""
        lines = text.split("\n")
        lines = lines[_front_matter(lines) :]
        tokens = _PARSER.parse("\n".join(lines))
        return cls(tokens, _visible(lines, tokens))

    def text(self, first: int, end: int) -> str:
        """The lines from `first` to before `end`, without blank ones around them."""
        kept = (line for line in self.lines[first:end] if line is not None)
        return "\n".join(dropwhile(lambda line: not line.strip(), kept)).rstrip()


def span(token: Token) -> tuple[int, int]:
    """The first source line of a block, and the one after its last."""
    assert token.map is not None, token.type
    first, end = token.map
    return first, end


def blocks(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    """The tokens of one level and what is inside them, one block at a time."""
    start = depth = 0
    for n, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            yield tokens[start : n + 1]
            start = n + 1


def code_spans(text: str) -> dict[int, int]:
    """Where code spans start and end, ends exclusive: backticks up to as many backticks again."""
    runs: list[tuple[int, int]] = []
    at = text.find("`")
    while at >= 0:
        end = _after(text, at)
        runs.append((at, end - at))
        at = text.find("`", end)
    closing: dict[int, int] = {}
    spans: dict[int, int] = {}
    for start, length in reversed(runs):
        if length in closing and text[start - 1 : start] != "\\":
            spans[start] = closing[length] + length
        closing[length] = start
    return spans


def without_comments(text: str, *, html: bool = False) -> str:
    """The text without HTML comments; their line breaks stay, so that lines keep their number.

    In Markdown a code span hides a comment's start, and an unclosed comment is text. In `html` a
    comment is one wherever it stands, and an unclosed one has no end.
    """
    spans = {} if html else code_spans(text)
    kept: list[str] = []
    at, tick = 0, -1 if html else text.find("`")
    comment = text.find("<!--")
    while comment >= 0:
        if 0 <= tick < comment:
            end = spans.get(tick) or _after(text, tick)
            kept.append(text[at:end])
            at, tick = end, text.find("`", end)
            comment = text.find("<!--", at) if comment < at else comment
            continue
        close = text.find("-->", comment + 2)
        if close < 0 and not html:
            break
        end = close + 3 if close >= 0 else len(text)
        kept += text[at:comment], "\n" * text.count("\n", comment, end)
        at, comment = end, text.find("<!--", end)
        tick = text.find("`", end) if 0 <= tick < end else tick
    return "".join([*kept, text[at:]])


def _after(text: str, tick: int) -> int:
    """Where the backticks end that begin at `tick`."""
    while tick < len(text) and text[tick] == "`":
        tick += 1
    return tick


def _visible(lines: list[str], tokens: list[Token]) -> list[str | None]:
    visible: list[str | None] = [*lines]
    for token in tokens:
        if token.type not in ("inline", "html_block") or "<!--" not in token.content:
            continue
        first, end = span(token)
        source = "\n".join(lines[first:end])
        rest = without_comments(source, html=token.type == "html_block").split("\n")
        for n, line in enumerate(rest, first):
            gone = line != lines[n] and not line.strip()
            visible[n] = None if gone else line
    return visible


def _front_matter(lines: list[str]) -> int:
    """How many lines of YAML between `---` the text begins with: only `key:` lines and theirs."""
    if lines[0].rstrip() != "---":
        return 0
    for n, line in enumerate(lines[1:_FRONT_MATTER_LINES], 1):
        if line.rstrip() == "---":
            return n + 1
        key = line.partition(":")[0]
        written = key.replace("-", "_").isidentifier() and key.islower() and ":" in line
        if not written and not line.startswith((" ", "- ", "#")):
            return 0
    return 0
