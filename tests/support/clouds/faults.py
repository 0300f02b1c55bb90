"""Answers of clouds that fail, each as a real one does it: queue them, or give them back from a script."""

import asyncio
import dataclasses
import gzip
import json
from collections.abc import Sequence
from typing import Any

from tests.e2e.script import Block
from tests.support.clouds.bedrock import bedrock_error
from tests.support.clouds.eventstream import (
    EVENT_STREAM_HEADERS,
    encode_exception,
    encode_frame,
    event_stream,
    event_stream_answer,
)
from tests.support.clouds.vertex import google_error
from tests.support.upstream import Answer, error_event, message, stream, stream_answer

ACCOUNT = "123456789012"
ARN = f"arn:aws:sts::{ACCOUNT}:assumed-role/AgentGateway/session"
PROJECT_NUMBER = "987654321098"
JSON = ("content-type", "application/json")


def throttled() -> Answer:
    """Bedrock has had too many requests; it gives no retry-after."""
    return bedrock_error(429, "ThrottlingException", "Too many requests, please wait before trying again.")


def access_denied() -> Answer:
    """Bedrock's refusal names the operator's role and account, which no client may see."""
    sentence = (
        f"User: {ARN} is not authorized to perform: bedrock:InvokeModel on resource: "
        f"arn:aws:bedrock:us-east-1:{ACCOUNT}:inference-profile/us.anthropic.claude-opus-5-5"
    )
    return bedrock_error(403, "AccessDeniedException", sentence)


def expired_signature() -> Answer:
    """AWS refuses credentials that ended in the middle of a run."""
    return bedrock_error(403, "ExpiredTokenException", "The security token included in the request is expired")


def on_demand_refused() -> Answer:
    """Bedrock serves newer models by inference profiles only."""
    sentence = (
        "Invocation of model ID anthropic.claude-opus-5-5 with on-demand throughput isn\u2019t supported. "
        "Retry your request with the ID or ARN of an inference profile that contains this model."
    )
    return bedrock_error(400, "ValidationException", sentence)


def exception_after(
    blocks: Sequence[Block], exception_type: str, sentence: str, *, events: int | None = None
) -> Answer:
    """An event stream that Bedrock ends with an exception after `events` frames, else after the last content block."""
    frames = event_stream(blocks)
    kept = frames[: events if events is not None else -2]
    return Answer(200, EVENT_STREAM_HEADERS, [*kept, encode_exception(exception_type, sentence)])


def error_frame(code: str, sentence: str) -> Answer:
    """An event stream that is an error from its first frame on, in the second way that AWS writes one."""
    headers = {":message-type": "error", ":error-code": code, ":error-message": sentence}
    return Answer(200, EVENT_STREAM_HEADERS, [encode_frame(headers, b"")])


def bad_checksum(blocks: Sequence[Block], frame: int) -> Answer:
    """One bit of a frame's payload is wrong; negative numbers count from the end."""
    frames = event_stream(blocks)
    broken = bytearray(frames[frame])
    broken[-10] ^= 1
    frames[frame] = bytes(broken)
    return Answer(200, EVENT_STREAM_HEADERS, frames)


def truncated_frame(blocks: Sequence[Block], frame: int) -> Answer:
    """The stream ends, orderly as HTTP sees it, within a frame."""
    frames = event_stream(blocks)
    whole = len(frames[:frame])
    return Answer(200, EVENT_STREAM_HEADERS, [*frames[:whole], frames[whole][:-7]])


def stalled(blocks: Sequence[Block], *, events: int, until: asyncio.Event, binary: bool = False) -> Answer:
    """A stream that falls silent after `events` events, and goes on when `until` is set."""
    written = event_stream(blocks) if binary else stream(blocks)
    answer = event_stream_answer(blocks) if binary else stream_answer(blocks)
    return dataclasses.replace(answer, chunks=[*written[:events], until, *written[events:]])


def cut_off(blocks: Sequence[Block], *, events: int, binary: bool = False) -> Answer:
    """The connection ends after `events` events."""
    written = event_stream(blocks) if binary else stream(blocks)
    answer = event_stream_answer(blocks) if binary else stream_answer(blocks)
    return dataclasses.replace(answer, chunks=written[:events], cut=True)


def overloaded_within(blocks: Sequence[Block]) -> Answer:
    """An error event in a stream of server-sent events."""
    return dataclasses.replace(
        stream_answer(blocks), chunks=[*stream(blocks)[:-2], error_event("overloaded_error", "Overloaded")]
    )


def google_throttled(*, array: bool = False) -> Answer:
    """Vertex is out of quota; streaming methods may wrap the error in an array."""
    return google_error(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later.", array=array)


def google_denied(*, array: bool = False) -> Answer:
    """Vertex's refusal names the operator's project."""
    sentence = (
        "Permission 'aiplatform.endpoints.predict' denied on resource "
        f"'//aiplatform.googleapis.com/projects/{PROJECT_NUMBER}/locations/us-east5' (or it may not exist)."
    )
    return google_error(403, "PERMISSION_DENIED", sentence, array=array)


def google_expired() -> Answer:
    """Vertex refuses a token that ended in the middle of a run."""
    return google_error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")


def model_not_in_region(model: str) -> Answer:
    """Vertex has the model elsewhere only."""
    sentence = (
        f"Publisher Model `projects/{PROJECT_NUMBER}/locations/us-east5/publishers/anthropic/models/{model}` was not "
        "found or your project does not have access to it."
    )
    return google_error(404, "NOT_FOUND", sentence)


def html_page(status: int = 502) -> Answer:
    """What a load balancer says of the service behind it, with a host name that no client may see."""
    page = (
        f"<html><head><title>{status} Bad Gateway</title></head><body><center><h1>{status}</h1></center>"
        "<p>upstream lb-7.internal.example.net refused</p></body></html>"
    )
    return Answer(status, (("content-type", "text/html"),), [page.encode()])


def error_in_200(body: Any) -> Answer:
    """A 200 whose body is an error."""
    return Answer(200, (JSON,), [json.dumps(body).encode()])


def gzipped(blocks: Sequence[Block]) -> Answer:
    """A compressed answer to a request that asked for none."""
    return Answer(200, (JSON, ("content-encoding", "gzip")), [gzip.compress(message(blocks))])


def redirected(location: str) -> Answer:
    """The service is said to be elsewhere."""
    return Answer(307, (("location", location),), [])
