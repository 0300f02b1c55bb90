"""The demo's own agent works through a whole gateway: it acts on its calls, and takes a refusal as an ending."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from gateway.commands.demo.narration import Narrator
from gateway.commands.demo.player import Part
from gateway.commands.demo.sdk import SdkAgent, open_client
from tests.support.gateway import CREDENTIAL, Serving, serving

SIMULATED = [{"id": "simulated", "backend": "simulated", "scenario": "demo"}]


@asynccontextmanager
async def playing(folder: Path, **sections: Any) -> AsyncIterator[tuple[SdkAgent, Serving]]:
    async with serving(folder, "", upstreams=SIMULATED, **sections) as gateway:
        async with open_client(gateway.url, CREDENTIAL) as client:
            yield SdkAgent(client, Narrator(Console(file=io.StringIO()))), gateway


async def test_agent_acts_on_its_calls_until_the_work_is_done(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Helo")
    async with playing(tmp_path) as (agent, gateway):
        ending = await agent.play("Fix the greeting in a.txt", Part("s1", tmp_path))
        await gateway.quiet()
    assert [call.tool for call in ending.calls] == ["Read", "Edit"] and ending.refusal is None
    assert (tmp_path / "a.txt").read_text() == "Hello"


async def test_sub_agents_make_requests_under_ids_of_their_own(tmp_path: Path) -> None:
    async with playing(tmp_path, fuses={"session": {"agents": 4}}) as (agent, gateway):
        ending = await agent.play("Audit every module", Part("s1", tmp_path))
        await gateway.quiet()
    lineages = [record["lineage"] for record in gateway.audit("request")]
    assert {lineage["session"] for lineage in lineages} == {"s1"}
    assert len({lineage["agent"] for lineage in lineages}) == 1 + 8
    assert ending.refusal is not None and "ringfence fuses replace" in ending.refusal


async def test_refused_agent_makes_one_request_and_says_why(tmp_path: Path) -> None:
    budget = {"account": "user", "window": "daily", "limit_usd": 0.0001, "strict": True}
    async with playing(tmp_path, budgets=[budget]) as (agent, gateway):
        ending = await agent.play("Install the linter", Part("s1", tmp_path))
        await gateway.quiet()
    assert ending.refusal is not None and ending.refusal.startswith("429 budget exhausted")
    assert len(gateway.audit("request")) == 1


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9"])
async def test_proxies_of_the_environment_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy)
    async with playing(tmp_path) as (agent, _):
        ending = await agent.play("Say hello", Part("s1", tmp_path))
    assert ending.text == "Simulated answer to: Say hello"
