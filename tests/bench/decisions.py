"""What deciding costs: a decision by each engine, what is remembered, an audit record, a new agent's first request.

    scripts/bench --decisions [--quick] [--json]

Queries are of about 2 KB, asked one after another. OPA is asked where there is one, Postgres where its wheel is. Judges
nothing; README.md beside it says what was measured.
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import msgspec
import pytest

from gateway.config.model import Policy
from gateway.context import RequestContext
from gateway.core.decisions.decision import Decision, Query
from gateway.policy.live import open_engine
from gateway.policy.memo import Memo
from gateway.policy.opa import Limits
from gateway.telemetry.audit import AuditLog
from tests.bench.bodies import MESSAGES_PATH, small_body
from tests.bench.load import percentile
from tests.bench.measure import Figures
from tests.bench.systems import build_bench_config, free_ports, running_module
from tests.e2e.gateway import CREDENTIAL, running_gateway
from tests.support.opa import opa_program, opa_server
from tests.support.policies import POLICIES, build_engine, build_query
from tests.support.postgres import postgres_server

TIMES, QUICK_TIMES = 2_000, 100
OPA_TIMEOUT_MS = 20_000
SESSION_REQUESTS = 200
AGENTS_PER_SESSION = 20
SPAWNS, QUICK_SPAWNS = 400, 40
SEARCH = "cd api && " + " && ".join(f"grep -rn pattern{number} src/file{number}.py | head -5" for number in range(6))
QUERIES = {
    "infer": build_query({"kind": "infer", "tools": [f"Tool{number}" for number in range(60)]}),
    "Write": build_query(
        {"kind": "tool_call", "tool": "Write", "input": {"file_path": "/home/alice/shop/a.py", "content": "x" * 700}}
    ),
    "Bash": build_query({"kind": "tool_call", "tool": "Bash", "input": {"command": SEARCH}}),
}


class RealClock:
    """The machine's clock."""

    def monotonic(self) -> float:
        return time.perf_counter()

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000


async def measure_decisions(*, quick: bool) -> dict[str, Any]:
    """All of it, with the machine's load before and after."""
    times, spawns = (QUICK_TIMES, QUICK_SPAWNS) if quick else (TIMES, SPAWNS)
    before = os.getloadavg()[0]
    figures: dict[str, Any] = {
        "decisions": [row async for row in _measure_engines(times)],
        "session": await _measure_session(),
        "records": [_measure_record(name, query, times) for name, query in QUERIES.items()],
        "spawns": [await _measure_spawns(store, spawns) for store in ("sqlite", "postgres")],
    }
    return figures | {"load": [round(before, 1), round(os.getloadavg()[0], 1)]}


async def _measure_engines(times: int) -> AsyncIterator[Figures]:
    engine = build_engine()

    def forget() -> None:
        engine.memo = Memo()

    for name, query in QUERIES.items():
        sent = {"query": name, "bytes": len(msgspec.json.encode(query))}
        yield {**sent, "engine": "embedded, remembered", **await _timed(engine.decide, query, times)}
        yield {**sent, "engine": "embedded, made", **await _timed(engine.decide, query, times, before=forget)}
    try:
        opa_program()
    except pytest.skip.Exception:
        return
    with opa_server() as server:
        policy = Policy(engine="opa", url=server.url, path=POLICIES, timeout_ms=OPA_TIMEOUT_MS)
        async with open_engine(policy, RealClock(), Limits(OPA_TIMEOUT_MS)) as asked:
            for name, query in QUERIES.items():
                yield {"query": name, "engine": "OPA", **await _timed(asked.decide, query, times)}


