"""A machine that only works: the base package alone, in an environment of its own."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from agent_fleet.client import FleetClient
from agent_fleet.core.messages import Submission
from agent_fleet.core.model import Mode, TaskStatus
from agent_fleet.core.registry import TokenKind
from tests.support.servers import REPO, running_server

ROOT = Path(__file__).resolve().parents[2]
INSTALL = ("install", "--quiet", "--no-compile", "--disable-pip-version-check", "--no-input")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `fleet` command of an environment that has the base package's pins and nothing else."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = (folder / "bin" / "python", "-m", "pip", *INSTALL)
    pins = ROOT / "requirements" / "base.txt"
    build = ROOT / "requirements" / "build.txt"
    subprocess.run([*pip, "--require-hashes", "-r", pins, "-r", build], check=True)
    package = ("--no-build-isolation", "--no-deps", "--editable", str(ROOT))
    subprocess.run([*pip, *package], check=True)
    return folder / "bin" / "fleet"


@pytest.mark.full
@pytest.mark.timeout(300)
async def test_the_worker_installs_and_runs_without_the_servers_extra(fleet: Path, tmp_path: Path):
    agents_cli = tmp_path / "write.sh"
    agents_cli.write_text("cat >/dev/null; echo done >page.md; git add .; git commit -qm Write\n")
    adapters = tmp_path / "fleet.toml"
    adapters.write_text(f'[adapters.raw]\ncommand = ["sh", "{agents_cli}"]\nprompt = "stdin"\n')

    async with running_server(tmp_path) as server:
        environment = server.environ | {
            "FLEET_URL": server.url,
            "FLEET_TOKEN": await server.token(TokenKind.AGENT, "walker"),
        }
        command = (fleet, "agent", "run", "--root", tmp_path / "agent", "--config", adapters)
        worker = await asyncio.create_subprocess_exec(*command, env=environment)
        try:
            async with FleetClient(server.url, server.admin) as people:
                submission = Submission(repo=REPO, goal="Write page.md", mode=Mode.HTTP_PULL)
                task = (await people.submit(submission)).task.id
                detail = await people.wait(task, until="settled", timeout_s=60)
        finally:
            worker.terminate()
            await worker.wait()

    assert detail.task.status is TaskStatus.REVIEW_PENDING, detail.task.message


@pytest.mark.full
@pytest.mark.timeout(300)
def test_what_only_a_server_can_do_says_what_it_lacks(fleet: Path, tmp_path: Path):
    said = subprocess.run(
        [fleet, "init"], capture_output=True, text=True, cwd=tmp_path, check=False
    )

    assert said.returncode == 2
    assert "agent-fleet[server]" in said.stderr
    assert "Traceback" not in said.stderr
