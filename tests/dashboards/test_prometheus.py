"""Every query of every panel and rule, asked of a real Prometheus that scraped a real gateway under traffic."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.runs.told import Change, RunNews, RunTold
from gateway.telemetry.run_metrics import FAILURE_CODES, RunSums
from tests.dashboards.board import panel_queries, rules, selectors
from tests.dashboards.prometheus import Prometheus, scraping
from tests.gateway.runs.gated import Gated, gated
from tests.support.gateway import CREDENTIAL, Serving, request_body
from tests.support.upstream import Answer, ScriptedUpstream, stream_answer, text_block, tool_block

TRAFFIC_SECONDS = 120
BUDGETS: list[dict[str, Any]] = [
    {"account": "org", "window": "monthly", "limit_usd": 1000, "strict": True},
    {"account": "org", "window": "daily", "limit_usd": 500},
    {"account": "team:platform", "window": "rolling 5h", "limit_usd": 100},
    {"account": "user:bob", "window": "daily", "limit_usd": 0.000001},
    {"account": "user", "window": "daily", "limit_usd": 0.001, "on_reach": "warn"},
    {"account": "org", "meter": "requests", "window": "hourly", "limit": 1_000_000},
]
FUSES: dict[str, Any] = {"session": {"cost_usd": 1000, "agents": 1}}
CALLS = [
    tool_block("Bash", {"command": "rm -rf /"}, "toolu_denied"),
    tool_block("Bash", {"command": "python3 -c 'print(1)'"}, "toolu_unclear"),
]
BOB = CREDENTIAL.replace("alice", "bob")
CACHED = {
    "input_tokens": 100,
    "cache_read_input_tokens": 50_000,
    "cache_creation_input_tokens": 2_000,
    "cache_creation": {"ephemeral_5m_input_tokens": 2_000, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 200,
}


def answer() -> Answer:
    return stream_answer([text_block("Done.")], usage=CACHED)


async def one_round(gateway: Serving, upstream: ScriptedUpstream) -> None:
    """One request that is answered, and one that a limit refuses."""
    upstream.queue(answer())
    async with gateway.post(request_body()) as response:
        assert response.status == 200 and b"message_stop" in await response.read()
    async with gateway.post(request_body(), headers={"x-api-key": BOB, "x-claude-code-session-id": "bobs"}) as response:
        assert response.status == 429, await response.text()


async def one_tree(gateway: Serving, upstream: ScriptedUpstream, session: str) -> None:
    """A session whose calls a rule denies, and would deny, with an agent of a run, and one more than its fuse bears."""
    named = {"x-claude-code-session-id": session}
    upstream.queue(stream_answer(CALLS, usage=CACHED))
    async with gateway.post(request_body(), headers=named) as response:
        assert response.status == 200 and b"toolu_denied" in await response.read()
    upstream.queue(answer())
    runner = named | {"x-claude-code-agent-id": "a1", "x-ringfence-run-id": f"run-{session}"}
    async with gateway.post(request_body(), headers=runner) as response:
        assert response.status == 200 and await response.read()
    async with gateway.post(request_body(), headers=named | {"x-claude-code-agent-id": "a2"}) as response:
        assert response.status != 200, await response.text()


def one_run_of_each_end(gateway: Gated, news: RunNews, number: int) -> None:
    """Runs of the runtime as it tells of them: one that is paused, and some that end."""
    paused = RunTold(
        run=f"wf_{number}",
        name="sweep",
        session="s",
        user="alice",
        credential="alice-laptop",
        org="acme",
        team="platform",
        script_sha256="ab",
        source="api",
        created_ms=gateway.ground.clock.unix_ms(),
    )
    news.changed(paused, Change(before="running", after="paused"))
    for after, sums in (
        ("completed", RunSums(phases=2, agents=9, tokens=5_000, cost_nanousd=1_000_000_000, seconds=60)),
        ("completed", RunSums(degraded=True)),
        *(("failed", RunSums(failure=code)) for code in FAILURE_CODES),
    ):
        news.changed(replace(paused, run="wf_ended"), Change(before="running", after=after, sums=sums))
    news.call_settled("cached", 1_000, 1_000_000)
    news.sandbox_failed("script_timeout")
    news.governed("main", 8)
    news.journal_appended(0.001)


async def lacking(prometheus: Prometheus, queries: dict[str, set[str]]) -> dict[str, set[str]]:
    """Those that have no data yet, or lack a label in it."""
    answers = {query: await prometheus.labels(query) for query in queries}
    return {
        query: labels
        for query, labels in queries.items()
        if not answers[query] or not all(labels <= found for found in answers[query])
    }


def asked() -> dict[str, set[str]]:
    """Queries that must have data, and with which labels. Of an alert it is the series that it looks at: none fires."""
    recorded = [name for rule in rules() if rule.record for name in (rule.name, rule.expr)]
    watched = [selector for rule in rules() if not rule.record for selector in selectors(rule.expr)]
    return dict.fromkeys([*recorded, *watched], set[str]()) | panel_queries()


@pytest.mark.waits
async def test_every_query_has_data_after_traffic(tmp_path: Path) -> None:
    async with gated(tmp_path, budgets=BUDGETS, fuses=FUSES) as whole:
        gateway, metrics, live = whole.serving, whole.ground.metrics, whole.ground.live
        news = RunNews(metrics.runs, whole.ground.audit.record, None, whole.ground.clock)
        live.runs = news
        async with scraping(tmp_path, gateway.metrics_url) as prometheus:
            missing, rounds = asked(), 0
            assert len(missing) > 120
            try:
                async with asyncio.timeout(TRAFFIC_SECONDS):
                    while missing:
                        await one_round(gateway, whole.upstream)
                        await one_tree(gateway, whole.upstream, f"tree-{rounds}")
                        one_run_of_each_end(whole, news, rounds)
                        rounds += 1
                        await prometheus.caught_up()
                        missing = await lacking(prometheus, missing)
            except TimeoutError:
                assert missing == {}
            assert await prometheus.unhealthy() == []
