"""Requests before they are paid for, with a fake engine."""

import json
from typing import Any

import pytest

from gateway.admission import Admission
from gateway.core.decision import Infer, Obligation, Spawn
from gateway.core.fuse import FuseLimits
from gateway.core.lineage import PendingSpawn, Tree
from gateway.errors import Reason, Refused
from tests.gateway.test_toolcalls import Bench, FakeEngine
from tests.support.gateway import request_body

AGENT = {"x-claude-code-session-id": "s", "x-claude-code-agent-id": "a1"}
MAIN = {"x-claude-code-session-id": "s"}


class Door:
    """An admission with its fakes."""

    def __init__(self, engine: FakeEngine | None = None, limits: FuseLimits | None = None) -> None:
        self.bench = Bench(engine or FakeEngine(), limits or FuseLimits())
        calls = self.bench.calls
        self.tree = Tree()
        self.admission = Admission(
            calls.decider, calls.fuses, self.tree, {"fast": "claude-haiku-5-5"}, self.bench.records, calls.decider.clock
        )

    async def admit(self, headers: dict[str, str], body: bytes | None = None, user: str = "alice") -> Any:
        """Admit one request; its context."""
        ctx = Bench().ctx
        ctx.headers, ctx.body, ctx.agent, ctx.lineage = headers, body or request_body(), None, None
        assert ctx.principal is not None
        ctx.principal = type(ctx.principal)(org="acme", team=None, user=user, credential=f"{user}-laptop")
        await self.admission.admit(ctx)
        return ctx


async def test_main_agent_needs_no_spawn_and_another_needs_one_once() -> None:
    door = Door()
    for headers in (MAIN, AGENT, AGENT):
        await door.admit(headers)
    kinds = [type(action).__name__ for action in door.bench.engine.asked]
    assert kinds == ["Infer", "Spawn", "Infer", "Infer"]


async def test_refused_agent_is_asked_about_again_and_never_counted() -> None:
    door = Door(FakeEngine(frozenset({"Spawn"})))
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await door.admit(AGENT)
        assert refused.value.reason is Reason.POLICY_DENIED
    session = door.tree.session("s")
    assert [type(action) for action in door.bench.engine.asked] == [Spawn, Spawn]
    assert session is not None and session.spawned() == 0


async def test_agent_takes_over_the_type_it_was_asked_for_with_and_mains_workspace() -> None:
    door = Door()
    main = await door.admit(MAIN)
    main.agent.session.expect(PendingSpawn("Explore", "look for it"))
    ctx = await door.admit(AGENT, request_body({"role": "user", "content": "look for it"}, system="no place named"))
    assert (ctx.lineage.agent_type, ctx.lineage.workspace, ctx.lineage.depth) == ("Explore", "/home/dev/app", 1)


async def test_session_of_another_user_is_refused() -> None:
    door = Door()
    await door.admit(MAIN)
    with pytest.raises(Refused, match="belongs to another user"):
        await door.admit(MAIN, user="bob")


async def test_without_a_session_header_a_conversation_is_a_session() -> None:
    door = Door()
    first, same, other = [
        await door.admit({}, request_body({"role": "user", "content": words})) for words in ("a", "a", "b")
    ]
    assert first.lineage.session == same.lineage.session != other.lineage.session
    assert first.lineage.inferred


@pytest.mark.parametrize("value", ["a/b", "x" * 257, "a\tb"])
async def test_odd_ids_are_refused(value: str) -> None:
    with pytest.raises(Refused) as refused:
        await Door().admit({"x-claude-code-session-id": value})
    assert refused.value.reason is Reason.BODY_MALFORMED


async def test_obligations_change_the_body_and_nothing_else() -> None:
    obligations = (
        Obligation("strip_tools", ["Bash"]),
        Obligation("clamp_max_tokens", 10),
        Obligation("set_model", "claude-haiku-5-5"),
    )
    sent = request_body(tools=[{"name": "Bash"}, {"name": "Read"}])
    ctx = await Door(FakeEngine(obligations=obligations)).admit(MAIN, sent)
    expected = json.loads(sent) | {"tools": [{"name": "Read"}], "max_tokens": 10, "model": "claude-haiku-5-5"}
    assert json.loads(ctx.body) == expected
    assert list(json.loads(ctx.body)) == list(json.loads(sent))


async def test_alias_is_resolved_after_the_decision() -> None:
    door = Door()
    ctx = await door.admit(MAIN, request_body(model="fast"))
    (infer,) = door.bench.engine.asked
    assert isinstance(infer, Infer) and infer.model == "fast"
    assert (ctx.model, json.loads(ctx.body)["model"]) == ("claude-haiku-5-5", "claude-haiku-5-5")


async def test_request_that_passes_its_fuse_is_refused() -> None:
    door = Door(limits=FuseLimits(agent={"requests": 1}))
    await door.admit(MAIN)
    with pytest.raises(Refused) as refused:
        await door.admit(MAIN)
    assert refused.value.reason is Reason.FUSE_BLOWN
