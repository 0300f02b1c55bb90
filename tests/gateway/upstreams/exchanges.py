"""Exchanges with an upstream, for the tests of each backend; among them those recorded of each cloud's own client.

A golden file holds the request as the official client wrote it, and an answer that this client could read.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.core.wire.shapes import Operation
from gateway.ports import UpstreamRequest
from gateway.upstreams.http import HttpAnswer, HttpUpstream
from tests.support.upstream import Answer, Received, ScriptedUpstream

GOLDEN = Path(__file__).parents[2] / "golden"
NAMES = ("messages_stream", "messages", "count_tokens", "error")
CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "anthropic-workspace-id"})

BODY = b'{"model": "claude-opus-5-5",  "stream":true, "unknown":{"\\u00e9":1}}'


@dataclass(frozen=True, slots=True)
class Recorded:
    """One golden exchange."""

    path: str
    headers: list[tuple[str, str]]
    body: bytes
    operation: Operation
    model: str
    stream: bool
    answer: Answer

    def as_sent(self, path: str = "") -> UpstreamRequest:
        """The request as the pipeline hands it to an upstream, without the client's credentials."""
        headers = [pair for pair in self.headers if pair[0] not in CREDENTIALS]
        return UpstreamRequest(path, headers, self.body, self.model, self.stream, self.operation)


def recorded(backend: str, name: str) -> Recorded:
    document: dict[str, Any] = json.loads((GOLDEN / backend / f"{name}.json").read_text())
    asked, given = document["request"], document["answer"]
    body = base64.b64decode(given["body_base64"]) if "body_base64" in given else given["body"].encode()
    return Recorded(
        path=asked["path"],
        headers=[(key, value) for key, value in asked["headers"]],
        body=asked["body"].encode(),
        operation=asked["operation"],
        model=asked["model"],
        stream=asked["stream"],
        answer=Answer(given["status"], [(key, value) for key, value in given["headers"]], [body]),
    )


async def assert_as_recorded(upstream: HttpUpstream, server: ScriptedUpstream, exchange_of: Recorded) -> None:
    """What leaves is what the cloud's own client sent, credential apart; what comes back is what the cloud said."""
    server.queue(exchange_of.answer)
    answer, body = await exchange(upstream, exchange_of.as_sent())
    received = server.received[-1]
    assert (received.raw_path, received.body) == (exchange_of.path, exchange_of.body)
    for name, value in exchange_of.headers:
        if name not in CREDENTIALS:
            assert received.header(name) == value
    assert (answer.status, body) == (exchange_of.answer.status, exchange_of.answer.chunks[0])
    assert [pair for pair in answer.headers if pair in exchange_of.answer.headers] == list(exchange_of.answer.headers)


def request(headers: Sequence[tuple[str, str]] = (), **fields: Any) -> UpstreamRequest:
    """A streamed request of a client of the Anthropic dialect, but for `fields`."""
    usual = UpstreamRequest("/v1/messages?beta=true", headers, BODY, "claude-opus-5-5", True)
    return msgspec.structs.replace(usual, **fields)


async def exchange(upstream: HttpUpstream, sent: UpstreamRequest) -> tuple[HttpAnswer, bytes]:
    """Send, read to the end, close."""
    answer = await upstream.send(sent)
    body = b"".join([chunk async for chunk in answer.chunks()])
    await answer.close()
    return answer, body


def signature_of(received: Received, server: ScriptedUpstream, *, secret: str, service: str, region: str) -> str:
    """The `authorization` that botocore makes of what arrived: address, bytes and the headers said to be signed."""
    shown = received.header("authorization") or ""
    key_id = shown.partition("Credential=")[2].partition("/")[0]
    names = shown.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    signed = {name: received.header(name) or "" for name in names}
    wanted = AWSRequest(method=received.method, url=server.base_url + received.raw_path, headers=signed)
    wanted.data = received.body
    wanted.context["timestamp"] = received.header("x-amz-date")
    signer = SigV4Auth(Credentials(key_id, secret), service, region)
    text = signer.string_to_sign(wanted, signer.canonical_request(wanted))
    scope = f"AWS4-HMAC-SHA256 Credential={signer.scope(wanted)}"
    return f"{scope}, SignedHeaders={';'.join(names)}, Signature={signer.signature(text, wanted)}"
