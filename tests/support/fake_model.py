"""A scripted, offline stand-in for the model APIs that coding-agent CLIs talk to.

It lets a test run the *real* CLI (Codex, Claude Code, OpenCode, Gemini CLI) with no network and no
key: the model's first turn asks for a shell command, the CLI really executes it in its working
directory, and the second turn is a fixed final message. Standard library only.

Dialects, by request path
    POST .../responses                                        OpenAI Responses         (codex)
    POST .../messages, .../messages/count_tokens              Anthropic Messages       (claude)
    POST .../chat/completions                                 OpenAI Chat Completions  (opencode)
    POST .../models/M:generateContent, :streamGenerateContent, :countTokens            (gemini)
    GET  .../models                                           a small model list
A stream (SSE) where the request asks for one; otherwise one JSON body.

Modes: what goes wrong. `/mode/NAME` before the API path, in the CLI's base URL, so that parallel
tests share one server; or for the whole server, by --mode NAME
    ok               the script, undisturbed
    status-401       every model request answers this HTTP status (401, 403, 429, 500, 529 ...)
    late-status-500  the first turn is fine (the tool runs), every later one answers the status
    flaky-N-500      the first N model requests under this exact name fail, then ok
                     (a suffix tells users of it apart: flaky-2-500-testname)
    slow-SECONDS     that long before the first byte of every answer
    hang             open the stream, then send nothing more
    drop             open the stream, send its beginning, cut the connection
    longtool-SECONDS the tool call is `echo started; sleep SECONDS; echo slept`
    text             no tool call: straight to the final message

Script: the turns. A list of steps, `{"shell": "CMD"}` or `{"text": "MESSAGE"}`; from a JSON file by
--script. Which step comes next is read from the request itself (the number of tool results after
the last message of the user), so the server keeps no conversation, and retries, side requests
(titles, summaries) and concurrent sessions cannot disturb it.

Control
    GET  /_fake/health      {"ok": true}
    GET  /_fake/requests    every model request so far (dialect, mode, tools, ...)
    POST /_fake/reset       forget them, and the flaky counters

Run
    python -m tests.support.fake_model --port 0 [--mode ok] [--script steps.json] [--log DIR]
The first line on stdout is `listening http://HOST:PORT`. --log DIR keeps each request's body, with
the prompts. `--print-recipes` tells how the CLIs are pointed at it.

As a library: `with FakeModel() as model: run(model.url("ok"))`.
"""

import argparse
import json
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from tests.support.fake_dialects import (
    IN_TOKENS,
    Event,
    Json,
    answer,
    count_results,
    dialect_of,
    fault_body,
    tool_names,
)

DEFAULT_SCRIPT = [
    {
        "shell": "printf 'written by the fake model\\n' > fake_model_was_here.txt"
        " && git add fake_model_was_here.txt"
        " && git -c user.name=fake -c user.email=fake@example.invalid"
        " commit -q -m 'fake model: add a file' && git log --oneline -1"
    },
    {"text": "FAKE-DONE: the file was written and committed."},
]
# Titles and summaries: requests that offer no tools.
SIDE_TEXT = "Fake side answer"
HANG_S = 3600.0


def _described(command: str) -> Json:
    return {"command": command, "description": "Run the step"}


# How each CLI calls its shell tool: name -> function(command) -> arguments.
SHELL_TOOLS: dict[str, Callable[[str], Json]] = {
    "exec_command": lambda command: {"cmd": command},  # codex (unified exec)
    "shell_command": lambda command: {"command": command},  # codex
    "shell": lambda command: {"command": ["bash", "-lc", command]},  # codex (older)
    "local_shell": lambda command: {"command": ["bash", "-lc", command]},
    "Bash": _described,  # claude
    "mcp__acp__Bash": _described,  # claude by ACP
    "bash": _described,  # opencode
    "run_shell_command": _described,  # gemini
    "exec": lambda command: {"command": command},  # openclaw
}


