"""The spend-limits API of the whole gateway: the recorded shapes and words, who is let in, and that limits hold."""

import contextlib
import json
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from yarl import URL

from tests.support.clock import FakeClock
from tests.support.gateway import CREDENTIAL, OPERATOR, Serving, config_document, request_body, serving
from tests.support.upstream import Answer, Received, ScriptedUpstream, json_answer, message, text_block

GOLDEN = Path(__file__).parents[1] / "golden" / "spend_limits"
EXCHANGES, ERRORS = (json.loads((GOLDEN / name).read_text()) for name in ("exchanges.json", "errors.json"))
OURS = {"is_enabled", "per", "meter", "strict", "on_reach", "warn_at", "models", "backends", "next_page"}
"""Keys of replies that the recorded ones have not."""
PATTERNS = {
    "<limit>": r"spl_[0-9a-f]{32}",
    "<moment>": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
    "<cents>": r"\d+\.\d\d\d*",
}
READER = "rf_rita_0123456789abcdefghijklmnopqrstuvwxyz0"
PATH = "/v1/organizations/spend_limits"
COST_CENTS = 30.04


def thirty_cents(_: Received) -> Answer:
    return json_answer(message([text_block("x")], usage={"input_tokens": 100, "output_tokens": 15_000}))


@contextlib.asynccontextmanager
async def gateway_at(directory: Path, **sections: Any) -> AsyncGenerator[Serving]:
    """A gateway whose answers cost thirty cents, with a group, a read-only operator and a clock that stands."""
    document = config_document(directory, "")
    credentials = document["identity"]["credentials"]
    credentials[0]["groups"] = ["contractors", "backend"]
    reader = {"id": "rita-desk", "secret": READER, "user": "rita", "operator": True, "tags": {"spend_limits": "read"}}
    sections = {"identity": {"credentials": [*credentials, reader]}, "clock": FakeClock()} | sections
    async with ScriptedUpstream(thirty_cents) as upstream, serving(directory, upstream.base_url, **sections) as gateway:
        yield gateway


async def call(
    gateway: Serving, method: str, path: str = "", body: Any = None, *, secret: str = OPERATOR
) -> tuple[int, Any, dict[str, str]]:
    """Status, reply and headers (names in lower case) of one call; a body that is text is sent as it is."""
    sent = body if isinstance(body, str) else None if body is None else json.dumps(body)
    headers = {"x-api-key": secret} if secret else {}
    async with gateway.client.request(method, gateway.url + PATH + path, data=sent, headers=headers) as response:
        return response.status, await response.json(), {name.lower(): each for name, each in response.headers.items()}


async def put(gateway: Serving, scope: str, amount: str | None, period: str = "daily", **fields: Any) -> Any:
    """Set a limit of `type` or `type:id`."""
    type, _, id = scope.partition(":")
    key = {"rbac_group": "rbac_group_id", "tag": "tag"}.get(type, f"{type}_id")
    written = {"type": type} | ({key: id} if id else {})
    status, reply, _ = await call(gateway, "POST", "", {"scope": written, "amount": amount, "period": period} | fields)
    assert status == 200, reply
    return reply


async def ask(gateway: Serving, **headers: str) -> tuple[int, dict[str, str], Any]:
    """What a model request of alice's is answered."""
    async with gateway.post(request_body(stream=False, max_tokens=15_000), headers=headers) as response:
        return response.status, {name.lower(): each for name, each in response.headers.items()}, await response.json()


def differences(recorded: Any, reply: Any, place: str = "") -> list[str]:
    """Where a reply is not as it was recorded; keys of ours may be there besides."""
    if isinstance(recorded, str) and recorded in PATTERNS:
        matches = isinstance(reply, str) and re.fullmatch(PATTERNS[recorded], reply)
        return [] if matches else [f"{place}: {reply!r} is no {recorded}"]
    if isinstance(recorded, dict) and isinstance(reply, dict):
        found = [f"{place}: has {name}" for name in reply.keys() - recorded.keys() - OURS]
        found += [f"{place}: lacks {name}" for name in recorded.keys() - reply.keys()]
        shared = recorded.keys() & reply.keys()
        return found + [each for name in shared for each in differences(recorded[name], reply[name], f"{place}.{name}")]
    if isinstance(recorded, list) and isinstance(reply, list) and len(recorded) == len(reply):
        pairs = enumerate(zip(recorded, reply, strict=True))
        return [each for n, (one, other) in pairs for each in differences(one, other, f"{place}[{n}]")]
    return [] if recorded == reply and type(recorded) is type(reply) else [f"{place}: {reply!r} is not {recorded!r}"]


