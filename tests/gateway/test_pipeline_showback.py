"""The spend report against the ledger and the audit trail: one sum, to the nano-dollar."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.__main__ import main
from gateway.commands.output import EXIT_DONE
from tests.gateway.several import BOB as BOBS_CREDENTIAL
from tests.gateway.several import refused
from tests.support.gateway import Serving, config_document, request_body, serving
from tests.support.upstream import Answer, ScriptedUpstream, json_answer, message, stream_answer, text_block

OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"
ALICE: Mapping[str, str] = {}
BOB = BOBS_CREDENTIAL | {"x-claude-code-session-id": "22222222-2222-4333-8444-555555555555"}
SECTIONS: dict[str, Any] = {
    "budgets": [
        {"account": "org", "window": "total", "limit_usd": 1000},
        {"account": "team", "window": "total", "limit_usd": 1000},
    ],
    "org": {"id": "acme", "teams": [{"id": "platform", "users": ["alice"]}, {"id": "research", "users": ["bob"]}]},
}


def streamed(model: str, *, cut: bool = False, wait: Sequence[asyncio.Event] = (), **usage: int) -> Answer:
    """A streamed answer, whole, cut before its usage, or one that waits in its midst."""
    whole = stream_answer([text_block("one two three")], model=model, usage=usage)
    chunks = whole.chunks[:-2] if cut else [*whole.chunks[:4], *wait, *whole.chunks[4:]]
    return Answer(200, whole.headers, chunks, cut=cut)


async def ask(gateway: Serving, who: Mapping[str, str], model: str, **fields: Any) -> None:
    async with gateway.post(request_body(model=model, **fields), headers=who) as response:
        await response.read()


async def leave(gateway: Serving, upstream: ScriptedUpstream, who: Mapping[str, str], go_on: asyncio.Event) -> None:
    """The client goes away in the midst of an answer, which then goes on."""
    response = await gateway.post(request_body(), headers=who)
    await response.content.readany()
    response.close()
    await gateway.operator("limits")  # a round trip later the gateway has noticed
    go_on.set()
    await gateway.quiet()


async def a_dozen(gateway: Serving, upstream: ScriptedUpstream) -> None:
    """Of two teams and two models: whole, cut, left, refused upstream, refused here, and not for money."""
    left = [asyncio.Event(), asyncio.Event()]
    upstream.queue(
        streamed(OPUS, input_tokens=1001, output_tokens=333),
        streamed(HAIKU, input_tokens=77, cache_read_input_tokens=1_313),
        json_answer(message([text_block("x")], model=HAIKU, usage={"input_tokens": 3, "output_tokens": 1})),
        streamed(OPUS, cut=True),
        refused(529),
        streamed(OPUS, wait=[left[0]], output_tokens=777),
        streamed(OPUS, wait=[left[1]], cache_creation_input_tokens=11),
        streamed(HAIKU, cut=True, input_tokens=99),
        json_answer({"input_tokens": 7}),
        streamed(OPUS),
    )
    await ask(gateway, ALICE, OPUS)
    await ask(gateway, BOB, HAIKU)
    await ask(gateway, BOB, HAIKU, stream=False)
    await ask(gateway, ALICE, OPUS)
    await ask(gateway, ALICE, OPUS)
    await leave(gateway, upstream, ALICE, left[0])
    await leave(gateway, upstream, BOB, left[1])
    await ask(gateway, BOB, HAIKU)
    async with gateway.post(request_body(), path="/v1/messages/count_tokens") as response:
        await response.read()
    await ask(gateway, ALICE, "model-without-a-price")
    await ask(gateway, {"x-api-key": "wrong"}, OPUS)
    await ask(gateway, BOB, OPUS)
    await gateway.quiet()


def report(directory: Path, by: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """The report of a gateway, as the command prints it."""
    assert main(["report", "spend", "--config", str(directory / "ringfence.yaml"), "--by", by, "--json"]) == EXIT_DONE
    return json.loads(capsys.readouterr().out)


def recorded(directory: Path) -> list[dict[str, Any]]:
    """Audit records of requests, from the file and what was rotated away."""
    lines = [line for path in directory.glob("audit.jsonl*") for line in path.read_text().splitlines()]
    return [record for record in map(json.loads, lines) if record["event"] == "request"]


async def test_report_adds_up_to_the_ledger_and_the_trail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit = {"path": str(tmp_path / "audit.jsonl"), "rotate_bytes": 4096, "keep": 1000}
    async with ScriptedUpstream() as upstream:
        sections: dict[str, Any] = SECTIONS | {"audit": audit}
        document = config_document(tmp_path, upstream.base_url, **sections)
        (tmp_path / "ringfence.yaml").write_text(json.dumps(document))
        async with serving(tmp_path, upstream.base_url, **sections) as gateway:
            await a_dozen(gateway, upstream)
            limits = (await gateway.operator("limits"))["limits"]
            told = report(tmp_path, "team", capsys)
    spent = {limit["account"]: limit["used"] for limit in limits}
    records = recorded(tmp_path)
    assert len(list(tmp_path.glob("audit.jsonl*"))) > 2
    assert told["total"]["cost_nanousd"] == spent["org"] == sum(record["cost_nanousd"] for record in records) > 0
    assert {row["team"]: row["cost_nanousd"] for row in told["rows"]} == {
        "platform": spent["team:platform"],
        "research": spent["team:research"],
    }
    assert told["total"]["estimated_nanousd"] == sum(each["cost_nanousd"] for each in records if each["cost_estimated"])


async def test_report_counts_what_money_was_held_for_by_model_and_team(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with ScriptedUpstream() as upstream:
        document = config_document(tmp_path, upstream.base_url, **SECTIONS)
        (tmp_path / "ringfence.yaml").write_text(json.dumps(document))
        async with serving(tmp_path, upstream.base_url, **SECTIONS) as gateway:
            await a_dozen(gateway, upstream)
    told = report(tmp_path, "team,model", capsys)
    counted = {(row["team"], row["model"]): row["requests"] for row in told["rows"]}
    assert counted == {("platform", OPUS): 4, ("research", HAIKU): 3, ("research", OPUS): 2}
    assert told["trail"]["unreadable_lines"] == 0
    estimated = {(row["team"], row["model"]): row["estimated_nanousd"] > 0 for row in told["rows"]}
    assert estimated == {("platform", OPUS): True, ("research", HAIKU): True, ("research", OPUS): False}
