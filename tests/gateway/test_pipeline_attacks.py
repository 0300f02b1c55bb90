"""A hostile client, and a hostile or talkative upstream, against the whole gateway in every dialect."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from tests.e2e.script import Block, Conversation
from tests.support.clouds.cloud import Normal
from tests.support.clouds.configured import BACKENDS
from tests.support.clouds.eventstream import encode_frame
from tests.support.dialects import encoded, write_count, write_request
from tests.support.gateway import CREDENTIAL, SESSION, UPSTREAM_KEY, Serving, serving
from tests.support.upstream import (
    Answer,
    Received,
    ScriptedUpstream,
    error_event,
    json_answer,
    message,
    stream,
    stream_answer,
    text_block,
    tool_block,
)

ASKED: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "hi"}],
}
SPOKEN: dict[str, Any] = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": ASKED["messages"]}
HAIKU_ONLY = {"settings": {"models": {"allow": ["claude-haiku-*"]}}}
ANY_MODEL = {"settings": {"models": {"allow": ["*"]}}}
NO_CURL = {"settings": {"tools": {"deny": [{"tool": "Bash", "commands": ["curl *"]}]}}}
OTHERS_PROFILE = "arn:aws:bedrock:us-east-1:999999999999:application-inference-profile/otherteam1"
SECRETS = ("123456789012", "arn:aws:iam", "ops@example.com", "10.20.30.40", "ya29.")
SAID = "User arn:aws:iam::123456789012:role/gate (ops@example.com, 10.20.30.40) lacks ya29.token-of-the-gate"
VERTEX = "/v1/projects/p/locations/l/publishers/anthropic/models/"


PLAIN_BYTES_MAX = 1024 * 1024
EVENT_STREAM = "application/vnd.amazon.eventstream"
GLOBAL_PROFILE = "arn:aws:bedrock:us-east-1:1:inference-profile/global.anthropic.claude-opus-5-5"
ESCAPED_PATHS = (
    "/gw/%61%61%61%61%61.evil.test/v1/messages",
    "/gw/%61/v1/messages",
    "/%76%31/messages",
    "/%61nthropic/v1/messages",
    "/%6Dodel/claude-opus-5-5/invoke",
    "/gw/a/%6Dodel/claude-opus-5-5/invoke",
    "/v1/%70rojects/p/locations/l/publishers/anthropic/models/claude-opus-5-5:rawPredict",
    "/%72ingfence/v1/limits",
)
RESEMBLING_PATHS = (
    "/model/claude-haiku-5-5/../claude-opus-5-5/invoke",
    "/model/claude-haiku-5-5/%2e%2e/claude-opus-5-5/invoke",
    "/model/claude-haiku-5-5%2F..%2Fclaude-opus-5-5/invoke",
    "/model/claude-haiku-5-5/invoke/../../claude-opus-5-5/invoke",
    "/model/claude-haiku-5-5%00claude-opus-5-5/invoke",
    "/model/claude-haiku-5-5%0d%0ax:y/invoke",
    "/model/claude-haiku-5-5;claude-opus-5-5/invoke",
    "/model/claude-haiku-5-5%3Fx/invoke",
    "/model/us.anthropic.claude-opus-5-5/invoke",
    "/model/anthropic.claude-opus-5-5-v1:0/invoke",
    "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.anthropic.claude-opus-5-5/invoke",
    "/model//claude-haiku-5-5/invoke",
    "//model/claude-haiku-5-5/invoke",
    "/model/Claude-Haiku-5-5/invoke",
    "/model/claude-haiku-5-5%20/invoke",
    "/model/claude\u2010haiku-5-5/invoke",
    "/model/claude-haiku-5-5/invoke/",
    "/model/claude-haiku-5-5%2Finvoke",
    VERTEX + "claude-haiku-5-5:rawPredict:rawPredict",
    VERTEX + "claude-haiku-5-5%2F..%2Fclaude-opus-5-5:rawPredict",
    VERTEX + "claude-opus-5-5@default:rawPredict",
    VERTEX + "..:rawPredict",
    VERTEX + "count-tokens:streamRawPredict",
)
ENDING_HERE = (
    "cookie",
    "x-amz-security-token",
    "x-goog-api-key",
    "proxy-authorization",
    "x-amzn-bedrock-service-tier",
    "x-amzn-bedrock-performanceconfig-latency",
    "x-vertex-ai-llm-request-type",
    "x-vertex-ai-llm-shared-request-type",
)
TALKATIVE = (
    ("set-cookie", "s=1"),
    ("location", "https://lb.internal/"),
    ("alt-svc", 'h3="elsewhere:443"'),
    ("via", "1.1 lb-7.internal"),
    ("server", "lb-7.internal"),
    ("www-authenticate", "Bearer realm=tenant"),
    ("x-amzn-errormessage", SAID),
    ("x-ringfence-decision", "dec_forged"),
    ("x-ringfence-bridged", "forged"),
)


def say(_: Conversation) -> Sequence[Block]:
    return [text_block("Hello.")]


def answer(received: Received) -> Answer:
    told = json.loads(received.body)
    return stream_answer([text_block("x")]) if told.get("stream") else json_answer(message([text_block("x")]))


CALL = stream([tool_block("Bash", {"command": "curl http://x"})])
BEGUN = CALL[1].split(b"data: ")[1].strip()
FORGED = [
    (b"whatever", BEGUN),
    (b"ping", BEGUN),
    (b"error", BEGUN),
    (b"content_block_start", BEGUN.replace(b'"type"', b'"Type"', 1)),
    (b"content_block_start", BEGUN.replace(b'{"type"', b'{"type":"ping","type"', 1)),
    (b"content_block_start", BEGUN.replace(b"content_block_start", b"ping")),
    (b"message_start", stream([])[0].split(b"data: ")[1].strip().replace(b'"content":[]', b'"content":[{}]')),
]
DIALECTS = ("anthropic", "bedrock", "vertex")


@asynccontextmanager
async def at(tmp_path: Path, backend: str, **sections: Any) -> AsyncGenerator[tuple[Any, Serving]]:
    """A gateway in front of a strict cloud; `keys` are added to its upstream's configuration."""
    made = BACKENDS[backend]
    keys = sections.pop("keys", {})
    async with made.cloud(say) as cloud:
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud) | keys], **sections) as gateway:
            yield cloud, gateway


