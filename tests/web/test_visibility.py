"""What an agent is shown: of the attempts that it held, and of no other."""

from datetime import timedelta
from pathlib import Path

import pytest

from agent_fleet.client import AgentClient
from agent_fleet.client.connection import Connection
from agent_fleet.core.errors import NotFound
from agent_fleet.core.faults import Reason
from agent_fleet.core.messages import DequeueRequest, StatusReport, Submission
from agent_fleet.core.model import Outcome, Receipt
from agent_fleet.core.registry import TokenKind
from tests.support.servers import REPO, RunningServer, running_server

ASKING = DequeueRequest(incarnation="incarnation-1", wait_s=0.0)
LOG = "/api/v1/tasks/1/attempts/{}/log"
RECEIPT = Receipt(
    receipt_id="receipt-of-ben",
    task=1,
    attempt=2,
    outcome=Outcome.FAILED,
    reason=Reason.AGENT_ERROR,
)


async def test_an_agent_reads_nothing_of_its_successors_attempt(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        ann, ben = [await server.token(TokenKind.AGENT, name) for name in ("ann", "ben")]
        await _submitted(server)
        async with AgentClient(server.url, ann) as first, AgentClient(server.url, ben) as second:
            await first.dequeue(ASKING)
            await first.report(1, StatusReport(attempt=1, epoch=1, status="released"))
            server.store.shift_clock(timedelta(hours=1))
            await second.dequeue(ASKING)
            await second.append_log(1, 2, start=0, data=b"what ben does")
            await second.hand_in(RECEIPT)

            mine, theirs = Connection(server.url, ann), Connection(server.url, ben)
            for path in (LOG.format(2), f"/api/v1/receipts/{RECEIPT.receipt_id}"):
                await theirs.send("GET", path)
                with pytest.raises(NotFound):
                    await mine.send("GET", path)
            await mine.send("GET", LOG.format(1))
            await mine.close()
            await theirs.close()


async def _submitted(server: RunningServer) -> None:
    person = await server.fleet.registry.authenticate(server.admin)
    await server.fleet.tasks.submit(Submission(repo=REPO, goal="Do it."), by=person, key=None)
