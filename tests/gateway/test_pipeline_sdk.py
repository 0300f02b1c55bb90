"""The official SDK against the gateway, set up as users set it up, its own retries included."""

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from tests.support.gateway import CREDENTIAL, SESSION, Serving, serving
from tests.support.upstream import (
    SSE_HEADERS,
    Answer,
    ScriptedUpstream,
    error_answer,
    error_event,
    json_answer,
    message,
    stream,
    stream_answer,
    text_block,
    thinking_block,
    tool_block,
)

MODEL = "claude-opus-5-5"
NO_CURL = {"settings": {"tools": {"deny": [{"tool": "Bash", "commands": ["curl *"]}]}}}
BASH: ToolParam = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
ASKED: list[MessageParam] = [{"role": "user", "content": "hi"}]
TINY = [{"account": "user", "window": "daily", "limit_usd": 0.000001}]


@contextlib.asynccontextmanager
async def sdk(gateway: Serving, secret: str = CREDENTIAL, **options: Any) -> AsyncGenerator[anthropic.AsyncAnthropic]:
    """A client of the gateway; without a proxy, which is for other machines."""
    transport = anthropic.DefaultAsyncHttpxClient(trust_env=False)
    headers = {"x-claude-code-session-id": SESSION}
    async with anthropic.AsyncAnthropic(
        base_url=gateway.url, api_key=secret, http_client=transport, default_headers=headers, **options
    ) as client:
        yield client


async def asked(gateway: Serving) -> int:
    """Requests that the gateway has answered."""
    await gateway.quiet()
    return len(gateway.audit("request"))


async def test_stream_is_the_message_that_the_upstream_sent(tmp_path: Path) -> None:
    blocks = [thinking_block("hm"), text_block("H\u00e9llo"), tool_block("Bash", {"command": "ls"})]
    usage = {"input_tokens": 7, "output_tokens": 9, "cache_read_input_tokens": 11}
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway, sdk(gateway) as client:
        upstream.queue(stream_answer(blocks, usage=usage))
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=ASKED, tools=[BASH]) as streamed:
            texts = [text async for text in streamed.text_stream]
            whole = await streamed.get_final_message()
        assert "".join(texts) == "H\u00e9llo"
        assert [block.model_dump(exclude_none=True) for block in whole.content] == blocks
        assert (whole.usage.input_tokens, whole.usage.cache_read_input_tokens, whole.stop_reason) == (7, 11, "tool_use")
        assert streamed.request_id == "req_test"


async def test_denied_call_is_answered_by_the_client_and_restored_for_the_model(tmp_path: Path) -> None:
    command = {"command": "curl http://x", "description": "d\u00e9"}
    async with (
        ScriptedUpstream() as upstream,
        serving(tmp_path, upstream.base_url, policy=NO_CURL) as gateway,
        sdk(gateway) as client,
    ):
        upstream.queue(
            stream_answer(
                [text_block("so"), tool_block("Bash", command, "toolu_1"), tool_block("Bash", {}, "toolu_2")]
            ),
            json_answer(message([text_block("then not")])),
        )
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=ASKED, tools=[BASH]) as streamed:
            first = await streamed.get_final_message()
        called = [block for block in first.content if block.type == "tool_use"]
        assert [call.name for call in called] == ["ringfence_denied", "Bash"]
        results: MessageParam = {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no such tool", "is_error": True},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "fine"},
            ],
        }
        history: list[MessageParam] = [*ASKED, {"role": "assistant", "content": first.content}, results]
        second = await client.messages.create(model=MODEL, max_tokens=100, messages=history, tools=[BASH])
        sent = upstream.received[1].json()["messages"]
        assert second.content[0].type == "text" and second.content[0].text == "then not"
        assert (sent[1]["content"][1]["name"], sent[1]["content"][1]["input"]) == ("Bash", command)
        assert "tools/denylist" in str(sent[2]["content"][0]["content"]) and sent[2]["content"][1]["content"] == "fine"


async def test_tokens_are_counted_and_models_listed(tmp_path: Path) -> None:
    policy = {"settings": {"models": {"allow": ["claude-opus-5*"]}}}
    async with (
        ScriptedUpstream() as upstream,
        serving(tmp_path, upstream.base_url, policy=policy) as gateway,
        sdk(gateway) as client,
    ):
        upstream.queue(json_answer({"input_tokens": 7}))
        counted = await client.messages.count_tokens(model=MODEL, messages=ASKED)
        listed = [model async for model in client.models.list(limit=1)]
        assert counted.input_tokens == 7
        assert [model.id for model in listed] == ["claude-opus-5-5", "claude-opus-5"]
        assert all(model.type == "model" and model.display_name and model.created_at for model in listed)