async def test_replies_have_the_recorded_shapes(tmp_path: Path) -> None:
    found: list[str] = []
    first = ""
    async with gateway_at(tmp_path) as gateway:
        for number, exchange in enumerate(EXCHANGES):
            method, path, *body = exchange["send"]
            status, reply, headers = await call(gateway, method, path.replace("<first>", first), *body)
            first = first or reply["id"]
            found += differences(exchange["reply"], reply, f"{number} {exchange['case']}")
            assert status == 200 and re.fullmatch("req_[0-9a-f]{32}", headers["request-id"]), exchange["case"]
            assert headers.get("cache-control") == ("no-store" if method == "GET" else None), exchange["case"]
            assert headers["content-type"].startswith("application/json")
    assert found == []
    assert len(EXCHANGES) > 10


async def test_mistakes_are_answered_in_the_recorded_words_and_change_nothing(tmp_path: Path) -> None:
    async with gateway_at(tmp_path) as gateway:
        for error in ERRORS:
            status, reply, headers = await call(gateway, *error["send"])
            assert (status, reply["error"]["type"]) == (error["status"], error["type"]), error
            words = re.escape(error["message"]).replace(re.escape("<...>"), ".*")
            assert re.fullmatch(words, reply["error"]["message"]), reply
            assert reply.keys() == {"type", "error", "request_id"} and reply["type"] == "error"
            assert reply["request_id"] == headers["request-id"]
            assert re.fullmatch("req_[0-9a-f]{32}", reply["request_id"])
        assert (await call(gateway, "GET"))[1]["data"] == []
        assert (await call(gateway, "GET", "/audit"))[1]["data"] == []


async def test_only_an_operator_is_let_in_and_a_reader_does_not_write(tmp_path: Path) -> None:
    body = {"scope": {"type": "organization"}, "amount": "0"}
    reads: list[tuple[str, str, Any]] = [("GET", "", None), ("GET", "/effective", None), ("GET", "/audit", None)]
    writes: list[tuple[str, str, Any]] = [("POST", "", body), ("DELETE", f"/spl_{'0' * 32}", None)]
    async with gateway_at(tmp_path) as gateway:
        for secret in ("", "rf_nobody_0123456789abcdefghijklmnopqrstuvwxyz", CREDENTIAL):
            for sent in (*reads, *writes):
                status, reply, headers = await call(gateway, *sent, secret=secret)
                assert (status, reply["error"]["type"]) == (401, "authentication_error")
                assert reply["error"]["message"] == "missing or invalid admin credentials"
                assert reply["request_id"] == headers["request-id"]
        limit = await put(gateway, "organization", "100")
        assert (await call(gateway, "GET", secret=READER))[1]["data"] == [limit]
        for sent in writes:
            status, reply, _ = await call(gateway, *sent, secret=READER)
            assert (status, reply["error"]["type"]) == (403, "permission_error")
            assert reply["error"]["message"] == "requires write:spend_limits"
        escaped = URL(gateway.url + PATH.replace("s", "%73"), encoded=True)
        async with gateway.client.get(escaped, headers={"x-api-key": CREDENTIAL}) as response:
            assert response.status in (401, 404) and "data" not in await response.json()
        bearer = {"authorization": f"Bearer {OPERATOR}"}
        async with gateway.client.get(f"{gateway.url}{PATH}/{limit['id']}", headers=bearer) as response:
            assert await response.json() == limit


