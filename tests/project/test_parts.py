import json
import os
import subprocess

import pytest

from tests.support.parts import ROOT, clis, require


def test_a_test_that_needs_a_part_must_say_so_by_its_marker():
    with pytest.raises(AssertionError, match=r"needs the marker: pytest.mark.parts"):
        require("dash")


@pytest.mark.parts
def test_a_missing_part_skips_the_test_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("FLEET_REQUIRE_ALL", raising=False)

    with pytest.raises(pytest.skip.Exception, match="this machine lacks shellcheck"):
        require("shellcheck")


@pytest.mark.parts
def test_a_missing_part_is_a_failure_where_every_part_is_promised(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("FLEET_REQUIRE_ALL", "1")

    with pytest.raises(pytest.fail.Exception, match="lacks shellcheck"):
        require("shellcheck")


@pytest.mark.parts
def test_the_agent_clis_are_the_pinned_ones():
    parts = clis()
    pins = json.loads((ROOT / "requirements" / "clis.json").read_text())["dependencies"]
    path = os.pathsep.join([*map(str, parts.path_dirs), os.environ["PATH"]])

    said = [
        subprocess.run(
            [command, "--version"],
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for command in (parts.claude, parts.codex)
    ]

    assert pins["@anthropic-ai/claude-code"] in said[0]
    assert pins["@openai/codex"] in said[1]


@pytest.mark.parts
def test_the_projects_shell_scripts_are_free_of_findings():
    shellcheck = require("shellcheck")

    found = subprocess.run(
        [shellcheck, ROOT / "scripts" / "setup-parts", ROOT / ".ci" / "run"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.stdout == ""
