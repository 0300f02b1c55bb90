"""The operator paths of approvals and scripts, over a board whose store is in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.contract import ADMIN_PREFIX
from gateway.core.decisions.decision import ScriptProfile
from gateway.web.approvals import build_approval_routes
from gateway.web.middlewares import CONTEXT, build_context
from tests.gateway.boards.test_approvalboard import Bench
from tests.gateway.core.oversight.approvalcases import ALICE, SCRIPT, demanding, run
from tests.gateway.web.test_usage import Unwritten

HASH = sha256(SCRIPT.encode()).hexdigest()


@dataclass
class Desk:
    """A board behind its paths; who asks is in a header."""

    bench: Bench
    client: "TestClient[web.Request, web.Application]"

    async def ask(
        self, path: str, body: Any = None, *, user: str = "olga", method: str | None = None
    ) -> tuple[int, Any]:
        method = method or ("GET" if body is None else "POST")
        async with self.client.request(method, ADMIN_PREFIX + path, json=body, headers={"user": user}) as response:
            return response.status, await response.json()


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    bench = Bench()

    @web.middleware
    async def known(request: web.Request, handler: Any) -> web.StreamResponse:
        user = request.headers["user"]
        request[CONTEXT].principal = msgspec.structs.replace(ALICE, user=user, operator=user != "eve")
        return await handler(request)

    app = web.Application(middlewares=[build_context(bench.clock, Unwritten()), known])
    profile = ScriptProfile(valid=True, name="sweep", fan_out=1)
    app.add_routes(build_approval_routes(bench.board, lambda script: profile, bench.clock))
    async with TestClient(TestServer(app)) as client:
        yield Desk(bench, client)


async def test_waiting_item_is_listed_shown_and_approved() -> None:
    async with desk() as here:
        one, asked = await here.bench.ask()
        _, listed = await here.ask("/approvals?state=waiting")
        _, shown = await here.ask(f"/approvals/{one.id}")
        status, decided = await here.ask(f"/approvals/{one.id}", {"verdict": "approve", "why": "checked"})
    assert [row["id"] for row in listed["approvals"]] == [one.id] and "what" not in listed["approvals"][0]
    assert shown["what"]["input"] == {"command": "make deploy"} and shown["state"] == "waiting"
    assert (status, decided["state"], decided["decisions"][0]["by"]) == (200, "approved", "olga")
    assert (await asked).allow


async def test_run_is_shown_with_its_whole_script_and_profile() -> None:
    async with desk() as here:
        one, asked = await here.bench.ask(run(HASH), text=SCRIPT)
        _, shown = await here.ask(f"/approvals/{one.id}")
        _, decided = await here.ask(f"/approvals/{one.id}", {"verdict": "deny", "why": "no"})
        _, listed = await here.ask("/scripts")
    assert (shown["script"], shown["profile"]["name"]) == (SCRIPT, "sweep")
    assert decided["state"] == "denied" and not (await asked).allow
    assert [(row["sha256"], row["state"], row["text"]) for row in listed["scripts"]] == [(HASH, "proposed", None)]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/approvals/apr_none", None, 404, "no approval apr_none"),
        ("/approvals/apr_none", {"verdict": "approve"}, 404, "no approval apr_none"),
        ("/approvals?state=asleep", None, 400, "state: one of waiting"),
        ("/approvals?limit=many", None, 400, "limit"),
        ("/approvals/{id}", {"verdict": "maybe"}, 400, "verdict"),
        ("/approvals/{id}", {"verdict": "approve", "scope": "ever"}, 400, "scope"),
        ("/approvals/{id}", {"verdict": "approve", "because": "x"}, 400, "because"),
        ("/approvals/{id}", {"verdict": "approve", "why": "x" * 1001}, 400, "why"),
        ("/approvals/{id}", {"verdict": "revoke"}, 400, "still waits"),
        ("/approvals/{id}", {"verdict": "approve", "scope": "always"}, 451, "'session' at most"),
        ("/scripts", {"why": "x"}, 400, "one of script"),
        ("/scripts", {"why": "x", "script": "a", "sha256": HASH}, 400, "one of script"),
        ("/scripts", {"why": "x", "sha256": "abc"}, 400, "64 hexadecimal"),
        ("/scripts", {"sha256": HASH}, 400, "why"),
        ("/scripts/abc", None, 404, "no script"),
        ("/scripts/abc/revoke", {}, 404, "no approved script"),
    ],
)
async def test_bad_question_is_answered_with_what_is_wrong(path: str, body: Any, status: int, said: str) -> None:
    async with desk() as here:
        one, asked = await here.bench.ask(decision=demanding(remember="session"))
        got, answer = await here.ask(path.format(id=one.id), body)
        assert not asked.done()
        asked.cancel()
    assert got == status and said in answer["error"]["message"]


async def test_second_word_and_the_askers_own_are_refused() -> None:
    async with desk() as here:
        one, asked = await here.bench.ask(decision=demanding(four_eyes=True))
        own, answer = await here.ask(f"/approvals/{one.id}", {"verdict": "approve"}, user="alice")
        await here.ask(f"/approvals/{one.id}", {"verdict": "approve"})
        late, second = await here.ask(f"/approvals/{one.id}", {"verdict": "deny"})
    assert (own, late) == (451, 400) and "four eyes" in answer["error"]["message"]
    assert "already approved by olga" in second["error"]["message"] and (await asked).allow


async def test_nobody_but_an_operator_decides() -> None:
    async with desk() as here:
        one, asked = await here.bench.ask()
        status, _ = await here.ask(f"/approvals/{one.id}", {"verdict": "approve"}, user="eve")
        assert status == 403 and not asked.done()
        asked.cancel()


async def test_script_is_registered_from_its_source_and_revoked() -> None:
    async with desk() as here:
        _, made = await here.ask("/scripts", {"script": SCRIPT, "why": "read it"})
        entry = here.bench.board.registered(HASH)
        _, gone = await here.ask(f"/scripts/{HASH}", method="DELETE")
        again, _ = await here.ask(f"/scripts/{HASH}/revoke", {"why": "old"})
    assert (made["sha256"], made["state"], made["by"], made["profile"]["fan_out"]) == (HASH, "approved", "olga", 1)
    assert entry is not None and (entry.name, entry.by) == ("sweep", "olga")
    assert (gone["state"], again) == ("revoked", 404) and here.bench.board.registered(HASH) is None


async def test_hash_alone_can_be_registered_and_shown() -> None:
    async with desk() as here:
        _, made = await here.ask("/scripts", {"sha256": HASH, "name": "mine", "why": "read it"})
        _, shown = await here.ask(f"/scripts/{HASH}")
    assert (made["name"], made["profile"]) == ("mine", None) and shown["why"] == "read it"
