"""Money under a storm: a strict cap is never passed, others by no more than their bound, and every sum agrees at rest.

One gateway on SQLite, in the test's process and as one that is killed. Several on Postgres: `test_pipeline_replicas`.
"""

import contextlib
import dataclasses
import json
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.core.estimates.clamping import CLAMP_TOKENS_MIN
from gateway.core.money.limits import Amounts
from tests.support.gateway import CREDENTIAL, Serving, config_document, serving
from tests.support.overshoot import overshoot_max
from tests.support.process import Served, run_cli, served
from tests.support.storm import (
    COST_NANOUSD,
    GONE,
    MAX_TOKENS,
    OUTPUT_NANOUSD,
    Caller,
    Storm,
    at_rest,
    fickle,
    open_crowd,
    owed,
    reported,
    steady,
    stubborn,
    trail_of,
)
from tests.support.upstream import ScriptedUpstream

DOLLAR = 1_000_000_000
CAP = [{"account": "org", "window": "total", "limit_usd": 1, "strict": True, "on_reach": "refuse"}]
SIZES = (50, 200, 1_000)

pytestmark = pytest.mark.timeout(240)
"""A thousand clients have much to do, and a gateway that was killed starts again."""


@contextlib.asynccontextmanager
async def storming(directory: Path, storm: Storm, **sections: Any) -> AsyncGenerator[tuple[Serving, ScriptedUpstream]]:
    """A gateway that any number of clients may ask at once."""
    (directory / "ringfence.yaml").write_text(json.dumps(config_document(directory, "http://127.0.0.1:9", **sections)))
    async with (
        ScriptedUpstream(storm.answer) as upstream,
        serving(directory, upstream.base_url, **sections) as gateway,
        open_crowd() as crowd,
    ):
        yield dataclasses.replace(gateway, client=crowd), upstream


async def rage(storm: Storm, gateway: Serving, callers: Sequence[Caller]) -> None:
    """The whole storm, until nothing is answered or settled any more."""
    asking = [storm.ask(gateway.client, lambda: gateway.url, caller) for caller in callers]
    await storm.rage(asking, lambda: storm.look(gateway.client, gateway.url))
    await gateway.quiet()


async def settle_up(storm: Storm, gateway: Serving) -> tuple[int, list[dict[str, Any]]]:
    """What the organisation used, which ledger, trail and report agree on, nothing being held; and the trail."""
    limits = await storm.look(gateway.client, gateway.url)
    spent = next(limit["used"] for limit in limits if limit["account"] == "org")
    trail = [record for record in gateway.audit("request") if record["dialect"] != "operator"]
    report = await run_cli(gateway.directory, "report", "spend", "--by", "team")
    assert [limit for limit in limits if limit["held"]] == []
    assert "ringfence_holds_open 0.0" in await gateway.metrics()
    assert spent == sum(record["cost_nanousd"] for record in trail) == report["total"]["cost_nanousd"]
    return spent, trail


@pytest.mark.parametrize("clients", SIZES)
async def test_three_of_many_parallel_requests_fit_a_strict_dollar(tmp_path: Path, clients: int) -> None:
    storm = Storm()
    async with storming(tmp_path, storm, budgets=CAP) as (gateway, upstream):
        await rage(storm, gateway, [steady(number) for number in range(clients)])
        spent, _ = await settle_up(storm, gateway)
        assert storm.seen == {200: 3, 429: clients - 3} and len(upstream.received) == 3
        assert spent == 3 * COST_NANOUSD < storm.peaks["org"] <= DOLLAR


@pytest.mark.parametrize("clients", SIZES)
async def test_clamped_requests_fill_a_strict_dollar_and_never_pass_it(tmp_path: Path, clients: int) -> None:
    storm, budgets = Storm(), [CAP[0] | {"on_reach": "clamp"}]
    async with storming(tmp_path, storm, budgets=budgets) as (gateway, _):
        await rage(storm, gateway, [steady(number) for number in range(clients)])
        _, trail = await settle_up(storm, gateway)
        clamped = [record for record in trail if record["clamped_from"] is not None and record["status"] == 200]
        assert storm.seen == {200: 3 + len(clamped), 429: clients - 3 - len(clamped)} and clamped
        held = [record["hold"]["worst"]["cost"] for record in trail if record["status"] == 200]
        least = max(held) - (MAX_TOKENS - CLAMP_TOKENS_MIN) * OUTPUT_NANOUSD
        assert DOLLAR - least < storm.peaks["org"] <= DOLLAR


@pytest.mark.parametrize("clients", SIZES)
async def test_clients_that_come_again_take_what_failures_gave_back_and_no_more(tmp_path: Path, clients: int) -> None:
    storm = Storm(failing=0.5)
    async with storming(tmp_path, storm, budgets=CAP) as (gateway, upstream):
        await rage(storm, gateway, [stubborn(number) for number in range(clients)])
        spent, trail = await settle_up(storm, gateway)
        reasons = {record["reason"] for record in trail}
        assert {"completed", "upstream_refused", "budget_exhausted"} <= reasons and storm.seen.total() == len(trail)
        assert len(upstream.received) > 3 and 0 < spent <= storm.peaks["org"] <= DOLLAR


