"""The paths of the spend-limits API over a store in memory: bounds, faults, and what is written down of a change."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.context import RequestContext
from gateway.contract import SPEND_LIMITS_PATH
from gateway.core.decisions.decision import Principal
from gateway.core.money.limits import Limits, Series
from gateway.errors import Reason, Refused
from gateway.stores.memory import MemoryStore
from gateway.web.middlewares import CONTEXT, build_context
from gateway.web.spend_limits import SpendLimits, build_spend_limit_routes
from tests.support.clock import FakeClock

OLGA = Principal(org="acme", team=None, user="olga", credential="olga-desk", operator=True)
BODY = {"scope": {"type": "organization"}, "amount": "100"}
Client = TestClient[web.Request, web.Application]


class Everybody:
    """One person."""

    def principals(self) -> tuple[Principal, ...]:
        return (OLGA,)

    @property
    def teams(self) -> Mapping[str, str]:
        return {}


class Unwritten:
    """Keeps no records."""

    def begin(self) -> None:
        pass

    def record(self, ctx: RequestContext) -> None:
        pass


class Away(MemoryStore):
    """A store whose ledger cannot be asked."""

    async def used(self, series: Sequence[Series], now_ms: int) -> list[int]:
        raise Refused(Reason.STORE_UNAVAILABLE, "the store is away")


@contextlib.asynccontextmanager
async def paths(store: MemoryStore, principal: Principal = OLGA) -> AsyncGenerator[Client]:
    """The paths, asked by `principal`."""

    @web.middleware
    async def known(request: web.Request, handler: Any) -> web.StreamResponse:
        request[CONTEXT].principal = principal
        return await handler(request)

    app = web.Application(middlewares=[build_context(FakeClock(), Unwritten()), known])
    limits = SpendLimits(Limits(), store, store, Everybody(), ("anthropic",), FakeClock())
    app.add_routes(build_spend_limit_routes(limits))
    async with TestClient(TestServer(app)) as client:
        yield client


async def said(client: Client, method: str, path: str = "", **sent: Any) -> tuple[int, str]:
    """Status and error type of a call that fails."""
    async with client.request(method, SPEND_LIMITS_PATH + path, **sent) as response:
        return response.status, (await response.json())["error"]["type"]


async def test_body_is_bounded_told_or_not() -> None:
    large = b'{"reason":"' + b"x" * 70_000 + b'"}'

    async def chunks() -> AsyncGenerator[bytes]:
        yield large

    store = MemoryStore(Limits())
    async with paths(store) as client:
        assert await said(client, "POST", data=large) == (413, "request_too_large")
        assert await said(client, "POST", data=chunks()) == (413, "request_too_large")
    assert await store.stored_limits() == []


async def test_slot_in_a_path_names_no_limit() -> None:
    store = MemoryStore(Limits())
    async with paths(store) as client:
        await client.post(SPEND_LIMITS_PATH, json=BODY)
        (limit,) = await store.stored_limits()
        for method in ("GET", "DELETE"):
            assert await said(client, method, f"/{limit.slot}") == (404, "not_found_error")
        assert await store.stored_limits() == [limit]


async def test_change_is_written_down_with_who_and_why() -> None:
    store = MemoryStore(Limits())
    async with paths(store) as client:
        made = await (await client.post(SPEND_LIMITS_PATH, json=BODY | {"reason": "a trial"})).json()
        await client.delete(f"{SPEND_LIMITS_PATH}/{made['id']}", params={"reason": "over"})
        assert await said(client, "DELETE", f"/{made['id']}") == (404, "not_found_error")
        assert await said(client, "DELETE", f"/{made['id']}?reason={'x' * 501}") == (400, "invalid_request_error")
    changes = await store.limit_audit(0, 10)
    assert [(each.author.actor, each.author.action, each.author.reason) for each in changes] == [
        ("admin-key:olga-desk", "spend_limit.upsert", "a trial"),
        ("admin-key:olga-desk", "spend_limit.delete", "over"),
    ]
    assert [(each.before, each.after) for each in changes] == [(None, made), (made, None)]


async def test_same_limit_set_by_many_at_once_is_one_limit() -> None:
    store = MemoryStore(Limits())
    async with paths(store) as client:
        replies = await asyncio.gather(*(client.post(SPEND_LIMITS_PATH, json=BODY) for _ in range(20)))
        ids = {(await reply.json())["id"] for reply in replies}
    (limit,) = await store.stored_limits()
    assert ids == {limit.id} and len(await store.limit_audit(0, 100)) == 20


async def test_change_that_is_refused_within_the_store_changes_nothing() -> None:
    store = MemoryStore(Limits())
    group = {"scope": {"type": "rbac_group", "rbac_group_id": "g"}, "amount": "5"}
    async with paths(store) as client:
        await client.post(SPEND_LIMITS_PATH, json=group | {"pooled_budget": {"amount": "50"}})
        before = await store.stored_limits()
        assert await said(client, "POST", json=group | {"amount": None}) == (400, "invalid_request_error")
        assert await store.stored_limits() == before and len(await store.limit_audit(0, 10)) == 1


async def test_anybody_else_is_refused_by_every_path() -> None:
    store = MemoryStore(Limits())
    async with paths(store, Principal(org="acme", team=None, user="a", credential="a")) as client:
        for method, path in (("GET", ""), ("POST", ""), ("GET", "/effective"), ("GET", "/audit"), ("DELETE", "/spl_1")):
            assert await said(client, method, path) == (401, "authentication_error")
        assert await said(client, "GET", "/spl_1") == (401, "authentication_error")


async def test_changes_are_read_in_pages() -> None:
    store = MemoryStore(Limits())
    async with paths(store) as client:
        for amount in ("1", "2", "3"):
            await client.post(SPEND_LIMITS_PATH, json=BODY | {"amount": amount})
        pages = [
            await (await client.get(f"{SPEND_LIMITS_PATH}/audit?limit=2&after_id={after}")).json()
            for after in (0, 1, 2)
        ]
    shown = [([change["id"] for change in page["data"]], page["has_more"]) for page in pages]
    assert shown == [(["1", "2"], True), (["2", "3"], False), (["3"], False)]


async def test_store_that_is_away_is_told_as_overload() -> None:
    store = Away(Limits())
    async with paths(store) as client:
        assert await said(client, "GET", "/effective") == (529, "overloaded_error")
        async with client.get(SPEND_LIMITS_PATH) as response:
            assert response.status == 200


async def test_reader_reads_everything_and_changes_nothing() -> None:
    store = MemoryStore(Limits())
    reader = Principal(org="acme", team=None, user="r", credential="r", operator=True, tags={"spend_limits": "read"})
    async with paths(store, reader) as client:
        for path in ("", "/effective", "/audit"):
            async with client.get(SPEND_LIMITS_PATH + path) as response:
                assert response.status == 200 and response.headers["cache-control"] == "no-store"
        assert await said(client, "POST", json=BODY) == (403, "permission_error")
        assert await said(client, "DELETE", "/spl_" + "0" * 32) == (403, "permission_error")
