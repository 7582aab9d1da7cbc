"""Every setting, wrong in every way: the error has its path and the remedy."""

import tempfile
from pathlib import Path
from types import UnionType
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_fleet.config import (
    Defaults,
    ForgeSettings,
    GitSettings,
    LeaseSettings,
    LocalHost,
    RepoSettings,
    ServerSettings,
)
from agent_fleet.config.settings import CredentialSettings
from agent_fleet.config.tables import show_duration
from tests.config.files import errors

SECTIONS: dict[str, type[msgspec.Struct]] = {
    "server": ServerSettings,
    "lease": LeaseSettings,
    "defaults": Defaults,
    "git": GitSettings,
    "forges.x": ForgeSettings,
    "forges.x.credentials": CredentialSettings,
    'repos."local/x"': RepoSettings,
    "hosts.local": LocalHost,
}
REQUIRED = {
    "forges.x": 'kind = "git"\n',
    "forges.x.credentials": 'username = "me"\ntoken = { env = "T" }\n',
    'repos."local/x"': 'url = "/x"\n',
}
FIELDS = [
    (section, field.name)
    for section, kind in SECTIONS.items()
    for field in msgspec.structs.fields(kind)
]
WRONG_RANGE = [
    ("server", "listen", '"127.0.0.1:70000"'),
    ("server", "listen", '"127.0.0.1"'),
    ("server", "database", '"mysql://x"'),
    ("server", "database", '"sqlite:///"'),
    ("server", "state_dir", '""'),
    ("server", "name", '"Not A Name"'),
    ("server", "tls_cert", '""'),
    ("server", "tls_key", '""'),
    ("server", "trusted_proxy", '["not an address"]'),
    ("lease", "ttl", '"1s"'),
    ("lease", "ttl", '"1h1s"'),
    ("lease", "ttl", '""'),
    ("lease", "ttl", '"90"'),
    ("lease", "ttl", '"-90s"'),
    ("defaults", "adapter", '"No Name"'),
    ("defaults", "review_limit", "-1"),
    ("defaults", "review_limit", "21"),
    ("defaults", "max_tries", "0"),
    ("defaults", "max_attempts", "0"),
    ("defaults", "run_limit", '"0s"'),
    ("defaults", "run_limit", '"8d"'),
    ("defaults", "silence_limit", '"2d"'),
    ("defaults", "retry", '"sometimes"'),
    ("git", "name", '""'),
    ("git", "email", '"a b"'),
    ("git", "poll", '"1ms"'),
    ("forges.x.credentials", "username", '""'),
    ('repos."local/x"', "url", '"ext::sh -c true"'),
    ('repos."local/x"', "url", '"ftp://host/x"'),
    ('repos."local/x"', "url", '"--upload-pack=x"'),
    ('repos."local/x"', "base", '"a..b"'),
    ('repos."local/x"', "base", '"-x"'),
    ('repos."local/x"', "base", '"x.lock"'),
    ('repos."local/x"', "validation", '[""]'),
    ('repos."local/x"', "commit", '"always"'),
    ('repos."local/x"', "adapter", '"No Name"'),
    ("hosts.local", "slots", "-1"),
    ("hosts.local", "slots", "1001"),
    ("hosts.local", "capabilities", '["a b"]'),
    ("hosts.local", "path", '[""]'),
    ("hosts.local", "root", '""'),
]
WHOLE_NUMBERS = st.integers(min_value=-(2**63), max_value=2**63 - 1)


def file_with(section: str, key: str, value: str) -> str:
    lines = [line for line in REQUIRED.get(section, "").splitlines() if not line.startswith(key)]
    outer = '[forges.x]\nkind = "git"\n' if section == "forges.x.credentials" else ""
    return outer + "\n".join([f"[{section}]", *lines, f"{key} = {value}"])


def check_names(found: list[str], path: str) -> None:
    assert len(found) == 1, found
    assert found[0].startswith((f"{path}: ", f"{path}["))
    assert "; " in found[0].removeprefix(path)


@pytest.mark.parametrize(("section", "key"), FIELDS)
def test_a_setting_of_the_wrong_type_is_named(tmp_path: Path, section: str, key: str) -> None:
    found = errors(tmp_path, file_with(section, key, "1979-05-27"), {"T": "t"})

    check_names(found, f"{section}.{key}")


@pytest.mark.parametrize(("section", "key", "value"), WRONG_RANGE)
def test_a_setting_out_of_its_range_is_named(
    tmp_path: Path, section: str, key: str, value: str
) -> None:
    found = errors(tmp_path, file_with(section, key, value), {"T": "t"})

    check_names(found, f"{section}.{key}")


@pytest.mark.parametrize("section", SECTIONS)
def test_a_key_that_is_unknown_is_named(tmp_path: Path, section: str) -> None:
    found = errors(tmp_path, file_with(section, "zzz", "1"), {"T": "t"})

    assert len(found) == 1
    assert found[0].startswith(f"{section}.zzz: unknown key; known are ")


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (section, field.name)
        for section, kind in SECTIONS.items()
        for field in msgspec.structs.fields(kind)
        if field.required
    ],
)
def test_a_setting_that_is_missing_is_named(tmp_path: Path, section: str, key: str) -> None:
    text = file_with(section, key, "1").rpartition("\n")[0]

    found = errors(tmp_path, text, {"T": "t"})

    check_names(found, f"{section}.{key}")
    assert f"missing; add {key}: " in found[0]


@pytest.mark.parametrize(("section", "kind"), SECTIONS.items())
def test_every_setting_says_what_it_is(section: str, kind: type[msgspec.Struct]) -> None:
    for field in msgspec.structs.fields(kind):
        metas = getattr(field.type, "__metadata__", ())
        assert any(getattr(meta, "description", None) for meta in metas), f"{section}.{field.name}"
        assert not isinstance(field.type, UnionType)
        assert get_args(field.type)


@given(st.data())
def test_no_value_whatever_breaks_the_reading(data: st.DataObject) -> None:
    section, key = data.draw(st.sampled_from(FIELDS))
    scalars = st.one_of(
        st.booleans(),
        WHOLE_NUMBERS,
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
        st.sampled_from(["1h30m", "127.0.0.1:1", "sqlite", "~", "~/x", "file", "env", "a/b"]),
    )
    value = data.draw(
        st.one_of(
            scalars,
            st.lists(scalars, max_size=3),
            st.dictionaries(st.sampled_from(["env", "file", "token"]), scalars, max_size=2),
        )
    )

    with tempfile.TemporaryDirectory() as folder:
        found = errors(Path(folder), file_with(section, key, as_toml(value)), {"T": "t"})

    assert all(error.startswith(section.split(".")[0]) and "; " in error for error in found)


@given(st.integers(min_value=0, max_value=10**9))
def test_a_duration_is_read_as_it_is_shown(milliseconds: int) -> None:
    shown = show_duration(milliseconds / 1000)

    text = f'[defaults]\nrun_limit = "{shown}"\n'
    with tempfile.TemporaryDirectory() as folder:
        found = errors(Path(folder), text)

    in_range = 1 <= milliseconds / 1000 <= 7 * 86_400
    assert (found == []) == in_range


def as_toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        inner = ", ".join(f"{name} = {as_toml(entry)}" for name, entry in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(as_toml(entry) for entry in value)}]"
    return msgspec.json.encode(value).decode()
