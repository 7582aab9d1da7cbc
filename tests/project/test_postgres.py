import os
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg

from tests.support import postgres
from tests.support.parts import ROOT
from tests.support.waiting import eventually

HOLDS_A_SERVER = """
from tests.support import postgres
running = postgres.server()
print(running.execute("SHOW data_directory").strip(), flush=True)
input()
"""


async def test_a_fresh_database_is_empty_and_goes_when_dropped():
    url = postgres.fresh_database()
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch("SELECT * FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()

    postgres.drop_database(url)

    name = url.rpartition("/")[2]
    left = postgres.server().execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'")
    assert tables == []
    assert left == ""


def test_the_server_promises_full_durability():
    settings = [
        postgres.server().execute(f"SHOW {name}").strip()
        for name in ("fsync", "synchronous_commit", "full_page_writes")
    ]

    assert settings == ["on", "on", "on"]


def test_a_killed_process_leaves_no_server_and_no_data_behind():
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS_A_SERVER],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        data = Path(holder.stdout.readline().strip())
        pid = int((data / "postmaster.pid").read_text().splitlines()[0])

        holder.send_signal(signal.SIGKILL)

    eventually(lambda: not data.parent.exists(), 20, "the server's directory to go")
    eventually(lambda: not _alive(pid), 20, "the server to end")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
