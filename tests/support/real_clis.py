"""The configuration of a fleet whose agent CLIs are the real ones, on a scripted model.

There is one adapter for each CLI and case, named `<cli>_<case>`, since what the model does follows
from the address that the CLI is given.
"""

import json
import shutil
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from agent_fleet.adapters import builtin
from tests.support.deployment import SYSTEM_PATH, Deployment, deployed
from tests.support.fake_model import FakeModel
from tests.support.parts import ROOT, clis

CLIS = ("codex", "claude")
MODES = ("ok", "text", "longtool-61", "status-401", "status-429", "status-500")
WORK = "printf 'one more line\\n' >>lines.txt && git add lines.txt && git commit -q -m 'one more'"
SLOTS = 2
KEY = "fake-key-0123456789"


@dataclass(frozen=True)
class RealClis:
    """The fleet, and where the commands `<cli>-movable` lie: of the local host, of the agent."""

    fleet: Deployment
    movable: dict[str, Path]


@contextmanager
def real_clis() -> Generator[RealClis]:
    """A fleet with the adapters of this module. Skips the test where the CLIs lack."""
    found = clis()
    # Not below /tmp, where Codex's sandbox may write anyhow: a commit there would prove nothing.
    directory = ROOT / "build" / "e2e" / uuid4().hex[:8]
    directory.mkdir(parents=True)
    gates = Path(tempfile.mkdtemp(prefix="fleet-gates-", dir="/tmp"))
    movable = {name: directory / f"{name}-bin" for name in ("ssh_cli", "http_pull")}
    for bin_directory in movable.values():
        bin_directory.mkdir()
        for cli in CLIS:
            (bin_directory / f"{cli}-movable").symlink_to(getattr(found, cli))
    work = [{"shell": WORK}, {"text": "FAKE-DONE: one more line."}]
    # The first time in a workspace it takes a minute, after that none.
    gated = f'mkdir {gates}/"$(basename "$PWD")" 2>/dev/null && sleep 62; {WORK}'
    paths = {name: [*map(str, found.path_dirs), str(path)] for name, path in movable.items()}
    try:
        with (
            FakeModel(script=work) as model,
            FakeModel(script=[{"shell": gated}, *work[1:]]) as gated_model,
            deployed(
                directory,
                _config(model, gated_model, path=paths["ssh_cli"]),
                environ={"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY},
                agent_path=":".join([*paths["http_pull"], SYSTEM_PATH]),
                slots=SLOTS,
            ) as fleet,
        ):
            yield RealClis(fleet=fleet, movable=movable)
    finally:
        shutil.rmtree(gates)
        shutil.rmtree(directory)


def _config(model: FakeModel, gated: FakeModel, *, path: list[str]) -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sections = [
        f'[server]\nlisten = "127.0.0.1:{port}"\n',
        '[lease]\nttl = "6s"\n',
        '[defaults]\nbackoff = "1s"\n',
        '[git]\npoll = "1s"\n',
        f"[hosts.local]\nslots = {SLOTS}\npath = {json.dumps(path)}\n",
    ]
    for cli in CLIS:
        sections += [_adapter(cli, mode, model.url(mode)) for mode in MODES]
        first, *rest = builtin()[cli].command
        assert first == cli
        absent = [f"{cli}-absent", *rest]
        moved = [f"{cli}-movable", *rest]
        url = model.url()
        sections += [
            _adapter(cli, "gated", gated.url()),
            _adapter(cli, "absent", url, command=absent, version=[absent[0], "--version"]),
            _adapter(cli, "unprobed", url, command=absent, version=[]),
            _adapter(cli, "movable", url, command=moved, version=[moved[0], "--version"]),
            _adapter(cli, "confined", url, narrow_args=_CONFINED[cli]),
        ]
    return "\n".join(sections)


_CONFINED = {
    "codex": ["-s", "read-only"],
    "claude": ["--permission-mode", "dontAsk", "--allowedTools", "Read"],
}


def _adapter(cli: str, case: str, url: str, **fields: list[str]) -> str:
    """One more account of a built-in adapter, with what a user writes for a model of their own."""
    lines = [f"[adapters.{cli}_{case}]", f'extends = "{cli}"']
    lines += [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    if cli == "codex":
        provider = (
            f'model_providers.fake={{name="fake",base_url="{url}/v1",wire_api="responses",'
            'env_key="OPENAI_API_KEY",request_max_retries=0,stream_max_retries=1}'
        )
        options = ["model_provider=fake", "model=fake-model", provider]
        lines.append(f"args = {json.dumps([part for one in options for part in ('-c', one)])}")
    else:
        lines += [
            "[adapters.claude_" + case + ".set_env]",
            f'ANTHROPIC_BASE_URL = "{url}"',
            'CLAUDE_CODE_MAX_RETRIES = "1"',
        ]
    return "\n".join(lines) + "\n"