class ScriptedFault(Exception):
    """The mode answers this request with an HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class FakeServer(ThreadingHTTPServer):
    """The listening socket, the script, and what was asked so far."""

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        *,
        mode: str = "ok",
        script: list[Json] | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(address, Handler)
        self.mode, self.log = mode, log
        self.script: list[Json] = script or list(DEFAULT_SCRIPT)
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.requests: list[Json] = []
        self.flaky: dict[str, int] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that hang up are normal here.
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def step(self, mode: str, dialect: str, body: Json) -> Json:
        """The step to play: `{"text"}` or `{"tool", "args"}`. Raises ScriptedFault."""
        played = count_results(dialect, body)
        if match := re.fullmatch(r"status-(\d+)", mode):
            raise ScriptedFault(int(match[1]))
        if match := re.fullmatch(r"flaky-(\d+)-(\d+)(-.*)?", mode):
            with self.lock:
                self.flaky[mode] = seen = self.flaky.get(mode, 0) + 1
            if seen <= int(match[1]):
                raise ScriptedFault(int(match[2]))
        offered = tool_names(dialect, body)
        shell = next((name for name in SHELL_TOOLS if name in offered), None)
        if shell is None:
            return {"text": SIDE_TEXT}
        if (match := re.fullmatch(r"late-status-(\d+)", mode)) and played > 0:
            raise ScriptedFault(int(match[1]))
        steps = self.script
        if mode == "text":
            steps = [step for step in steps if "text" in step][-1:]
        if match := re.fullmatch(r"longtool-([\d.]+)", mode):
            command = f"echo started; sleep {match[1]}; echo slept"
            steps = [{"shell": command}, {"text": "FAKE-DONE: slept."}]
        step = steps[min(played, len(steps) - 1)]
        if "shell" in step:
            return {"tool": shell, "args": SHELL_TOOLS[shell](step["shell"])}
        return {"text": step["text"]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer  # pyright: ignore[reportIncompatibleVariableOverride] - its only server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing: stdout's first line is a contract, and stderr is the test's."""

    def do_HEAD(self) -> None:
        self._send_json(200, {})

    def do_GET(self) -> None:
        _, path = self._mode_and_path()
        if path == "/_fake/health":
            self._send_json(200, {"ok": True})
        elif path == "/_fake/requests":
            with self.server.lock:
                self._send_json(200, list(self.server.requests))
        elif path.endswith("/models"):
            model = {"id": "fake-model", "object": "model", "created": 0, "owned_by": "fake"}
            self._send_json(200, {"object": "list", "data": [model], "models": []})
        else:
            self._send_json(404, {"error": {"message": f"fake_model: no {path}"}})

    def do_POST(self) -> None:
        raw = self._body()
        mode, path = self._mode_and_path()
        if path == "/_fake/reset":
            with self.server.lock:
                self.server.requests.clear()
                self.server.flaky.clear()
            self._send_json(200, {"ok": True})
            return
        body: Json = {}
        with suppress(ValueError):
            body = json.loads(raw or b"{}")
        dialect = dialect_of(path)
        if path.endswith("/count_tokens"):
            self._send_json(200, {"input_tokens": IN_TOKENS})
        elif path.endswith(":countTokens"):
            self._send_json(200, {"totalTokens": IN_TOKENS})
        elif dialect is None:
            self._send_json(404, {"error": {"message": f"fake_model: no {path}"}})
        else:
            self._answer_model(mode, path, dialect=dialect, body=body)

    def _answer_model(self, mode: str, path: str, *, dialect: str, body: Json) -> None:
        note = self._note(mode, path, dialect=dialect, body=body)
        try:
            step = self.server.step(mode, dialect, body)
        except ScriptedFault as fault:
            note["answer"] = fault.status
            headers = {"Retry-After": "1"} if fault.status == 429 else {}
            self._send_json(fault.status, fault_body(dialect, fault.status), headers)
            return
        note["answer"] = step.get("tool") or "text"
        if match := re.fullmatch(r"slow-([\d.]+)", mode):
            self.server.closing.wait(float(match[1]))
        events, whole = answer(dialect, step, body)
        if body.get("stream") or path.endswith(":streamGenerateContent"):
            self._stream(mode, events)
            return
        if mode == "hang":
            self.server.closing.wait(HANG_S)
        self._send_json(200, whole)

    def _note(self, mode: str, path: str, *, dialect: str, body: Json) -> Json:
        """Remember a model request; returns what is remembered."""
        note: Json = {
            "t": time.time(),
            "mode": mode,
            "path": path,
            "dialect": dialect,
            "model": body.get("model"),
            "stream": bool(body.get("stream")),
            "results": count_results(dialect, body),
            "tools": tool_names(dialect, body),
        }
        server = self.server
        with server.lock:
            server.requests.append(note)
            if server.log is not None:
                server.log.mkdir(parents=True, exist_ok=True)
                file = server.log / f"{len(server.requests):03d}-{dialect}.json"
                file.write_text(json.dumps({"path": self.path, "note": note, "body": body}))
        return note

    def _stream(self, mode: str, events: list[Event]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, (name, event) in enumerate(events):
            text = event if isinstance(event, str) else json.dumps(event)
            self._chunk(((f"event: {name}\n" if name else "") + f"data: {text}\n\n").encode())
            if number == 0 and mode == "hang":
                self.server.closing.wait(HANG_S)
            if number == 1 and mode == "drop":
                self.close_connection = True
                self.connection.close()
                return
        self._chunk(b"")

    def _chunk(self, text: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(text), text))
        self.wfile.flush()

    def _send_json(self, status: int, value: object, headers: dict[str, str] | None = None) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        for name, header in (headers or {}).items():
            self.send_header(name, header)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        raw = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            raw += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return raw

    def _mode_and_path(self) -> tuple[str, str]:
        path = urlsplit(self.path).path
        if match := re.match(r"/mode/([^/]+)(/.*|$)", path):
            return match[1], match[2] or "/"
        return self.server.mode, path


