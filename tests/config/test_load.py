"""What a good file gives, and what holds between its sections."""

import re
from pathlib import Path

import pytest

from agent_fleet.config import load, refuse_exposed, template
from agent_fleet.core.errors import InvalidInput
from agent_fleet.core.model import Identity, Lease
from tests.config.files import errors, read, write, write_secret

TOKEN = "s3cret-t0ken"
REPO = '[repos."local/demo"]\nurl = "/srv/demo.git"\n'


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, "")

    assert str(config.server.listen) == "127.0.0.1:8620"
    assert config.database_url == f"sqlite:///{tmp_path}/state/fleet.db"
    assert config.lease.lease == Lease(ttl_s=90.0, heartbeat_s=30.0)
    assert config.lease.hold_off_s == 90.0
    assert config.git.identity == Identity("agent-fleet", "agent-fleet@localhost")
    assert set(config.forges) == {"local"}
    assert {"codex", "claude", "raw"} <= set(config.adapters)
    assert (config.repos, config.local) == ({}, None)


def test_the_template_is_the_defaults_and_this_machine(tmp_path: Path) -> None:
    config = read(tmp_path, template())

    plain = read(tmp_path, "[hosts.local]\n")
    assert config == plain


def test_the_examples_in_the_template_load_too(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    for name in ("cert.pem", "key.pem"):
        (tmp_path / "tls" / name).touch()
    text = re.sub(r"^# (?=\[|[a-z_]+ = )", "", template(), flags=re.MULTILINE)

    config = read(tmp_path, text, {"WORK_GIT_TOKEN": TOKEN, "HOME": "/home/me"})

    assert set(config.forges) == {"local", "work"}
    assert config.repos["local/demo"].adapter == "claude"
    assert config.adapters["mine"].prompt == "stdin"
    assert config.local is not None
    assert config.local.path == (Path("/home/me/.local/bin"),)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    token = write_secret(tmp_path / "token", f"{TOKEN}\n")
    text = f"""
        [server]
        listen = "[::1]:0"
        database = {{ env = "DB" }}
        state_dir = "~/fleet"
        trusted_proxy = ["10.0.0.0/8", "::1"]
        [lease]
        ttl = "2s"
        [defaults]
        adapter = "mine"
        run_limit = "1h30m"
        retry = "always"
        [git]
        poll = "500ms"
        [forges.home]
        kind = "git"
        credentials = {{ username = "me", token = {{ file = "{token.name}" }} }}
        [repos."home/acme/api"]
        url = "https://git.example.org/acme/api.git"
        base = "release/1.x"
        validation = ["make test"]
        commit = "never"
        adapter = "claude"
        [repos."local/demo"]
        url = "../demo.git"
        [hosts.local]
        slots = 4
        capabilities = ["gpu"]
        path = ["/opt/bin", "bin"]
        [adapters.mine]
        command = ["my-agent", "--cwd", "{{workspace}}"]
        prompt = "stdin"
        parser = "raw"
    """

    config = read(tmp_path, text, {"DB": "postgresql://u:p@h/x", "HOME": "/home/me"})

    assert (config.server.listen.host, config.server.listen.port) == ("::1", 0)
    assert config.database_url == "postgresql://u:p@h/x"
    assert config.server.state_dir == Path("/home/me/fleet")
    assert config.defaults.run_limit == 5400.0
    assert config.git.poll == 0.5
    credentials = config.forges["home"].credentials
    assert credentials is not None
    assert (credentials.username, credentials.token) == ("me", TOKEN)
    assert config.repos["home/acme/api"].validation == ("make test",)
    assert config.repos["local/demo"].url == f"{tmp_path}/../demo.git"
    assert config.local is not None
    assert config.local.path == (Path("/opt/bin"), tmp_path / "bin")
    assert config.local.root == Path("/home/me/fleet/host")
    assert config.adapters["mine"].command[0] == "my-agent"
    shown = repr(config)
    assert TOKEN not in shown
    assert "u:p" not in shown


def test_all_errors_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    found = errors(
        tmp_path, '[server]\nlisten = 1\n[hosts.local]\nslotz = 1\n[lease]\nttl = "1s"\n'
    )

    assert len(found) == 3
    assert found[0].startswith("server.listen: ")
    assert any(error == "hosts.local.slotz: unknown key; did you mean slots?" for error in found)
    assert any(error == "lease.ttl: '1s' is out of range; write 2s to 1h" for error in found)


def test_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"fleet\.toml: is not TOML: .*line 2"):
        read(tmp_path, "[server]\nlisten = = 1\n")


