"""`fleet token`: who may talk to the server. A secret is shown once."""

import contextlib
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from agent_fleet.cli import output
from agent_fleet.cli.create import to_seconds
from agent_fleet.cli.exits import fail
from agent_fleet.cli.numbers import whole
from agent_fleet.cli.text import show_time
from agent_fleet.core.errors import FleetError, InvalidInput
from agent_fleet.core.messages import TokenRequest
from agent_fleet.core.registry import Token

app = App(name="token", help="Who may talk to the server.", help_epilogue="")

Json = Annotated[bool, Parameter(name="--json", negative=(), help="Print JSON for programs.")]
_FLAGS = {
    "name": "NAME",
    "kind": "--kind",
    "slots": "--slots",
    "capabilities": "--capability",
    "repos": "--repo",
    "expires_in_s": "--expires",
}


@app.command
async def create(
    name: Annotated[str, Parameter(name="NAME", help="Whose it is: a person, program or agent.")],
    /,
    *,
    kind: Annotated[
        Literal["admin", "operator", "requester", "read_only", "agent"],
        Parameter(help="requester: submit, see and cancel its own; agent: ask for work."),
    ],
    slots: Annotated[
        int, Parameter(converter=whole, help="Of an agent: so many attempts at once, 1 to 100.")
    ] = 1,
    capability: Annotated[
        tuple[str, ...], Parameter(help="Of an agent: what tasks may require; may be repeated.")
    ] = (),
    repo: Annotated[
        tuple[str, ...], Parameter(help="Of an agent: only these repositories; may be repeated.")
    ] = (),
    expires: Annotated[str | None, Parameter(help='It ends after so long: "30d", "8h".')] = None,
    output_file: Annotated[
        Path | None,
        Parameter(name=("--output", "-o"), help="Write the secret into this new 0600 file."),
    ] = None,
    json: Json = False,
) -> None:
    """Make a token. Its secret is printed alone, once, or written to a file.

    For example:

      fleet token create builder --kind agent --slots 2 --output builder.token
      FLEET_TOKEN=$(fleet token create ci --kind requester) ./submit.sh
    """
    request = _request(
        name=name,
        kind=kind,
        slots=slots,
        capabilities=capability,
        repos=repo,
        expires_in_s=expires and to_seconds("--expires", expires),
    )
    with _secret_file(output_file) as write:
        async with output.connect() as client:
            try:
                issued = await client.issue_token(request)
            except FleetError as error:
                fail(error, flags=_FLAGS)
        write(issued.secret)
    if json:
        output.print_json(issued if output_file is None else issued.token)
    elif output_file is None:
        print(issued.secret)
        print(f"{issued.token.prefix}…: this is the only time that it is shown", file=sys.stderr)
    else:
        print(f"{issued.token.prefix}… is in {output_file}")


@app.command(name="list")
async def list_tokens(*, json: Json = False) -> None:
    """All tokens, without their secrets."""
    async with output.connect() as client:
        answer = await client.tokens()
    if json:
        output.print_json(answer)
        return
    table = output.table("prefix", "kind", "name", "made", "until", "state")
    for token in answer.tokens:
        table.add_row(
            output.cell(token.prefix),
            token.kind,
            output.cell(token.name),
            show_time(token.created_at),
            show_time(token.expires_at) if token.expires_at else "",
            _state(token),
        )
    output.console().print(table)


@app.command
async def revoke(
    prefix: Annotated[str, Parameter(name="PREFIX", help="As fleet token list shows it.")],
    /,
    *,
    json: Json = False,
) -> None:
    """End a token: no request with it succeeds from now on."""
    if prefix.count("_") < 2 or not prefix.replace("_", "").isalnum():
        raise InvalidInput("PREFIX", "is no token's prefix", remedy="see fleet token list")
    async with output.connect() as client:
        await client.revoke_token(prefix)
    if json:
        output.print_json({"revoked": prefix})
    else:
        print(f"{prefix}… is revoked")


def _request(**fields: object) -> TokenRequest:
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return msgspec.convert(given, TokenRequest)
    except msgspec.ValidationError as error:
        said, _, path = str(error).partition(" - at `$.")
        flag = _FLAGS[path.rstrip("`").partition("[")[0]]
        wanted = said.replace("`", "").removeprefix("Expected ")
        raise InvalidInput(flag, "is not what it may be", remedy=f"give {wanted}") from None


@contextmanager
def _secret_file(path: Path | None) -> Generator[Callable[[str], None]]:
    """A file made before there is a secret, so that none is lost; gone again after an error."""
    if path is None:
        yield lambda _secret: None
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInput(
            "--output", f"{path}: {error.strerror}", remedy="name a file that is not there yet"
        ) from None
    with os.fdopen(handle, "w") as file:
        try:
            yield lambda secret: print(secret, file=file)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise


def _state(token: Token) -> str:
    return f"revoked {show_time(token.revoked_at)}" if token.revoked_at else "valid"
