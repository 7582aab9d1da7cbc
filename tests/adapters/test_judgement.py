"""Git first, then the CLI's own error, then its exit code."""

import pytest

from agent_fleet.adapters import Failure, Report, judge
from agent_fleet.core.faults import Reason
from tests.support.captures import capture

DONE = Report(summary="All done.")
FAILED = Report(failure=Failure(Reason.PROVIDER_ERROR, "overloaded"))
UNREADABLE = Report(failure=Failure(Reason.OUTPUT_UNPARSABLE, "no result"))
REFUSED = Report(summary="All done.", denials=("Bash: git commit",))


def reason(report: Report, **how: object) -> Reason | None:
    given = {"exit_code": 0, "commits": 1, "changed": True, **how}
    failure = judge(report, **given)  # pyright: ignore[reportArgumentType]
    return failure.reason if failure else None


def test_commits_with_a_difference_and_no_error_are_success():
    assert reason(DONE) is None


def test_commits_of_a_run_that_says_it_failed_are_no_success():
    assert reason(FAILED, exit_code=1) is Reason.PROVIDER_ERROR
    assert reason(FAILED, exit_code=0) is Reason.PROVIDER_ERROR


def test_an_exit_code_without_an_error_is_the_agents_failure():
    failure = judge(DONE, exit_code=3, commits=1, changed=True)

    assert failure == Failure(Reason.AGENT_ERROR, "exit 3: All done.")


def test_a_good_run_without_a_commit_is_no_changes_with_the_final_message():
    failure = judge(DONE, exit_code=0, commits=0, changed=False)

    assert failure == Failure(Reason.NO_CHANGES, "no commit: All done.")


def test_commits_that_change_nothing_are_no_changes():
    assert reason(DONE, changed=False) is Reason.NO_CHANGES


def test_refused_calls_without_a_commit_are_permission_denied():
    failure = judge(REFUSED, exit_code=0, commits=0, changed=False)

    assert failure == Failure(Reason.PERMISSION_DENIED, "refused: Bash: git commit")


def test_refused_calls_with_a_commit_are_success():
    assert reason(REFUSED) is None


def test_output_that_cannot_be_read_fails_only_without_a_commit():
    assert reason(UNREADABLE) is None
    assert reason(UNREADABLE, commits=0, changed=False) is Reason.OUTPUT_UNPARSABLE


def test_nothing_to_deliver_needs_no_commit_but_an_answer():
    assert reason(DONE, commits=0, changed=False, deliverable="none") is None
    assert reason(UNREADABLE, deliverable="none") is Reason.OUTPUT_UNPARSABLE
    assert reason(FAILED, deliverable="none") is Reason.PROVIDER_ERROR


@pytest.mark.parametrize("exit_code", [-9, -15, -2, 137, 143, 130, 139, None])
def test_a_signal_that_is_not_ours_killed_it(exit_code: int | None):
    assert reason(DONE, exit_code=exit_code) is Reason.KILLED


def test_an_exit_code_that_only_looks_like_a_signal_is_the_agents():
    # Gemini's exit code is the HTTP status modulo 256: 145 for a 401.
    assert reason(DONE, exit_code=145) is Reason.AGENT_ERROR


def test_a_process_that_vanished_was_killed():
    assert reason(DONE, vanished=True) is Reason.KILLED


def test_a_cli_that_is_not_there_is_told():
    assert reason(DONE, exit_code=127, not_found=True) is Reason.CLI_NOT_FOUND


@pytest.mark.parametrize("ours", [Reason.RUN_TIMEOUT, Reason.STALLED, Reason.CANCELLED])
def test_what_we_ended_is_judged_as_we_meant_it(ours: Reason):
    assert reason(FAILED, exit_code=-9, vanished=True, ended_by_us=ours) is ours


def test_what_we_ended_tells_what_the_cli_said_last():
    failure = judge(FAILED, exit_code=-2, commits=0, changed=False, ended_by_us=Reason.RUN_TIMEOUT)

    assert failure == Failure(Reason.RUN_TIMEOUT, "run_timeout: overloaded")


@pytest.mark.parametrize(
    ("cli", "case", "expected"),
    [
        ("codex", "success", Reason.NO_CHANGES),
        ("codex", "sandbox_ws", Reason.NO_CHANGES),
        ("codex", "sigterm_tool", Reason.KILLED),
        ("claude", "denied", Reason.PERMISSION_DENIED),
        ("claude", "denied_stream", Reason.PERMISSION_DENIED),
        ("claude", "sigterm_tool", Reason.KILLED),
        ("claude", "sigint_tool", Reason.KILLED),
    ],
)
def test_captured_runs_without_a_commit_have_their_reason(cli: str, case: str, expected: Reason):
    run = capture(cli, case)

    assert reason(run.report(), exit_code=run.exit_code, commits=0, changed=False) is expected


@pytest.mark.parametrize(
    ("cli", "case", "expected"),
    [
        ("codex", "success", None),
        ("codex", "resumed", None),
        ("codex", "late500", Reason.PROVIDER_ERROR),
        ("claude", "success_stream", None),
        ("claude", "resumed", None),
        ("claude", "late500", Reason.PROVIDER_ERROR),
    ],
)
def test_captured_runs_with_a_commit_have_their_reason(
    cli: str, case: str, expected: Reason | None
):
    run = capture(cli, case)

    assert reason(run.report(), exit_code=run.exit_code) is expected