async def test_block_holds_at_once_and_deleting_it_lets_the_next_request_through(tmp_path: Path) -> None:
    async with gateway_at(tmp_path) as gateway:
        assert (await ask(gateway))[0] == 200
        limit = await put(gateway, "user:alice", "0")
        status, headers, refused = await ask(gateway)
        assert (status, refused["error"]["type"]) == (429, "billing_error")
        assert headers["anthropic-ratelimit-unified-status"] == "rejected"
        assert headers["anthropic-ratelimit-unified-overage-utilization"] == "1"
        assert headers["anthropic-ratelimit-unified-overage-period"] == "daily"
        assert headers["anthropic-ratelimit-unified-overage-disabled-reason"] == "org_spend_cap_reached"
        assert headers["retry-after"] == "86400" and headers["x-should-retry"] == "false"
        assert "anthropic-ratelimit-unified-representative-claim" not in headers
        async with gateway.post(request_body(stream=False), path="/v1/messages/count_tokens") as response:
            assert response.status == 200
        assert (await call(gateway, "DELETE", f"/{limit['id']}?reason=paid"))[0] == 200
        assert (await ask(gateway))[0] == 200
        deleted = (await call(gateway, "GET", "/audit"))[1]["data"][-1]
        assert (deleted["before"], deleted["after"], deleted["reason"]) == (limit, None, "paid")


async def test_spend_before_a_limit_was_set_counts_and_a_raise_is_the_same_limit(tmp_path: Path) -> None:
    clock = FakeClock()
    async with gateway_at(tmp_path, clock=clock) as gateway:
        assert (await ask(gateway))[0] == 200
        await gateway.quiet()
        first = await put(gateway, "organization", "40", on_reach="refuse", strict=True)
        assert (await ask(gateway))[0] == 429
        clock.advance(60)
        second = await put(gateway, "organization", "100", reason="agreed with finance")
        assert (second["id"], second["created_at"]) == (first["id"], first["created_at"])
        assert second["updated_at"] == "2026-01-01T00:01:00.000Z" and second["strict"] is False
        status, headers, _ = await ask(gateway)
        assert status == 200 and headers["anthropic-ratelimit-unified-overage-utilization"] == "0.30"
        _, reply, _ = await call(gateway, "GET", "/audit")
        assert [(each["before"], each["after"]) for each in reply["data"]] == [(None, first), (first, second)]
        assert reply["data"][1]["reason"] == "agreed with finance"


async def test_default_of_a_group_is_each_members_and_its_pool_everybodys(tmp_path: Path) -> None:
    pool, refuses = {"amount": "50", "paused": False}, {"on_reach": "refuse", "strict": True}
    async with gateway_at(tmp_path) as gateway:
        await put(gateway, "organization", "1", "monthly")
        limit = await put(gateway, "rbac_group:contractors", "1000", "monthly", pooled_budget=pool, **refuses)
        assert (await ask(gateway))[0] == 200
        await gateway.quiet()
        _, shown, _ = await call(gateway, "GET", f"/{limit['id']}")
        assert shown["pooled_budget"] == pool | {"currency": "USD", "period_to_date_spend": f"{COST_CENTS:.2f}"}
        status, headers, refused = await ask(gateway)
        assert status == 429 and "group:contractors" in refused["error"]["message"]
        assert headers["anthropic-ratelimit-unified-overage-scope"] == "group_pool"
        await put(gateway, "rbac_group:contractors", None, "monthly", pooled_budget=pool | {"paused": True})
        assert (await ask(gateway))[0] == 200


async def test_wider_scopes_and_meters_hold(tmp_path: Path) -> None:
    async with gateway_at(tmp_path) as gateway:
        wider: list[tuple[str, dict[str, Any], str]] = [
            ("team:platform", {}, "team:platform"),
            ("organization_pool", {"period": "rolling 5h"}, "rolling 5h limit of $0.00 of org"),
            ("team:platform", {"per": "session", "meter": "requests", "period": "total"}, "requests of session:"),
            ("credential:alice-laptop", {"models": ["claude-opus-*"]}, "for claude-opus-*"),
            ("organization", {"backends": ["anthropic"]}, "for anthropic"),
            ("tag:path=ci", {"period": "hourly"}, "tag:path=ci"),
        ]
        for scope, fields, words in wider:
            limit = await put(gateway, scope, "0", **({"period": "daily"} | fields))
            path = "/gw/ci/v1/messages" if scope.startswith("tag") else "/v1/messages"
            async with gateway.post(request_body(stream=False), path=path) as response:
                assert response.status == 429
                assert words in (await response.json())["error"]["message"]
            assert (await call(gateway, "DELETE", f"/{limit['id']}"))[0] == 200
        await put(gateway, "organization_pool", "0", on_reach="warn")
        assert (await ask(gateway))[0] == 200


