"""Limits as they stand and what a next request meets, asked of the whole gateway."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.web import explain
from tests.support.gateway import CREDENTIAL, OPERATOR, SESSION, Serving, config_document, request_body, serving
from tests.support.upstream import ScriptedUpstream, stream_answer, text_block

URL = f"{explain.ADMIN_PREFIX}/limits/explain"
NOWHERE = "http://127.0.0.1:9"
DOLLAR = 10**9
BUDGETS = [
    {"account": "org", "window": "total", "limit_usd": 9, "strict": True},
    {"account": "user", "window": "total", "limit_usd": 5},
    {"account": "user:alice", "window": "total", "limit_usd": 2},
    {"account": "session", "window": "total", "limit_usd": 1},
]
EVERY_KIND: list[dict[str, Any]] = [
    {"account": "tag:path=ci", "window": "total", "limit_usd": 9},
    {"account": "tag:project=x", "window": "total", "limit_usd": 8},
    {"account": "group:eng", "per": "user", "window": "monthly", "meter": "output_tokens", "limit": 10_000},
    {"account": "credential", "window": "rolling 1h", "meter": "requests", "limit": 100},
    {"account": "team:platform", "meter": "active_requests", "limit": 50},
    {"account": "run", "window": "total", "limit_usd": 7, "on_reach": "warn", "warn_at": [1, 2]},
    {"account": "agent", "window": "daily", "limit_usd": 0.000001, "on_reach": "warn", "models": ["claude-opus-*"]},
    {"account": "user", "window": "total", "meter": "total_tokens", "limit": 10**9, "backends": ["anthropic"]},
]
KEYS = {
    *("account", "meter", "window", "models", "backends", "per", "max", "used", "held", "left", "percent"),
    *("strict", "on_reach", "id", "source", "resets_at_ms", "set_on", "warn_at", "warned"),
}


def people() -> dict[str, Any]:
    """alice in a group and with a tag, bob, and an operator."""
    credentials = config_document(Path(), NOWHERE)["identity"]["credentials"]
    return {"credentials": [credentials[0] | {"groups": ["eng"], "tags": {"project": "x"}}, *credentials[1:]]}


@asynccontextmanager
async def answering(directory: Path, **sections: Any) -> AsyncGenerator[Serving]:
    """A gateway whose upstream answers everything."""
    async with (
        ScriptedUpstream(lambda _: stream_answer([text_block("x")])) as upstream,
        serving(directory, upstream.base_url, **sections) as gateway,
    ):
        yield gateway


async def ask(gateway: Serving, path: str = "/v1/messages", **headers: str) -> int:
    async with gateway.post(request_body(), path=path, headers=headers) as response:
        await response.read()
    await gateway.quiet()
    return int(response.status)


async def test_explanation_agrees_with_the_ledger_and_the_fuses(tmp_path: Path) -> None:
    async with answering(tmp_path, budgets=BUDGETS, fuses={"agent": {"requests": 1}}) as gateway:
        assert await ask(gateway) == 200
        explained = await gateway.operator(f"limits/explain?session={SESSION}")
        listed = (await gateway.operator("limits"))["limits"]
        (session,) = (await gateway.operator("sessions"))["sessions"]
        assert await ask(gateway) == 429
        blown = await gateway.operator(f"limits/explain?agent={SESSION}/main")
    assert explained["subject"]["user"] == "alice" and explained["subject"]["credential"] == "alice-laptop"
    limits = explained["limits"]
    assert [limit["account"] for limit in limits] == [f"session:{SESSION}", "user:alice", "org"]
    assert sorted(listed, key=lambda limit: limit["left"]) == limits and set(limits[0]) == KEYS
    for limit in limits:
        assert limit["used"] == session["cost_nanousd"] > 0
        assert limit["left"] == limit["max"] - limit["used"]
    assert [limit["id"] for limit in limits] == ["budgets[3]", "budgets[2]", "budgets[0]"]
    assert [limit["set_on"] for limit in limits] == ["org", "user:alice", "org"]
    (fuse,) = explained["fuses"]
    assert (fuse["meter"], fuse["value"], fuse["limit"], fuse["holder"]) == ("requests", 1, 1, f"{SESSION}/main")
    assert "the next request blows the requests fuse" in explained["sentence"]
    assert [(fuse["state"], fuse["value"]) for fuse in blown["fuses"]] == [("blown", 2)]
    assert "has blown" in blown["sentence"] and "fuses replace" in blown["sentence"]


async def test_fuse_of_a_user_is_explained_without_a_session_and_shown_once_it_has_blown(tmp_path: Path) -> None:
    async with answering(tmp_path, fuses={"user": {"sessions_per_hour": 1}}) as gateway:
        assert await ask(gateway) == 200
        (before,) = (await gateway.operator("limits/explain?user=alice"))["fuses"]
        assert await ask(gateway, **{"x-claude-code-session-id": "another"}) == 429
        explained = await gateway.operator(f"limits/explain?session={SESSION}")
        shown = await gateway.operator(f"fuses/{before['id']}")
    assert (before["scope"], before["holder"], before["meter"]) == ("user", "alice", "sessions_per_hour")
    assert (before["state"], before["value"], before["limit"]) == ("warned", 1, 1)
    assert "of user alice has blown: sessions_per_hour came to 2" in explained["sentence"]
    assert (shown["state"], shown["value"], shown["on_blow"]) == ("blown", 2, "refuse")


async def test_every_limit_that_a_request_met_is_explained_as_it_was_met(tmp_path: Path) -> None:
    async with answering(tmp_path, budgets=EVERY_KIND, identity=people()) as gateway:
        assert await ask(gateway, "/gw/ci/v1/messages", **{"x-ringfence-run-id": "r1"}) == 200
        explained = await gateway.operator(f"limits/explain?session={SESSION}&run=r1&tag=path%3Dci&group=eng")
        listed = (await gateway.operator("limits"))["limits"]
    met = explained["limits"]
    assert [limit["account"] for limit in listed] == [
        "team:platform",
        "tag:path=ci",
        "tag:project=x",
        "user:alice",
        "user:alice",
        "credential:alice-laptop",
        "run:r1",
        f"agent:{SESSION}/main",
    ]
    assert sorted(map(str, met)) == sorted(map(str, listed))
    assert all(limit["used"] > 0 for limit in met if limit["meter"] != "active_requests")
    assert [limit["on_reach"] for limit in met[-2:]] == ["warn", "warn"]
    assert met[-2]["warned"] == [75, 95] and met[-1]["warned"] == []
    assert {limit["set_on"] for limit in met if limit["per"] == "user"} == {"group:eng", "org"}


@pytest.mark.parametrize(
    "limit",
    [
        {"account": "user", "window": "daily", "meter": "requests", "limit": 1},
        {"account": "group:eng", "per": "credential", "window": "rolling 5h", "meter": "requests", "limit": 1},
        {"account": "tag:path=ci", "window": "monthly", "meter": "requests", "limit": 1, "models": ["claude-*"]},
    ],
)
async def test_explanation_names_the_limit_that_then_refuses(tmp_path: Path, limit: dict[str, Any]) -> None:
    budgets = [*BUDGETS, limit | {"on_reach": "refuse"}]
    async with answering(tmp_path, budgets=budgets, identity=people()) as gateway:
        assert await ask(gateway, "/gw/ci/v1/messages") == 200
        explained = await gateway.operator(f"limits/explain?session={SESSION}&tag=path%3Dci")
        async with gateway.post(request_body(), path="/gw/ci/v1/messages") as response:
            refusal = (await response.json())["error"]["message"]
    assert response.status == 429 and explained["limits"][0]["id"] == "budgets[4]"
    assert refusal.partition(" has ")[0].partition(": ")[2] in explained["sentence"]


async def test_list_is_in_the_same_order_whatever_was_spent_and_when(tmp_path: Path) -> None:
    async with answering(tmp_path, budgets=BUDGETS) as gateway:
        untouched = (await gateway.operator("limits"))["limits"]
        for session in ("z", "a"):
            assert await ask(gateway, **{"x-claude-code-session-id": session}) == 200
        listed = (await gateway.operator("limits"))["limits"]
    assert [limit["account"] for limit in untouched] == ["org", "user:alice"]
    assert [limit["account"] for limit in listed] == ["org", "user:alice", "session:a", "session:z"]


ACCOUNTS = {
    "org": [("org", "budgets[0]", 9)],
    "user:alice": [("user:alice", "budgets[2]", 2)],
    "user:bob": [("user:bob", "budgets[1]", 5)],
    "user:nobody": [("user:nobody", "budgets[1]", 5)],
    "user": [("user", "budgets[1]", 5)],
    "session:s%2F1": [("session:s/1", "budgets[3]", 1)],
    "team:platform": [],
    "tag:a=b": [],
}


async def test_one_account_is_shown_whether_it_was_met_or_not(tmp_path: Path) -> None:
    async with serving(tmp_path, NOWHERE, budgets=BUDGETS) as gateway:
        for account, limits in ACCOUNTS.items():
            shown = (await gateway.operator(f"limits?account={account}"))["limits"]
            assert [(each["account"], each["id"], each["max"] // DOLLAR) for each in shown] == limits
            assert all((each["used"], each["held"]) == (0, 0) for each in shown)


async def test_who_is_not_known_is_explained_by_the_defaults_and_stays_unlisted(tmp_path: Path) -> None:
    async with serving(tmp_path, NOWHERE, budgets=BUDGETS) as gateway:
        explained = await gateway.operator("limits/explain?user=new")
        listed = (await gateway.operator("limits"))["limits"]
    assert [(limit["account"], limit["max"]) for limit in explained["limits"]] == [
        ("session", DOLLAR),
        ("user:new", 5 * DOLLAR),
        ("org", 9 * DOLLAR),
    ]
    assert any("user new is not known" in note for note in explained["notes"])
    assert {limit["account"] for limit in listed} == {"org", "user:alice"}


BAD_QUESTIONS = {
    "limits/explain?user=alice&credential=bob-laptop": "bob-laptop is of user bob",
    "limits/explain?sesion=x": "sesion: must be one of user, team",
    "limits/explain?user=a&user=b": "once at most",
    "limits/explain?user=": "neither empty",
    "limits/explain?user=a%0Ab": "printable",
    f"limits/explain?agent={'a' * 600}": "printable",
    f"limits/explain?{'&'.join(['group=g'] * 65)}": "group: must be",
    "limits/explain?tag=x": "<name>=<value>",
    "limits?account=wallet": "wallet is no account",
    "limits?account=": "neither empty",
    "limits?acount=org": "acount: must be account",
    "limits?account=org&account=user": "once at most",
}


async def test_bad_question_is_answered_with_what_is_wrong_and_only_to_an_operator(tmp_path: Path) -> None:
    async with serving(tmp_path, NOWHERE) as gateway:
        for path, said in BAD_QUESTIONS.items():
            url = f"{gateway.url}{explain.ADMIN_PREFIX}/{path}"
            async with gateway.client.get(url, headers={"x-api-key": OPERATOR}) as response:
                assert response.status == 400
                assert said in (await response.json())["error"]["message"]
        for url in (f"{gateway.url}{URL}?user=alice", f"{gateway.url}{explain.ADMIN_PREFIX}/limits"):
            async with gateway.client.get(url, headers={"x-api-key": CREDENTIAL}) as response:
                assert response.status == 403
                assert "subject" not in await response.text()
