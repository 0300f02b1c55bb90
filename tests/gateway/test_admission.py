"""Requests before they are paid for, with a fake engine."""

import json
from typing import Any

import pytest

from gateway.admission import Admission
from gateway.context import RequestContext
from gateway.core.agents.lineage import PendingSpawn, Tree
from gateway.core.decisions.decision import Decision, Infer, Obligation, Principal, Query, Spawn, denied
from gateway.core.fuses.fuse import FuseLimits
from gateway.core.wire.shapes import NEW_VERSION, OLD_VERSION, SHAPES, Asked, Shape
from gateway.errors import Reason, Refused
from gateway.lineages import Lineages
from tests.gateway.test_accounting import PRICES
from tests.gateway.test_toolcalls import Bench, FakeEngine
from tests.support.dialects import write_request
from tests.support.gateway import request_body

AGENT = {"x-claude-code-session-id": "s", "x-claude-code-agent-id": "a1"}
MAIN = {"x-claude-code-session-id": "s"}
ALIASES = {"fast": "claude-haiku-5-5", "us.anthropic.claude-opus-4-8": "claude-sonnet-5-5"}
OPUS = "claude-opus-5-5"
SONNET_45 = "claude-sonnet-4-5-20250929"
OPAQUE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
ASKED = {"model": "claude-opus-5-5", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}


class Door:
    """An admission with its fakes."""

    def __init__(self, engine: FakeEngine | None = None, limits: FuseLimits | None = None) -> None:
        self.bench = Bench(engine or FakeEngine(), limits or FuseLimits())
        calls = self.bench.calls
        self.tree = self.bench.tree = Tree()
        self.refused: list[str] = []
        clock, store = calls.decider.clock, self.bench.store
        self.admission = Admission(
            decider=calls.decider,
            boards=self.bench.boards,
            lineages=Lineages(
                self.tree, store, clock, tell_refused=lambda ctx, what, holder: self.refused.append(what)
            ),
            aliases=ALIASES,
            catalogue=PRICES.catalogue,
            takes_entries=lambda ctx: ctx.model == OPUS,
            store=store,
            telemetry=self.bench.records,
            clock=clock,
        )

    async def admit(self, headers: dict[str, str], body: bytes | None = None, user: str = "alice") -> Any:
        """Admit one request; its context."""
        ctx = arrived(headers, body or request_body(), user)
        await self.admission.admit(ctx)
        return ctx

    async def admit_spoken(self, dialect: Shape, body: dict[str, Any], **outside: Any) -> RequestContext:
        """Admit `body` (in Anthropic form) as a client of `dialect` sends it; `outside`: betas and version."""
        sent = write_request(dialect, body, **outside)
        ctx = arrived(MAIN | sent.headers, sent.body)
        ctx.dialect, in_path = dialect, dialect != "anthropic"
        ctx.asked = Asked(model=body["model"], stream=bool(body.get("stream"))) if in_path else Asked()
        await self.admission.admit(ctx)
        return ctx

    def infers(self) -> list[Infer]:
        """What the engine was asked about requests."""
        return [action for action in self.bench.engine.asked if isinstance(action, Infer)]


def arrived(headers: dict[str, str], body: bytes, user: str = "alice") -> RequestContext:
    """A request of which only the principal is known."""
    ctx = Bench().ctx
    ctx.headers, ctx.body, ctx.agent, ctx.lineage = headers, body, None, None
    ctx.principal = Principal(org="acme", team=None, user=user, credential=f"{user}-laptop")
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
    assert [type(action) for action in door.bench.engine.asked] == [Spawn, Spawn]
    assert door.tree.session("s") is None


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
    expected = json.loads(sent) | {"tools": [{"name": "Read"}], "max_tokens": 10}
    assert json.loads(ctx.body) == expected
    assert list(json.loads(ctx.body)) == list(json.loads(sent))
    assert (ctx.model, ctx.max_tokens) == ("claude-haiku-5-5", 10)
    start, end = ctx.ask.spans["max_tokens"]
    assert ctx.body[start:end] == b"10"


async def test_alias_is_resolved_after_the_decision() -> None:
    door = Door()
    ctx = await door.admit(MAIN, request_body(model="fast"))
    (infer,) = door.infers()
    assert (infer.model, ctx.model, ctx.body) == ("fast", "claude-haiku-5-5", request_body(model="fast"))


async def test_alias_of_a_clouds_spelling_is_looked_up_as_it_is_written() -> None:
    door = Door()
    ctx = await door.admit(MAIN, request_body(model="us.anthropic.claude-opus-4-8"))
    (infer,) = door.infers()
    assert (infer.model, ctx.model) == ("claude-opus-4-8", "claude-sonnet-5-5")


SPELLINGS = [
    ("claude-opus-5-5", "claude-opus-5-5"),
    ("anthropic.claude-opus-5-5", "claude-opus-5-5"),
    ("eu.anthropic.claude-opus-5-5", "claude-opus-5-5"),
    ("anthropic.claude-sonnet-4-5-20250929-v1:0", SONNET_45),
    ("arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-5", "claude-opus-5-5"),
    ("claude-sonnet-4-5@20250929", SONNET_45),
    (OPAQUE, OPAQUE),
    ("gpt-9", "gpt-9"),
]


