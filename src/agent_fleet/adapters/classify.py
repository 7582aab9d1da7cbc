"""What kind of failure a CLI's own error message tells of: the account's, the model's, or another.

Only text that the CLI itself reports as an error is read, never what an agent or a tool wrote: a
task about HTTP 429 must not stop an account. A status counts before words.

    401, 403; no key, not logged in, login expired          auth
    402; credit or quota used up                            auth: an operator has to look
    429; usage limit                                        rate_limited, until the reset if told
    408, 5xx; overloaded, no connection, cut stream         provider_error
    anything else                                           agent_error
"""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from agent_fleet.adapters.report import MESSAGE_LIMIT, Failure, clean
from agent_fleet.core.faults import Reason

LONGEST_RESET = timedelta(days=30)

_STATUS = re.compile(r"(?:status|status code|API Error|HTTP)[: ]+([1-5]\d\d)\b", re.IGNORECASE)

_PAYMENT = re.compile(
    r"credit balance is too low|insufficient_quota|quota exceeded|billing details"
    r"|out of (?:extra )?credits",
    re.IGNORECASE,
)
_AUTH = re.compile(
    r"not logged in|please run /login|codex login|missing environment variable"
    r"|(?:invalid|incorrect|missing|no) (?:api|x-api)[ -]?key|failed to authenticate"
    r"|authentication_error|invalid_api_key|invalid authentication|token (?:has )?(?:expired|been "
    r"revoked)|token could not be refreshed|unauthorized",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"usage[ _]limit|rate[ _-]?limit|too many requests"
    r"|hit your (?:[\w-]+ )?limit|limit reached",
    re.IGNORECASE,
)
_PROVIDER = re.compile(
    r"overloaded|high demand|at capacity|server-side issue|internal server error|bad gateway"
    r"|service unavailable|gateway timeout|stream disconnected|stream closed"
    r"|connection (?:failed|refused|reset|error|closed|timed out)|connection_failed"
    r"|error sending request|network error|waiting for network|request timed out"
    r"|E(?:CONNREFUSED|CONNRESET|TIMEDOUT|NOTFOUND|AI_AGAIN|PIPE)\b",
    re.IGNORECASE,
)

_BY_WORDS = (
    (_PAYMENT, Reason.AUTH),
    (_AUTH, Reason.AUTH),
    (_LIMIT, Reason.RATE_LIMITED),
    (_PROVIDER, Reason.PROVIDER_ERROR),
)


def classify(
    message: str,
    *,
    now: datetime,
    status: int | None = None,
    kind: str = "",
    resets_at: datetime | None = None,
) -> Failure:
    """The failure that `message` tells of.

    `status`, `kind` (a word such as `overloaded_error`) and `resets_at` are what the CLI says
    beside it, if it does.
    """
    message = clean(message, MESSAGE_LIMIT)
    reason = _reason(f"{kind} {message}", status)
    wait = None
    if reason is Reason.RATE_LIMITED:
        wait = _bounded(resets_at - now) if resets_at is not None else reset_after(message, now=now)
    return Failure(reason, message, wait)


def _reason(message: str, status: int | None) -> Reason:
    if _PAYMENT.search(message):
        return Reason.AUTH
    if status is None and (told := _STATUS.search(message)):
        status = int(told[1])
    if status in (401, 402, 403):
        return Reason.AUTH
    if status == 429:
        return Reason.RATE_LIMITED
    if status is not None and (status == 408 or status >= 500):
        return Reason.PROVIDER_ERROR
    found = (reason for pattern, reason in _BY_WORDS if pattern.search(message))
    return next(found, Reason.AGENT_ERROR)


# --- when a usage limit resets ---

