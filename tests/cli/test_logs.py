import json
import subprocess
import sys
from pathlib import Path

from tests.cli.command import clean_environ


def test_a_traceback_in_a_log_shows_no_values(tmp_path: Path) -> None:
    program = """
import structlog
from agent_fleet.cli import logs
logs.configure()
def fail(token):
    raise ValueError("told")
try:
    fail("aflt_admin_" + "s3cret")
except ValueError as error:
    structlog.get_logger().error("request_failed", exc_info=error)
"""

    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environ(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )

    line = json.loads(ended.stderr)
    assert line["event"] == "request_failed"
    assert "ValueError: told" in line["exception"]
    assert "aflt_admin_s3cret" not in ended.stderr
