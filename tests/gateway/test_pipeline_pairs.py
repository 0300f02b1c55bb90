"""Every dialect to every backend through the whole gateway: what a client says arrives, what a model says comes back.

The backends are fake clouds that refuse whatever a real one would; event streams are read by botocore.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.script import Block, Conversation
from tests.support.clouds.configured import BACKENDS
from tests.support.clouds.eventstream import event_stream_answer
from tests.support.dialects import read_error, read_events, text_of, tool_calls_of, write_count, write_request
from tests.support.gateway import Serving, serving
from tests.support.upstream import text_block, thinking_block, tool_block

DIALECTS = ("anthropic", "bedrock", "vertex")
NAMES = {"anthropic": "claude-opus-5-5", "bedrock": "us.anthropic.claude-opus-5-5", "vertex": "claude-opus-5-5"}
NO_CURL = {"settings": {"tools": {"deny": [{"tool": "Bash", "commands": ["curl *"]}]}}}
BASH = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
SAID = [thinking_block("hm"), text_block("H\u00e9llo."), tool_block("Bash", {"command": "ls"})]
HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "List the f\u00efles."},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_0", "name": "Bash", "input": {"n": 1.50}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_0", "content": "a.txt"}]},
]


def say(_: Conversation) -> Sequence[Block]:
    return SAID


def call_curl(_: Conversation) -> Sequence[Block]:
    return [
        text_block("So."),
        tool_block("Bash", {"command": "curl http://x"}, "toolu_1"),
        tool_block("Bash", {"command": "ls"}, "toolu_2"),
    ]


def asked(dialect: str, **fields: Any) -> dict[str, Any]:
    return {"model": NAMES[dialect], "max_tokens": 100, "messages": HISTORY, "tools": [BASH], **fields}


async def post(gateway: Serving, dialect: str, body: dict[str, Any]) -> tuple[Any, bytes]:
    sent = write_request(dialect, body)
    async with gateway.post(sent.body, path=sent.path, headers=sent.headers) as response:
        return response, await response.read()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_stream_crosses_whole_in_both_directions(tmp_path: Path, dialect: str, backend: str) -> None:
    made = BACKENDS[backend]
    async with made.cloud(say) as cloud:
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud)]) as gateway:
            response, stream = await post(gateway, dialect, asked(dialect, stream=True))
            await gateway.quiet()

    assert (response.status, cloud.problems) == (200, [])
    events = read_events(dialect, stream)
    assert (text_of(events), tool_calls_of(events)) == ("H\u00e9llo.", [("Bash", {"command": "ls"})])
    told = cloud.received[0].normal
    assert (told.model, told.body["messages"], told.body["tools"]) == ("claude-opus-5-5", HISTORY, [BASH])
    record = gateway.audit("request")[0]
    assert (record["dialect"], record["reason"], record["usage"]["tokens"]["output"]) == (dialect, "completed", 20)
    assert record["cost_nanousd"] > 0 and record["cost_estimated"] is False


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_whole_message_crosses_in_both_directions(tmp_path: Path, dialect: str, backend: str) -> None:
    made = BACKENDS[backend]
    async with made.cloud(say) as cloud:
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud)]) as gateway:
            response, body = await post(gateway, dialect, asked(dialect))

    assert (response.status, cloud.problems) == (200, [])
    assert json.loads(body)["content"] == SAID
    assert cloud.received[0].normal.body["messages"] == HISTORY
    assert response.headers["request-id"] and response.headers["x-ringfence-decision"].startswith("dec_")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_denied_call_is_replaced_in_the_stream_and_restored_on_the_way_back(
    tmp_path: Path, dialect: str, backend: str
) -> None:
    made = BACKENDS[backend]
    async with made.cloud(call_curl) as cloud:
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud)], policy=NO_CURL) as gateway:
            _, stream = await post(gateway, dialect, asked(dialect, stream=True))
            denied, allowed = tool_calls_of(read_events(dialect, stream))
            history = [
                *HISTORY,
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "toolu_1", "name": denied[0], "input": denied[1]}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "no", "is_error": True}],
                },
            ]
            await post(gateway, dialect, asked(dialect, messages=history))

    assert (denied[0], denied[1]["tool"], allowed) == ("ringfence_denied", "Bash", ("Bash", {"command": "ls"}))
    (call,) = cloud.received[1].normal.body["messages"][-2]["content"]
    assert (call["name"], call["input"], cloud.problems) == ("Bash", {"command": "curl http://x"}, [])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_denied_call_is_replaced_in_a_whole_message(tmp_path: Path, dialect: str, backend: str) -> None:
    made = BACKENDS[backend]
    async with made.cloud(call_curl) as cloud:
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud)], policy=NO_CURL) as gateway:
            _, body = await post(gateway, dialect, asked(dialect))

    _, denied, allowed = json.loads(body)["content"]
    assert (denied["name"], denied["input"]["input"]) == ("ringfence_denied", {"command": "curl http://x"})
    assert (allowed["name"], cloud.problems) == ("Bash", [])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_tokens_are_counted(tmp_path: Path, dialect: str, backend: str) -> None:
    made = BACKENDS[backend]
    sent = write_count(dialect, {"model": NAMES[dialect], "messages": HISTORY})
    async with made.cloud(say) as cloud:
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud)]) as gateway:
            async with gateway.post(sent.body, path=sent.path, headers=sent.headers) as response:
                counted = await response.json()

    assert counted == ({"inputTokens": 42} if dialect == "bedrock" else {"input_tokens": 42})
    assert (cloud.problems, cloud.received[0].normal.body["messages"]) == ([], HISTORY)


@pytest.mark.parametrize("dialect", DIALECTS)
async def test_refusal_speaks_the_clients_dialect(tmp_path: Path, dialect: str) -> None:
    made = BACKENDS["bedrock"]
    refusing = {"settings": {"models": {"allow": ["claude-haiku-*"]}}}
    async with made.cloud(say) as cloud:
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud)], policy=refusing) as gateway:
            response, body = await post(gateway, dialect, asked(dialect, stream=True))

    kinds = {"anthropic": "permission_error", "bedrock": "AccessDeniedException", "vertex": "PERMISSION_DENIED"}
    assert (response.status, read_error(dialect, response.headers, body)[0]) == (451, kinds[dialect])
    assert (response.headers["x-should-retry"], cloud.received) == ("false", [])


@pytest.mark.parametrize("backend", ["bedrock", "vertex"])
async def test_same_shape_relays_the_bodys_bytes(tmp_path: Path, backend: str) -> None:
    made = BACKENDS[backend]
    sent = write_request(backend, asked(backend, stream=True))
    spaced = sent.body.replace(b'"max_tokens":100', b'"max_tokens" : 100 , "unknown_yet":{"a":[1.0]}')
    async with made.cloud(say) as cloud:
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud)]) as gateway:
            async with gateway.post(spaced, path=sent.path, headers=sent.headers) as response:
                await response.read()

    assert cloud.received[0].body == spaced


async def test_bedrock_stream_is_the_upstreams_byte_for_byte(tmp_path: Path) -> None:
    made = BACKENDS["bedrock"]
    async with made.cloud(say) as cloud:
        cloud.queue(answer := event_stream_answer(SAID))
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud)]) as gateway:
            _, stream = await post(gateway, "bedrock", asked("bedrock", stream=True))

    assert stream == b"".join(chunk for chunk in answer.chunks if isinstance(chunk, bytes))


async def test_arn_stands_for_its_model_and_never_comes_back(tmp_path: Path) -> None:
    """A deployment's own name is what the upstream is asked for and answers with; the client sees the model's."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123"
    made = BACKENDS["bedrock"]
    async with made.cloud(say, models={arn: arn}) as cloud:
        upstream = made.upstream(cloud) | {"models": {"claude-opus-5-5": arn}}
        async with serving(tmp_path, "", upstreams=[upstream]) as gateway:
            _, stream = await post(gateway, "anthropic", asked("anthropic", stream=True))
            _, body = await post(gateway, "anthropic", asked("anthropic"))

    assert arn.replace(":", "%3A").replace("/", "%2F") in cloud.received[0].raw_path
    assert read_events("anthropic", stream)[0]["message"]["model"] == json.loads(body)["model"] == "claude-opus-5-5"
    assert b"123456789012" not in stream + body


async def test_invocation_metrics_stay_behind(tmp_path: Path) -> None:
    made = BACKENDS["bedrock"]
    async with made.cloud(say) as cloud:
        async with serving(tmp_path, "", upstreams=[made.upstream(cloud)]) as gateway:
            _, translated = await post(gateway, "anthropic", asked("anthropic", stream=True))
            _, relayed = await post(gateway, "bedrock", asked("bedrock", stream=True))

    assert b"invocationMetrics" not in translated
    assert "amazon-bedrock-invocationMetrics" in read_events("bedrock", relayed)[-1]
