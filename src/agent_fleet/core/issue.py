"""An issue's Markdown, read as Markdown: goal, constraints and validation.

What is read here was written by others. It stays text: nothing in it is ever run by the fleet, and
nothing that a reader of the issue can see is lost. What no reader sees (HTML comments, front
matter, control characters) is left out.

The structure comes from markdown-it's block tokens and their line maps; the goal is a slice of the
original text, so that its formatting survives.
"""

from collections.abc import Iterator, Sequence
from itertools import dropwhile
from textwrap import dedent

import msgspec
from markdown_it.token import Token

from agent_fleet.core.errors import InvalidInput
from agent_fleet.core.markdown import Page, blocks, code_spans, span, without_comments
from agent_fleet.core.text import LINE_LENGTH, clean, shorten

BODY_BYTES = 200_000
_NO_ANSWER = "_No response_"  # what GitHub's and Forgejo's issue forms leave in an empty field

_GOAL, _CONSTRAINTS, _VALIDATION, _OTHER = "goal", "constraints", "validation", "other"
_HEADINGS = {
    _GOAL: "aim, description, goal, goals, issue, objective, objectives, overview, problem, "
    "problem statement, purpose, summary, task, tasks, user story, what, what needs to be done, "
    "what to do, what to change",
    _CONSTRAINTS: "boundaries, constraint, constraints, guidelines, limit, limits, limitations, "
    "must, musts, requirement, requirements, restrictions, rule, rules",
    _VALIDATION: "acceptance, acceptance criteria, acceptance criterion, acceptance tests, check, "
    "checks, definition of done, done when, how to check, how to test, how to validate, "
    "how to verify, success criteria, test, test plan, testing, tests, validation, validate, "
    "verification, verify",
}
_KINDS = {name: kind for kind, names in _HEADINGS.items() for name in names.split(", ")}
_REFUSALS = {
    "do not": "Do not",
    "don t": "Do not",
    "must not": "Must not",
    "mustn t": "Must not",
    "non goal": "Non-goal",
    "non goals": "Non-goal",
    "nongoals": "Non-goal",
    "not in scope": "Out of scope",
    "out of scope": "Out of scope",
}
"""Headings that turn an item round: without the word in front it would ask for the opposite."""

_SHELLS = {"", "bash", "console", "sh", "shell", "shell-session", "shellsession", "terminal", "zsh"}
_BEFORE_A_COMMAND = {"", "execute", "run"}
_AFTER_A_COMMAND = {"", "exits 0", "is green", "passes", "succeeds", "works"}


class Brief(msgspec.Struct, frozen=True):
    """What an issue asks for. `goal` is Markdown; `validation` holds commands and prose as text."""

    title: str
    goal: str
    constraints: tuple[str, ...]
    validation: tuple[str, ...]


class _Section(msgspec.Struct, frozen=True):
    """A heading and what stands below it. Above the first heading, `heading` and `label` are "".

    `refusal` goes before each item; `child` says that the kind is that of the heading above.
    """

    kind: str
    body: str
    tokens: Sequence[Token]
    heading: str = ""
    label: str = ""
    level: int = 0
    refusal: str = ""
    child: bool = False


def read_issue(markdown: str, *, title: str | None = None) -> Brief:
    """The brief that an issue's body contains, in whatever shape its author gave it.

    Text that stands under none of the known headings belongs to the goal; without any, all of it
    does. An empty goal is the title; a missing title is the first heading or line.

    Raises InvalidInput, path "body", beyond 200 kB and where neither body nor title says anything.
    """
    if len(markdown.encode(errors="replace")) > BODY_BYTES:
        raise InvalidInput(
            "body",
            f"the issue is longer than {BODY_BYTES} bytes",
            remedy="shorten it, and put long material into the repository",
        )
    page = Page.read(clean(markdown))
    sections = list(_sections(page))
    given = clean(title or "").strip()
    headline = _headline(sections, shorten(given))
    goal = _goal(sections, headline=headline)
    name = shorten(given) or headline or _first_line(goal)
    if not name:
        raise InvalidInput(
            "body", "neither the body nor the title says what to do", remedy="write a goal"
        )
    return Brief(
        title=name,
        goal=goal or given or name,
        constraints=_collect(sections, page, kind=_CONSTRAINTS),
        validation=_collect(sections, page, kind=_VALIDATION),
    )


def _sections(page: Page) -> Iterator[_Section]:
    """The page cut at its top-level headings; a deeper unknown heading stays with the one above."""
    tokens = page.tokens
    starts = [n for n, t in enumerate(tokens) if t.type == "heading_open" and t.level == 0]
    firsts = [span(tokens[n])[0] for n in starts] + [len(page.lines)]
    ends = [*starts, len(tokens)][1:]
    before = starts[0] if starts else len(tokens)
    yield _Section(_OTHER, page.text(0, firsts[0]), tokens[:before])
    above: list[_Section] = []
    for start, end, last in zip(starts, ends, firsts[1:], strict=True):
        first, below = span(tokens[start])
        level = int(tokens[start].tag[1:])
        above = [section for section in above if section.level < level]
        label = without_comments(tokens[start + 1].content).strip()
        kind, refusal = _kind(label)
        child = not kind and bool(above)
        section = _Section(
            kind=above[-1].kind if child else kind or _OTHER,
            body=page.text(below, last),
            tokens=tokens[start + 3 : end],
            heading=page.text(first, below),
            label=label,
            level=level,
            refusal=above[-1].refusal if child else refusal,
            child=child,
        )
        above.append(section)
        yield section


