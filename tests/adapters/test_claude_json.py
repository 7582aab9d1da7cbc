import json
from collections.abc import Mapping

import pytest

from agent_fleet.adapters import parse
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Usage
from tests.support.captures import LIMITED_AT, capture


def read(*events: Mapping[str, object], exit_code: int | None = 0, stderr: bytes = b""):
    return parse(
        "claude-json",
        stdout="\n".join(json.dumps(event) for event in events).encode(),
        stderr=stderr,
        exit_code=exit_code,
        now=LIMITED_AT,
    )


@pytest.mark.parametrize("case", ["success_json", "success_stream"])
def test_a_good_run_gives_its_result_its_session_and_all_it_used(case: str):
    report = capture("claude", case).report()

    assert report.summary == "FAKE-DONE: the file was written and committed."
    assert report.session is not None
    assert report.usage == Usage(
        input_tokens=2400, output_tokens=68, cost_micro_usd=9440, model="claude-opus-5-5"
    )
    assert report.failure is None
    assert report.denials == ()


def test_the_cost_of_a_resumed_session_is_this_runs_alone():
    report = capture("claude", "resumed").report()

    assert report.usage.cost_micro_usd == 9440
    assert report.usage.input_tokens == 2400


def test_success_in_subtype_does_not_hide_an_error():
    report = read({"type": "result", "subtype": "success", "is_error": True, "result": "Oh."})

    assert report.failure is not None
    assert report.failure.message == "Oh."


@pytest.mark.parametrize(
    ("case", "command"), [("denied", "printf 'written by"), ("denied_stream", "date +")]
)
def test_refused_calls_are_told_by_tool_and_command(case: str, command: str):
    report = capture("claude", case).report()

    assert len(report.denials) == 1
    assert report.denials[0].startswith(f"Bash: {command}")
    assert report.failure is None


def test_refused_calls_of_a_run_without_a_result_are_known():
    refused = {"type": "system", "subtype": "permission_denied", "tool_name": "WebFetch"}

    report = read(refused, exit_code=143)

    assert report.denials == ("WebFetch",)


def test_a_run_that_was_interrupted_was_killed_though_it_exits_with_0():
    interrupted = capture("claude", "sigint_tool")

    report = interrupted.report()

    assert interrupted.exit_code == 0
    assert report.failure is not None
    assert report.failure.reason is Reason.KILLED
    assert report.usage.cost_micro_usd == 4720


def test_its_own_limit_of_turns_is_the_agents_failure():
    report = read({"type": "result", "subtype": "error_max_turns", "is_error": True}, exit_code=1)

    assert report.failure is not None
    assert report.failure.reason is Reason.AGENT_ERROR
    assert report.failure.message == "error_max_turns"


def test_a_refusal_to_start_is_told_from_stderr():
    report = capture("claude", "bypass_root").report()

    assert report.failure is not None
    assert report.failure.reason is Reason.AGENT_ERROR
    assert "root/sudo" in report.failure.message


def test_a_session_that_claude_does_not_know_leaves_none_to_resume():
    report = capture("claude", "resume_unknown").report()

    assert report.session is None
    assert report.failure is not None
    assert "No conversation found" in report.failure.message


def test_a_run_without_a_result_keeps_the_agents_last_words_not_a_subagents():
    def says(text: str, parent: str | None = None) -> dict[str, object]:
        content = [{"type": "text", "text": text}]
        return {"type": "assistant", "parent_tool_use_id": parent, "message": {"content": content}}

    report = read(says("first"), says("second"), says("sub", "toolu_1"), exit_code=1)

    assert report.summary == "second"


def test_a_good_run_without_a_result_is_unparsable():
    report = read({"type": "system", "subtype": "init"})

    assert report.failure is not None
    assert report.failure.reason is Reason.OUTPUT_UNPARSABLE


def test_the_results_of_several_turns_add_up():
    def result(tokens: int, dollars: float) -> dict[str, object]:
        used = {"inputTokens": tokens, "outputTokens": 1, "costUSD": dollars}
        return {"type": "result", "model_usage_since_last_result": {"a": used}}

    report = read(result(10, 0.5), result(20, 0.25))

    assert report.usage == Usage(
        input_tokens=30, output_tokens=2, cost_micro_usd=750_000, model="a"
    )


def test_a_warning_about_a_limit_is_no_limit():
    info = {"status": "allowed_warning", "resetsAt": LIMITED_AT.timestamp() + 60}

    report = read(
        {"type": "rate_limit_event", "rate_limit_info": info},
        {"type": "result", "is_error": True, "result": "x", "api_error_status": 429},
    )

    assert report.failure is not None
    assert report.failure.reason is Reason.RATE_LIMITED
    assert report.failure.retry_after_s is None
