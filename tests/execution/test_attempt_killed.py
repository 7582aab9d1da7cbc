"""Whoever carries out an attempt is killed at random moments; another goes on until its receipt."""

import asyncio
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from agent_fleet.core.model import LogDigest, Outcome, Receipt
from tests.support.attempts import Recorder, Workshop
from tests.support.carry_out import Described

KILLS = 25
MOST_PROCESSES = 400

SCRIPT = """
echo started >>"$STARTS"
echo reading; cat >/dev/null
for n in 1 2 3 4 5 6; do echo "step $n"; echo "warning $n" >&2; sleep 0.05; done
echo done >done.txt; git add done.txt; git commit -q -m work
echo left >left.txt
"""
LOG = (
    b"reading\nstep 1\nstep 2\nstep 3\nstep 4\nstep 5\nstep 6\n"
    b"\n--- stderr ---\n"
    b"warning 1\nwarning 2\nwarning 3\nwarning 4\nwarning 5\nwarning 6\n"
)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    shop = Workshop(tmp_path, script=SCRIPT)
    hook = shop.bench.remote / "hooks" / "post-receive"
    hook.write_text(f"#!/bin/sh\ncat >>{tmp_path}/pushes\n")
    hook.chmod(0o755)
    yield shop
    asyncio.run(shop.clean())


def carry_out_until(shop: Workshop, described: Path, *, seconds: float) -> Receipt | None:
    """Carry it out in a process that is killed after so long; the receipt if it came to one."""
    environment = {**shop.environment, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.carry_out", str(described)],
        stdout=subprocess.PIPE,
        env=environment,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        rest = process.stdout.read()
    return msgspec.json.decode(rest, type=Receipt) if process.returncode == 0 else None


@pytest.mark.timeout(180)
def test_nothing_is_started_twice_and_nothing_is_lost(shop: Workshop) -> None:
    chance = random.Random(20261122)
    kills = processes = attempts = 0
    while kills < KILLS:
        attempts += 1
        branch, validated = f"task/{attempts}-x", shop.directory / f"validated{attempts}"
        command = f"echo yes >>{validated}; sleep 0.1; echo fine"
        shop.grant = replace(
            shop.grant, task=attempts, branch=branch, validation=(command, "echo too")
        )
        shop.starts = shop.directory / f"starts{attempts}"
        environment = {**shop.environment, "STARTS": str(shop.starts)}
        setting = replace(shop.setting, environment=environment)
        recorder = Recorder(shop.directory / f"recorder{attempts}")
        described = shop.directory / "described.json"
        place = str(shop.directory / f"recorder{attempts}")
        described.write_bytes(
            msgspec.json.encode(Described(shop.grant, shop.adapter, setting, place))
        )

        receipt, longest_s = None, 0.3
        while receipt is None:
            processes += 1
            assert processes < MOST_PROCESSES
            receipt = carry_out_until(shop, described, seconds=chance.uniform(0, longest_s))
            kills += receipt is None
            longest_s += 0.05  # on a busy machine nothing is done in no time

        log = (
            LOG
            + (
                f"\n--- validation 1: {command} ---\nfine\n\n--- validation 2: echo too ---\ntoo\n"
            ).encode()
        )
        assert receipt.outcome is Outcome.SUCCEEDED
        assert shop.starts.read_text() == "started\n"
        assert validated.read_text() == "yes\n"
        assert recorder.log == log
        assert receipt.log == LogDigest(len(log), hashlib.sha256(log).hexdigest())
        pushes = (shop.directory / "pushes").read_text().splitlines()
        assert len([push for push in pushes if push.endswith(f"/{branch}")]) == 1
        assert shop.bench.heads()[branch] == receipt.head_sha
        commits = shop.bench.git("rev-list", "--count", f"main..{branch}", at=shop.bench.remote)
        assert commits == "2"
        assert any(word["status"] == "running" for word in recorder.words)