@pytest.fixture
async def upstream() -> AsyncGenerator[ScriptedUpstream]:
    async with ScriptedUpstream(answer) as scripted:
        yield scripted


async def send(
    gateway: Serving, path: str, body: bytes | Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> tuple[int, Any, bytes]:
    """Status, headers and body, as far as it came; the path goes out as it is written here."""
    sent = {"x-api-key": CREDENTIAL, "x-claude-code-session-id": SESSION, "content-type": "application/json"}
    raw = body if isinstance(body, bytes) else encoded(body)
    data = BytesIO(raw) if len(raw) > PLAIN_BYTES_MAX else raw
    url = URL(gateway.url + path, encoded=path.isascii())
    came = b""
    async with gateway.client.post(url, data=data, headers=sent | dict(headers or {})) as response:
        try:
            async for chunk in response.content.iter_any():
                came += chunk
        except aiohttp.ClientPayloadError:
            pass  # a stream in which nothing can be said any more is cut
        return response.status, response.headers, came


async def send_raw(gateway: Serving, head: bytes, body: bytes) -> bytes:
    """The answer to bytes that no HTTP library would write."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2]))
    fixed = f"host: x\r\nconnection: close\r\nx-api-key: {CREDENTIAL}\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head + fixed.encode() + body)
    told = await reader.read()
    writer.close()
    return told


def shown(told: bytes) -> bytes:
    """A stream with what stands in its base64."""
    pieces = told.split(b'"bytes":"')[1:]
    return b"".join((told, *(base64.b64decode(piece.partition(b'"')[0]) for piece in pieces)))


async def test_escape_outside_a_models_name_is_not_found(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """Routes match decoded paths. A tag cut off by its decoded length once made the upstream's host name longer."""
    statuses: dict[str, int] = {}
    async with serving(tmp_path, upstream.base_url) as gateway:
        for path in ESCAPED_PATHS:
            statuses[path], _, _ = await send(gateway, path, ASKED)

    assert ({path: status for path, status in statuses.items() if status != 404}, upstream.received) == ({}, [])


async def test_tag_in_escapes_leads_to_the_same_path(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with serving(tmp_path, upstream.base_url) as gateway:
        status, _, _ = await send(gateway, "/gw/%63%69/model/claude-opus-5-5/invoke", SPOKEN)
        await gateway.quiet()

    record = gateway.audit("request")[0]
    assert (status, upstream.received[0].raw_path) == (200, "/v1/messages")
    assert (record["dialect"], record["tag"], record["model"]) == ("bedrock", "ci", "claude-opus-5-5")


async def test_name_that_only_resembles_an_allowed_model_is_refused(tmp_path: Path) -> None:
    statuses: dict[str, int] = {}
    async with at(tmp_path, "bedrock", policy=HAIKU_ONLY) as (cloud, gateway):
        for path in RESEMBLING_PATHS:
            statuses[path], _, _ = await send(gateway, path, SPOKEN)

    assert {path: status for path, status in statuses.items() if status not in (400, 404, 451)} == {}
    assert cloud.received == []


async def test_model_in_body_and_path_is_refused(tmp_path: Path) -> None:
    escaped = encoded(SPOKEN).replace(b'{"', b'{"m\\u006fdel":"claude-opus-5-5","', 1)
    statuses: list[int] = []
    async with at(tmp_path, "bedrock", policy=HAIKU_ONLY) as (cloud, gateway):
        for path in ("/model/claude-haiku-5-5/invoke", VERTEX + "claude-haiku-5-5:rawPredict"):
            for body in (SPOKEN | {"model": "claude-opus-5-5"}, escaped):
                statuses.append((await send(gateway, path, body))[0])

    assert (statuses, cloud.received) == ([400] * 4, [])


async def test_member_that_occurs_twice_is_refused_however_it_is_spelt(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    statuses: set[int] = set()
    async with serving(tmp_path, upstream.base_url) as gateway:
        for path in ("/v1/messages", "/model/claude-opus-5-5/invoke", VERTEX + "claude-opus-5-5:rawPredict"):
            for name in ("model", "max_tokens", "messages", "tools", "stream", "anthropic_beta"):
                twin = f'"\\u{ord(name[0]):04x}{name[1:]}":[],"{name}":[],'.encode()
                body = encoded(ASKED if path == "/v1/messages" else SPOKEN).replace(b"{", b"{" + twin, 1)
                statuses.add((await send(gateway, path, body))[0])

    assert (statuses, upstream.received) == ({400}, [])


async def test_name_of_a_model_is_of_bounded_length_and_plain(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with serving(tmp_path, upstream.base_url) as gateway:
        names = ("claude-" + "x" * 3000, "claude-\n5", "claude-haiku-5-5/../claude-opus-5-5")
        statuses = [(await send(gateway, "/v1/messages", ASKED | {"model": name}))[0] for name in names]

    assert (statuses, upstream.received) == ([400] * 3, [])


async def test_count_at_vertex_asks_for_the_model_that_was_decided(tmp_path: Path) -> None:
    sent = write_count("vertex", {"model": "claude-opus-5-5", "messages": ASKED["messages"]})
    async with at(tmp_path, "vertex", policy=HAIKU_ONLY) as (cloud, gateway):
        dear, _, _ = await send(gateway, sent.path, sent.body)
        cheap, _, _ = await send(gateway, sent.path, sent.body.replace(b"opus", b"haiku"))

    assert (dear, cheap, [each.normal.model for each in cloud.received]) == (451, 200, ["claude-haiku-5-5"])


async def test_betas_of_list_and_header_are_all_decided(tmp_path: Path) -> None:
    body = SPOKEN | {"anthropic_beta": ["context-1m-2025-08-07"]}
    headers = {"anthropic-beta": "computer-use-2025-11-24"}
    wanted = {"context-1m-2025-08-07", "computer-use-2025-11-24"}
    async with at(tmp_path, "bedrock") as (cloud, gateway):
        await send(gateway, "/model/claude-opus-5-5/invoke", body, headers)
        await send(gateway, VERTEX + "claude-opus-5-5:rawPredict", body, headers)
        await gateway.quiet()

    assert [set(record["betas"]) for record in gateway.audit("request")] == [wanted, wanted]
    assert all(set(each.normal.betas) <= wanted for each in cloud.received) and len(cloud.received) == 2


async def test_wrapped_count_never_becomes_a_message(tmp_path: Path) -> None:
    inner = base64.b64encode(encoded(SPOKEN | {"stream": True})).decode()
    tmp_path.joinpath("vertex").mkdir()
    tmp_path.joinpath("bedrock").mkdir()
    body = {"input": {"invokeModel": {"body": inner}, "stream": True}, "stream": True}
    for backend in ("bedrock", "vertex"):
        async with at(tmp_path / backend, backend) as (cloud, gateway):
            _, _, told = await send(gateway, "/model/claude-opus-5-5/count-tokens", body)

        assert all("count-tokens" in each.raw_path for each in cloud.received) and cloud.received
        assert b"Hello." not in told


async def test_profile_of_another_team_needs_a_price_before_it_is_asked_for(tmp_path: Path) -> None:
    routes = [{"models": ["*"], "upstreams": ["main"]}]
    async with at(tmp_path, "bedrock", policy=ANY_MODEL, routes=routes) as (cloud, gateway):
        status, _, told = await send(gateway, f"/model/{quote(OTHERS_PROFILE, safe='')}/invoke", SPOKEN)

    assert (status, cloud.received) == (451, []) and b"has no price" in told


async def test_fallback_price_opens_only_what_a_route_names(tmp_path: Path) -> None:
    routes = [{"models": ["claude-*"], "upstreams": ["main"]}]
    prices = {"fallback_model": "claude-opus-5-5"}
    async with at(tmp_path, "bedrock", policy=ANY_MODEL, routes=routes, prices=prices) as (cloud, gateway):
        others, _, _ = await send(gateway, f"/model/{quote(OTHERS_PROFILE, safe='')}/invoke", SPOKEN)
        foreign, _, _ = await send(gateway, "/model/meta.llama3-70b-instruct-v1:0/invoke", SPOKEN)

    assert (others, foreign, cloud.received) == (404, 404, [])


async def test_configured_profile_is_not_replaced_by_the_clients(tmp_path: Path) -> None:
    """The profile says where requests may run."""
    asked = ("global.anthropic.claude-opus-5-5", "anthropic.claude-opus-5-5", quote(GLOBAL_PROFILE, safe=""))
    async with at(tmp_path, "bedrock", keys={"profile": "eu"}) as (cloud, gateway):
        statuses = [(await send(gateway, f"/model/{model}/invoke", SPOKEN))[0] for model in asked]

    assert statuses == [200] * 3
    assert {each.raw_path for each in cloud.received} == {"/model/eu.anthropic.claude-opus-5-5/invoke"}


async def test_upstreams_name_for_the_model_that_was_asked_does_not_undo_its_replacement(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    """Aliases and the obligation `set_model` change the model after it was asked for."""
    main = {"id": "main", "backend": "foundry", "base_url": upstream.base_url, "api_key": UPSTREAM_KEY}
    upstreams = [main | {"models": {"claude-opus-5-5": "dear-deployment"}}]
    aliases = {"claude-opus-5-5": "claude-haiku-5-5"}
    async with serving(tmp_path, "", upstreams=upstreams, aliases=aliases) as gateway:
        status, _, _ = await send(gateway, "/v1/messages", ASKED)

    assert (status, upstream.received[0].json()["model"]) == (200, "claude-haiku-5-5")


@pytest.mark.parametrize("backend", BACKENDS)
async def test_clients_secrets_and_choices_of_price_end_here(tmp_path: Path, backend: str) -> None:
    async with at(tmp_path, backend) as (cloud, gateway):
        for dialect in DIALECTS:
            sent = write_request(dialect, ASKED)
            await send(gateway, sent.path, sent.body, sent.headers | dict.fromkeys(ENDING_HERE, "secret"))

    leaked = [pair for each in cloud.received for pair in each.headers if pair[1] == "secret" or CREDENTIAL in pair[1]]
    assert (leaked, len(cloud.received), cloud.problems) == ([], len(DIALECTS), [])


@pytest.mark.parametrize(("backend", "dialect"), [("aws", "anthropic"), ("vertex", "vertex"), ("bedrock", "bedrock")])
async def test_answers_headers_name_nothing_of_the_operators(tmp_path: Path, backend: str, dialect: str) -> None:
    async with at(tmp_path, backend) as (cloud, gateway):
        for streams in (False, True):
            plain = cloud.speak(Normal(stream=streams), [text_block("x")])
            cloud.queue(Answer(200, (*plain.headers, *TALKATIVE), plain.chunks))
            sent = write_request(dialect, ASKED | ({"stream": True} if streams else {}))
            status, headers, _ = await send(gateway, sent.path, sent.body, sent.headers)

            told = "\n".join(f"{name}: {value}" for name, value in headers.items()).lower()
            assert (status, [word for word in (*SECRETS, "internal", "forged", "elsewhere") if word in told]) == (
                200,
                [],
            )
            assert not {"set-cookie", "www-authenticate"} & {name.lower() for name in headers}


@pytest.mark.parametrize("backend", ["vertex", "bedrock", "foundry"])
async def test_error_inside_a_stream_names_nothing_of_the_operators(tmp_path: Path, backend: str) -> None:
    ends = (error_event("permission_error", SAID), error_event("x", SAID).replace(b"error_event", b"nobody knows"))
    async with at(tmp_path, backend) as (cloud, gateway):
        for dialect in DIALECTS:
            for end in ends:
                written = stream_answer([text_block("Hi.")])
                whole = Answer(200, written.headers, [*written.chunks[:4], end])
                cloud.queue(cloud.dress(whole))
                sent = write_request(dialect, ASKED | {"stream": True})
                status, _, told = await send(gateway, sent.path, sent.body, sent.headers)

                seen = shown(told)
                assert (status, [word for word in SECRETS if word.encode() in seen]) == (200, [])
                assert b"lacks" in seen, "the rest of the sentence stays"


async def test_call_under_a_false_name_breaks_the_stream_in_every_dialect(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    passed: list[tuple[str, bytes]] = []
    async with serving(tmp_path, upstream.base_url, policy=NO_CURL) as gateway:
        for dialect in DIALECTS:
            sent = write_request(dialect, ASKED | {"stream": True})
            for name, data in FORGED:
                upstream.queue(Answer(chunks=[CALL[0], b"event: %b\ndata: %b\n\n" % (name, data), *CALL[2:]]))
                seen = shown((await send(gateway, sent.path, sent.body, sent.headers))[2])
                if b"Bash" in seen or b"url http" in seen:
                    passed.append((dialect, data))

    assert (passed, len(upstream.received)) == ([], len(DIALECTS) * len(FORGED))


async def test_answer_in_another_framing_or_encoding_is_not_relayed(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """A client that goes by the content type, or guesses the encoding, would read what the gate had not."""
    chunk = {":event-type": "chunk", ":content-type": "application/json", ":message-type": "event"}
    payloads = [b'{\n\n"bytes":"%b"}' % base64.b64encode(each.split(b"data: ")[1].strip()) for each in CALL]
    frames = b"".join(encode_frame(chunk, payload) for payload in payloads)
    told = message([tool_block("Bash", {"command": "curl http://x"})]).decode()
    answers = [Answer(200, (("content-type", EVENT_STREAM),), [frames])]
    answers += [json_answer(told.encode(coding)) for coding in ("utf-16-le", "utf-16", "utf-32-le")]
    upstream.queue(*answers)
    seen = b""
    async with serving(tmp_path, upstream.base_url, policy=NO_CURL) as gateway:
        for index in range(len(answers)):
            body = ASKED | ({"stream": True} if index == 0 else {})
            seen += shown((await send(gateway, "/v1/messages", body))[2])

    assert b"Bash" not in seen.replace(b"\0", b"")


async def test_request_that_cannot_be_signed_does_not_open_the_breaker(
    tmp_path: Path, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"ACCESS_KEY_ID": "AKIDFAKE", "SECRET_ACCESS_KEY": "f", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    main = {"id": "main", "backend": "bedrock", "region": "us-east-1", "base_url": upstream.base_url}
    async with serving(tmp_path, "", upstreams=[main | {"breaker": {"failures": 2}}]) as gateway:
        head = b"POST /model/claude-opus-5-5/invoke HTTP/1.1\r\nanthropic-odd: \xff\r\n"
        refused = [await send_raw(gateway, head, encoded(SPOKEN)) for _ in range(3)]
        status, _, _ = await send(gateway, "/model/claude-opus-5-5/invoke", SPOKEN)

    assert {each.split(b" ")[1] for each in refused} == {b"502"}
    assert (status, len(upstream.received)) == (200, 1)


async def test_body_above_what_a_cloud_takes_is_refused_without_asking_it(tmp_path: Path) -> None:
    """Clouds break such an upload off, which would count against them."""
    large = SPOKEN | {"messages": [{"role": "user", "content": "x" * (20 * 1024 * 1024)}]}
    async with at(tmp_path, "bedrock", keys={"breaker": {"failures": 1}}) as (cloud, gateway):
        refused, headers, _ = await send(gateway, "/model/claude-opus-5-5/invoke", large)
        status, _, _ = await send(gateway, "/model/claude-opus-5-5/invoke", SPOKEN)

    assert (refused, headers["x-amzn-errortype"]) == (400, "ValidationException") or refused == 413
    assert (status, len(cloud.received)) == (200, 1)