def test_a_file_that_is_not_there_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none\.toml: cannot be read: .*; make one with fleet"):
        load(tmp_path / "none.toml", environ={})


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff", "byte 0 is not UTF-8"), (b"#" * 2_000_000, "larger than 1 MiB")],
)
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "fleet.toml").write_bytes(content)

    with pytest.raises(InvalidInput, match=said):
        load(tmp_path / "fleet.toml", environ={})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sever]\n", "sever: unknown key; did you mean server?"),
        ("server = 1\n", "server: not a table; write it as a section [server]"),
        ("hosts = 1\n", "hosts: not a table; write it as a section [hosts]"),
        ("[hosts]\nlocal = 1\n", "hosts.local: not a table"),
        ("[hosts.ws]\n", "hosts.ws: only hosts.local is this machine"),
        ('[hosts.ws]\nssh = "ws"\n', "hosts.ws.ssh: hosts reached by ssh are not yet supported"),
        ("[forges]\nlocal = 1\n", "forges.local: not a table"),
        ("[forges.home]\n", "forges.home.kind: missing; add kind: git"),
        ('[forges.home]\nkind = "forgejo"\nurl = "x"\n', "forges.home.kind: forgejo is not yet"),
        ('[forges.home]\nkind = "cvs"\n', "forges.home.kind: Invalid enum value 'cvs'; git"),
        ('[forges.Home]\nkind = "git"\n', "forges.Home: not a forge's name"),
        ('[repos."local/x"]\n', 'repos."local/x".url: missing; add url: an https, ssh'),
        ('[repos.x]\nurl = "/x"\n', "repos.x: not a repository's name; name it"),
        ('[repos."home/x"]\nurl = "/x"\n', 'repos."home/x": there is no forge home; declare'),
        (REPO + 'adapter = "nope"\n', 'repos."local/demo".adapter: there is no adapter nope'),
        ('[defaults]\nadapter = "nope"\n', "defaults.adapter: there is no adapter nope; use one"),
        ("[adapters]\nmine = 1\n", "adapters.mine: not a table"),
        ("[adapters.codex]\nmodell = 1\n", "adapters.codex.modell: unknown field"),
        ('[server]\ntls_cert = "fleet.toml"\n', "server.tls_key: missing; set tls_cert and"),
        ('[server]\ntls_cert = "c"\ntls_key = "fleet.toml"\n', "server.tls_cert: /"),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path: Path, text: str, said: str) -> None:
    found = errors(tmp_path, text)

    assert len(found) == 1, found
    assert found[0].startswith(said)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (f'"{TOKEN}"', "a secret does not belong in this file; write { env"),
        ("1", "not a reference to a secret"),
        ('{ env = "A", file = "b" }', "not a reference to a secret"),
        ('{ env = "NOT_THERE" }', "NOT_THERE is not set; set NOT_THERE"),
        ("{ env = 1 }", "not a variable's name"),
        ('{ file = "none" }', "/none cannot be read: No such file"),
        ('{ file = "." }', ""),
        ('{ file = "open" }', "/open is open to other users; run chmod 600 "),
        ('{ file = "empty" }', "/empty is empty"),
    ],
)
def test_a_secret_is_a_reference_that_can_be_read(tmp_path: Path, value: str, said: str) -> None:
    write_secret(tmp_path / "open", TOKEN, mode=0o640)
    write_secret(tmp_path / "empty", "\n")
    text = f'[forges.x]\nkind = "git"\ncredentials = {{ username = "me", token = {value} }}\n'

    (found,) = errors(tmp_path, text)

    assert found.startswith("forges.x.credentials.token: ")
    assert said in found
    assert TOKEN not in found


def test_a_password_in_an_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    found = errors(
        tmp_path,
        f'[server]\ndatabase = "postgresql://me:{TOKEN}@h/x"\n'
        f'[repos."local/x"]\nurl = "https://me:{TOKEN}@h/x"\n',
    )

    assert [error.split(":")[0] for error in found] == ["server.database", 'repos."local/x".url']
    assert TOKEN not in str(found)


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        ('listen = "127.0.0.1:1"', False),
        ('listen = "127.9.9.9:1"', False),
        ('listen = "[::1]:1"', False),
        ('listen = "localhost:1"', False),
        ('listen = "0.0.0.0:1"', True),
        ('listen = "[::]:1"', True),
        ('listen = "fleet.example.org:1"', True),
        ('listen = "0.0.0.0:1"\ntrusted_proxy = false', True),
        ('listen = "0.0.0.0:1"\ntrusted_proxy = []', True),
        ('listen = "0.0.0.0:1"\ntrusted_proxy = true', False),
        ('listen = "0.0.0.0:1"\ntrusted_proxy = ["10.0.0.1"]', False),
        ('listen = "0.0.0.0:1"\ntls_cert = "fleet.toml"\ntls_key = "fleet.toml"', False),
    ],
)
def test_an_address_that_others_reach_needs_tls_or_a_proxy(
    tmp_path: Path, server: str, *, refused: bool
) -> None:
    config = load(write(tmp_path, f"[server]\n{server}\n"), environ={})

    try:
        refuse_exposed(config)
        was_refused = False
    except InvalidInput as error:
        was_refused = error.path == "server.listen"

    assert was_refused == refused