def _kind(label: str) -> tuple[str, str]:
    """The kind of section that a heading opens, "" for an unknown one, and its refusal."""
    plain = label.partition("(")[0].casefold()
    words = "".join(c if c.isalnum() else " " for c in plain).split()
    name = " ".join(dropwhile(lambda word: word.isdigit() or word == "the", words))
    if name in _REFUSALS:
        return _CONSTRAINTS, _REFUSALS[name]
    return _KINDS.get(name, ""), ""


def _headline(sections: list[_Section], title: str) -> str:
    """The heading that the page opens with, if it says no more than the title does."""
    opening = sections[1] if len(sections) > 1 and not sections[0].body else None
    if opening is None or opening.kind != _OTHER or len(opening.label) > LINE_LENGTH:
        return ""
    line = shorten(opening.label)
    return line if title in ("", line) else ""


def _goal(sections: list[_Section], *, headline: str) -> str:
    """What is neither a constraint nor a validation: first the goal, then all the rest."""
    opening = sections[1] if headline else sections[0]
    rest = [s for s in sections[1:] if s is not opening and s.body != _NO_ANSWER]
    goals = [s for s in rest if s.kind == _GOAL and (s.body or s.child)]
    alone = [s for s in goals if not s.child]
    parts = [opening.body]
    for section in [*goals, *(s for s in rest if s.kind == _OTHER)]:
        parts += ["" if alone == [section] else section.heading, section.body]
    return "\n\n".join(part for part in parts if part)


def _first_line(goal: str) -> str:
    """The first line that has words in it, without the marks of its block."""
    lines = (line.strip("#>*-+=_`~ \t") for line in goal.split("\n"))
    return shorten(next((line for line in lines if line), goal))


def _collect(sections: list[_Section], page: Page, *, kind: str) -> tuple[str, ...]:
    """The items of all sections of a kind, in their order."""
    items: list[str] = []
    for section in sections:
        if section.kind != kind or section.body == _NO_ANSWER:
            continue
        if section.child:
            items.append(section.label.rstrip(":") + ":")
        found = _items(section.tokens, page, commands=kind == _VALIDATION)
        lead = f"{section.refusal}: " if section.refusal else ""
        items += (lead + item for item in found if item)
    return tuple(items)


def _items(tokens: Sequence[Token], page: Page, *, commands: bool) -> Iterator[str]:
    """One item for each paragraph, list entry or other block; with `commands`, one for each."""
    for block in blocks(tokens):
        match block[0].type:
            case "paragraph_open":
                item = _unticked(without_comments(block[1].content)).strip()
                yield (commands and _command(item)) or item
            case "bullet_list_open" | "ordered_list_open":
                for entry in blocks(block[1:-1]):
                    yield from _entry(entry, page, commands=commands)
            case "fence" | "code_block" if commands and _is_shell(block[0]):
                found, output = _commands(block[0].content)
                yield from found
                if output:
                    yield _source(block, page)
            case "hr":
                pass
            case _:
                yield _source(block, page)


def _entry(entry: Sequence[Token], page: Page, *, commands: bool) -> Iterator[str]:
    """A list's entry: one item with all that is nested in it, unless it holds commands."""
    inner = entry[1:-1]
    kinds = [block[0].type for block in blocks(inner)]
    if kinds == ["paragraph_open"] or (commands and any(_is_shell(token) for token in inner)):
        yield from _items(inner, page, commands=commands)
        return
    first, _, rest = _source(entry, page).partition("\n")
    mark = entry[0].info + entry[0].markup
    first = _unticked(first.lstrip().removeprefix(mark).lstrip())
    yield f"{first}\n{dedent(rest)}".strip()


def _source(block: Sequence[Token], page: Page) -> str:
    return dedent(page.text(*span(block[0])))


def _unticked(text: str) -> str:
    """The text without a task list's box."""
    return text[3:].lstrip() if text[:4].rstrip().lower() in ("[ ]", "[x]") else text


def _is_shell(token: Token) -> bool:
    info = token.info.strip().split(" ")[0].lower()
    return token.type == "code_block" or (token.type == "fence" and info in _SHELLS)


def _command(item: str) -> str:
    """The command that the item consists of, such as "Run `make test`"; "" if it is prose."""
    start = item.find("`")
    end = code_spans(item).get(start)
    if end is None:
        return ""
    before, after = item[:start].strip().lower(), item[end:].strip(" .;,\n").lower()
    if before.rstrip(":") not in _BEFORE_A_COMMAND or after not in _AFTER_A_COMMAND:
        return ""
    return item[start:end].strip("`").strip().removeprefix("$ ")


def _commands(content: str) -> tuple[list[str], bool]:
    """The commands of a code block, and whether it shows anything else (what they print).

    Where any line has a prompt, the lines without one are output.
    """
    whole = " ".join(part.strip() for part in content.split("\\\n"))
    lines = [line.strip() for line in whole.split("\n")]
    lines = [line for line in lines if line and not line.startswith("#")]
    prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return (prompted or lines), 0 < len(prompted) < len(lines)
