"""A scripted Anthropic-shaped upstream: a real aiohttp server on loopback that records what it is sent.

    async with ScriptedUpstream() as upstream:
        upstream.queue(Answer(chunks=stream([text_block("Hi.")])))
        ... post to upstream.base_url ...
        assert upstream.received[0].body == ...

It decides nothing: a test queues answers, or gives a function from a request to its answer. Not the simulated backend.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aiohttp import web

BODY_BYTES_MAX = 64 * 1024 * 1024
SSE_HEADERS = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
JSON_HEADERS = (("content-type", "application/json"),)
DEFAULT_USAGE: dict[str, Any] = {
    "input_tokens": 100,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 20,
    "service_tier": "standard",
}


@dataclass(slots=True)
class Received:
    """One request as it arrived."""

    method: str
    raw_path: str
    headers: list[tuple[str, str]]
    """In order, repeats kept, names as sent."""
    body: bytes
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the caller leaves before it has the whole answer."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the whole answer is written."""

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(slots=True)
class Answer:
    """What to send back. An `asyncio.Event` among the chunks is waited for before the next chunk goes out."""

    status: int = 200
    headers: Sequence[tuple[str, str]] = SSE_HEADERS
    chunks: Sequence[bytes | asyncio.Event] = ()
    cut: bool = False
    """Drop the connection after the last chunk instead of ending the answer."""
    never: bool = False
    """Send nothing at all, not even headers."""


Responder = Callable[[Received], Answer]


class ScriptedUpstream:
    """Answers from the queue first; when it is empty, from `responder`; without one, with a 500 that says so."""

    def __init__(self, responder: Responder | None = None) -> None:
        self.received: list[Received] = []
        self.responder = responder
        self._answers: deque[Answer] = deque()
        self._arrived = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.base_url = ""

    def queue(self, *answers: Answer) -> None:
        """Answers for the next requests, in order of arrival."""
        self._answers.extend(answers)

    async def wait_for_requests(self, count: int) -> None:
        """Return once `count` requests have arrived in all."""
        while len(self.received) < count:
            self._arrived.clear()
            await self._arrived.wait()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        received = Received(
            method=request.method,
            raw_path=request.raw_path,
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers],
            body=await request.read(),
        )
        self.received.append(received)
        self._arrived.set()
        try:
            return await self._write(request, received, self._select_answer(received))
        except (asyncio.CancelledError, ConnectionError):
            received.gone.set()
            raise

    def _select_answer(self, received: Received) -> Answer:
        if self._answers:
            return self._answers.popleft()
        if self.responder is not None:
            return self.responder(received)
        return error_answer(500, "api_error", "the test queued no answer for this request")

    async def _write(self, request: web.Request, received: Received, answer: Answer) -> web.StreamResponse:
        if answer.never:
            await asyncio.Event().wait()
        response = web.StreamResponse(status=answer.status)
        for name, value in answer.headers:
            response.headers.add(name, value)
        await response.prepare(request)
        for chunk in answer.chunks:
            if isinstance(chunk, asyncio.Event):
                await chunk.wait()
            else:
                await response.write(chunk)
        if answer.cut:
            # Closing without the terminating chunk: the peer sees a body that broke off.
            if request.transport is not None:
                request.transport.close()
            return response
        await response.write_eof()
        received.answered.set()
        return response


def error_answer(
    status: int, error_type: str, message: str, headers: Sequence[tuple[str, str]] = (), request_id: str = "req_test"
) -> Answer:
    """An HTTP error in the Messages API's envelope."""
    body = {"type": "error", "error": {"type": error_type, "message": message}, "request_id": request_id}
    return Answer(status, (*JSON_HEADERS, ("request-id", request_id), *headers), [json.dumps(body).encode()])


def json_answer(body: Any, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """A 200 with a JSON body, such as `message(...)`."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(200, (*JSON_HEADERS, ("request-id", "req_test"), *headers), [encoded])


def stream_answer(blocks: Sequence[dict[str, Any]], **facts: Any) -> Answer:
    """A 200 with a stream of `blocks`; `facts` as `stream` takes them."""
    return Answer(200, (*SSE_HEADERS, ("request-id", "req_test")), stream(blocks, **facts))


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def thinking_block(thinking: str, signature: str = "c2lnbmF0dXJl") -> dict[str, Any]:
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def tool_block(name: str, tool_input: dict[str, Any], tool_use_id: str = "toolu_test_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": tool_use_id, "name": name, "input": tool_input}


def event(name: str, data: dict[str, Any]) -> bytes:
    """One server-sent event as the Messages API writes it."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **data}, separators=(',', ':'))}\n\n".encode()


def ping() -> bytes:
    return event("ping", {})


def error_event(error_type: str, message: str) -> bytes:
    return event("error", {"error": {"type": error_type, "message": message}})


def stream(
    blocks: Sequence[dict[str, Any]],
    *,
    model: str = "claude-opus-5-5",
    usage: dict[str, Any] | None = None,
    stop_reason: str | None = None,
    message_id: str = "msg_test",
) -> list[bytes]:
    """A whole streamed message, one chunk per event. `usage` is merged over `DEFAULT_USAGE`."""
    counted = DEFAULT_USAGE | (usage or {})
    frames = [
        event(
            "message_start",
            {"message": {**_shell(model, message_id), "content": [], "usage": {**counted, "output_tokens": 1}}},
        )
    ]
    for index, block in enumerate(blocks):
        frames.extend(block_events(index, block))
    delta = {"stop_reason": stop_reason or _stop_reason(blocks), "stop_sequence": None}
    final = {key: value for key, value in counted.items() if key not in ("cache_creation", "service_tier")}
    frames.append(event("message_delta", {"delta": delta, "usage": final}))
    frames.append(event("message_stop", {}))
    return frames


def block_events(index: int, block: dict[str, Any]) -> list[bytes]:
    """Start, two or three deltas and stop of one content block."""
    deltas: list[dict[str, Any]]
    if block["type"] == "text":
        started = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": part} for part in _halves(block["text"])]
    elif block["type"] == "thinking":
        started = {"type": "thinking", "thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": part} for part in _halves(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    else:
        started = {**block, "input": {}}
        parts = ["", *_halves(json.dumps(block["input"], ensure_ascii=False))]
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in parts]
    return [
        event("content_block_start", {"index": index, "content_block": started}),
        *(event("content_block_delta", {"index": index, "delta": delta}) for delta in deltas),
        event("content_block_stop", {"index": index}),
    ]


def message(
    blocks: Sequence[dict[str, Any]],
    *,
    model: str = "claude-opus-5-5",
    usage: dict[str, Any] | None = None,
    stop_reason: str | None = None,
    message_id: str = "msg_test",
) -> bytes:
    """The same message for `stream: false`."""
    shell = _shell(model, message_id) | {"stop_reason": stop_reason or _stop_reason(blocks)}
    body = {**shell, "content": list(blocks), "usage": DEFAULT_USAGE | (usage or {})}
    return json.dumps(body, separators=(",", ":")).encode()


def _shell(model: str, message_id: str) -> dict[str, Any]:
    shell = {"id": message_id, "type": "message", "role": "assistant", "model": model}
    return {**shell, "stop_reason": None, "stop_sequence": None}


def _stop_reason(blocks: Sequence[dict[str, Any]]) -> str:
    return "tool_use" if any(block["type"] == "tool_use" for block in blocks) else "end_turn"


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [part for part in (text[:middle], text[middle:]) if part]
