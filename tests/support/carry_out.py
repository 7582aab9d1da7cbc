"""`python -m tests.support.carry_out DIRECTORY`: carry out the attempt that is described there.

Prints a line when it begins, and the receipt when it has ended. Made to be killed.
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from agent_fleet.adapters import Adapter
from agent_fleet.clock import SystemClock, new_id
from agent_fleet.core.model import Grant
from agent_fleet.execution.attempt import Setting, carry_out
from agent_fleet.execution.local import LocalMachine
from tests.support.attempts import Recorder


class Described(msgspec.Struct, frozen=True):
    """An attempt and where it is carried out; `recorder` is where its words are kept."""

    grant: Grant
    adapter: Adapter
    setting: Setting
    recorder: str


async def main(file: Path) -> None:
    described = msgspec.json.decode(file.read_bytes(), type=Described)
    say("begun")
    receipt = await carry_out(
        LocalMachine(environment=described.setting.environment),
        described.grant,
        described.adapter,
        reporter=Recorder(Path(described.recorder)),
        setting=described.setting,
        clock=SystemClock(),
        receipt_id=new_id(),
    )
    say(msgspec.json.encode(receipt).decode())


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
