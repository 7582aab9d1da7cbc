"""The generated blocks of the command's reference: every command with its flags, the exit codes."""

import re
from collections.abc import Callable

from agent_fleet.cli.app import app
from agent_fleet.cli.exits import MEANINGS

_EXAMPLES = re.compile(r"^For example:\n\n((?:  \S.*\n)+)", re.MULTILINE)
# The generator shows what no help does: that a flag is off, how to say that it is, and by which
# `python -m` it was itself started.
_NOISE = re.compile(r", --empty-[a-z-]+| \*\[default: (?:False|\(\))\]\*| -m [\w.]+")


def commands() -> str:
    """All commands below `fleet`, as the tree of commands has them."""
    text = app.generate_docs("markdown", heading_level=1, usage_name="fleet")
    body = text[text.index("\n## fleet ") :]
    body = _EXAMPLES.sub(lambda found: f"```console\n{_unindented(found[1])}```\n", body)
    return _NOISE.sub("", body).strip()


def exit_codes() -> str:
    rows = [f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows])


BLOCKS: dict[str, Callable[[], str]] = {"cli-commands": commands, "exit-codes": exit_codes}


def _unindented(lines: str) -> str:
    return "".join(f"$ {line.strip()}\n" for line in lines.splitlines())
