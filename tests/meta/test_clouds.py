"""The fake clouds are judged by others' code: the official SDK and boto3 as their clients, botocore on their frames."""

import asyncio
import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import boto3
import pytest
from anthropic import (
    APIStatusError,
    AsyncAnthropicAWS,
    AsyncAnthropicFoundry,
    BadRequestError,
    RateLimitError,
)
from anthropic.lib.bedrock import AsyncAnthropicBedrock
from anthropic.lib.vertex import AsyncAnthropicVertex
from botocore.config import Config
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from yarl import URL

from tests.e2e.script import Conversation
from tests.support.clouds import bedrock, faults, foundry, strict, vertex
from tests.support.clouds.aws import API_KEY, WORKSPACE, FakeAws
from tests.support.clouds.bedrock import FakeBedrock
from tests.support.clouds.cloud import COUNTED_TOKENS, Cloud
from tests.support.clouds.eventstream import event_stream
from tests.support.clouds.foundry import FakeFoundry
from tests.support.clouds.signatures import Keys
from tests.support.clouds.vertex import FakeVertex
from tests.support.upstream import Answer, Received, stream_answer, text_block, tool_block

OPUS = "us.anthropic.claude-opus-5-5"
ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
BLOCKS = [text_block("Häufig: \u2028 so."), tool_block("Bash", {"command": "ls", "n": [1, 2]})]
QUESTION: list[Any] = [{"role": "user", "content": "hi"}]
INVOCATION = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": QUESTION}


def speak(_: Conversation) -> list[dict[str, Any]]:
    return BLOCKS


def sdk_bedrock(cloud: Cloud, secret_key: str = Keys().secret_key) -> AsyncAnthropicBedrock:
    return AsyncAnthropicBedrock(
        base_url=cloud.base_url,
        aws_access_key=Keys().access_key,
        aws_secret_key=secret_key,
        aws_region="us-east-1",
        max_retries=0,
    )


def sdk_vertex(cloud: Cloud) -> AsyncAnthropicVertex:
    return AsyncAnthropicVertex(
        base_url=f"{cloud.base_url}/v1",
        access_token=vertex.BEARER,
        region=vertex.LOCATION,
        project_id=vertex.PROJECT,
        max_retries=0,
    )


def sdk_foundry(cloud: Cloud) -> AsyncAnthropicFoundry:
    return AsyncAnthropicFoundry(base_url=f"{cloud.base_url}/anthropic", api_key=foundry.API_KEY, max_retries=0)


def sdk_aws(cloud: Cloud) -> AsyncAnthropicAWS:
    return AsyncAnthropicAWS(
        base_url=cloud.base_url, api_key=API_KEY, workspace_id=WORKSPACE, aws_region="us-east-1", max_retries=0
    )


SDKS: dict[str, tuple[Callable[..., Cloud], Callable[[Cloud], Any], str, str]] = {
    "bedrock": (FakeBedrock, sdk_bedrock, OPUS, "claude-opus-5-5"),
    "bedrock-arn": (FakeBedrock, sdk_bedrock, ARN.replace("sonnet-4-5-20250929-v1:0", "haiku-5-5"), "claude-haiku-5-5"),
    "vertex": (FakeVertex, sdk_vertex, "claude-opus-5-5", "claude-opus-5-5"),
    "foundry": (FakeFoundry, sdk_foundry, "our-opus", "claude-opus-5-5"),
    "aws": (FakeAws, sdk_aws, "claude-opus-5-5", "claude-opus-5-5"),
}


@pytest.mark.parametrize("name", SDKS)
async def test_sdk_of_each_cloud_reads_message_and_stream(name: str) -> None:
    build, connect, asked, served = SDKS[name]
    async with build(speak) as cloud, connect(cloud) as client:
        ask = {"model": asked, "max_tokens": 99, "messages": QUESTION}
        whole = await client.messages.create(**ask)
        async with client.messages.stream(**ask) as stream:
            streamed = await stream.get_final_message()
    assert cloud.problems == []
    for message in (whole, streamed):
        assert message.model == served and message.stop_reason == "tool_use"
        assert [block.to_dict() for block in message.content] == BLOCKS
    assert [received.normal.stream for received in cloud.received] == [False, True]


@pytest.mark.parametrize("name", SDKS)
async def test_request_at_each_cloud_reads_as_the_same_anthropic_request(name: str) -> None:
    build, connect, asked, served = SDKS[name]
    async with build() as cloud, connect(cloud) as client:
        await client.beta.messages.create(
            model=asked, max_tokens=99, messages=QUESTION, betas=["context-management-2025-06-27"]
        )
    normal = cloud.received[0].normal
    assert cloud.problems == []
    assert (normal.betas, normal.version, normal.model) == (
        ("context-management-2025-06-27",),
        strict.NEW_VERSION,
        served,
    )
    assert normal.body == {"model": normal.body["model"], "max_tokens": 99, "messages": QUESTION}