async def _timed(
    decide: Callable[[Query], Awaitable[Decision]],
    query: Query,
    times: int,
    *,
    before: Callable[[], None] | None = None,
) -> Figures:
    seconds: list[float] = []
    for number in range(times + times // 10):
        if before is not None:
            before()
        began = time.perf_counter()
        await decide(query)
        if number >= times // 10:
            seconds.append(time.perf_counter() - began)
    return {"p50_ms": percentile(seconds, 50), "p99_ms": percentile(seconds, 99)}


async def _measure_session() -> Figures:
    """Which decisions of a session come from memory. Its meters are others with each query, as in life."""
    engine, asked, found = build_engine(), Counter[str](), Counter[str]()
    for query in _session():
        kind = str(query.action.__struct_config__.tag)
        before = engine.memo.hits
        decision = await engine.decide(query)
        assert decision.allow, decision.message
        asked[kind] += 1
        found[kind] += engine.memo.hits - before
    return {kind: {"asked": asked[kind], "remembered": found[kind]} for kind in asked}


def _session() -> Iterator[Query]:
    """200 requests: a main agent, and one it starts every 25 requests, that makes the last ten of them."""
    made = count(1)
    for number in range(SESSION_REQUESTS):
        turn, batch = number % 25, number // 25
        is_agent = turn >= 15
        who = {"agent": f"a{batch}", "depth": 1, "agent_type": "Explore"} if is_agent else {"agent": "main", "depth": 0}
        counted = {"requests": number, "cost": number * 31_000_000, "seconds": 7 * number, "agents": batch}
        parts = {"lineage": who, "meters": {"agent": counted, "session": {**counted, "active_agents": int(is_agent)}}}
        if turn == 15:
            yield build_query({"kind": "spawn", "via": "tool_use", "agent_type": "Explore"}, **parts)
            yield build_query({"kind": "spawn", "via": "first_request", "agent_type": "Explore"}, **parts)
        yield build_query({"kind": "infer", "body_bytes": 30_000 + 1_000 * turn}, **parts)
        for tool, tool_input in _calls(number):
            yield build_query(
                {"kind": "tool_call", "tool": tool, "input": tool_input, "tool_use_id": f"toolu_{next(made)}"}, **parts
            )


def _calls(number: int) -> list[tuple[str, dict[str, Any]]]:
    """Every file is read twice; edits and searches are all different; tests and the state of the checkout are asked
    for again and again.
    """
    file = f"/home/alice/shop/src/part{number // 8}.py"
    edit = {"file_path": file, "old_string": f"a = {number}", "new_string": f"a = {number + 1}"}
    return [
        [("Read", {"file_path": file})],
        [("Edit", edit), ("Bash", {"command": "git status --short"})],
        [("Bash", {"command": f"pytest -q tests/test_part{number // 25}.py"})],
        [("Bash", {"command": f"grep -rn name{number} src | head -20"}), ("Grep", {"pattern": f"name{number}"})],
    ][number % 4]


def _measure_record(name: str, query: Query, times: int) -> Figures:
    """One `decision` line of the audit trail: bytes, and CPU until the operating system has it (best of five)."""
    ctx = RequestContext(
        id="0" * 26,
        method="POST",
        path=MESSAGES_PATH,
        headers={},
        dialect="anthropic",
        received_unix_ms=0,
        received_monotonic=0.0,
    )
    best = float("inf")
    with tempfile.TemporaryDirectory(prefix="ringfence-audit-") as folder:
        path = Path(folder) / "audit.jsonl"
        audit = AuditLog(str(path), 10**9, 1)
        for _ in range(5):
            began = time.process_time()
            for _ in range(times):
                audit.decision(ctx, query, Decision(allow=True, revision="0" * 12), decision_id="0" * 28)
            best = min(best, (time.process_time() - began) / times)
        audit.close()
        return {"query": name, "bytes": path.stat().st_size // (5 * times), "cpu_us": 1e6 * best}


async def _measure_spawns(store: str, spawns: int) -> Figures:
    """First requests of agents that nobody has seen, each against the same agent's second one: over HTTP, in turn."""
    with tempfile.TemporaryDirectory(prefix="ringfence-spawns-") as folder:
        (mock_port,) = free_ports(1)
        config = build_bench_config(f"http://127.0.0.1:{mock_port}", Path(folder))
        if store == "postgres":
            server = postgres_server("fsync=on")
            config["store"] = {"url": server.url(server.fresh())}
        firsts: list[float] = []
        seconds: list[float] = []
        session = ""
        async with (
            running_module("tests.bench.mock", str(mock_port)),
            running_gateway(config, Path(folder)) as gateway,
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {CREDENTIAL}"}) as client,
        ):
            for number in range(spawns):
                if number % AGENTS_PER_SESSION == 0:
                    session = str(uuid4())
                    await _asked(client, gateway.base_url, {"x-claude-code-session-id": session})
                ids = {"x-claude-code-session-id": session, "x-claude-code-agent-id": f"agent{number}"}
                firsts.append(await _asked(client, gateway.base_url, ids))
                seconds.append(await _asked(client, gateway.base_url, ids))
    added = [first - second for first, second in zip(firsts, seconds, strict=True)]
    return {
        "store": store,
        "first_p50_ms": percentile(firsts, 50),
        "second_p50_ms": percentile(seconds, 50),
        "added_p50_ms": percentile(added, 50),
        "added_p99_ms": percentile(added, 99),
    }


async def _asked(client: aiohttp.ClientSession, url: str, ids: dict[str, str]) -> float:
    began = time.perf_counter()
    async with client.post(
        url + MESSAGES_PATH, json=small_body(stream=False), headers={**ids, "x-bench-answer": "json"}
    ) as answer:
        assert answer.status == 200, await answer.text()
        await answer.read()
    return time.perf_counter() - began


def print_decisions(figures: dict[str, Any]) -> None:
    """Everything, for people."""
    before, after = figures["load"]
    print(f"load {before} to {after}\n\none decision, ms")
    for row in figures["decisions"]:
        print(f"  {row['query']:<7}{row['engine']:<22}p50 {row['p50_ms']:8.4f}  p99 {row['p99_ms']:8.4f}")
    print(f"\ndecisions from memory in a session of {SESSION_REQUESTS} requests")
    for kind, each in figures["session"].items():
        print(f"  {kind:<12}{each['remembered']} of {each['asked']}")
    print("\none decision's audit record")
    for row in figures["records"]:
        print(f"  {row['query']:<7}{row['bytes']:6} bytes  {row['cpu_us']:6.1f} us CPU")
    print("\nfirst request of a new agent, ms")
    for row in figures["spawns"]:
        whole = f"first {row['first_p50_ms']:.2f}, second {row['second_p50_ms']:.2f}"
        print(f"  {row['store']:<10}{whole}; added p50 {row['added_p50_ms']:.2f}, p99 {row['added_p99_ms']:.2f}")
