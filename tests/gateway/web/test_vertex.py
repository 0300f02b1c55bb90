"""Paths of the Vertex dialect: models and methods however they are written, and what is not there."""

import json
from typing import Any

import pytest
from yarl import URL

from gateway.web.vertex import MODEL_CHARS_MAX
from tests.support.dialects import read_events, text_of
from tests.support.gateway import CREDENTIAL, SESSION, Serving
from tests.support.upstream import ScriptedUpstream, text_block

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLACE = "/projects/clients-own/locations/us-east5/publishers/anthropic/models/"
PREFIXES = ("", "/v1", "/gw/team-a", "/gw/team-a/v1")
SPELLINGS = {
    "claude-opus-5-5:rawPredict": "claude-opus-5-5",
    "claude-opus-5-5%3ArawPredict": "claude-opus-5-5",
    "claude-opus-5-5@default:rawPredict": "claude-opus-5-5",
    "claude-sonnet-4-5@20250929:rawPredict": "claude-sonnet-4-5-20250929",
    "claude-sonnet-4-5%4020250929:rawPredict": "claude-sonnet-4-5-20250929",
}
ASKED = {
    "anthropic_version": "vertex-2023-10-16",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
}
COUNTED = {key: ASKED[key] for key in ("anthropic_version", "messages")}


async def send(gateway: Serving, path: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
    """A request to exactly this path: the response, and its body."""
    headers = {"authorization": f"Bearer {CREDENTIAL}", "x-claude-code-session-id": SESSION}
    url = URL(gateway.url + path, encoded=True)
    async with gateway.client.request(method, url, data=json.dumps(body or ASKED), headers=headers) as response:
        return response, await response.read()


async def test_model_is_found_however_its_id_is_written(gateway: Serving, upstream: ScriptedUpstream) -> None:
    for prefix in PREFIXES:
        for spelled, model in SPELLINGS.items():
            response, body = await send(gateway, prefix + PLACE + spelled)
            assert (response.status, json.loads(body)["content"]) == (200, [text_block("Hi.")]), spelled
            assert upstream.received[-1].json()["model"] == model
    assert len(upstream.received) == len(PREFIXES) * len(SPELLINGS)


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_streaming_method_is_answered_by_events(
    gateway: Serving, upstream: ScriptedUpstream, prefix: str
) -> None:
    response, body = await send(
        gateway, f"{prefix}{PLACE}claude-opus-5-5:streamRawPredict?x=1", ASKED | {"stream": True}
    )
    assert response.headers["content-type"].startswith("text/event-stream")
    assert text_of(read_events("vertex", body)) == "Hi."
    assert (upstream.received[0].raw_path, upstream.received[0].json()["stream"]) == ("/v1/messages", True)


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_token_count_names_its_model_in_the_body(
    gateway: Serving, upstream: ScriptedUpstream, prefix: str
) -> None:
    asked = COUNTED | {"model": "claude-opus-5-5@default"}
    response, body = await send(gateway, f"{prefix}{PLACE}count-tokens:rawPredict", asked)
    assert (response.status, json.loads(body)) == (200, {"input_tokens": 42})
    assert upstream.received[0].json() == {"model": "claude-opus-5-5", "messages": ASKED["messages"]}


async def test_token_count_without_a_model_is_a_400(gateway: Serving, upstream: ScriptedUpstream) -> None:
    response, body = await send(gateway, f"/v1{PLACE}count-tokens:rawPredict", COUNTED)
    error = json.loads(body)["error"]
    assert (response.status, error["status"], upstream.received) == (400, "INVALID_ARGUMENT", [])
    assert error["message"].startswith("model:")


@pytest.mark.parametrize(
    "target",
    [
        "claude-opus-5-5:predict",
        "claude-opus-5-5:rawPredict:x",
        "claude-opus-5-5:",
        "claude-opus-5-5",
        ":rawPredict",
        "a" * (MODEL_CHARS_MAX + 1) + ":rawPredict",
        "claude%00:rawPredict",
        "claude%0A:rawPredict",
        "count-tokens:predict",
    ],
)
async def test_target_that_is_no_model_and_method_is_not_found_in_googles_words(
    gateway: Serving, upstream: ScriptedUpstream, target: str
) -> None:
    response, body = await send(gateway, f"/v1{PLACE}{target}")
    error = json.loads(body)["error"]
    assert (response.status, error["code"], error["status"]) == (404, 404, "NOT_FOUND")
    assert upstream.received == []


@pytest.mark.parametrize(
    "path",
    [
        PLACE.replace("anthropic", "google") + "gemini:rawPredict",
        PLACE.replace("/locations/us-east5", "") + "claude-opus-5-5:rawPredict",
        PLACE + "claude-opus-5-5:rawPredict/x",
        "/projects/",
    ],
)
async def test_other_path_is_not_found_in_googles_words(
    gateway: Serving, upstream: ScriptedUpstream, path: str
) -> None:
    response, body = await send(gateway, f"/v1{path}")
    assert (response.status, json.loads(body)["error"]["status"], upstream.received) == (404, "NOT_FOUND", [])


async def test_reading_a_path_that_is_for_posting_is_not_found(gateway: Serving) -> None:
    response, body = await send(gateway, f"/v1{PLACE}claude-opus-5-5:rawPredict", method="GET")
    assert (response.status, json.loads(body)["error"]["status"]) == (404, "NOT_FOUND")
