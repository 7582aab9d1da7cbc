"""Write the generated blocks of the documents anew; with `--check`, say which are stale.

A block stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`, and is made by the
function of `BLOCKS` with that name. The prose around it is written by hand and is not touched.
`--check` writes nothing: it names each stale file and exits 1.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from agent_fleet.core.faults import CONSEQUENCES, Next, Penalty
from agent_fleet.core.lifecycle import ATTEMPT, ENDED, TASK, Verb
from agent_fleet.core.model import AttemptStatus
from scripts import cli_reference, reference

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = (
    "docs/architecture.md",
    "docs/lifecycle.md",
    "docs/protocol.md",
    "docs/reference/cli.md",
    "docs/reference/settings.md",
)

_BLOCK = re.compile(r"(<!-- generated: ([\w-]+) -->\n)(.*?)(<!-- end: \2 -->\n)", re.DOTALL)

_Status = TypeVar("_Status", bound=StrEnum)

_NEXT = {
    Next.AGAIN: "queued again",
    Next.NEEDS_HUMAN: "needs a human",
    Next.FAILED: "failed",
    Next.ASK_FORGE: "what the forge shows decides",
    Next.CANCEL: "cancelled",
}
_PENALTY = {
    Penalty.NONE: "",
    Penalty.HOST_BACKOFF: "the host backs off",
    Penalty.ACCOUNT_BACKOFF: "the account backs off",
    Penalty.ACCOUNT_COOLDOWN: "the account cools down until its limit resets",
    Penalty.ACCOUNT_STOP: "the account stops until an operator looks",
}


def task_diagram() -> str:
    return _diagram(TASK, ends=sorted(ENDED))


def attempt_diagram() -> str:
    return _diagram(ATTEMPT, ends=[AttemptStatus.ENDED])


def task_table() -> str:
    """Every entry of the task's table, those that stay where they are included."""
    rows = [
        f"| {before or ''} | {verb} | {', '.join(sorted(targets))} |"
        for before, row in TASK.items()
        for verb, targets in row.items()
    ]
    return "\n".join(["| from | verb | to |", "|---|---|---|", *rows])


def failure_table() -> str:
    head = ["| reason | whose fault | the task | a try | in the next prompt | besides |"]
    rows = [
        f"| `{reason}` | {row.fault} | {_NEXT[row.next]} | {_yes(row.charged)} "
        f"| {_yes(row.feedback)} | {_PENALTY[row.penalty]} |"
        for reason, row in CONSEQUENCES.items()
    ]
    return "\n".join([*head, "|---|---|---|---|---|---|", *rows])


BLOCKS: dict[str, Callable[[], str]] = {
    "task-diagram": task_diagram,
    "attempt-diagram": attempt_diagram,
    "task-table": task_table,
    "failure-table": failure_table,
    **cli_reference.BLOCKS,
    **reference.BLOCKS,
}


def _yes(flag: bool, /) -> str:  # noqa: FBT001 - one cell of a table
    return "yes" if flag else ""


def _diagram(
    table: Mapping[_Status | None, Mapping[Verb, set[_Status]]], *, ends: list[_Status]
) -> str:
    """The moves of a table as a Mermaid diagram: one arrow for each pair, with all its verbs."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for before, row in table.items():
        for verb, targets in row.items():
            for after in sorted(targets):
                if after != before:
                    arrows.setdefault((str(before or "[*]"), after), []).append(verb)
    lines = [f"    {a} --> {b}: {', '.join(verbs)}" for (a, b), verbs in arrows.items()]
    last = [f"    {end} --> [*]" for end in ends]
    return "\n".join(["```mermaid", "stateDiagram-v2", *lines, *last, "```"])


def renewed(text: str) -> str:
    """`text` with each generated block as it should be; KeyError for one that nothing makes."""
    return _BLOCK.sub(lambda m: f"{m[1]}{BLOCKS[m[2]]()}\n{m[4]}", text)


def stale(root: Path) -> Iterator[tuple[Path, str]]:
    """Each document whose blocks are not as they should be, with its text as it should be."""
    for name in DOCUMENTS:
        path = root / name
        text = path.read_text()
        if (right := renewed(text)) != text:
            yield path, right


def main(arguments: list[str]) -> int:
    check = arguments == ["--check"]
    if arguments and not check:
        print("usage: generate_docs.py [--check]", file=sys.stderr)
        return 2
    found = list(stale(ROOT))
    for path, right in found:
        name = path.relative_to(ROOT)
        if check:
            print(f"{name}: is stale; run make docs")
        else:
            path.write_text(right)
            print(f"{name}: written")
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
