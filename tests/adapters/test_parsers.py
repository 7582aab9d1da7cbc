"""What holds for every parser: it reads any bytes, and what it says can be stored and sent."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_fleet.adapters import Report, parse
from agent_fleet.adapters.parsers import PARSERS
from agent_fleet.adapters.report import DENIALS_LIMIT, MESSAGE_LIMIT, NUMBER_LIMIT, SUMMARY_LIMIT
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Outcome, Receipt
from tests.support.captures import CLIS, LIMITED_AT, Capture, capture, captures

ALL = [each for cli in CLIS for each in captures(cli)]

names = st.sampled_from(sorted(PARSERS))
codes = st.none() | st.integers(-64, 255)
KEYS = """
    type subtype item text message error usage input_tokens result is_error errors session_id
    thread_id modelUsage model_usage_since_last_result costUSD total_cost_usd content
    permission_denials tool_name tool_input command rate_limit_info resetsAt status
    api_error_status terminal_reason
"""
TYPES = """
    thread.started turn.started turn.completed turn.failed item.completed error
    result assistant system rate_limit_event
"""
keys = st.sampled_from(KEYS.split())
types = st.sampled_from(TYPES.split())
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["rejected", "text", "agent_message", "\ud800\0\x1b[1m", "--yolo"]),
)
inner = st.dictionaries(keys, leaves, max_size=3)
values = leaves | inner | st.lists(leaves | inner, max_size=3)


def check(report: Report) -> None:
    """The report fits a receipt, and survives the wire."""
    receipt = Receipt(
        receipt_id="r" * 8,
        task=1,
        attempt=1,
        outcome=Outcome.FAILED,
        summary=report.summary,
        session=report.session,
        usage=report.usage,
        retry_after_s=report.failure.retry_after_s if report.failure else None,
    )
    assert msgspec.json.decode(msgspec.json.encode(receipt), type=Receipt) == receipt
    texts = [report.summary, *report.denials]
    if report.failure is not None:
        texts.append(report.failure.message)
        assert len(report.failure.message) <= MESSAGE_LIMIT
    assert "\0" not in "".join(texts)
    assert len(report.summary) <= SUMMARY_LIMIT
    assert len(report.denials) <= DENIALS_LIMIT
    assert 0 <= report.usage.input_tokens <= NUMBER_LIMIT
    assert 0 <= (report.usage.cost_micro_usd or 0) <= NUMBER_LIMIT


@given(parser=names, stdout=st.binary(), stderr=st.binary(), exit_code=codes)
def test_any_bytes_give_a_sound_report(
    parser: str, stdout: bytes, stderr: bytes, exit_code: int | None
):
    check(parse(parser, stdout=stdout, stderr=stderr, exit_code=exit_code, now=LIMITED_AT))


@given(
    parser=names,
    events=st.lists(st.tuples(types, st.dictionaries(keys, values, max_size=4)), max_size=3),
    exit_code=codes,
)
def test_any_json_in_familiar_places_gives_a_sound_report(
    parser: str, events: list[tuple[str, dict[str, object]]], exit_code: int | None
):
    lines = [json.dumps({**event, "type": kind}).encode() for kind, event in events]

    report = parse(
        parser, stdout=b"\n".join(lines), stderr=b"", exit_code=exit_code, now=LIMITED_AT
    )

    check(report)


@given(each=st.sampled_from(ALL), data=st.data(), exit_code=codes)
def test_output_cut_anywhere_gives_a_sound_report(
    each: Capture, data: st.DataObject, exit_code: int | None
):
    end = data.draw(st.integers(0, len(each.stdout)))

    report = parse(
        f"{each.cli}-json",
        stdout=each.stdout[:end],
        stderr=each.stderr,
        exit_code=exit_code,
        now=LIMITED_AT,
    )

    check(report)


@pytest.mark.parametrize("parser", ["codex-json", "claude-json"])
@pytest.mark.parametrize("stdout", [b"", b"all is well\n", b"[" * 100_000, b'{"type":' * 5_000])
def test_a_good_exit_with_nothing_that_can_be_read_is_unparsable(parser: str, stdout: bytes):
    report = parse(parser, stdout=stdout, stderr=b"", exit_code=0, now=LIMITED_AT)

    assert report.failure is not None
    assert report.failure.reason is Reason.OUTPUT_UNPARSABLE


def test_a_long_message_keeps_its_beginning_and_its_end():
    event = {"type": "result", "result": "begin" + "x" * 100_000 + "end"}

    report = parse(
        "claude-json",
        stdout=msgspec.json.encode(event),
        stderr=b"",
        exit_code=0,
        now=LIMITED_AT,
    )

    assert len(report.summary) <= SUMMARY_LIMIT
    assert report.summary.startswith("begin")
    assert report.summary.endswith("end")


def test_a_session_that_could_be_read_as_an_option_is_none():
    stdout = b'{"type":"thread.started","thread_id":"--yolo"}'

    report = parse("codex-json", stdout=stdout, stderr=b"", exit_code=0, now=LIMITED_AT)

    assert report.session is None


def test_raw_takes_the_last_lines_without_their_colours():
    stdout = b"one\n\n\x1b[32mtwo\x1b[0m\r\n\x1b]0;title\x07three\n\n"

    report = parse("raw", stdout=stdout, stderr=b"noise", exit_code=0, now=LIMITED_AT)

    assert report == Report(summary="one\ntwo\nthree")


def test_raw_fails_with_the_end_of_stderr():
    report = parse("raw", stdout=b"working", stderr=b"a\nno disk\n", exit_code=3, now=LIMITED_AT)

    assert report.failure is not None
    assert report.failure.reason is Reason.AGENT_ERROR
    assert report.failure.message == "exit 3: a\nno disk"


def test_every_capture_of_a_good_run_is_read_as_one():
    good = [capture(cli, case) for cli, case in [("codex", "success"), ("claude", "success_json")]]

    assert [each.report().failure for each in good] == [None, None]
