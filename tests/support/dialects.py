"""One request and one answer in each of the three client dialects, written and read without the gateway's code.

Event streams are read by botocore, which checks their CRCs. No test lives here.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from botocore.eventstream import EventStreamBuffer

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client of a dialect sends for one Messages request."""

    path: str
    headers: dict[str, str]
    body: bytes


def write_request(dialect: str, body: Json, *, betas: Sequence[str] = (), version: str = "2023-06-01") -> Sent:
    """`body` in Anthropic form (with model and stream) as a client of `dialect` would send it."""
    stream = bool(body.get("stream"))
    rest = {name: value for name, value in body.items() if name not in ("model", "stream")}
    model = str(body["model"])
    joined = {"anthropic-beta": ",".join(betas)} if betas else {}
    if dialect == "anthropic":
        return Sent("/v1/messages", {"anthropic-version": version, **joined}, encoded(body))
    if dialect == "bedrock":
        spoken: Json = {"anthropic_version": "bedrock-2023-05-31" if version == "2023-06-01" else version}
        if betas:
            spoken["anthropic_beta"] = list(betas)
        method = "invoke-with-response-stream" if stream else "invoke"
        return Sent(f"/model/{quote(model, safe='')}/{method}", {}, encoded(spoken | rest))
    spoken = {"anthropic_version": "vertex-2023-10-16" if version == "2023-06-01" else version}
    method = "streamRawPredict" if stream else "rawPredict"
    place = f"/v1/projects/clients-own/locations/us-east5/publishers/anthropic/models/{model}:{method}"
    return Sent(place, joined, encoded(spoken | rest | ({"stream": True} if stream else {})))


def write_count(dialect: str, body: Json) -> Sent:
    """A token count of `body`."""
    if dialect == "anthropic":
        return Sent("/v1/messages/count_tokens", {"anthropic-version": "2023-06-01"}, encoded(body))
    model = str(body["model"])
    rest = {name: value for name, value in body.items() if name != "model"}
    if dialect == "bedrock":
        inner = encoded({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1} | rest)
        wrapped = {"input": {"invokeModel": {"body": base64.b64encode(inner).decode()}}}
        return Sent(f"/model/{quote(model, safe='')}/count-tokens", {}, encoded(wrapped))
    place = "/v1/projects/clients-own/locations/us-east5/publishers/anthropic/models/count-tokens:rawPredict"
    return Sent(place, {}, encoded({"anthropic_version": "vertex-2023-10-16"} | body))


def read_events(dialect: str, stream: bytes) -> list[Json]:
    """The events of a streamed answer; an exception of an event stream is shown as `{"exception": type, ...}`."""
    if dialect != "bedrock":
        return [json.loads(line[6:]) for line in stream.decode().splitlines() if line.startswith("data: ")]
    return [read_message(message) for message in event_messages(stream)]


def event_messages(stream: bytes) -> list[Any]:
    """The messages of an AWS event stream as botocore cuts them; raises on a wrong CRC or on bytes left over."""
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    messages: list[Any] = list(buffer)
    assert sum(message.prelude.total_length for message in messages) == len(stream), "the stream ends inside a message"
    return messages


def read_message(message: Any) -> Json:
    payload = json.loads(message.payload) if message.payload else {}
    if message.headers[":message-type"] == "event":
        assert message.headers[":event-type"] == "chunk"
        return json.loads(base64.b64decode(payload["bytes"]))
    return {"exception": message.headers[":exception-type"], **payload}


def read_error(dialect: str, headers: Any, body: bytes) -> tuple[str, str]:
    """Type and message of an error answer, as a client of the dialect finds them."""
    found = json.loads(body)
    if dialect == "anthropic":
        assert found["type"] == "error"
        return found["error"]["type"], found["error"]["message"]
    if dialect == "bedrock":
        return headers["x-amzn-errortype"], found["message"]
    return found["error"]["status"], found["error"]["message"]


def text_of(events: Sequence[Json]) -> str:
    return "".join(event["delta"].get("text", "") for event in events if event.get("type") == "content_block_delta")


def tool_calls_of(events: Sequence[Json]) -> list[tuple[str, Any]]:
    """(name, input) of every tool call of a stream."""
    names: dict[int, str] = {}
    inputs: dict[int, str] = {}
    for event in events:
        if event.get("type") == "content_block_start" and event["content_block"]["type"] == "tool_use":
            names[event["index"]] = event["content_block"]["name"]
        elif event.get("type") == "content_block_delta" and "partial_json" in event["delta"]:
            inputs[event["index"]] = inputs.get(event["index"], "") + event["delta"]["partial_json"]
    return [(name, json.loads(inputs.get(index) or "{}")) for index, name in names.items()]


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
