"""Check `fleet` command lines in documents against the tree of commands: names, flags, values.

Nothing is run: a line is parsed as the command itself would parse it.
"""

import re
import shlex
from collections.abc import Iterator
from itertools import dropwhile

from cyclopts import CoercionError, CycloptsError, MissingArgumentError

from agent_fleet.cli.app import app

_NAMES = {"fleet", "agent-fleet"}
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*")
_PLACEHOLDER = re.compile(r"[A-Z]+|…")
_HERE_DOCUMENT = re.compile(r"<<'?(\w+)'?")
_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
_VARIABLE = re.compile(r"\$\w+")
_DESCRIPTOR = re.compile(r"(?<=\s)\d+(?=[<>])")
_VALUE = "1"
"""Stands for what a shell would put there; it passes as a number, a name and a path."""


def wrong(script: str, *, whole: bool) -> Iterator[str]:
    """What no command takes, in a shell script or a command line.

    `whole`: the lines must be complete. Otherwise what is missing, or stands for a value, passes.
    """
    for arguments in fleet_commands(script):
        if (said := _refusal(arguments, whole=whole)) is not None:
            yield f"fleet {' '.join(arguments)}: {said}"


def fleet_commands(script: str) -> Iterator[list[str]]:
    """The arguments of each `fleet` command in a script, without prompts and redirections."""
    for line in _lines(script):
        for text in (*_SUBSTITUTION.findall(line), _SUBSTITUTION.sub(_VALUE, line)):
            for words in _simple_commands(text):
                program, *arguments = [*dropwhile(_ASSIGNMENT.fullmatch, words), ""]
                if program.rpartition("/")[2] in _NAMES:
                    yield arguments[:-1]


def _refusal(arguments: list[str], *, whole: bool) -> str | None:
    given = arguments if whole else [one for one in arguments if not _PLACEHOLDER.fullmatch(one)]
    try:
        app.parse_args(given, print_error=False, exit_on_error=False)
    except (CoercionError, MissingArgumentError) as error:
        return _said(error) if whole else None
    except CycloptsError as error:
        return _said(error)
    return None


def _said(error: CycloptsError) -> str:
    error.verbose = False
    return " ".join(str(error).split())


def _lines(script: str) -> Iterator[str]:
    """The script's logical lines, without the contents of here-documents."""
    end: str | None = None
    for line in script.replace("\\\n", " ").split("\n"):
        if end is not None:
            end = None if line.strip() == end else end
            continue
        if found := _HERE_DOCUMENT.search(line):
            end = found[1]
        yield line.removeprefix("$ ")


def _simple_commands(line: str) -> Iterator[list[str]]:
    """The words of each simple command of a line; none of a line that is no shell."""
    plain = _DESCRIPTOR.sub("", _VARIABLE.sub(_VALUE, line))
    lexer = shlex.shlex(plain, posix=True, punctuation_chars=";&|<>")
    lexer.commenters = "#"
    lexer.whitespace_split = True
    try:
        tokens = list(lexer)
    except ValueError:
        return
    words: list[str] = []
    redirected = False
    for token in tokens:
        if set(token) <= set(";&|"):
            yield words
            words = []
        elif set(token) <= set("<>&"):
            redirected = True
        elif redirected:
            redirected = False
        else:
            words.append(token)
    yield words
