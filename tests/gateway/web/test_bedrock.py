"""Paths of the Bedrock dialect: ids and ARNs however they are written, and what is not there."""

import base64
import json
from typing import Any

import pytest
from yarl import URL

from gateway.web.bedrock import MODEL_CHARS_MAX
from tests.support.dialects import read_events, text_of
from tests.support.gateway import CREDENTIAL, SESSION, Serving
from tests.support.upstream import ScriptedUpstream, text_block

pytestmark = pytest.mark.asyncio(loop_scope="module")

ID = "us.anthropic.claude-opus-5-5"
DATED = "anthropic.claude-sonnet-4-5-20250929-v1:0"
ARN = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{ID}"
SPELLINGS = {
    ID: "claude-opus-5-5",
    DATED: "claude-sonnet-4-5-20250929",
    DATED.replace(":", "%3A"): "claude-sonnet-4-5-20250929",
    DATED.replace(":", "%3a"): "claude-sonnet-4-5-20250929",
    ARN: "claude-opus-5-5",
    ARN.replace("/", "%2F"): "claude-opus-5-5",
    ARN.replace("/", "%2f").replace(":", "%3A"): "claude-opus-5-5",
    ARN.replace(":", "%3A"): "claude-opus-5-5",
}
BODY = json.dumps(
    {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
)


async def send(
    gateway: Serving, path: str, body: str = BODY, method: str = "POST", credential: str = CREDENTIAL
) -> tuple[Any, bytes]:
    """A request to exactly this path."""
    headers = {"authorization": f"Bearer {credential}", "x-claude-code-session-id": SESSION}
    url = URL(gateway.url + path, encoded=True)
    async with gateway.client.request(method, url, data=body or None, headers=headers) as response:
        return response, await response.read()


async def test_model_is_found_however_its_id_is_written(gateway: Serving, upstream: ScriptedUpstream) -> None:
    for tag in ("", "/gw/team-a"):
        for spelled, model in SPELLINGS.items():
            response, body = await send(gateway, f"{tag}/model/{spelled}/invoke")
            assert (response.status, json.loads(body)["content"]) == (200, [text_block("Hi.")]), spelled
            assert upstream.received[-1].json()["model"] == model
    assert len(upstream.received) == 2 * len(SPELLINGS)


async def test_streaming_path_is_answered_by_an_event_stream(gateway: Serving, upstream: ScriptedUpstream) -> None:
    for path in (f"/model/{ARN}/invoke-with-response-stream", f"/gw/a/model/{ID}/invoke-with-response-stream?x=1"):
        response, body = await send(gateway, path)
        assert response.headers["content-type"] == "application/vnd.amazon.eventstream"
        assert text_of(read_events("bedrock", body)) == "Hi."
        assert (upstream.received[-1].raw_path, upstream.received[-1].json()["stream"]) == ("/v1/messages", True)


async def test_token_count_is_unwrapped_and_said_in_bedrocks_words(
    gateway: Serving, upstream: ScriptedUpstream
) -> None:
    wrapped = json.dumps({"input": {"invokeModel": {"body": base64.b64encode(BODY.encode()).decode()}}})
    for tag in ("", "/gw/team-a"):
        response, body = await send(gateway, f"{tag}/model/{ARN.replace('/', '%2F')}/count-tokens", wrapped)
        assert (response.status, json.loads(body)) == (200, {"inputTokens": 42})
        assert upstream.received[-1].json() == {
            "model": "claude-opus-5-5",
            "messages": [{"role": "user", "content": "hi"}],
        }


@pytest.mark.parametrize(
    "spelled",
    ["a" * (MODEL_CHARS_MAX + 1), "anthropic.claude%00", "anthropic.claude%E2%80%AEx", "anthropic.%FFclaude%7F"],
)
async def test_id_that_no_model_could_have_is_a_400(gateway: Serving, upstream: ScriptedUpstream, spelled: str) -> None:
    response, body = await send(gateway, f"/model/{spelled}/invoke")
    assert (response.status, response.headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert "2048 printable characters" in json.loads(body)["message"] and upstream.received == []


@pytest.mark.parametrize("spelled", [ARN.replace("/", "%252F"), "gpt-9", "anthropic.claude-opus-5-5%20", "%2F"])
async def test_id_that_names_no_model_of_ours_is_refused_by_policy(
    gateway: Serving, upstream: ScriptedUpstream, spelled: str
) -> None:
    response, body = await send(gateway, f"/model/{spelled}/invoke")
    assert (response.status, response.headers["x-amzn-errortype"]) == (451, "AccessDeniedException")
    assert json.loads(body)["message"] and upstream.received == []


@pytest.mark.parametrize(
    "path", ["/model/x/converse", "/model/x/converse-stream", "/model//invoke", "/model/x", "/model/"]
)
async def test_unknown_operation_is_not_found_in_bedrocks_words(
    gateway: Serving, upstream: ScriptedUpstream, path: str
) -> None:
    response, body = await send(gateway, path)
    assert (response.status, response.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")
    assert list(json.loads(body)) == ["message"] and upstream.received == []


async def test_reading_a_path_that_is_for_posting_is_not_found(gateway: Serving) -> None:
    response, _ = await send(gateway, f"/model/{ID}/invoke", "", "GET")
    assert (response.status, response.headers["x-amzn-errortype"]) == (404, "ResourceNotFoundException")


@pytest.mark.parametrize("body", ["{}", '{"input":{}}', '{"input":{"invokeModel":{"body":"%%%"}}}', "[]", ""])
async def test_token_count_that_is_not_wrapped_is_a_400(
    gateway: Serving, upstream: ScriptedUpstream, body: str
) -> None:
    response, said = await send(gateway, f"/model/{ID}/count-tokens", body)
    assert (response.status, response.headers["x-amzn-errortype"]) == (400, "ValidationException")
    assert json.loads(said)["message"] and upstream.received == []


@pytest.mark.parametrize("tag", ["", "/gw/team-a"])
async def test_profiles_are_answered_politely(gateway: Serving, tag: str) -> None:
    listed, body = await send(gateway, f"{tag}/inference-profiles?type=SYSTEM_DEFINED", "", "GET", "nobody")
    shown, said = await send(gateway, f"{tag}/inference-profiles/{ARN.replace('/', '%2F')}", "", "GET")
    assert (listed.status, json.loads(body)) == (200, {"inferenceProfileSummaries": []})
    assert (shown.status, list(json.loads(said)), b"123456789012" in said) == (404, ["message"], False)


async def test_unknown_credential_is_refused_in_bedrocks_words(gateway: Serving, upstream: ScriptedUpstream) -> None:
    response, body = await send(gateway, f"/model/{ID}/invoke", credential="nobody")
    assert (response.status, upstream.received) == (401, [])
    assert "not known here" in json.loads(body)["message"] and "x-amzn-errortype" in response.headers