async def test_limit_outlives_the_gateway(tmp_path: Path) -> None:
    async with gateway_at(tmp_path) as gateway:
        limit = await put(gateway, "user:alice", "0")
    async with gateway_at(tmp_path) as gateway:
        assert (await call(gateway, "GET"))[1]["data"] == [limit]
        assert (await ask(gateway))[0] == 429


async def test_effective_is_the_limit_that_holds_and_where_it_comes_from(tmp_path: Path) -> None:
    budgets = [{"account": "user", "window": "weekly", "limit_usd": 7, "on_reach": "refuse"}]
    async with gateway_at(tmp_path, budgets=budgets) as gateway:
        assert (await ask(gateway))[0] == 200
        await gateway.quiet()
        default = await put(gateway, "organization", "5000", "daily")
        group = await put(gateway, "rbac_group:backend", "600", "daily")
        own = await put(gateway, "user:bob", None, "daily")
        _, daily, _ = await call(gateway, "GET", "/effective?period[]=daily&sort=spend_desc")
        _, weekly, _ = await call(gateway, "GET", "/effective?period[]=weekly&q=ALI")
        assert [row["actor"]["user_id"] for row in daily["data"]] == ["alice", "bob", "olga", "rita"]
        alice, bob, olga, _ = daily["data"]
        assert (alice["amount"], alice["spend_limit_id"], alice["source"]) == ("600", group["id"], group["scope"])
        assert alice["groups"] == ["backend", "contractors"]
        assert alice["period_to_date_spend"] == f"{COST_CENTS:.2f}" and bob["period_to_date_spend"] == "0.00"
        assert (bob["amount"], bob["spend_limit_id"], bob["source"]) == (None, own["id"], own["scope"])
        assert (olga["amount"], olga["spend_limit_id"], olga["source"]) == ("5000", default["id"], default["scope"])
        (alice,) = weekly["data"]
        assert (alice["amount"], alice["spend_limit_id"]) == ("700", None)
        assert alice["source"] == {"type": "config", "id": "budgets[0]"}


async def test_pages_of_both_lists_hold_everything_once(tmp_path: Path) -> None:
    async with gateway_at(tmp_path) as gateway:
        made = [(await put(gateway, f"team:t{number}", "1"))["id"] for number in range(5)]
        seen: list[str] = []
        path = "?limit=2"
        while path:
            _, reply, _ = await call(gateway, "GET", path)
            seen += [limit["id"] for limit in reply["data"]]
            path = f"?limit=2&after_id={reply['last_id']}" if reply["has_more"] else ""
        _, before, _ = await call(gateway, "GET", f"?limit=2&before_id={made[3]}")
        people: list[str] = []
        page = ""
        while page is not None:
            _, reply, _ = await call(gateway, "GET", f"/effective?limit=1&period[]=daily{page and f'&page={page}'}")
            people += [row["actor"]["user_id"] for row in reply["data"]]
            page = reply["next_page"]
    assert seen == made
    assert [limit["id"] for limit in before["data"]] == made[1:3] and before["has_more"] is True
    assert people == ["alice", "bob", "olga", "rita"]


async def test_usage_is_the_callers_own(tmp_path: Path) -> None:
    async with gateway_at(tmp_path) as gateway:
        await put(gateway, "organization", "100", "monthly")
        assert (await ask(gateway))[0] == 200
        await gateway.quiet()
        replies = {}
        for user in ("alice", "bob"):
            headers = {"authorization": f"Bearer {CREDENTIAL.replace('alice', user)}"}
            async with gateway.client.get(f"{gateway.url}/api/oauth/usage", headers=headers) as response:
                replies[user] = await response.json()
                assert response.status == 200 and response.headers["cache-control"] == "no-store"
        async with gateway.client.get(f"{gateway.url}/api/oauth/usage") as response:
            assert response.status == 401
    usage = replies["alice"]["extra_usage"]
    assert (usage["monthly_limit"], usage["used_credits"], usage["utilization"]) == (100, COST_CENTS, 30)
    assert usage["daily"]["used_credits"] == COST_CENTS
    assert replies["alice"]["limits"] == [
        {
            "kind": "spend",
            "group": "monthly",
            "percent": 30,
            "resets_at": "2026-02-01T00:00:00.000Z",
            "severity": "normal",
            "is_active": True,
        }
    ]
    assert replies["bob"]["extra_usage"]["used_credits"] == 0
