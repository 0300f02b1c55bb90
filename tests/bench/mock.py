"""The bench's upstream: a raw asyncio protocol with answers encoded once, so that it is never the bottleneck.

    python -m tests.bench.mock PORT

The request header `x-bench-answer` picks the answer, but Bedrock's paths have one of their own. It checks nothing: not
a model of the real API's behaviour.
"""

import asyncio
import json
import sys
from typing import Any

from tests.support.clouds.eventstream import reframe

BEDROCK_START = b"post /model/"
ANSWER_HEADER = b"x-bench-answer:"
PACED_EVENT_SECONDS = 0.005
MODEL = "claude-opus-4-8"
USAGE = {"input_tokens": 60, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 240}


def event(name: str, **data: Any) -> bytes:
    encoded = json.dumps({"type": name, **data}, separators=(",", ":"))
    return f"event: {name}\ndata: {encoded}\n\n".encode()


def message_start() -> bytes:
    message = {"id": "msg_bench", "type": "message", "role": "assistant", "model": MODEL, "content": []}
    return event("message_start", message={**message, "stop_reason": None, "stop_sequence": None, "usage": USAGE})


def message_end(stop_reason: str) -> list[bytes]:
    delta = {"stop_reason": stop_reason, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage=USAGE), event("message_stop")]


def text_events(index: int, count: int) -> list[bytes]:
    """A text block with `count` deltas."""
    deltas = [{"type": "text_delta", "text": f"word {number} of the answer, "} for number in range(count)]
    return [
        event("content_block_start", index=index, content_block={"type": "text", "text": ""}),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def tool_events(index: int) -> list[bytes]:
    """A Read call whose input arrives in four pieces."""
    block = {"type": "tool_use", "id": f"toolu_bench_{index}", "name": "Read", "input": {}}
    encoded = json.dumps({"file_path": f"/home/dev/project/src/module_{index}.py", "offset": index, "limit": 200})
    quarter = len(encoded) // 4 + 1
    pieces = [encoded[place : place + quarter] for place in range(0, len(encoded), quarter)]
    return [
        event("content_block_start", index=index, content_block=block),
        *(
            event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": piece})
            for piece in pieces
        ),
        event("content_block_stop", index=index),
    ]


def json_answer() -> bytes:
    """A whole message of about 1 KB."""
    message = {"id": "msg_bench", "type": "message", "role": "assistant", "model": MODEL, "stop_reason": "end_turn"}
    content = [{"type": "text", "text": "An answer of some length. " * 28}]
    body = json.dumps({**message, "stop_sequence": None, "content": content, "usage": USAGE}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_bench\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"request-id: req_bench\r\ntransfer-encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def stream_answer(events: list[bytes]) -> bytes:
    """The whole stream as one chunk: what a gateway costs, not what a model's pace hides."""
    return STREAM_HEAD + chunk(b"".join(events)) + LAST_CHUNK


def bedrock_answer(events: list[bytes]) -> bytes:
    """The same as an AWS event stream."""
    head = STREAM_HEAD.replace(b"text/event-stream; charset=utf-8", b"application/vnd.amazon.eventstream")
    return head + chunk(reframe(b"".join(events))) + LAST_CHUNK


STREAM_200 = [message_start(), *text_events(0, 195), *message_end("end_turn")]
TOOLS_5 = [
    message_start(),
    *text_events(0, 10),
    *(frame for index in range(1, 6) for frame in tool_events(index)),
    *message_end("tool_use"),
]
ANSWERS = {
    b"json": json_answer(),
    b"stream": stream_answer(STREAM_200),
    b"tools": stream_answer(TOOLS_5),
    b"bedrock": bedrock_answer(STREAM_200),
}
PACED = [message_start(), *text_events(0, 15), *tool_events(1), *message_end("tool_use")]


class MockUpstream(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._needed = 0
        self._answer = b"json"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._take_request():
            if self._answer == b"paced":
                self._transport.write(STREAM_HEAD)
                self._write_paced(0)
            else:
                self._transport.write(ANSWERS[self._answer])

    def _take_request(self) -> bool:
        """True when a whole request has been taken off the buffer."""
        if not self._needed:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return False
            head = bytes(self._buffer[:end]).lower()
            of_bedrock = head.startswith(BEDROCK_START)
            self._answer = b"bedrock" if of_bedrock else header_value(head, ANSWER_HEADER) or b"json"
            self._needed = end + 4 + int(header_value(head, b"content-length:") or 0)
        if len(self._buffer) < self._needed:
            return False
        del self._buffer[: self._needed]
        self._needed = 0
        return True

    def _write_paced(self, number: int) -> None:
        if self._transport.is_closing():
            return
        if number == len(PACED):
            self._transport.write(LAST_CHUNK)
            return
        self._transport.write(chunk(PACED[number]))
        asyncio.get_running_loop().call_later(PACED_EVENT_SECONDS, self._write_paced, number + 1)


def header_value(head: bytes, name: bytes) -> bytes | None:
    """The value of a header in a lower-cased head."""
    start = head.find(b"\r\n" + name)
    if start < 0:
        return None
    start += 2 + len(name)
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(MockUpstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
