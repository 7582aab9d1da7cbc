"""`fleet task create`: flags, a file or stdin become a submission."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from agent_fleet.cli import output, waiting
from agent_fleet.cli.exits import Exit, fail
from agent_fleet.cli.numbers import whole
from agent_fleet.core.errors import FleetError, InvalidInput
from agent_fleet.core.messages import Submission

FLAGS = {
    "goal": "GOAL",
    "body": "--file",
    "repo": "--repo",
    "title": "--title",
    "priority": "--priority",
    "adapter": "--adapter",
    "model": "--model",
    "host": "--host",
    "mode": "--mode",
    "capabilities": "--capability",
    "constraints": "--constraint",
    "validation": "--validate",
    "base": "--base",
    "deliverable": "--deliverable",
    "retry": "--retry",
    "review_limit": "--review-limit",
    "max_tries": "--max-tries",
    "run_limit_s": "--run-limit",
    "silence_limit_s": "--silence-limit",
}
"""Which flag sets which field of a submission."""


async def create(
    goal: Annotated[str | None, Parameter(name="GOAL", help="What is to be done.")] = None,
    /,
    *,
    repo: Annotated[str, Parameter(help="A configured repository, as local/api.")],
    file: Annotated[
        str | None,
        Parameter(
            name=("--file", "-F"),
            allow_leading_hyphen=True,
            help='An issue\'s Markdown; "-" reads stdin.',
        ),
    ] = None,
    title: Annotated[str | None, Parameter(help="Made of the text if left out.")] = None,
    priority: Annotated[
        int, Parameter(converter=whole, help="-100 to 100, 0 if left out; higher ones go first.")
    ] = 0,
    mode: Annotated[
        Literal["ssh_cli", "http_pull", "either"],
        Parameter(
            help="By a host of the server, by an agent that asks for work, or either (the default)."
        ),
    ] = "either",
    adapter: Annotated[str | None, Parameter(help="The agent CLI: codex, claude, …")] = None,
    model: Annotated[str | None, Parameter(help="The model that the CLI is to use.")] = None,
    host: Annotated[str | None, Parameter(help="Only this host or agent.")] = None,
    capability: Annotated[
        tuple[str, ...], Parameter(help="Only where there is this; may be repeated.")
    ] = (),
    constraint: Annotated[
        tuple[str, ...], Parameter(help="What the work must keep to; may be repeated.")
    ] = (),
    validate: Annotated[
        tuple[str, ...],
        Parameter(help="A command that must succeed before the work counts; may be repeated."),
    ] = (),
    base: Annotated[str | None, Parameter(help="The branch to start from and merge into.")] = None,
    deliverable: Annotated[
        Literal["branch", "none"], Parameter(help="none: nothing is to be pushed.")
    ] = "branch",
    retry: Annotated[
        Literal["never", "unpushed", "always"] | None,
        Parameter(help="Whether a lost attempt is repeated."),
    ] = None,
    review_limit: Annotated[
        int | None, Parameter(converter=whole, help="So many revisions, then a human: 0 to 20.")
    ] = None,
    max_tries: Annotated[
        int | None, Parameter(converter=whole, help="Tries in a round: 1 to 20.")
    ] = None,
    run_limit: Annotated[str | None, Parameter(help='How long an attempt may run: "2h".')] = None,
    silence_limit: Annotated[
        str | None, Parameter(help='How long an attempt may be silent: "15m".')
    ] = None,
    key: Annotated[
        str | None, Parameter(help="The same key makes no second task: for scripts that repeat.")
    ] = None,
    wait: Annotated[
        bool, Parameter(negative=(), help="Wait until it is settled; see fleet task wait.")
    ] = False,
    json: Annotated[
        bool, Parameter(name="--json", negative=(), help="Print JSON for programs.")
    ] = False,
) -> Exit:
    """Submit a task: a text, an issue's Markdown, or both.

    For example:

      fleet task create "Fix the login" --repo local/api --wait
      fleet task create --file issue.md --repo local/api --priority 10
      fleet task create --file - --repo local/api < issue.md
    """
    submission = _submission(
        repo=repo,
        goal=goal,
        body=None if file is None else output.read_text(file),
        title=title,
        priority=priority,
        mode=mode,
        adapter=adapter,
        model=model,
        host=host,
        capabilities=capability,
        constraints=constraint,
        validation=validate or None,
        base=base,
        deliverable=deliverable,
        retry=retry,
        review_limit=review_limit,
        max_tries=max_tries,
        run_limit_s=run_limit and to_seconds("--run-limit", run_limit),
        silence_limit_s=silence_limit and to_seconds("--silence-limit", silence_limit),
    )
    if key is not None and not (key.isascii() and key.isprintable() and 1 <= len(key) <= 200):
        raise InvalidInput("--key", "is no key", remedy="use 1 to 200 ASCII characters")
    async with output.connect() as client:
        try:
            detail = await client.submit(submission, key=key)
        except FleetError as error:
            fail(error, flags=FLAGS)
        if wait:
            if not json:
                print(f"task {detail.task.id}", file=sys.stderr)
            return await waiting.wait(
                client, detail.task.id, until="settled", timeout_s=None, json=json
            )
    if json:
        output.print_json(detail)
    else:
        print(detail.task.id)
        print(f"fleet task wait {detail.task.id}", file=sys.stderr)
    return Exit.OK


def check_range(flag: str, value: int, *, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInput(flag, f"{value} is out of range", remedy=f"give {least} to {most}")


def to_seconds(flag: str, text: str) -> float:
    """A duration as in the configuration: "90s", "15m", "1h30m". Raises InvalidInput."""
    from agent_fleet.config.values import Duration, Values, Wrong

    try:
        made = Values(folder=Path(), environ={}).convert(Duration, text)
    except Wrong as wrong:
        raise InvalidInput(flag, str(wrong), remedy=wrong.remedy.replace("write", "give")) from None
    assert isinstance(made, float)
    return float(made)


def _submission(**fields: object) -> Submission:
    """Checked here as the server would, so that an error names the flag."""
    given = {name: value for name, value in fields.items() if value is not None}
    if not (given.get("goal") or given.get("body")):
        raise InvalidInput(
            "GOAL", "is missing", remedy="say what is to be done, or name a --file (- for stdin)"
        )
    try:
        return msgspec.convert(given, Submission)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$.")
        flag = FLAGS[path.rstrip("`").partition("[")[0]]
        wanted = said.replace("`", "").removeprefix("Expected ")
        raise InvalidInput(flag, "is not what it may be", remedy=f"give {wanted}") from None