@pytest.mark.parametrize("name", ["vertex", "foundry", "aws"])
async def test_count_of_tokens_is_answered_to_the_sdk(name: str) -> None:
    build, connect, asked, _ = SDKS[name]
    async with build() as cloud, connect(cloud) as client:
        counted = await client.messages.count_tokens(model=asked, messages=QUESTION)
    assert cloud.problems == []
    assert counted.input_tokens == COUNTED_TOKENS and cloud.received[0].normal.counts


def boto_client(cloud: Cloud, **secret: str) -> Any:
    keys = {"aws_access_key_id": Keys().access_key, "aws_secret_access_key": Keys().secret_key} | secret
    config = Config(retries={"max_attempts": 0})
    return boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=cloud.base_url, config=config, **keys)


@pytest.mark.parametrize("model", [OPUS, ARN, "anthropic.claude-sonnet-4-5-20250929-v1:0"])
async def test_boto3_invokes_streams_and_counts_at_bedrock(model: str) -> None:
    def converse() -> tuple[Any, list[Any], int]:
        client, body = boto_client(cloud), json.dumps(INVOCATION)
        whole = json.load(client.invoke_model(modelId=model, body=body)["body"])
        answer = client.invoke_model_with_response_stream(modelId=model, body=body)
        events = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
        counted = client.count_tokens(modelId=model.removeprefix("us."), input={"invokeModel": {"body": body}})
        return whole, events, counted["inputTokens"]

    async with FakeBedrock(speak) as cloud:
        whole, events, counted = await asyncio.to_thread(converse)
    assert cloud.problems == []
    assert whole["content"] == BLOCKS and counted == COUNTED_TOKENS
    assert [event["type"] for event in (events[0], events[-1])] == ["message_start", "message_stop"]
    assert events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == 20


async def test_sdk_signs_for_the_platform_on_aws_with_a_session_token() -> None:
    keys = Keys(session_token="fake/session+token")
    async with FakeAws(keys=keys) as cloud:
        client = AsyncAnthropicAWS(
            base_url=cloud.base_url,
            aws_access_key=keys.access_key,
            aws_secret_key=keys.secret_key,
            aws_session_token=keys.session_token,
            aws_region="us-east-1",
            workspace_id=WORKSPACE,
            max_retries=0,
        )
        async with client:
            await client.messages.create(model="claude-opus-5-5", max_tokens=9, messages=QUESTION)
    assert cloud.problems == [] and len(cloud.received) == 1


async def test_wrong_secret_is_told_from_the_right_one() -> None:
    async with FakeBedrock() as cloud, sdk_bedrock(cloud, secret_key="other") as client:
        with pytest.raises(APIStatusError) as refused:
            await client.messages.create(model=OPUS, max_tokens=9, messages=QUESTION)
    assert refused.value.status_code == 403
    assert cloud.problems == [f"POST /model/{OPUS}/invoke: the signature does not match what arrived"]


async def test_bytes_changed_after_signing_are_told() -> None:
    signed: dict[str, Any] = {}

    def sign() -> None:
        client = boto_client(cloud)
        client.meta.events.register("before-send.*.*", lambda request, **_: signed.update(request=request))
        client.invoke_model(modelId=OPUS, body=json.dumps(INVOCATION))

    async with FakeBedrock() as cloud, aiohttp.ClientSession() as session:
        await asyncio.to_thread(sign)
        headers = {name: _text(value) for name, value in signed["request"].headers.items()}
        headers = headers | {"content-type": "application/json"}
        del headers["Content-Length"]
        async with session.post(signed["request"].url, data=signed["request"].body + b" ", headers=headers) as answer:
            told = await answer.json()
    assert answer.status == 403 and "message" in told
    assert len(cloud.problems) == 1


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


REFUSED_BY_BEDROCK: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": "claude-opus-5-5"}, "model: Extra inputs are not permitted"),
    "stream": ({"stream": True}, "stream: Extra inputs are not permitted"),
    "version": ({"anthropic_version": None}, "anthropic_version: 'None' is not a version that Bedrock knows"),
    "beta": ({"anthropic_beta": ["claude-code-20250219"]}, "Unexpected value(s) `claude-code-20250219`"),
    "half a pair": ({"context_management": {}}, "context_management: Extra inputs are not permitted"),
    "server tool": ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools.0.type: 'web_search_20250305'"),
    "scope": (
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "scope": "global"}}]},
        "system.0.cache_control.scope: Extra inputs are not permitted",
    ),
    "url": (
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]}]},
        "messages.0.content.0.source.type: 'url' sources are not supported here",
    ),
    "result without call": (
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]}]},
        "messages.0: tool_result t has no tool_use before it",
    ),
    "unknown field": ({"service_tier": "auto"}, "service_tier: Extra inputs are not permitted"),
}


