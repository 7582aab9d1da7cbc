"""The configuration's tables over the built-in adapters, and what is wrong with them."""

import pytest

from agent_fleet.adapters import Graces, builtin, merge
from agent_fleet.core.errors import InvalidInput

OWN: dict[str, object] = {"command": ["my-agent"], "prompt": "stdin", "parser": "raw"}


def test_the_built_in_adapters_are_there_without_configuration():
    assert merge({}) == builtin()
    assert set(builtin()) == {"codex", "claude", "raw"}


def test_a_built_in_adapter_keeps_what_is_not_said():
    changed = merge({"codex": {"model": "gpt-x"}})["codex"]

    assert changed.model == "gpt-x"
    assert changed.command == builtin()["codex"].command


def test_tables_are_laid_over_key_by_key_and_lists_replaced():
    table = {"set_env": {"MINE": "1"}, "graces": {"kill_s": 1}, "env": ["FAKE_KEY"]}

    claude = merge({"claude": table})["claude"]

    assert claude.set_env["MINE"] == "1"
    assert claude.set_env["CLAUDE_CODE_MAX_RETRIES"] == "3"
    assert claude.graces == Graces(interrupt_s=10, terminate_s=5, kill_s=1)
    assert claude.env == ("FAKE_KEY",)


def test_what_is_merged_does_not_change_the_built_in():
    before = builtin()

    merge({"claude": {"set_env": {"MINE": "1"}}})["claude"].set_env["CLAUDE"] = "2"

    assert builtin() == before


def test_an_adapter_of_ones_own_needs_no_python():
    mine = merge({"mine": OWN})["mine"]

    assert mine.name == "mine"
    assert mine.command == ("my-agent",)


def test_a_second_account_extends_a_built_in_adapter_under_its_own_name():
    home = {"CODEX_HOME": "/home/me/.codex-work"}

    adapters = merge({"codex_work": {"extends": "codex", "set_env": home}})

    assert adapters["codex_work"].command == builtin()["codex"].command
    assert adapters["codex_work"].set_env == home
    assert adapters["codex"] == builtin()["codex"]


@pytest.mark.parametrize("extended", ["codx", "", 5, ["codex"], {"name": "codex"}])
def test_only_a_built_in_adapter_can_be_extended(extended: object):
    with pytest.raises(InvalidInput) as error:
        merge({"mine": {"extends": extended}})

    assert error.value.path == "adapters.mine.extends"
    assert "one of codex, claude, raw" in str(error.value)


@pytest.mark.parametrize(
    ("table", "path", "says"),
    [
        ({"comand": []}, "adapters.codex.comand", "known are command"),
        ({"command": "codex"}, "adapters.codex.command", "array"),
        ({"command": ["codex", 1]}, "adapters.codex.command[1]", "str"),
        ({"command": []}, "adapters.codex.command", "length >= 1"),
        ({"prompt": "file"}, "adapters.codex.prompt", "file"),
        ({"parser": "json"}, "adapters.codex.parser", "one of codex-json, claude-json, raw"),
        ({"permissions": "all"}, "adapters.codex.permissions", "all"),
        ({"env": ["A-B"]}, "adapters.codex.env[0]", "matching regex"),
        ({"graces": {"kill_s": -1}}, "adapters.codex.graces.kill_s", ">= 0"),
        ({"graces": {"kil_s": 1}}, "adapters.codex.graces.kil_s", "known are interrupt_s"),
        ({"graces": 5}, "adapters.codex.graces", "object"),
        ({"set_env": {"A": 1}}, "adapters.codex.set_env", "str"),
        ({"name": "x"}, "adapters.codex.name", "already"),
        ({"extends": "claude"}, "adapters.codex.extends", "built in"),
        ({"command": ["a", "{nope}"]}, "adapters.codex.command[1]", "{workspace}"),
        ({"command": ["a", "{session}"]}, "adapters.codex.command[1]", "unknown placeholder"),
        ({"command": ["a", "-{options}"]}, "adapters.codex.command[1]", "of its own"),
        ({"command": ["{options}", "{options}"]}, "adapters.codex.command", "twice"),
        ({"command": ["a", "{prompt}"]}, "adapters.codex.command", "argument"),
        ({"prompt": "argument"}, "adapters.codex.command", "{prompt}"),
        ({"resume": ["a"]}, "adapters.codex.resume", "{session}"),
        ({"model_args": ["{prompt}"]}, "adapters.codex.model_args[0]", "{model}"),
    ],
)
def test_what_is_wrong_is_told_by_its_path_and_a_remedy(
    table: dict[str, object], path: str, says: str
):
    with pytest.raises(InvalidInput) as error:
        merge({"codex": table})

    assert error.value.path == path
    assert says in str(error.value)
    assert error.value.remedy


@pytest.mark.parametrize("field", ["command", "prompt", "parser"])
def test_an_adapter_of_ones_own_must_be_whole(field: str):
    table = {name: value for name, value in OWN.items() if name != field}

    with pytest.raises(InvalidInput) as error:
        merge({"mine": table})

    assert error.value.path == f"adapters.mine.{field}"


@pytest.mark.parametrize("name", ["", "My Agent", "-x", "a.b"])
def test_a_name_that_is_no_name_is_refused(name: str):
    with pytest.raises(InvalidInput) as error:
        merge({name: OWN})

    assert error.value.path.startswith("adapters.")
