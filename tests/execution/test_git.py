"""Addresses, branch names and messages, as Git may see them."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_fleet.core.errors import InvalidInput
from agent_fleet.execution.git import (
    MESSAGE_LIMIT,
    Credentials,
    cache_name,
    check_branch,
    check_url,
    remote_settings,
    show_message,
)


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.net/acme/api.git",
        "http://localhost:3000/acme/api",
        "https://bot@git.example.net/acme/api",
        "http://[::1]:3000/acme/api",
        "ssh://git@git.example.net:2222/acme/api.git",
        "git@git.example.net:acme/api.git",
        "file:///srv/git/api.git",
        "/srv/git/my api.git",
    ],
)
def test_the_address_of_a_repository_is_accepted(url: str) -> None:
    assert check_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ext::sh -c 'touch /tmp/x'",
        "fd::7",
        "git@host::path",
        "--upload-pack=touch",
        "-oProxyCommand=x:y",
        "ssh://-oProxyCommand=touch/x",
        "git://git.example.net/api",
        "ftp://git.example.net/api",
        "../api.git",
        "api",
        "https://git.example.net",
        "https://git.example.net/a b",
        "https://git.example.net/a\nb",
        "/srv/git\n/api",
        "https://bot:secret@git.example.net/acme/api",
    ],
)
def test_what_is_no_plain_address_is_refused_with_its_path(url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_url(url, path="repos.api.url")

    assert refused.value.path == "repos.api.url"
    assert refused.value.remedy


def test_a_password_in_an_address_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_url("https://bot:hunter2@git.example.net/acme/api")

    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize(
    "name",
    ["", "HEAD", "-x", "a..b", "a//b", "/a", "a/", "a.lock", "x/.y", "a.", "ä", "a b", "a@{1}"]
    + ["a~1", "a:b", "a\\b", "a*", "b" * 201],
)
def test_what_is_no_plain_branch_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_branch(name)


@settings(max_examples=30)
@given(st.from_regex(r"[A-Za-z0-9_+.\-/]{1,24}", fullmatch=True))
def test_git_admits_every_branch_name_that_is_admitted(name: str) -> None:
    try:
        check_branch(name)
    except InvalidInput:
        return

    git = subprocess.run(
        ["git", "check-ref-format", "--branch", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd="/",
        check=False,
        timeout=10,
    )

    assert git.returncode == 0


def test_credentials_are_for_http_remotes_and_for_their_server_only() -> None:
    given = Credentials(username="bot", token="secret")

    https = remote_settings("https://bot@git.example.net:8443/acme/api", given)
    ssh = remote_settings("git@git.example.net:acme/api", given)

    assert https["credential_scope"] == "https://git.example.net:8443"
    assert https["git_token"] == "secret"
    assert ssh["git_token"] == ""
    assert ssh["ssh"] == "yes"


def test_credentials_do_not_show_their_token() -> None:
    assert "secret" not in repr(Credentials(username="bot", token="secret"))


def test_a_message_has_neither_token_nor_password_nor_many_lines() -> None:
    said = "fatal: https://bot:hunter2@x/y\n  said tok-1" + "x" * 1000

    shown = show_message(said, Credentials(username="bot", token="tok-1"))

    assert "hunter2" not in shown
    assert "tok-1" not in shown
    assert "\n" not in shown
    assert len(shown) <= MESSAGE_LIMIT


def test_each_address_has_its_own_cache() -> None:
    assert cache_name("/a") != cache_name("/b")
