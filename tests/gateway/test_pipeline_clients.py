"""Other people's clients of every dialect against the gateway: boto3 and the official SDK's cloud clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anthropic
import boto3
import botocore
import botocore.config
import botocore.exceptions
import pytest
from anthropic.lib.bedrock import AsyncAnthropicBedrock
from anthropic.lib.vertex import AsyncAnthropicVertex
from anthropic.types import MessageParam, ToolParam

from tests.support.gateway import CREDENTIAL, SESSION, Serving, serving
from tests.support.upstream import (
    ScriptedUpstream,
    error_answer,
    json_answer,
    message,
    stream_answer,
    text_block,
    thinking_block,
    tool_block,
)

NO_CURL = {"settings": {"tools": {"deny": [{"tool": "Bash", "commands": ["curl *"]}]}}}
BASH: ToolParam = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
ASKED: list[MessageParam] = [{"role": "user", "content": "hi"}]
BLOCKS = [thinking_block("hm"), text_block("H\u00e9llo"), tool_block("Bash", {"command": "ls"})]
BEDROCK_MODEL = "us.anthropic.claude-opus-5-5"
PROFILE_ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{BEDROCK_MODEL}"


def transport() -> anthropic.DefaultAsyncHttpxClient:
    return anthropic.DefaultAsyncHttpxClient(trust_env=False)


def bedrock(gateway: Serving) -> AsyncAnthropicBedrock:
    return AsyncAnthropicBedrock(
        api_key=CREDENTIAL, aws_region="us-east-1", base_url=gateway.url, http_client=transport(), max_retries=0
    )


def vertex(gateway: Serving) -> AsyncAnthropicVertex:
    return AsyncAnthropicVertex(
        access_token=CREDENTIAL,
        project_id="clients-own",
        region="us-east5",
        base_url=gateway.url + "/v1",
        http_client=transport(),
        max_retries=0,
    )


def foundry(gateway: Serving) -> anthropic.AsyncAnthropicFoundry:
    return anthropic.AsyncAnthropicFoundry(
        api_key=CREDENTIAL, base_url=gateway.url + "/anthropic", http_client=transport(), max_retries=0
    )


def aws(gateway: Serving) -> anthropic.AsyncAnthropicAWS:
    return anthropic.AsyncAnthropicAWS(
        api_key=CREDENTIAL,
        workspace_id="wrkspc_clients",
        aws_region="us-east-1",
        base_url=gateway.url,
        http_client=transport(),
        max_retries=0,
    )


CLIENTS: dict[str, tuple[Callable[[Serving], Any], str]] = {
    "bedrock": (bedrock, BEDROCK_MODEL),
    "vertex": (vertex, "claude-opus-5-5"),
    "foundry": (foundry, "claude-opus-5-5"),
    "aws": (aws, "claude-opus-5-5"),
}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.mark.parametrize("name", CLIENTS)
async def test_sdk_client_reads_a_whole_message(tmp_path: Path, upstream: ScriptedUpstream, name: str) -> None:
    build, model = CLIENTS[name]
    upstream.queue(json_answer(message(BLOCKS)))
    async with serving(tmp_path, upstream.base_url) as gateway, build(gateway) as client:
        answer = await client.messages.create(model=model, max_tokens=100, messages=ASKED, tools=[BASH])

    assert [block.model_dump(exclude_none=True) for block in answer.content] == BLOCKS
    assert (upstream.received[0].raw_path.partition("?")[0], upstream.received[0].json()["model"]) == (
        "/v1/messages",
        "claude-opus-5-5",
    )


@pytest.mark.parametrize("name", CLIENTS)
async def test_sdk_client_reads_a_stream(tmp_path: Path, upstream: ScriptedUpstream, name: str) -> None:
    build, model = CLIENTS[name]
    upstream.queue(stream_answer(BLOCKS, usage={"input_tokens": 7, "output_tokens": 9}))
    async with serving(tmp_path, upstream.base_url) as gateway, build(gateway) as client:
        async with client.messages.stream(model=model, max_tokens=100, messages=ASKED, tools=[BASH]) as streamed:
            whole = await streamed.get_final_message()

    assert [block.model_dump(exclude_none=True) for block in whole.content] == BLOCKS
    assert (whole.usage.input_tokens, whole.usage.output_tokens, whole.stop_reason) == (7, 9, "tool_use")
    assert upstream.received[0].json()["stream"] is True


@pytest.mark.parametrize("name", CLIENTS)
async def test_sdk_client_is_shown_a_denied_call_in_place(
    tmp_path: Path, upstream: ScriptedUpstream, name: str
) -> None:
    build, model = CLIENTS[name]
    upstream.queue(stream_answer([tool_block("Bash", {"command": "curl http://x"})]))
    async with serving(tmp_path, upstream.base_url, policy=NO_CURL) as gateway, build(gateway) as client:
        async with client.messages.stream(model=model, max_tokens=100, messages=ASKED, tools=[BASH]) as streamed:
            whole = await streamed.get_final_message()

    assert (whole.content[0].name, whole.content[0].input["tool"]) == ("ringfence_denied", "Bash")
    assert whole.content[0].input["input"] == {"command": "curl http://x"}


@pytest.mark.parametrize("name", CLIENTS)
async def test_sdk_client_raises_the_right_error_for_an_upstreams(
    tmp_path: Path, upstream: ScriptedUpstream, name: str
) -> None:
    build, model = CLIENTS[name]
    upstream.queue(error_answer(429, "rate_limit_error", "slow down", (("retry-after", "7"),)))
    async with serving(tmp_path, upstream.base_url) as gateway, build(gateway) as client:
        with pytest.raises(anthropic.RateLimitError, match="slow down") as raised:
            await client.messages.create(model=model, max_tokens=100, messages=ASKED)

    assert raised.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("name", CLIENTS)
async def test_sdk_client_is_told_who_refused_it_by_policy(
    tmp_path: Path, upstream: ScriptedUpstream, name: str
) -> None:
    build, model = CLIENTS[name]
    refusing = {"settings": {"models": {"allow": ["claude-haiku-*"]}}}
    async with serving(tmp_path, upstream.base_url, policy=refusing) as gateway, build(gateway) as client:
        with pytest.raises(anthropic.APIStatusError) as raised:
            await client.messages.create(model=model, max_tokens=100, messages=ASKED)

    assert (raised.value.status_code, upstream.received) == (451, [])
    assert raised.value.response.headers["x-should-retry"] == "false"


async def test_sdk_client_counts_tokens_in_the_vertex_dialect(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.queue(json_answer({"input_tokens": 42}))
    async with serving(tmp_path, upstream.base_url) as gateway, vertex(gateway) as client:
        count = await client.messages.count_tokens(model="claude-opus-5-5", messages=ASKED)

    assert (count.input_tokens, upstream.received[0].raw_path) == (42, "/v1/messages/count_tokens")
    assert upstream.received[0].json() == {"model": "claude-opus-5-5", "messages": ASKED}


def amazon(gateway: Serving) -> Any:
    """boto3's Bedrock client. It sends its own bearer over TLS only, so the test adds the header that it would add."""
    config = botocore.config.Config(retries={"total_max_attempts": 1}, proxies={}, signature_version=botocore.UNSIGNED)
    session = boto3.Session(aws_access_key_id="unused", aws_secret_access_key="unused", region_name="us-east-1")
    client = session.client("bedrock-runtime", endpoint_url=gateway.url, config=config)
    bearer = {"Authorization": f"Bearer {CREDENTIAL}"}
    client.meta.events.register("before-call.bedrock-runtime", lambda params, **_: params["headers"].update(bearer))
    return client


