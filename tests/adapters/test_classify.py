"""Which failure a CLI's own error tells of, and when a usage limit resets."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_fleet.adapters.classify import LONGEST_RESET, classify, reset_after
from agent_fleet.core.faults import Reason
from tests.support.captures import capture

NOW = datetime(2026, 11, 22, 14, 0, 0, tzinfo=UTC)
HOUR, DAY = 3600.0, 86400.0


@pytest.mark.parametrize(
    ("cli", "case", "reason"),
    [
        ("codex", "err401", Reason.AUTH),
        ("codex", "no_key", Reason.AUTH),
        ("codex", "err429", Reason.RATE_LIMITED),
        ("codex", "usage_limit_short", Reason.RATE_LIMITED),
        ("codex", "usage_limit_long", Reason.RATE_LIMITED),
        ("codex", "err500", Reason.PROVIDER_ERROR),
        ("codex", "late500", Reason.PROVIDER_ERROR),
        ("codex", "dropped", Reason.PROVIDER_ERROR),
        ("codex", "sigint_tool", Reason.AGENT_ERROR),
        ("claude", "err401_r1", Reason.AUTH),
        ("claude", "no_key", Reason.AUTH),
        ("claude", "err429", Reason.RATE_LIMITED),
        ("claude", "usage_limit_short", Reason.RATE_LIMITED),
        ("claude", "usage_limit_long", Reason.RATE_LIMITED),
        ("claude", "err500", Reason.PROVIDER_ERROR),
        ("claude", "late500", Reason.PROVIDER_ERROR),
        ("claude", "badflag", Reason.AGENT_ERROR),
    ],
)
def test_each_capture_of_a_failure_has_its_reason(cli: str, case: str, reason: Reason):
    report = capture(cli, case).report()

    assert report.failure is not None
    assert report.failure.reason is reason


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("unexpected status 403 Forbidden", Reason.AUTH),
        ("Your credit balance is too low to access the API", Reason.AUTH),
        ("Your access token could not be refreshed", Reason.AUTH),
        ("API Error: Connection refused (ECONNREFUSED)", Reason.PROVIDER_ERROR),
        ("Selected model is at capacity. Please try a different model.", Reason.PROVIDER_ERROR),
        ("unexpected status 503 Service Unavailable", Reason.PROVIDER_ERROR),
        ("You have reached your specified API usage limits.", Reason.RATE_LIMITED),
        ("There's an issue with the selected model (nope).", Reason.AGENT_ERROR),
        ("", Reason.AGENT_ERROR),
    ],
)
def test_a_message_tells_its_reason(message: str, reason: Reason):
    assert classify(message, now=NOW).reason is reason


def test_a_status_counts_before_words():
    failure = classify("overloaded with 429 too many requests", status=401, now=NOW)

    assert failure.reason is Reason.AUTH


def test_the_kind_of_an_error_counts_where_its_words_say_nothing():
    failure = classify("Hm.", kind="connection_failed", now=NOW)

    assert failure.reason is Reason.PROVIDER_ERROR


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("try again in 2 days 17 hours 14 minutes.", 2 * DAY + 17 * HOUR + 14 * 60),
        ("Please try again in 1m30.5s.", 90.5),
        ("Please try again in 20ms", 0.02),
        ("Claude AI usage limit reached|1795359600", HOUR),
        ("You will regain access on 2026-12-01 at 00:00 UTC.", 8 * DAY + 10 * HOUR),
        ("You've hit your session limit · resets 5:24pm (UTC)", 3 * HOUR + 24 * 60),
        ("You've hit your session limit · resets 3pm (Europe/Paris)", DAY),
        ("You've hit your weekly limit · resets Nov 27, 2pm (UTC)", 5 * DAY),
        ("resets Jan 2, 2pm (UTC)", 41 * DAY),
        ("try again at Nov 27th, 2026 2:00 PM.", 5 * DAY - 14 * HOUR),
    ],
)
def test_a_reset_is_read_where_it_is_told(message: str, seconds: float):
    bounded = min(seconds, LONGEST_RESET.total_seconds())

    assert reset_after(message, now=NOW) == pytest.approx(bounded)


@pytest.mark.parametrize(
    "message",
    [
        "You've hit your usage limit. Try again at 5:24 PM.",
        "resets 3pm (Middle/Earth)",
        "resets Feb 30, 3pm (UTC)",
        "resets 13pm (UTC)",
        "limit reached|1700000000",
        "try again at Nov 20th, 2026 2:00 PM.",
        "try again later",
    ],
)
def test_a_reset_that_is_past_or_cannot_be_read_is_none(message: str):
    assert reset_after(message, now=NOW) is None


def test_claude_tells_its_reset_to_the_second():
    report = capture("claude", "usage_limit_short").report(
        now=datetime.fromtimestamp(1795369966 - 100, UTC)
    )

    assert report.failure is not None
    assert report.failure.retry_after_s == 100


def test_a_reset_matters_only_to_a_usage_limit():
    failure = classify("overloaded, try again in 20 s", now=NOW)

    assert failure.reason is Reason.PROVIDER_ERROR
    assert failure.retry_after_s is None


numbers = st.integers(0, 10**7)
months = st.sampled_from(["Jan", "Feb", "Nov", "xyz"])
zones = st.sampled_from(["UTC", "Europe/Paris", "Europe", "posix", "No/Such", "UTC+1"])


@given(
    message=st.one_of(
        st.builds("try again in {} days {} ms".format, numbers, numbers),
        st.builds("resets {} {}, {}:{:02}pm ({})".format, months, numbers, numbers, numbers, zones),
        st.builds("resets {}am ({})".format, numbers, zones),
        st.builds("try again at {} {}th, {} 2:22 PM".format, months, numbers, numbers),
        st.builds("limit reached|{}".format, st.integers(0, 10**14)),
        st.builds("access on {:04}-{:02}-{:02} at 10:99 UTC".format, numbers, numbers, numbers),
        st.text(),
    ),
    now=st.integers(1_500_000_000, 4_000_000_000).map(lambda s: datetime.fromtimestamp(s, UTC)),
)
def test_a_wait_is_never_negative_and_never_beyond_a_month(message: str, now: datetime):
    wait = reset_after(message, now=now)

    assert wait is None or 0 < wait <= timedelta(days=30).total_seconds()
