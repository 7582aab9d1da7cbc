"""The model APIs that coding-agent CLIs speak, as far as `fake_model` needs them.

Reading a request: which tools it offers, and how many tool results it holds since the user last
spoke. Writing an answer: a step of the script as the events of a stream, and as one body.
"""

import json
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]
Event = tuple[str | None, Json | str]
Answer = tuple[list[Event], Json]

IN_TOKENS, CACHED_TOKENS, OUT_TOKENS = 1200, 200, 34


def dialect_of(path: str) -> str | None:
    """The dialect of an API path; None for a path that is no model request."""
    if path.endswith("/responses"):
        return "responses"
    if path.endswith("/messages"):
        return "anthropic"
    if path.endswith("/chat/completions"):
        return "chat"
    if re.search(r"/models/[^/]+:(generateContent|streamGenerateContent)$", path):
        return "gemini"
    return None


def fault_body(dialect: str, status: int) -> Json:
    """An error body in the dialect's own shape."""
    text = f"fake_model: scripted HTTP {status}"
    if dialect == "anthropic":
        kinds = {
            401: "authentication_error",
            403: "permission_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        error = {"type": kinds.get(status, "api_error"), "message": text}
        return {"type": "error", "error": error, "request_id": "req_fake"}
    if dialect == "gemini":
        kinds = {
            401: "UNAUTHENTICATED",
            403: "PERMISSION_DENIED",
            429: "RESOURCE_EXHAUSTED",
            500: "INTERNAL",
            503: "UNAVAILABLE",
        }
        return {"error": {"code": status, "message": text, "status": kinds.get(status, "UNKNOWN")}}
    kinds = {401: "invalid_api_key", 429: "rate_limit_exceeded"}
    kind = kinds.get(status, "server_error")
    return {"error": {"message": text, "type": kind, "code": kind, "param": None}}


# --- reading requests ---


def _injected(message: Json) -> bool:
    """A user-role message that the harness added, not the user: `<environment_context>` ..."""
    content = message.get("content")
    texts = [content] if isinstance(content, str) else [p.get("text", "") for p in content or []]
    return bool(texts) and all(text.lstrip().startswith("<") for text in texts)


def _responses_results(body: Json) -> int:
    outputs = ("function_call_output", "custom_tool_call_output", "local_shell_call_output")
    found = 0
    for item in body.get("input") or []:
        if item.get("type") in outputs:
            found += 1
        elif item.get("role") == "user" and not _injected(item):
            found = 0
    return found


def _chat_results(body: Json) -> int:
    found = 0
    for message in body.get("messages") or []:
        if message.get("role") == "tool":
            found += 1
        elif message.get("role") == "user" and not _injected(message):
            found = 0
    return found


def _anthropic_results(body: Json) -> int:
    found = 0
    for message in body.get("messages") or []:
        if message.get("role") != "user":
            continue
        content = message.get("content")
        parts = content if isinstance(content, list) else []
        here = sum(1 for part in parts if part.get("type") == "tool_result")
        found = found + here if here else 0
    return found


def _gemini_results(body: Json) -> int:
    found = 0
    for content in body.get("contents") or []:
        if content.get("role") not in ("user", "function"):
            continue
        here = sum(1 for part in content.get("parts") or [] if "functionResponse" in part)
        found = found + here if here else 0
    return found


_RESULTS: dict[str, Callable[[Json], int]] = {
    "responses": _responses_results,
    "anthropic": _anthropic_results,
    "chat": _chat_results,
    "gemini": _gemini_results,
}


def count_results(dialect: str, body: Json) -> int:
    """Tool results after the last message of the real user: the index of the step to play."""
    return _RESULTS[dialect](body)


def tool_names(dialect: str, body: Json) -> list[str]:
    """The tools that a request offers to the model."""
    names: list[str] = []
    for tool in body.get("tools") or []:
        if dialect == "gemini":
            names += [f.get("name", "") for f in tool.get("functionDeclarations") or []]
        elif dialect == "chat":
            names.append((tool.get("function") or {}).get("name", ""))
        else:
            names.append(tool.get("name") or tool.get("type") or "")
    return names


# --- writing answers: (events of a stream, the body of a request that does not stream) ---


def answer(dialect: str, step: Json, body: Json) -> Answer:
    """The answer that plays `step`: `{"text": ...}` or `{"tool": NAME, "args": {...}}`."""
    return _ANSWERS[dialect](step, body)


def _answer_responses(step: Json, body: Json) -> Answer:
    serial = uuid.uuid4().hex[:16]
    usage = {
        "input_tokens": IN_TOKENS,
        "input_tokens_details": {"cached_tokens": CACHED_TOKENS},
        "output_tokens": OUT_TOKENS,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": IN_TOKENS + OUT_TOKENS,
    }
    response = {
        "id": "resp_" + uuid.uuid4().hex[:16],
        "object": "response",
        "created_at": int(time.time()),
        "model": body.get("model", "fake"),
        "status": "in_progress",
        "output": [],
        "usage": None,
    }
    item, middle = _responses_item(step, serial)
    empty = {"arguments": ""} if "tool" in step else {"content": []}
    begun = {**item, **empty, "status": "in_progress"}
    done = {**response, "status": "completed", "output": [item], "usage": usage}
    named = [
        ("response.created", {"response": response}),
        ("response.output_item.added", {"output_index": 0, "item": begun}),
        *middle,
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": done}),
    ]
    events: list[Event] = [
        (name, {"type": name, "sequence_number": number, **event})
        for number, (name, event) in enumerate(named)
    ]
    return events, done


def _responses_item(step: Json, serial: str) -> tuple[Json, list[tuple[str, Json]]]:
    """The one output item of an answer, and the events between its beginning and its end."""
    if "tool" in step:
        args = json.dumps(step["args"])
        item: Json = {
            "type": "function_call",
            "id": "fc_" + serial,
            "call_id": "call_" + serial,
            "name": step["tool"],
            "arguments": args,
            "status": "completed",
        }
        where = {"item_id": item["id"], "output_index": 0}
        return item, [
            ("response.function_call_arguments.delta", {**where, "delta": args}),
            ("response.function_call_arguments.done", {**where, "arguments": args}),
        ]
    part = {"type": "output_text", "text": step["text"], "annotations": []}
    item = {
        "type": "message",
        "id": "msg_" + serial,
        "role": "assistant",
        "content": [part],
        "status": "completed",
    }
    where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
    return item, [
        ("response.content_part.added", {**where, "part": {**part, "text": ""}}),
        ("response.output_text.delta", {**where, "delta": step["text"]}),
        ("response.output_text.done", {**where, "text": step["text"]}),
        ("response.content_part.done", {**where, "part": part}),
    ]


def _answer_anthropic(step: Json, body: Json) -> Answer:
    usage = {
        "input_tokens": IN_TOKENS - CACHED_TOKENS,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": CACHED_TOKENS,
        "output_tokens": OUT_TOKENS,
    }
    if "tool" in step:
        serial = "toolu_" + uuid.uuid4().hex[:20]
        block: Json = {"type": "tool_use", "id": serial, "name": step["tool"], "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(step["args"])}
        whole, stop = {**block, "input": step["args"]}, "tool_use"
    else:
        block = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": step["text"]}
        whole, stop = {**block, "text": step["text"]}, "end_turn"
    message = {
        "id": "msg_" + uuid.uuid4().hex[:20],
        "type": "message",
        "role": "assistant",
        "model": body.get("model", "fake"),
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    end = {"stop_reason": stop, "stop_sequence": None}
    named: list[tuple[str, Json]] = [
        ("message_start", {"message": message}),
        ("content_block_start", {"index": 0, "content_block": block}),
        ("content_block_delta", {"index": 0, "delta": delta}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": end, "usage": {"output_tokens": OUT_TOKENS}}),
        ("message_stop", {}),
    ]
    events: list[Event] = [(name, {"type": name, **event}) for name, event in named]
    return events, {**message, "content": [whole], "stop_reason": stop, "usage": usage}


def _answer_chat(step: Json, body: Json) -> Answer:
    usage = {
        "prompt_tokens": IN_TOKENS,
        "completion_tokens": OUT_TOKENS,
        "total_tokens": IN_TOKENS + OUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }
    if "tool" in step:
        function = {"name": step["tool"], "arguments": json.dumps(step["args"])}
        call = {"id": "call_" + uuid.uuid4().hex[:16], "type": "function", "function": function}
        message: Json = {"role": "assistant", "content": None, "tool_calls": [call]}
        delta, reason = {"tool_calls": [{"index": 0, **call}]}, "tool_calls"
    else:
        message = {"role": "assistant", "content": step["text"]}
        delta, reason = {"content": step["text"]}, "stop"
    head = {
        "id": "chatcmpl-" + uuid.uuid4().hex[:16],
        "created": int(time.time()),
        "model": body.get("model", "fake"),
    }

    def chunk(delta: Json, reason: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return (None, {**head, "object": "chat.completion.chunk", "choices": [choice]})

    events: list[Event] = [
        chunk({"role": "assistant", "content": ""}),
        chunk(delta),
        chunk({}, reason),
        (None, {**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}),
        (None, "[DONE]"),
    ]
    choice = {"index": 0, "message": message, "finish_reason": reason}
    return events, {**head, "object": "chat.completion", "usage": usage, "choices": [choice]}


def _answer_gemini(step: Json, body: Json) -> Answer:
    config = body.get("generationConfig") or {}
    schema = config.get("responseJsonSchema")
    if "tool" in step:
        call = {"id": "call_" + uuid.uuid4().hex[:8], "name": step["tool"], "args": step["args"]}
        part: Json = {"functionCall": call}
    elif config.get("responseMimeType") == "application/json" or schema:
        part = {"text": json.dumps(_fill_schema(schema or config.get("responseSchema") or {}))}
    else:
        part = {"text": step["text"]}
    content = {"role": "model", "parts": [part]}
    whole = {
        "candidates": [{"index": 0, "content": content, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": IN_TOKENS,
            "cachedContentTokenCount": CACHED_TOKENS,
            "candidatesTokenCount": OUT_TOKENS,
            "totalTokenCount": IN_TOKENS + OUT_TOKENS,
        },
        "modelVersion": "fake",
        "responseId": uuid.uuid4().hex[:12],
    }
    return [(None, whole)], whole


def _fill_schema(schema: Json) -> object:
    """The smallest value that a JSON schema admits (Gemini CLI's side questions want JSON)."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = str(schema.get("type", "object")).lower()
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: _fill_schema(inner) for name, inner in properties.items()}
    return {"array": [], "string": "fake", "boolean": False, "number": 1, "integer": 1}.get(kind)


_ANSWERS: dict[str, Callable[[Json, Json], Answer]] = {
    "responses": _answer_responses,
    "anthropic": _answer_anthropic,
    "chat": _answer_chat,
    "gemini": _answer_gemini,
}
