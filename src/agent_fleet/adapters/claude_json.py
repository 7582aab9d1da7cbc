"""`claude -p --output-format stream-json --verbose`, or `json`. Read from 2.1.330 and 2.1.197.

    system/init, system/permission_denied, system/api_retry, assistant, user
    rate_limit_event{rate_limit_info{status, resetsAt}}    also on good runs: only `rejected` counts
    result{is_error, result, errors, api_error_status, usage, modelUsage, permission_denials, ...}

The last `result` is the verdict, and `is_error` is its word: `subtype` says "success" on API
errors too, and the exit code is 0 after an interrupt. The order of keys means nothing. In a
resumed session `total_cost_usd` and `modelUsage` count from its beginning; `usage` and
`model_usage_since_last_result` (stream-json only) do not.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from agent_fleet.adapters.classify import classify, moment
from agent_fleet.adapters.report import (
    DENIAL_LIMIT,
    DENIALS_LIMIT,
    MESSAGE_LIMIT,
    NUMBER_LIMIT,
    SUMMARY_LIMIT,
    Failure,
    Report,
    clean,
    count,
    items,
    last_lines,
    micro_usd,
    objects,
    session_id,
    table,
)
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Usage

Event = Mapping[str, object]

_UNKNOWN_SESSION = "No conversation found"
_SINCE = "model_usage_since_last_result"


def parse_claude(*, stdout: bytes, stderr: bytes, exit_code: int | None, now: datetime) -> Report:
    """The report of one `claude -p`, whatever came of it."""
    session: str | None = None
    said = ""
    results: list[Event] = []
    refused: list[Event] = []
    resets_at: datetime | None = None
    for event in objects(stdout):
        session = session_id(event.get("session_id")) or session
        match event.get("type"), event.get("subtype"):
            case "result", _:
                results.append(event)
            case "assistant", _:
                said = _text(event) or said
            case "system", "permission_denied":
                refused.append(event)
            case "rate_limit_event", _:
                resets_at = _reset(table(event.get("rate_limit_info"))) or resets_at
            case _:
                pass
    if not results:
        return Report(
            summary=said,
            session=session,
            failure=_unfinished(stderr, exit_code=exit_code, now=now),
            denials=_denials(refused),
        )
    result = results[-1]
    if any(_UNKNOWN_SESSION in clean(text, 200) for text in items(result.get("errors"))):
        session = None
    failure = _failure(result, now=now, resets_at=resets_at) if result.get("is_error") else None
    return Report(
        summary=clean(result.get("result"), SUMMARY_LIMIT) if failure is None else said,
        session=session,
        usage=_usage(results),
        failure=failure,
        denials=_denials([table(item) for item in items(result.get("permission_denials"))]),
    )


def _failure(result: Event, *, now: datetime, resets_at: datetime | None) -> Failure:
    errors = [text for text in items(result.get("errors")) if isinstance(text, str)]
    subtype = clean(result.get("subtype"), 100)
    message = clean(result.get("result"), MESSAGE_LIMIT) or "\n".join(errors) or subtype
    if clean(result.get("terminal_reason"), 100).startswith("aborted"):
        return Failure(Reason.KILLED, clean(f"interrupted: {message}", MESSAGE_LIMIT))
    if subtype.startswith("error_max_"):
        # Its own limits (turns, budget): the account has nothing to do with it.
        return Failure(Reason.AGENT_ERROR, clean(message, MESSAGE_LIMIT))
    kind = f"{clean(result.get('api_error'), 100)} {clean(result.get('api_error_type'), 100)}"
    status = count(result.get("api_error_status")) or None
    return classify(message, now=now, status=status, kind=kind, resets_at=resets_at)


def _unfinished(stderr: bytes, *, exit_code: int | None, now: datetime) -> Failure:
    if exit_code != 0 and (said := last_lines(stderr)):
        return classify(said, now=now)
    reason = Reason.OUTPUT_UNPARSABLE if exit_code == 0 else Reason.AGENT_ERROR
    return Failure(reason, "the output of claude holds no result")


def _text(event: Event) -> str:
    """The text of one message of the agent itself; a subagent's is not the summary."""
    if event.get("parent_tool_use_id") is not None or event.get("is_api_error_message"):
        return ""
    parts = (table(part) for part in items(table(event.get("message")).get("content")))
    return clean(
        "\n".join(str(part.get("text")) for part in parts if part.get("type") == "text"),
        SUMMARY_LIMIT,
    )


def _reset(info: Event) -> datetime | None:
    epoch = count(info.get("resetsAt"))
    if info.get("status") != "rejected" or not epoch:
        return None
    try:
        return moment(epoch)
    except (ValueError, OverflowError, OSError):
        return None


def _denials(refused: list[Event]) -> tuple[str, ...]:
    """One line per refused call: the tool, and what it was asked to do."""
    lines: list[str] = []
    for denial in refused[:DENIALS_LIMIT]:
        asked = table(denial.get("tool_input"))
        what = asked.get("command") or asked.get("file_path") or ""
        if not what and asked:
            what = msgspec.json.encode(asked).decode("utf-8", "replace")
        tool = clean(denial.get("tool_name"), 100) or "a tool"
        lines.append(clean(f"{tool}: {what}" if what else tool, DENIAL_LIMIT))
    return tuple(lines)


def _usage(results: list[Event]) -> Usage:
    """What this run used: its results together, for a run may end more than one turn."""
    if all(_SINCE in result for result in results):
        models = [pair for result in results for pair in table(result[_SINCE]).items()]
        used = [table(model) for _, model in models]
        cost = sum(micro_usd(model.get("costUSD")) or 0 for model in used)
        return Usage(
            input_tokens=_total(
                used, "inputTokens", "cacheCreationInputTokens", "cacheReadInputTokens"
            ),
            output_tokens=_total(used, "outputTokens"),
            cost_micro_usd=min(cost, NUMBER_LIMIT),
            model=_largest(models),
        )
    used = [table(result.get("usage")) for result in results]
    last = results[-1]
    return Usage(
        input_tokens=_total(
            used, "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"
        ),
        output_tokens=_total(used, "output_tokens"),
        cost_micro_usd=micro_usd(last.get("total_cost_usd")),
        model=_largest(list(table(last.get("modelUsage")).items())),
    )


def _total(used: list[Event], *keys: str) -> int:
    return count(sum(count(each.get(key)) for each in used for key in keys))


def _largest(models: list[tuple[str, object]]) -> str | None:
    """The model that read and wrote the most."""
    sizes = [(_total([table(used)], "inputTokens", "outputTokens"), name) for name, used in models]
    return clean(max(sizes)[1], 100) or None if sizes else None