@pytest.mark.parametrize("dialect", SHAPES)
@pytest.mark.parametrize(("spelled", "model"), SPELLINGS)
async def test_policy_and_price_know_a_model_by_one_name_in_every_spelling(
    spelled: str, model: str, dialect: Shape
) -> None:
    door = Door()
    ctx = await door.admit_spoken(dialect, ASKED | {"model": spelled})
    assert ([infer.model for infer in door.infers()], ctx.model) == ([model], model)
    assert ctx.agent is not None and ctx.agent.model == model


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("dialect", SHAPES)
async def test_policy_is_asked_the_same_question_in_every_dialect(dialect: Shape, stream: bool) -> None:
    door = Door()
    fields = {"stream": stream, "output_config": {"effort": "high"}, "tools": [{"name": "Bash"}], "speed": "fast"}
    await door.admit_spoken(dialect, ASKED | fields, betas=["b-1", "b-2"])
    (infer,) = door.infers()
    assert (infer.stream, infer.max_tokens, infer.effort, infer.speed, infer.tools) == (
        stream,
        100,
        "high",
        "fast",
        ("Bash",),
    )
    assert (infer.betas, infer.dialect) == (("b-1", "b-2"), dialect)


@pytest.mark.parametrize("version", [OLD_VERSION, NEW_VERSION])
@pytest.mark.parametrize("dialect", SHAPES)
async def test_betas_and_version_are_read_where_the_dialect_has_them(dialect: Shape, version: str) -> None:
    ctx = await Door().admit_spoken(dialect, ASKED, betas=["b-1"], version=version)
    assert (ctx.betas, ctx.version) == (("b-1",), version)
    plain = await Door().admit_spoken(dialect, ASKED)
    assert (plain.betas, plain.version) == ((), OLD_VERSION)


@pytest.mark.parametrize("dialect", SHAPES)
async def test_body_stays_in_the_clients_dialect(dialect: Shape) -> None:
    sent = write_request(dialect, ASKED, betas=["b-1"])
    ctx = await Door().admit_spoken(dialect, ASKED, betas=["b-1"])
    assert ctx.body == sent.body


async def test_model_that_a_rule_sets_is_taken_from_the_rule() -> None:
    door = Door(FakeEngine(obligations=(Obligation("set_model", "claude-haiku-5-5"),)))
    ctx = await door.admit_spoken("bedrock", ASKED)
    assert (ctx.model, ctx.body) == ("claude-haiku-5-5", write_request("bedrock", ASKED).body)


async def test_uncounted_request_is_decided_and_leaves_no_agent() -> None:
    door = Door()
    ctx = arrived(MAIN, request_body(model="us.anthropic.claude-opus-5-5"))
    await door.admission.admit_uncounted(ctx)
    assert ([infer.model for infer in door.infers()], ctx.model) == (["claude-opus-5-5"], "claude-opus-5-5")
    assert (door.tree.session("s"), ctx.began) == (None, False)


async def test_uncounted_request_of_a_known_session_stays_in_it() -> None:
    door = Door()
    first = await door.admit(MAIN)
    counted = arrived(MAIN, request_body())
    await door.admission.admit_uncounted(counted)
    assert counted.agent is first.agent and first.agent.used.requests == 1


async def test_request_that_passes_its_fuse_is_refused() -> None:
    door = Door(limits=FuseLimits(agent={"requests": 1}))
    await door.admit(MAIN)
    with pytest.raises(Refused) as refused:
        await door.admit(MAIN)
    assert refused.value.reason is Reason.FUSE_BLOWN


class OnlyHaiku(FakeEngine):
    """Denies every other model."""

    async def decide(self, query: Query) -> Decision:
        """By the model of the query."""
        self.asked.append(query.action)
        allows = isinstance(query.action, Infer) and query.action.model.startswith("claude-haiku")
        return Decision(True) if allows else denied("models/allowlist", "ask a smaller one")


@pytest.mark.parametrize("named", ["claude-opus-5-5", "global.anthropic.claude-opus-5-5"])
@pytest.mark.parametrize("field", ["fallbacks", "tools"])
async def test_model_that_policy_denies_does_not_come_in_as_a_substitute(named: str, field: str) -> None:
    door = Door(OnlyHaiku())
    entry = {"model": named} if field == "fallbacks" else {"type": "advisor_20260301", "name": "a", "model": named}
    fields = {"model": "claude-haiku-5-5", field: [entry]}
    with pytest.raises(Refused, match="ask a smaller one"):
        await door.admit(MAIN, request_body(**fields))
    assert [infer.model for infer in door.infers()] == ["claude-haiku-5-5", "claude-opus-5-5"]


async def test_substitute_is_decided_with_the_answer_and_speed_it_may_have() -> None:
    door = Door()
    entry = {"model": "claude-haiku-5-5", "max_tokens": 64_000, "speed": "fast"}
    await door.admit(MAIN, request_body(fallbacks=[entry], max_tokens=10))
    asked = [(infer.model, infer.max_tokens, infer.speed) for infer in door.infers()]
    assert asked == [("claude-opus-5-5", 10, None), ("claude-haiku-5-5", 64_000, "fast")]


async def test_clamp_that_cannot_reach_a_substitute_denies() -> None:
    door = Door(FakeEngine(obligations=(Obligation("clamp_max_tokens", 100),)))
    with pytest.raises(Refused) as refused:
        await door.admit(MAIN, request_body(fallbacks=[{"model": "claude-haiku-5-5", "max_tokens": 64_000}]))
    assert refused.value.reason is Reason.POLICY_FAILED