@pytest.mark.parametrize(("clients", "dollars"), [(50, 5), (200, 20), (1_000, 100)])
async def test_leaving_failing_and_coming_again_never_passes_a_strict_cap(
    tmp_path: Path, clients: int, dollars: int
) -> None:
    storm, budgets = Storm(failing=0.4), [CAP[0] | {"limit_usd": dollars}]
    async with storming(tmp_path, storm, budgets=budgets) as (gateway, upstream):
        await rage(storm, gateway, [fickle(number) for number in range(clients)])
        spent, trail = await settle_up(storm, gateway)
        reasons = {record["reason"] for record in trail}
        assert {"completed", "client_gone", "budget_exhausted", "upstream_broke", "upstream_refused"} <= reasons
        assert len(upstream.received) > 3 * dollars and storm.seen[GONE]
        assert 0 < spent <= storm.peaks["org"] <= dollars * DOLLAR


SEATS = [f"user{number}" for number in range(12)]
NESTED: dict[str, Any] = {
    "org": {"id": "acme", "teams": [{"id": f"team{team}", "users": SEATS[team::3]} for team in range(3)]},
    "budgets": [
        {"account": "org", "window": "monthly", "limit_usd": 20},
        {"account": "team:team0", "window": "monthly", "limit_usd": 4},
        {"account": "org", "per": "team", "window": "daily", "limit_usd": 9},
        {"account": "org", "per": "user", "window": "daily", "limit_usd": 3},
        {"account": "user:user1", "window": "daily", "limit_usd": 0.7},
        {"account": "session", "window": "total", "limit_usd": 1},
    ],
}


def seat_secret(user: str) -> str:
    return CREDENTIAL.replace("alice", user)


async def test_no_limit_of_nested_accounts_is_passed_and_each_kind_refuses(tmp_path: Path) -> None:
    credentials = [{"id": f"{user}-laptop", "secret": seat_secret(user), "user": user} for user in SEATS]
    olga = config_document(tmp_path, "")["identity"]["credentials"][-1]
    budgets = [budget | {"strict": True, "on_reach": "refuse"} for budget in NESTED["budgets"]]
    sections = NESTED | {"budgets": budgets, "identity": {"credentials": [*credentials, olga]}}
    storm = Storm(failing=0.2)
    callers = [
        dataclasses.replace(fickle(number), session=f"{user}-{max(0, number // 12 % 5 - 2)}", secret=seat_secret(user))
        for number, user in enumerate(SEATS * 25)
    ]
    async with storming(tmp_path, storm, **sections) as (gateway, _):
        await rage(storm, gateway, callers)
        await settle_up(storm, gateway)
        limits = await storm.look(gateway.client, gateway.url)
        used: Mapping[str, int] = {limit["account"]: limit["used"] for limit in limits}
    refused_by = {
        kind for kind in ("org", "team:", "user:", "session:") for told in storm.refusals if f"of {kind}" in told
    }
    assert refused_by == {"org", "team:", "user:", "session:"}
    assert (
        used["org"]
        == sum(used[f"team:team{team}"] for team in range(3))
        == sum(used.get(f"user:{u}", 0) for u in SEATS)
    )
    assert storm.peaks["team:team0"] <= 4 * DOLLAR and storm.peaks["user:user1"] <= 0.7 * DOLLAR


@pytest.mark.parametrize("clients", SIZES)
async def test_limit_that_is_not_strict_is_passed_by_no_more_than_its_bound(tmp_path: Path, clients: int) -> None:
    """The ample strict limit beside it makes every hold know its worst case."""
    storm = Storm()
    budgets = [CAP[0] | {"strict": False}, CAP[0] | {"window": "monthly", "limit_usd": 1_000}]
    async with storming(tmp_path, storm, budgets=budgets) as (gateway, _):
        await rage(storm, gateway, [steady(number) for number in range(clients)])
        spent, trail = await settle_up(storm, gateway)
        holds = [record["hold"] for record in trail if record["status"] == 200]
        bound = overshoot_max((Amounts(**hold["worst"]), Amounts(**hold["expected"])) for hold in holds).cost
        assert 0 < spent - DOLLAR <= bound
        assert sum(hold["expected"]["cost"] for hold in holds) <= DOLLAR


@pytest.mark.parametrize("clients", [50, 200])
async def test_gateway_killed_in_the_storm_counts_what_was_held_and_stays_below_its_cap(
    tmp_path: Path, clients: int
) -> None:
    storm, sections = Storm(failing=0.2), {"budgets": [CAP[0] | {"limit_usd": clients // 10}]}
    running: list[Served] = []

    async def look() -> Any:
        return await storm.look(running[-1].client, running[-1].url, "org")

    async with (
        ScriptedUpstream(storm.answer) as upstream,
        open_crowd() as crowd,
        contextlib.AsyncExitStack() as stack,
    ):

        async def start() -> None:
            running.append(await stack.enter_async_context(served(tmp_path, upstream.base_url, **sections)))

        async def kill() -> None:
            await running[-1].stop(signal.SIGKILL)
            await start()

        await start()
        asking = [storm.ask(crowd, lambda: running[-1].url, fickle(number)) for number in range(clients)]
        await storm.rage(asking, look, interludes={2: kill})
        await at_rest(running[-1])
        (limit,) = await look()
        trail = trail_of(tmp_path)
        expired = [record for record in trail if record["event"] == "expired"]
        assert len(running) == 2 and expired and storm.seen[200] and storm.seen[429]
        assert limit["held"] == 0 < limit["used"] == owed(trail) == await reported(tmp_path) <= limit["max"]
