from agent_fleet.adapters import parse
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Usage
from tests.support.captures import LIMITED_AT, capture


def read(*lines: str, stderr: bytes = b"", exit_code: int | None = 0):
    return parse(
        "codex-json",
        stdout="\n".join(lines).encode(),
        stderr=stderr,
        exit_code=exit_code,
        now=LIMITED_AT,
    )


def test_a_good_run_gives_its_last_message_its_thread_and_its_usage():
    report = capture("codex", "success").report()

    assert report.summary == "FAKE-DONE: the file was written and committed."
    assert report.session == "01a2033d-78ab-7db1-a441-2b6963bd3329"
    assert report.usage == Usage(input_tokens=2400, output_tokens=68)
    assert report.failure is None


def test_the_usage_of_a_resumed_thread_counts_from_its_beginning():
    report = capture("codex", "resumed").report()

    assert report.usage == Usage(input_tokens=4800, output_tokens=136)


def test_an_item_of_type_error_is_a_warning():
    report = read(
        '{"type":"turn.started"}',
        '{"type":"item.completed","item":{"type":"error","message":"401 Unauthorized"}}',
        '{"type":"turn.completed"}',
    )

    assert report.failure is None


def test_retries_that_came_through_are_no_failure():
    report = read(
        '{"type":"turn.started"}',
        '{"type":"error","message":"Reconnecting... 1/5 (unexpected status 500)"}',
        '{"type":"turn.completed"}',
    )

    assert report.failure is None


def test_a_turn_that_never_ended_fails_with_what_was_said_last():
    report = read(
        '{"type":"turn.started"}',
        '{"type":"error","message":"Reconnecting... waiting for network (Connection failed)"}',
        exit_code=1,
    )

    assert report.failure is not None
    assert report.failure.reason is Reason.PROVIDER_ERROR


def test_output_cut_before_the_end_of_the_turn_is_unparsable():
    whole = capture("codex", "success").stdout

    report = read(whole.decode()[:-60])

    assert report.failure is not None
    assert report.failure.reason is Reason.OUTPUT_UNPARSABLE
    assert report.session == "01a2033d-78ab-7db1-a441-2b6963bd3329"


def test_a_log_on_stderr_does_not_tell_why_a_turn_ended():
    report = read('{"type":"turn.started"}', stderr=b"tool server: unauthorized", exit_code=1)

    assert report.failure is not None
    assert report.failure.reason is Reason.AGENT_ERROR


def test_a_bad_option_is_told_without_the_noise():
    report = capture("codex", "badflag").report()

    assert report.failure is not None
    assert report.failure.reason is Reason.AGENT_ERROR
    assert report.failure.message.startswith("error: unexpected argument '--no-such-flag' found")


def test_a_thread_that_codex_does_not_know_leaves_none_to_resume():
    report = capture("codex", "resume_unknown").report()

    assert report.session is None
    assert report.failure is not None
    assert "no rollout found" in report.failure.message