_UNIT_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_SPAN = (
    r"(\d{1,6}(?:\.\d{1,6})?) ?(ms|milliseconds?|d|days?|h|hours?|m|minutes?|s|seconds?)(?![a-z])"
)
_IN = re.compile(rf"(?:try again|retry|resets?) in ((?:{_SPAN}[, ]*(?:and )?)+)", re.IGNORECASE)
_EPOCH = re.compile(r"limit reached\|(\d{10}|\d{13})\b")
_CLOCK = r"(\d{1,2})(?::(\d\d))? ?([ap]m)"
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_IN_ZONE = re.compile(
    rf"resets?(?: at)? (?:([a-z]{{3}})[a-z]* (\d{{1,2}}),?(?: at)? )?{_CLOCK} "
    r"\(([A-Za-z]+(?:[/_+-][A-Za-z0-9]+)*)\)",
    re.IGNORECASE,
)
_ON_DATE = re.compile(
    rf"try again at ([a-z]{{3}})[a-z]* (\d{{1,2}})(?:st|nd|rd|th)?, (\d{{4}}),? {_CLOCK}",
    re.IGNORECASE,
)
_IN_UTC = re.compile(r"access on (\d{4}-\d\d-\d\d) at (\d\d:\d\d) UTC")
_EARLIEST_ZONE = timedelta(hours=14)


def reset_after(message: str, *, now: datetime) -> float | None:
    """Seconds until the reset that `message` names; None where it names none that can be read.

    Read are: "try again in 3 days 4 hours 5 minutes"; "limit reached|1795368260"; "regain access on
    2026-12-01 at 00:00 UTC"; a clock time with its zone, "resets 5:24pm (Europe/Paris)" or "resets
    Nov 27, 2pm (UTC)"; and a date in the host's own, unknown zone, "try again at Nov 27th, 2026
    2:22 PM", taken as the earliest moment that it can be anywhere. A clock time without zone and
    date says too little.
    """
    try:
        if told := _IN.search(message):
            spans = re.findall(_SPAN, told[1], re.IGNORECASE)
            seconds = sum(float(number) * _unit(unit) for number, unit in spans)
            return _bounded(timedelta(seconds=seconds))
        if told := _EPOCH.search(message):
            return _bounded(moment(int(told[1])) - now)
        if told := _IN_UTC.search(message):
            return _bounded(datetime.fromisoformat(f"{told[1]}T{told[2]}Z") - now)
        if told := _IN_ZONE.search(message):
            return _bounded(_next_in_zone(told, now) - now)
        if told := _ON_DATE.search(message):
            at = datetime(int(told[3]), _month(told[1]), int(told[2]), tzinfo=UTC)
            return _bounded(at + _clock(told[4], told[5], told[6]) - _EARLIEST_ZONE - now)
    except (ValueError, KeyError, OverflowError, OSError):
        return None  # a time that does not exist, or a zone that this machine does not know
    return None


def moment(epoch: int) -> datetime:
    """The time of a Unix timestamp in seconds, or in milliseconds where it is too large for that.

    Raises ValueError, OverflowError or OSError for one that is none.
    """
    return datetime.fromtimestamp(epoch / 1000 if epoch >= 10_000_000_000 else epoch, UTC)


def _unit(word: str) -> float:
    lower = word.lower()
    return _UNIT_S["ms"] if lower.startswith(("ms", "milli")) else _UNIT_S[lower[0]]


def _month(word: str) -> int:
    return _MONTHS.index(word.lower()) + 1


def _clock(hour: str, minute: str | None, half: str) -> timedelta:
    if not 1 <= int(hour) <= 12:
        raise ValueError(hour)
    return timedelta(hours=int(hour) % 12 + 12 * (half.lower() == "pm"), minutes=int(minute or 0))


def _next_in_zone(told: re.Match[str], now: datetime) -> datetime:
    """The first time after `now` that the month, day and clock of `told` name."""
    zone = ZoneInfo(told[6])
    clock = _clock(told[3], told[4], told[5])
    local = now.astimezone(zone)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if told[1] is None:
        at = day + clock
        return at if at > local else at + timedelta(days=1)
    at = day.replace(month=_month(told[1]), day=int(told[2])) + clock
    # A day that lies long behind us is the next year's.
    return at if at > local - timedelta(days=180) else at.replace(year=at.year + 1)


def _bounded(wait: timedelta) -> float | None:
    if wait <= timedelta(0):
        return None
    return min(wait, LONGEST_RESET).total_seconds()