@pytest.mark.parametrize("case", REFUSED_BY_BEDROCK)
async def test_what_bedrock_lacks_is_a_validation_exception(case: str) -> None:
    changed, sentence = REFUSED_BY_BEDROCK[case]
    status, headers, body = await post_bedrock(INVOCATION | changed)
    assert status == 400 and headers["x-amzn-errortype"].startswith("ValidationException")
    assert sentence in json.loads(body)["message"]


@pytest.mark.parametrize(
    ("model", "taken"), [("us.anthropic.claude-opus-4-8", True), ("us.anthropic.claude-sonnet-4-6", False)]
)
async def test_system_entries_are_taken_by_new_models_only(model: str, taken: bool) -> None:
    entries = [*QUESTION, {"role": "system", "content": "be brief"}]
    status, _, _ = await post_bedrock(INVOCATION | {"messages": entries}, model)
    assert (status == 200) is taken


async def post_bedrock(body: Any, model: str = OPUS) -> tuple[int, Any, bytes]:
    async with FakeBedrock() as cloud, aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {bedrock.BEARER}"}
        async with session.post(f"{cloud.base_url}/model/{model}/invoke", json=body, headers=headers) as answer:
            read = await answer.read()
    assert (answer.status == 200) is (cloud.problems == [])
    return answer.status, answer.headers, read


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("claude-opus-5-5:rawPredict", INVOCATION | {"anthropic_version": "vertex-2023-10-16"}, 200),
        ("claude-opus-5-5:rawPredict", INVOCATION | {"anthropic_version": "vertex-2023-10-16", "stream": True}, 400),
        ("claude-opus-5-5:streamRawPredict", INVOCATION | {"anthropic_version": "vertex-2023-10-16"}, 400),
        ("claude-opus-5-5:rawPredict", INVOCATION, 400),
        ("claude-opus-5-5%40x:rawPredict", INVOCATION, 404),
        ("gpt:rawPredict", INVOCATION | {"anthropic_version": "vertex-2023-10-16"}, 404),
    ],
)
async def test_vertex_request_must_agree_with_its_path(path: str, body: Any, status: int) -> None:
    async with FakeVertex() as cloud, aiohttp.ClientSession() as session:
        place = f"projects/{vertex.PROJECT}/locations/{vertex.LOCATION}/publishers/anthropic/models/{path}"
        headers = {"authorization": f"Bearer {vertex.BEARER}"}
        url = f"{cloud.base_url}/v1/{place}"
        async with session.post(URL(url, encoded=True), json=body, headers=headers) as answer:
            assert answer.status == status
    assert (cloud.problems == []) is (status == 200)


async def test_refusals_of_vertex_and_foundry_have_their_shapes() -> None:
    async with FakeVertex() as cloud, aiohttp.ClientSession() as session:
        async with session.post(f"{cloud.base_url}/v1/else", json={}) as answer:
            assert (await answer.json())["error"]["status"] == "NOT_FOUND"
    async with FakeFoundry() as cloud, aiohttp.ClientSession() as session:
        asked = {"model": "nobody", "messages": QUESTION, "max_tokens": 1}
        headers = {"anthropic-version": "2023-06-01"}
        async with session.post(f"{cloud.base_url}/anthropic/v1/messages", json=asked, headers=headers) as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (404, "DeploymentNotFound")


GOLDEN = Path(__file__).parents[1] / "golden" / "translate"
URLS = {
    "anthropic": ("/v1/messages", "/v1/messages", "/v1/messages/count_tokens"),
    "bedrock": tuple(f"/model/anthropic.claude-sonnet-4-5-20250929-v1:0/{name}" for name in bedrock.OPERATIONS),
    "vertex": tuple(
        f"/v1/projects/{vertex.PROJECT}/locations/{vertex.LOCATION}/publishers/anthropic/models/{name}"
        for name in (
            "claude-sonnet-4-5@20250929:rawPredict",
            "claude-sonnet-4-5@20250929:streamRawPredict",
            f"{vertex.COUNTING}:rawPredict",
        )
    ),
}
CREDENTIALS = {
    "anthropic": [("x-api-key", API_KEY), ("anthropic-workspace-id", WORKSPACE)],
    "bedrock": [("authorization", f"Bearer {bedrock.BEARER}")],
    "vertex": [("authorization", f"Bearer {vertex.BEARER}")],
}
TARGETS: dict[str, Callable[[], Cloud]] = {"anthropic": FakeAws, "bedrock": FakeBedrock, "vertex": FakeVertex}


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.json")), ids=lambda path: path.stem)
def test_golden_wires_of_translation_are_taken_by_their_clouds(path: Path) -> None:
    golden = json.loads(path.read_text())
    target, cloud = golden["target"], TARGETS[golden["target"]]()
    whole, stream, count = URLS[target]
    for case in golden["cases"]:
        body = json.dumps(case["wire"]["body"]).encode()
        if target == "bedrock" and case["name"] == "count":
            body = json.dumps({"input": {"invokeModel": {"body": base64.b64encode(body).decode()}}}).encode()
        url = {"whole": whole, "stream": stream, "count": count}[case["name"]]
        headers = [(name, value) for name, value in case["wire"]["headers"]] + CREDENTIALS[target]
        received = Received("POST", url, headers, body)
        normal = cloud.read(received)
        cloud.judge(received, normal)
        assert (normal.stream, normal.counts) == (case["name"] == "stream", case["name"] == "count")


