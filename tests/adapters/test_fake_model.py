"""The stand-in for the model keeps its promises: the tests with real CLIs rest on it."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_model import FakeModel

TOOLS: dict[str, list[dict[str, Any]]] = {
    "responses": [{"type": "function", "name": "shell_command"}],
    "messages": [{"name": "Bash"}],
    "chat/completions": [{"type": "function", "function": {"name": "bash"}}],
}
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel(script=[{"shell": "true"}, {"text": "Done."}]) as running:
        yield running


def post(url: str, body: dict[str, Any]) -> str:
    request = urllib.request.Request(url, data=json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


@pytest.mark.parametrize("api", sorted(TOOLS))
def test_the_first_turn_asks_for_the_shell(model: FakeModel, api: str):
    body = post(model.url("ok", f"/v1/{api}"), {"tools": TOOLS[api]})

    assert TOOLS[api][0].get("name", "bash") in body
    assert '"true' in body.replace("\\", "").replace('": "', '":"')


def test_the_turn_follows_from_the_results_in_the_request(model: FakeModel):
    result = {"role": "user", "content": [{"type": "tool_result", "content": "ok"}]}

    body = post(model.url("ok", "/v1/messages"), {"tools": TOOLS["messages"], "messages": [result]})

    assert json.loads(body)["content"] == [{"type": "text", "text": "Done."}]


@pytest.mark.parametrize("mode", ["status-429", "flaky-1-429-test"])
def test_a_mode_fails_as_it_says(model: FakeModel, mode: str):
    with pytest.raises(urllib.error.HTTPError) as error:
        post(model.url(mode, "/v1/messages"), {})

    with error.value as fault:
        assert fault.code == 429
        assert json.loads(fault.read())["error"]["type"] == "rate_limit_error"


def test_a_flaky_mode_recovers(model: FakeModel):
    url = model.url("flaky-1-500-recovers", "/v1/messages")
    with pytest.raises(urllib.error.HTTPError) as error:
        post(url, {})
    error.value.close()

    assert "Fake side answer" in post(url, {})


def test_a_stream_is_events_and_every_request_is_remembered(model: FakeModel):
    stream = post(model.url("text", "/v1/messages"), {"tools": TOOLS["messages"], "stream": True})

    assert stream.startswith("event: message_start\n")
    assert stream.endswith('data: {"type": "message_stop"}\n\n')
    assert [note["mode"] for note in model.requests] == ["text"]


def test_it_runs_as_a_program_and_says_where():
    command = [sys.executable, "-m", "tests.support.fake_model", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().removeprefix("listening ").strip()
            with urllib.request.urlopen(f"{url}/_fake/health", timeout=10) as answer:
                assert json.loads(answer.read()) == {"ok": True}
        finally:
            process.terminate()
