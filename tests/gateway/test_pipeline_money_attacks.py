"""A client that tries to spend past its limits, against the whole gateway."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway import CREDENTIAL, OPERATOR, Serving, request_body, serving
from tests.support.upstream import Answer, Received, ScriptedUpstream, stream_answer, text_block

BOB = {"x-api-key": CREDENTIAL.replace("alice", "bob")}
HAIKU, OPUS = "claude-haiku-5-5", "claude-opus-5-5"
DEAR_FALLBACK = [{"model": OPUS, "max_tokens": 128_000, "speed": "fast"}]
MIB = 1024 * 1024


def strict(usd: float, **more: Any) -> list[dict[str, Any]]:
    """One limit on everybody together."""
    return [{"account": "org", "window": "total", "limit_usd": usd, "strict": True} | more]


def dearly(_: Received) -> Answer:
    """The asked model declined at length, and a dearer one answered at length."""
    first = {"input_tokens": 900_000, "output_tokens": 900, "model": HAIKU, "type": "message"}
    then = {"input_tokens": 900_000, "output_tokens": 120_000, "model": OPUS, "type": "fallback_message"}
    usage = {"input_tokens": 900_000, "output_tokens": 120_000, "iterations": [first, then]}
    return stream_answer([text_block("x")], usage=usage, model=OPUS)


def cheaply(_: Received) -> Answer:
    return stream_answer([text_block("x")], usage={"input_tokens": 10, "output_tokens": 1_000})


async def status(gateway: Serving, body: bytes, **sent: Any) -> int:
    """Ask, and read all of the answer."""
    async with gateway.post(body, **sent) as response:
        await response.read()
        return int(response.status)


async def spent(gateway: Serving) -> int:
    (limit,) = (await gateway.operator("limits?account=org"))["limits"]
    assert limit["held"] == 0
    return int(limit["used"])


@pytest.mark.parametrize(("usd", "expected"), [(10, 429), (100, 200)])
async def test_cheap_model_that_falls_back_to_a_dear_one_stays_below_a_strict_cap(
    tmp_path: Path, usd: int, expected: int
) -> None:
    body = request_body(model=HAIKU, fallbacks=DEAR_FALLBACK)
    betas = {"anthropic-beta": "server-side-fallback-2026-07-01"}
    async with (
        ScriptedUpstream(dearly) as upstream,
        serving(tmp_path, upstream.base_url, budgets=strict(usd)) as gateway,
    ):
        assert await status(gateway, body, headers=betas) == expected
        await gateway.quiet()
        assert (await spent(gateway) <= usd * 10**9) and (len(upstream.received) == (expected == 200))


async def test_denied_model_is_not_reached_by_a_fallback(tmp_path: Path) -> None:
    policy = {"settings": {"models": {"allow": ["claude-haiku-*"]}}}
    async with ScriptedUpstream(dearly) as upstream, serving(tmp_path, upstream.base_url, policy=policy) as gateway:
        for fallbacks in (DEAR_FALLBACK, "default"):
            async with gateway.post(request_body(model=HAIKU, fallbacks=fallbacks)) as response:
                assert (response.status, "models/allowlist" in await response.text()) == (451, True)
        assert upstream.received == []


async def test_odd_max_tokens_never_breaks_the_ledger(tmp_path: Path) -> None:
    limit = strict(1, on_reach="refuse")
    async with ScriptedUpstream(cheaply) as upstream, serving(tmp_path, upstream.base_url, budgets=limit) as gateway:
        answers: list[int] = []
        for written in (b"1e30", b"1000.5", b"true", b'"9"', b"1" + 30 * b"0", b"-5", b"null"):
            body = request_body().replace(b'"max_tokens":1000', b'"max_tokens":' + written)
            answers.append(await status(gateway, body))
        await gateway.quiet()
        assert answers == [400, 400, 400, 400, 429, 200, 429]
        assert 0 < await spent(gateway) <= 10**9


async def test_tag_of_a_credential_cannot_be_changed_by_a_path(tmp_path: Path) -> None:
    alice = {"id": "alice-ci", "secret": CREDENTIAL, "user": "alice", "tags": {"path": "ci"}}
    olga = {"id": "olga-desk", "secret": OPERATOR, "user": "olga", "operator": True}
    budgets = strict(0.03, account="tag:path=ci", on_reach="refuse")
    identity = {"credentials": [alice, olga]}
    async with (
        ScriptedUpstream(cheaply) as upstream,
        serving(tmp_path, upstream.base_url, budgets=budgets, identity=identity) as gateway,
    ):
        paths = ("/v1/messages", "/gw/other/v1/messages")
        assert [await status(gateway, request_body(), path=path) for path in paths] == [200, 429]


async def test_new_names_in_headers_escape_no_limit_of_the_user(tmp_path: Path) -> None:
    budgets = strict(0.05, account="user", on_reach="refuse")
    async with ScriptedUpstream(cheaply) as upstream, serving(tmp_path, upstream.base_url, budgets=budgets) as gateway:
        answers: list[int] = []
        for number in range(6):
            names = ("x-claude-code-session-id", "x-claude-code-agent-id", "x-ringfence-run-id")
            headers = {name: f"{name[-10:]}{number}" for name in names}
            answers.append(await status(gateway, request_body(), headers=headers, path=f"/gw/tag{number}/v1/messages"))
        assert answers[0] == 200 and answers[-1] == 429 and answers == sorted(answers)
        assert await status(gateway, request_body(), headers=BOB | {"x-claude-code-session-id": "of-bob"}) == 200


async def test_flat_images_inside_documents_are_held_as_images(tmp_path: Path) -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "UklGRg=="}}
    documents = [{"type": "document", "source": {"type": "content", "content": [image] * 10}}] * 10
    body = request_body({"role": "user", "content": documents})
    refusing = strict(1, on_reach="refuse")
    async with ScriptedUpstream(cheaply) as upstream, serving(tmp_path, upstream.base_url, budgets=refusing) as gateway:
        assert len(body) < MIB // 50 and await status(gateway, body) == 429
        assert upstream.received == []


async def test_guessed_names_are_explained_and_leave_no_trace(tmp_path: Path) -> None:
    budgets = strict(1, account="session")
    async with ScriptedUpstream(cheaply) as upstream, serving(tmp_path, upstream.base_url, budgets=budgets) as gateway:
        assert await status(gateway, request_body()) == 200
        await gateway.quiet()
        before = await gateway.operator("limits")
        for number in range(3):
            told = await gateway.operator(f"limits/explain?session=guess-{number}&user=alice")
            assert json.dumps(told).count(f"session:guess-{number}") >= 1
        assert await gateway.operator("limits") == before