def test_botocore_reads_every_frame_of_the_encoder() -> None:
    buffer = EventStreamBuffer()
    for frame in event_stream(BLOCKS):
        buffer.add_data(frame)
    read = [message.to_response_dict() for message in buffer]
    assert {each["headers"][":event-type"] for each in read} == {"chunk"}
    assert len(read) == len(event_stream(BLOCKS))


def test_botocore_finds_the_bad_checksum_and_waits_for_the_truncated_frame() -> None:
    buffer = EventStreamBuffer()
    for chunk in faults.bad_checksum(BLOCKS, 3).chunks:
        assert isinstance(chunk, bytes)
        buffer.add_data(chunk)
    with pytest.raises(ChecksumMismatch):
        list(buffer)
    rest = EventStreamBuffer()
    for chunk in faults.truncated_frame(BLOCKS, 3).chunks:
        assert isinstance(chunk, bytes)
        rest.add_data(chunk)
    assert len(list(rest)) == 3


@pytest.mark.parametrize(
    "answer",
    [
        faults.exception_after(BLOCKS, "throttlingException", "Too many tokens"),
        faults.error_frame("internalServerException", "Too many tokens"),
    ],
)
async def test_exception_within_a_stream_reaches_the_sdk_as_an_error(answer: Answer) -> None:
    async with FakeBedrock() as cloud, sdk_bedrock(cloud) as client:
        cloud.queue(answer)
        with pytest.raises(APIStatusError, match="Too many tokens"):
            async with client.messages.stream(model=OPUS, max_tokens=9, messages=QUESTION) as stream:
                await stream.get_final_message()
    assert cloud.problems == []


async def test_throttling_and_validation_reach_the_sdk_as_what_they_are() -> None:
    async with FakeBedrock() as cloud, sdk_bedrock(cloud) as client:
        cloud.queue(faults.throttled(), faults.on_demand_refused())
        with pytest.raises(RateLimitError):
            await client.messages.create(model=OPUS, max_tokens=9, messages=QUESTION)
        with pytest.raises(BadRequestError, match="on-demand throughput"):
            await client.messages.create(model=OPUS, max_tokens=9, messages=QUESTION)


async def test_stream_of_a_script_becomes_frames_and_its_stall_stays() -> None:
    until = asyncio.Event()
    answer = faults.stalled(BLOCKS, events=2, until=until)

    async with FakeBedrock(lambda _: answer) as cloud, sdk_bedrock(cloud) as client:
        async with client.messages.stream(model=OPUS, max_tokens=9, messages=QUESTION) as stream:
            assert (await anext(aiter(stream))).type == "message_start"
            assert not cloud.received[0].answered.is_set()
            until.set()
            final = await stream.get_final_message()
    assert [block.to_dict() for block in final.content] == BLOCKS


async def test_same_script_plays_at_every_cloud() -> None:
    answer = stream_answer(BLOCKS)
    said: list[tuple[str, ...]] = []
    for build, connect, asked, _ in SDKS.values():
        async with build(lambda _: answer) as cloud, connect(cloud) as client:
            async with client.messages.stream(model=asked, max_tokens=9, messages=QUESTION) as stream:
                said.append(tuple([event.type async for event in stream]))
    assert len(said) == len(SDKS) and len(set(said)) == 1


def test_faults_carry_what_no_client_may_see() -> None:
    told = b"".join(chunk for chunk in faults.access_denied().chunks if isinstance(chunk, bytes))
    assert faults.ARN.encode() in told and faults.ACCOUNT.encode() in told
    (zipped,) = faults.gzipped(BLOCKS).chunks
    assert isinstance(zipped, bytes) and json.loads(gzip.decompress(zipped))["content"] == BLOCKS
    (listed,) = faults.google_throttled(array=True).chunks
    assert isinstance(listed, bytes) and json.loads(listed)[0]["error"]["code"] == 429