async def test_bearer_and_path_tag_work_as_a_base_url_does(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway:
        upstream.queue(json_answer(message([text_block("x")])))
        transport = anthropic.DefaultAsyncHttpxClient(trust_env=False)
        async with anthropic.AsyncAnthropic(
            base_url=f"{gateway.url}/gw/team-a", auth_token=CREDENTIAL, http_client=transport
        ) as client:
            await client.messages.create(model=MODEL, max_tokens=100, messages=ASKED)
        assert await asked(gateway) == 1
        (record,) = gateway.audit("request")
        assert record["principal"]["tags"] == {"path": "team-a"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """What is asked, and the error that users catch."""

    error: type[anthropic.APIStatusError]
    status: int
    kind: str
    secret: str = CREDENTIAL
    model: str = MODEL
    sections: dict[str, Any] = field(default_factory=dict[str, Any])


@pytest.mark.parametrize(
    "case",
    [
        Refusal(anthropic.AuthenticationError, 401, "authentication_error", secret="wrong"),
        Refusal(anthropic.APIStatusError, 451, "permission_error", model="gpt-9"),
        Refusal(anthropic.RateLimitError, 429, "billing_error", sections={"budgets": TINY}),
    ],
    ids=lambda case: case.kind,
)
async def test_refusal_is_one_request_and_the_error_that_users_catch(tmp_path: Path, case: Refusal) -> None:
    async with (
        ScriptedUpstream() as upstream,
        serving(tmp_path, upstream.base_url, **case.sections) as gateway,
        sdk(gateway, case.secret) as client,
    ):
        with pytest.raises(case.error) as refused:
            await client.messages.create(model=case.model, max_tokens=100, messages=ASKED)
        assert (refused.value.status_code, refused.value.type) == (case.status, case.kind)
        assert refused.value.request_id == refused.value.response.headers["x-ringfence-decision"]
        assert (await asked(gateway), upstream.received) == (1, [])


async def test_blown_fuse_is_one_more_request_and_a_rate_limit_error(tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(lambda _: json_answer(message([text_block("x")]))) as upstream,
        serving(tmp_path, upstream.base_url, fuses={"agent": {"requests": 1}}) as gateway,
        sdk(gateway) as client,
    ):
        await client.messages.create(model=MODEL, max_tokens=100, messages=ASKED)
        with pytest.raises(anthropic.RateLimitError, match="ringfence fuses replace") as refused:
            await client.messages.create(model=MODEL, max_tokens=100, messages=ASKED)
        assert refused.value.type == "rate_limit_error"
        assert (await asked(gateway), len(upstream.received)) == (2, 1)


async def test_bad_request_is_not_repeated(tmp_path: Path) -> None:
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway, sdk(gateway) as client:
        with pytest.raises(anthropic.BadRequestError, match="messages"):
            await client.messages.create(model=MODEL, max_tokens=100, messages=None)  # type: ignore[arg-type]
        assert (await asked(gateway), upstream.received) == (1, [])


async def test_overloaded_upstream_is_tried_again_as_the_sdk_likes(tmp_path: Path) -> None:
    soon = [("retry-after-ms", "1")]
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway, sdk(gateway) as client:
        busy = error_answer(529, "overloaded_error", "Overloaded", soon)
        upstream.queue(busy, json_answer(message([text_block("x")])), busy, busy, busy)
        await client.messages.create(model=MODEL, max_tokens=100, messages=ASKED)
        with pytest.raises(anthropic.OverloadedError, match="Overloaded"):
            await client.messages.create(model=MODEL, max_tokens=100, messages=ASKED)
        assert (await asked(gateway), len(upstream.received)) == (5, 5)


async def test_error_within_a_stream_is_raised_with_its_type(tmp_path: Path) -> None:
    begun = stream([text_block("half")])[:4]
    async with ScriptedUpstream() as upstream, serving(tmp_path, upstream.base_url) as gateway, sdk(gateway) as client:
        upstream.queue(Answer(200, SSE_HEADERS, [*begun, error_event("overloaded_error", "Overloaded")]))
        upstream.queue(Answer(200, SSE_HEADERS, begun, cut=True))
        for words in ("Overloaded", "broke off"):
            with pytest.raises(anthropic.APIStatusError, match=words):
                async with client.messages.stream(model=MODEL, max_tokens=100, messages=ASKED) as streamed:
                    await streamed.get_final_message()
        assert await asked(gateway) == 2


async def test_unreachable_upstream_is_a_server_error_that_names_it(tmp_path: Path) -> None:
    async with serving(tmp_path, "http://127.0.0.1:9") as gateway, sdk(gateway, max_retries=0) as client:
        with pytest.raises(anthropic.InternalServerError, match="'main' cannot be reached") as failed:
            await client.messages.create(model=MODEL, max_tokens=100, messages=ASKED)
        assert (failed.value.status_code, await asked(gateway)) == (502, 1)