class FakeModel:
    """A server on a free loopback port, in a thread, for as long as the `with` lasts."""

    def __init__(self, *, script: list[Json] | None = None) -> None:
        self.server = FakeServer(("127.0.0.1", 0), script=script)
        self.port = int(self.server.server_address[1])
        self._thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def url(self, mode: str = "ok", tail: str = "") -> str:
        """The base URL of a mode; `tail` follows, such as `/v1` for codex."""
        return f"http://127.0.0.1:{self.port}/mode/{mode}{tail}"

    @property
    def requests(self) -> list[Json]:
        """Every model request so far."""
        with self.server.lock:
            return list(self.server.requests)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.closing.set()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(timeout=10)


RECIPES = """\
BASE = http://127.0.0.1:PORT[/mode/NAME]
codex     -c model_provider=fake -c model=fake-model
          -c 'model_providers.fake={name="fake",base_url="BASE/v1",wire_api="responses",
              env_key="FAKE_KEY",request_max_retries=0,stream_max_retries=1}'
          with FAKE_KEY=x in the environment
claude    ANTHROPIC_BASE_URL=BASE ANTHROPIC_API_KEY=x CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
opencode  OPENCODE_CONFIG_CONTENT='{"provider":{"fake":{"npm":"@ai-sdk/openai-compatible","options":
          {"baseURL":"BASE/v1","apiKey":"x"},"models":{"fake-model":{}}}}}'
          and  --model fake/fake-model
gemini    GOOGLE_GEMINI_BASE_URL=BASE GEMINI_API_KEY=x  and in ~/.gemini/settings.json
          {"security":{"auth":{"selectedType":"gemini-api-key"}}}
"""


def main(argv: list[str] | None = None) -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="scripted fake model server for agent CLIs")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8399)
    parser.add_argument("--mode", default="ok")
    parser.add_argument("--script", type=Path, help="JSON file: list of {'shell'} / {'text'}")
    parser.add_argument("--log", type=Path, help="folder for request bodies")
    parser.add_argument("--print-recipes", action="store_true")
    options = parser.parse_args(argv)
    if options.print_recipes:
        sys.stdout.write(RECIPES)
        return
    script = json.loads(options.script.read_text()) if options.script else None
    with FakeServer(
        (options.host, options.port), mode=options.mode, script=script, log=options.log
    ) as server:
        host, port = server.server_address[:2]
        sys.stdout.write(f"listening http://{host}:{port}\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