def invocation(model: str, **fields: Any) -> dict[str, Any]:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": ASKED} | fields
    return {"modelId": model, "body": json.dumps(body)}


@pytest.mark.parametrize("model", [BEDROCK_MODEL, PROFILE_ARN, "anthropic.claude-sonnet-4-5-20250929-v1:0"])
async def test_boto3_invokes_a_model_by_id_or_arn(tmp_path: Path, upstream: ScriptedUpstream, model: str) -> None:
    upstream.queue(json_answer(message(BLOCKS)))
    async with serving(tmp_path, upstream.base_url) as gateway:
        answer = await asyncio.to_thread(lambda: amazon(gateway).invoke_model(**invocation(model)))
        body = await asyncio.to_thread(answer["body"].read)

    assert (json.loads(body)["content"], answer["contentType"]) == (BLOCKS, "application/json")
    assert upstream.received[0].json()["model"] in ("claude-opus-5-5", "claude-sonnet-4-5-20250929")


async def test_boto3_reads_an_event_stream_with_a_denied_call_in_it(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.queue(stream_answer([text_block("so"), tool_block("Bash", {"command": "curl http://x"})]))

    def events(gateway: Serving) -> list[dict[str, Any]]:
        answer = amazon(gateway).invoke_model_with_response_stream(**invocation(BEDROCK_MODEL, tools=[BASH]))
        return [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]

    async with serving(tmp_path, upstream.base_url, policy=NO_CURL) as gateway:
        found = await asyncio.to_thread(events, gateway)

    begun = [event["content_block"] for event in found if event["type"] == "content_block_start"]
    assert [(block["type"], block.get("name")) for block in begun] == [("text", None), ("tool_use", "ringfence_denied")]
    assert found[-1]["type"] == "message_stop"


async def test_boto3_raises_the_exception_of_an_upstreams_error(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.queue(error_answer(429, "rate_limit_error", "slow down"))
    async with serving(tmp_path, upstream.base_url) as gateway:
        with pytest.raises(botocore.exceptions.ClientError, match="slow down") as raised:
            await asyncio.to_thread(lambda: amazon(gateway).invoke_model(**invocation(BEDROCK_MODEL)))

    assert raised.value.response["Error"]["Code"] == "ThrottlingException"
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429


async def test_boto3_counts_tokens(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    upstream.queue(json_answer({"input_tokens": 42}))
    body = invocation(BEDROCK_MODEL)["body"]
    async with serving(tmp_path, upstream.base_url) as gateway:
        counted = await asyncio.to_thread(
            lambda: amazon(gateway).count_tokens(modelId=BEDROCK_MODEL, input={"invokeModel": {"body": body}})
        )

    assert (counted["inputTokens"], upstream.received[0].raw_path) == (42, "/v1/messages/count_tokens")
    assert upstream.received[0].header("anthropic-version") == "2023-06-01"


async def test_boto3_with_a_signature_is_told_to_send_a_bearer(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    def invoke(gateway: Serving) -> None:
        config = botocore.config.Config(retries={"total_max_attempts": 1}, proxies={})
        session = boto3.Session(aws_access_key_id="AKIAFAKE", aws_secret_access_key="fake", region_name="us-east-1")
        session.client("bedrock-runtime", endpoint_url=gateway.url, config=config).invoke_model(
            **invocation(BEDROCK_MODEL)
        )

    async with serving(tmp_path, upstream.base_url) as gateway:
        with pytest.raises(botocore.exceptions.ClientError, match="AWS_BEARER_TOKEN_BEDROCK") as raised:
            await asyncio.to_thread(invoke, gateway)

    assert (raised.value.response["ResponseMetadata"]["HTTPStatusCode"], upstream.received) == (401, [])


async def test_inference_profiles_are_answered_politely_to_nobody_in_particular(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    """Claude Code asks before it shows a credential."""
    async with serving(tmp_path, upstream.base_url) as gateway:
        async with gateway.client.get(gateway.url + "/inference-profiles?type=SYSTEM_DEFINED") as listed:
            found = await listed.json()
        async with gateway.client.get(
            gateway.url + "/inference-profiles/us.anthropic.x", headers={"x-api-key": CREDENTIAL}
        ) as shown:
            refused = await shown.json()

    assert (listed.status, found) == (200, {"inferenceProfileSummaries": []})
    assert (shown.status, shown.headers["x-amzn-errortype"], list(refused)) == (
        404,
        "ResourceNotFoundException",
        ["message"],
    )


async def test_session_headers_count_in_every_dialect(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    async with serving(tmp_path, upstream.base_url) as gateway:
        for build, model in CLIENTS.values():
            upstream.queue(json_answer(message([text_block("hi")])))
            async with build(gateway) as client:
                headers = {"x-claude-code-session-id": SESSION}
                await client.messages.create(model=model, max_tokens=9, messages=ASKED, extra_headers=headers)
        await gateway.quiet()
        sessions = (await gateway.operator("sessions"))["sessions"]

    assert [(row["session"], row["agents"][0]["requests"]) for row in sessions] == [(SESSION, len(CLIENTS))]
