"""A rendered command is a list of arguments in which no value can be read as an option."""

import pytest

from agent_fleet.adapters import Adapter, Command, builtin, merge, render
from agent_fleet.core.errors import InvalidInput

HOSTILE = '--yolo; $(rm -rf /) {session} {model} "quoted" \n--model evil'


def rendered(
    adapter: Adapter,
    *,
    prompt: str = "do it",
    model: str | None = None,
    session: str | None = None,
) -> Command:
    return render(
        adapter,
        workspace="/w",
        git_dir="/w/.git",
        prompt=prompt,
        model=model,
        session=session,
    )


def one(**table: object) -> Adapter:
    base = {"command": ["agent"], "prompt": "stdin", "parser": "raw"}
    return merge({"mine": {**base, **table}})["mine"]


def test_codex_may_write_where_it_works_and_where_it_commits():
    command = rendered(builtin()["codex"], model="gpt-x")

    assert command.argv == (
        *("codex", "exec", "--json", "-C", "/w"),
        *("-s", "workspace-write", "--add-dir", "/w/.git"),
        *("-m", "gpt-x", "-"),
    )
    assert command.stdin == b"do it"


def test_codex_resumes_with_the_same_permissions():
    command = rendered(builtin()["codex"], session="01a2")

    assert command.argv == (
        *("codex", "exec", "--json", "-C", "/w"),
        *("-s", "workspace-write", "--add-dir", "/w/.git"),
        *("resume", "01a2", "-"),
    )


def test_claude_is_given_its_tools_by_name_and_its_retries_are_few():
    command = rendered(builtin()["claude"], session="01a2")

    assert command.argv[:5] == ("claude", "-p", "--output-format", "stream-json", "--verbose")
    assert command.argv[5:8] == ("--permission-mode", "dontAsk", "--allowedTools")
    assert command.argv[-2:] == ("--resume", "01a2")
    assert command.set_env["CLAUDE_CODE_MAX_RETRIES"] == "3"
    assert "ANTHROPIC_API_KEY" in command.pass_env


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("codex", "--dangerously-bypass-approvals-and-sandbox"),
        ("claude", "--dangerously-skip-permissions"),
    ],
)
def test_bypass_is_only_by_name(name: str, flag: str):
    narrow = rendered(builtin()[name])
    bypass = rendered(merge({name: {"permissions": "bypass"}})[name])

    assert flag not in narrow.argv
    assert flag in bypass.argv
    assert "workspace-write" not in bypass.argv
    assert "dontAsk" not in bypass.argv


@pytest.mark.parametrize("name", ["codex", "claude", "raw"])
def test_a_prompt_on_stdin_is_nowhere_in_the_arguments(name: str):
    command = rendered(builtin()[name], prompt=HOSTILE)

    assert command.stdin == HOSTILE.encode()
    assert not any("yolo" in part for part in command.argv)


def test_a_prompt_that_looks_like_an_option_is_no_option():
    adapter = one(command=["agent", "{options}", "--", "{prompt}"], prompt="argument")

    command = rendered(adapter, prompt=HOSTILE)

    assert command.argv == ("agent", "--", "\n" + HOSTILE)
    assert command.stdin is None


def test_a_prompt_too_long_for_an_argument_is_refused_with_the_remedy():
    adapter = one(command=["agent", "{prompt}"], prompt="argument")

    with pytest.raises(InvalidInput, match='prompt = "stdin"') as error:
        rendered(adapter, prompt="x" * 200_000)

    assert error.value.path == "adapters.mine.prompt"


def test_options_come_last_where_the_template_has_no_place_for_them():
    adapter = one(
        command=["agent", "run"],
        narrow_args=["--narrow"],
        model_args=["--model={model}"],
        args=["--flag", "{literally}"],
    )

    command = rendered(adapter, model="m")

    assert command.argv == ("agent", "run", "--narrow", "--model=m", "--flag", "{literally}")


def test_the_tasks_model_comes_before_the_adapters():
    adapter = one(model="usual", model_args=["-m", "{model}"])

    assert rendered(adapter).argv == ("agent", "-m", "usual")
    assert rendered(adapter, model="special").argv == ("agent", "-m", "special")


def test_a_session_that_cannot_be_resumed_is_left_out():
    assert rendered(one(), session="s1").argv == ("agent",)


@pytest.mark.parametrize("value", ["-x", "--model", "", " a", "a b", "a\n", "é", "x" * 201])
def test_a_model_or_session_that_is_no_name_is_refused(value: str):
    adapter = builtin()["codex"]

    with pytest.raises(InvalidInput) as session:
        rendered(adapter, session=value)
    if value:
        with pytest.raises(InvalidInput) as model:
            rendered(adapter, model=value)
        assert model.value.path == "adapters.codex.model"

    assert session.value.path == "session"


@pytest.mark.parametrize("name", ["opus[1m]", "fake/fake-model", "gpt-5.2-codex", "a:b@c"])
def test_the_usual_names_of_models_pass(name: str):
    assert name in rendered(builtin()["claude"], model=name).argv
