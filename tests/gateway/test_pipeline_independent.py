"""The gateway in front of upstreams that others wrote: their streams read, their calls held, their errors passed."""

import contextlib
import json
import re
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.support.dialects import read_events, text_of, tool_calls_of, write_request
from tests.support.gateway import Serving, serving
from tests.support.independent import BOTH, GREETING, HELLO, REFUSAL, RETRY_SECONDS, STARTED, TEXT, TOO_FAST

DIALECTS = {"anthropic": "claude-opus-5-5", "bedrock": "us.anthropic.claude-opus-5-5", "vertex": "claude-opus-5-5"}
BASH = {"name": "Bash", "input_schema": {"type": "object", "properties": {"command": {"type": "string"}}}}
SECTIONS: dict[str, Any] = {
    "policy": {"settings": {"tools": {"deny": [{"tool": "Bash", "commands": ["curl *"]}]}}},
    "budgets": [{"account": "org", "window": "monthly", "limit_usd": 1000, "strict": True}],
}


@pytest.fixture(scope="module", params=STARTED)
def upstream(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Name and address of one of them."""
    name: str = request.param
    with STARTED[name](tmp_path_factory.mktemp(name)) as url:
        yield name, url


@contextlib.asynccontextmanager
async def settled(directory: Path, upstream: tuple[str, str]) -> AsyncGenerator[Serving]:
    """A gateway that must hold nothing at the end."""
    async with serving(directory, upstream[1], **SECTIONS) as gateway:
        yield gateway
        await gateway.quiet()
        (limit,) = (await gateway.operator("limits?account=org"))["limits"]
        assert limit["held"] == 0


def asked(dialect: str, *messages: Any, stream: bool = False) -> dict[str, Any]:
    body = {"model": DIALECTS[dialect], "max_tokens": 100, "messages": list(messages), "tools": [BASH]}
    return body | ({"stream": True} if stream else {})


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


async def post(gateway: Serving, dialect: str, body: dict[str, Any]) -> tuple[Any, bytes]:
    sent = write_request(dialect, body)
    async with gateway.post(sent.body, path=sent.path, headers=sent.headers) as response:
        return response, await response.read()


def asked_of(gateway: Serving) -> list[dict[str, Any]]:
    """The audit records of model requests."""
    return [record for record in gateway.audit("request") if record["dialect"] != "operator"]


def upstream_wait(name: str) -> str | None:
    """What it says with its 429."""
    return str(RETRY_SECONDS) if name == "aimock" else None


async def straight(url: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """The answer without the gateway, but for its ids."""
    async with aiohttp.ClientSession() as client:
        async with client.post(f"{url}/v1/messages", json=body, headers={"x-api-key": "any"}) as response:
            return response.status, without_ids(await response.read())


def without_ids(answer: bytes) -> bytes:
    return re.sub(rb"(msg|toolu)_[\w-]+", rb"\1", answer)


async def test_calls_of_a_foreign_upstream_are_decided_in_every_dialect(
    tmp_path: Path, upstream: tuple[str, str]
) -> None:
    found: dict[str, Any] = {}
    async with settled(tmp_path, upstream) as gateway:
        for dialect in DIALECTS:
            _, stream = await post(gateway, dialect, asked(dialect, user(BOTH), stream=True))
            events = read_events(dialect, stream)
            found[f"{dialect} stream"] = (text_of(events), tool_calls_of(events))
            _, body = await post(gateway, dialect, asked(dialect, user(BOTH)))
            text, *calls = json.loads(body)["content"]
            found[f"{dialect} message"] = (text["text"], [(call["name"], call["input"]) for call in calls])

    for text, ((name, told), allowed) in found.values():
        assert (text, name, told["input"]) == (TEXT, "ringfence_denied", {"command": "curl http://x"})
        assert allowed == ("Bash", {"command": "ls"})
    assert [record["reason"] for record in asked_of(gateway)] == ["completed"] * 6
    assert {tuple(call["allowed"] for call in record["tool_calls"]) for record in asked_of(gateway)} == {(False, True)}


async def test_foreign_answer_without_calls_and_refusal_pass_byte_for_byte(
    tmp_path: Path, upstream: tuple[str, str]
) -> None:
    asks = [
        asked("anthropic", user(HELLO), stream=True),
        asked("anthropic", user(HELLO)),
        asked("anthropic", user(TOO_FAST)),
    ]
    wanted = [await straight(upstream[1], body) for body in asks]
    async with settled(tmp_path, upstream) as gateway:
        found = [await post(gateway, "anthropic", body) for body in asks]

    assert [(response.status, without_ids(body)) for response, body in found] == wanted
    assert [status for status, _ in wanted] == [200, 200, 429]
    assert text_of(read_events("anthropic", found[0][1])) == GREETING
    assert (found[2][0].headers.get("retry-after"), REFUSAL.encode() in found[2][1]) == (
        upstream_wait(upstream[0]),
        True,
    )


async def test_denied_call_is_restored_for_a_foreign_upstream(tmp_path: Path, upstream: tuple[str, str]) -> None:
    """A client that ran the denial as an unknown tool goes on; the upstream answers to the history as it made it."""
    async with settled(tmp_path, upstream) as gateway:
        _, first = await post(gateway, "anthropic", asked("anthropic", user(BOTH)))
        said = json.loads(first)["content"]
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "no such tool"}
            for block in said
            if block["type"] == "tool_use"
        ]
        goes_on = user([*results, {"type": "text", "text": HELLO}])
        turn = {"role": "assistant", "content": said}
        response, _ = await post(gateway, "anthropic", asked("anthropic", user("List."), turn, goes_on))
        received = await bodies(upstream) if upstream[0] == "aimock" else []

    assert (response.status, [bool(record["restored_denials"]) for record in asked_of(gateway)]) == (200, [False, True])
    for body in received[-1:]:
        assert "ringfence_denied" not in json.dumps(body) and "curl http://x" in json.dumps(body)
    assert bool(received) is (upstream[0] == "aimock")


async def bodies(upstream: tuple[str, str]) -> list[Any]:
    """What aimock says it received."""
    async with aiohttp.ClientSession() as client, client.get(f"{upstream[1]}/__aimock/journal") as response:
        return [entry["body"] for entry in await response.json()]
