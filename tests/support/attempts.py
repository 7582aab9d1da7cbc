"""An attempt to be carried out on this machine: a remote, a script as its agent, a recorder.

The recorder stands for the caller of `carry_out`, the fleet or its client: it keeps what it is
told in files, so that it outlives a killed process, and answers as it was scripted.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from agent_fleet.adapters import Adapter, merge
from agent_fleet.clock import SystemClock
from agent_fleet.core.errors import Conflict, FleetError, LogGap
from agent_fleet.core.messages import StatusAnswer
from agent_fleet.core.model import Lease, Limits, Receipt
from agent_fleet.execution import run
from agent_fleet.execution.attempt import Setting, carry_out
from agent_fleet.execution.heartbeat import Status
from agent_fleet.execution.machine import Machine
from agent_fleet.execution.records import recall
from agent_fleet.execution.run import Graces
from tests.support.remotes import Bench

CONTINUE = StatusAnswer(directive="continue", lease=Lease(ttl_s=30, heartbeat_s=0.05))
CANCEL = StatusAnswer(directive="cancel", lease=CONTINUE.lease)
STOP = StatusAnswer(directive="stop", lease=CONTINUE.lease)
QUICK = Graces(interrupt_s=0.1, terminate_s=0.1, kill_s=5)
EPOCH = "f"

WORK = """
echo started >>"$STARTS"
cat >/dev/null
echo working
echo done >done.txt
git add done.txt
git commit -q -m work
echo finished
"""

Answer = StatusAnswer | FleetError
Word = dict[str, Any]


class Recorder:
    """Keeps what is said. `answer` decides, by the word, what is answered."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self._words = directory / "words"
        self._log = directory / "log"
        self.answer: Callable[[Word], Answer] = lambda _: CONTINUE
        self.refuse: Callable[[int, bytes], FleetError | None] = lambda _start, _data: None
        self.spoken = asyncio.Event()

    @property
    def words(self) -> list[Word]:
        if not self._words.exists():
            return []
        return [json.loads(line) for line in self._words.read_text().splitlines()]

    @property
    def log(self) -> bytes:
        return self._log.read_bytes() if self._log.exists() else b""

    async def report(
        self,
        *,
        status: Status,
        phase: str,
        message: str | None = None,
        base_sha: str | None = None,
    ) -> StatusAnswer:
        word: Word = {"status": status, "phase": phase, "base_sha": base_sha, "message": message}
        with self._words.open("a") as file:
            file.write(json.dumps(word) + "\n")
        self.spoken.set()
        answer = self.answer(word)
        if isinstance(answer, FleetError):
            raise answer
        return answer

    async def append_log(self, *, start: int, data: bytes) -> int:
        refusal = self.refuse(start, data)
        if refusal is not None:
            raise refusal
        known = self.log
        if start > len(known):
            raise LogGap(len(known))
        overlap = data[: len(known) - start]
        if known[start : start + len(overlap)] != overlap:
            raise Conflict(f"the bytes from {start} differ")
        with self._log.open("ab") as file:
            file.write(data[len(overlap) :])
        return len(self.log)

    def lose(self, length: int) -> None:
        """Forget all but the first bytes of the log."""
        self._log.write_bytes(self.log[:length])


class Workshop:
    """All that one attempt needs; `carry_out` carries it out, as often as it is called."""

    def __init__(self, directory: Path, *, script: str = WORK) -> None:
        self.directory = directory
        self.bench = Bench(directory)
        self.machine: Machine = self.bench.machine
        self.recorder = Recorder(directory / "recorder")
        self.starts = directory / "starts"
        self.pipe = directory / "pipe"
        self.environment = {
            **self.bench.environment,
            "STARTS": str(self.starts),
            "PIPE": str(self.pipe),
        }
        self.setting = Setting(
            root=self.bench.root,
            environment=self.environment,
            passable={},
            self_stop=True,
            poll_s=0.01,
            patience_s=10,
        )
        self.grant = replace(self.bench.grant(), lease=CONTINUE.lease)
        self.adapter = self.agent(script)

    @property
    def run(self) -> Path:
        """The run's directory."""
        name = f"{self.grant.fleet_epoch}-{self.grant.task}-{self.grant.attempt}"
        return Path(self.bench.root, "runs", name)

    def agent(self, script: str, **fields: object) -> Adapter:
        """An adapter whose CLI is a script for sh."""
        file = self.directory / "agent.sh"
        file.write_text(script)
        table: Mapping[str, object] = {
            "command": ["sh", str(file)],
            "prompt": "stdin",
            "parser": "raw",
            "graces": {"interrupt_s": 0.1, "terminate_s": 0.1, "kill_s": 5},
            **fields,
        }
        return merge({"mine": table})["mine"]

    def limit(self, **limits: float) -> None:
        known = Limits(run_s=60, silence_s=60)
        self.grant = replace(self.grant, limits=replace(known, **limits))

    async def carry_out(self, receipt_id: str = "receipt-1") -> Receipt | None:
        return await carry_out(
            self.machine,
            self.grant,
            self.adapter,
            reporter=self.recorder,
            setting=self.setting,
            clock=SystemClock(),
            receipt_id=receipt_id,
        )

    async def receipt(self) -> Receipt:
        receipt = await self.carry_out()
        assert receipt is not None
        return receipt

    async def clean(self) -> None:
        """End whatever runs of this attempt are left."""
        prepared = (await recall(self.machine, str(self.run))).prepared
        workspace = prepared.workspace.path if prepared is not None else str(self.run)
        for directory in (self.run, *self.run.parent.glob(f"{self.run.name}.v[0-9]")):
            await run.end(
                self.machine,
                str(directory),
                workspace=workspace,
                mark=directory.name,
                graces=QUICK,
            )
