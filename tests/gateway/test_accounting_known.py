"""A strict limit over a long conversation: what is held stays near what it costs, and never below it."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from gateway.context import RequestContext
from gateway.core.agents.lineage import AgentNode
from gateway.core.estimates.content import measure_content
from gateway.core.estimates.worst import bounded, shape_of, strict_nanousd
from gateway.core.money.limits import LimitRow
from gateway.core.wire.body import peek
from gateway.core.wire.messages import Tap, parse_message
from gateway.core.wire.shapes import Change
from gateway.errors import Refused
from tests.gateway.test_accounting import GLOBAL, MAIN, answered, asking, books
from tests.support.upstream import message, text_block

BYTES_PER_TOKEN = 3
"""Of the scripted upstream; text has more, so this is a dear one."""
MODEL = "claude-opus-5-5"
TURNS = 60
MARK = {"cache_control": {"type": "ephemeral"}}


def text(words: str, *, marked: bool) -> Any:
    """Content as Claude Code writes it: the cache breakpoint moves on, and what had it becomes a plain string."""
    return [{"type": "text", "text": words, **MARK}] if marked else words


def body_of(turns: int, task: str = "r" * 3_000) -> bytes:
    """30 KB of system and tools, then 4 KB of history per turn, each beginning with the task."""
    messages: list[Any] = []
    for turn in range(turns):
        messages.append({"role": "user", "content": text(task, marked=turn == turns - 1)})
        if turn < turns - 1:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": "w" * 1_000}]})
    tools = [{"name": "Read", "description": "d" * 20_000, "input_schema": {"type": "object"}}]
    fixed = {"model": MODEL, "max_tokens": 1_000, "system": "s" * 10_000, "tools": tools}
    return json.dumps({**fixed, "messages": messages}, separators=(",", ":")).encode()


def turn_of(agent: AgentNode | None, body: bytes) -> RequestContext:
    """The agent's next request."""
    ctx = asking()
    ctx.body, ctx.ask = body, peek(body)
    ctx.agent = agent or ctx.agent
    return ctx


def answer(ctx: RequestContext, *, prompt: int) -> RequestContext:
    """All of the prompt was written to the cache for an hour, and all of `max_tokens` was used."""
    written = {"cache_creation_input_tokens": prompt, "cache_creation": {"ephemeral_1h_input_tokens": prompt}}
    usage: dict[str, Any] = {"input_tokens": 0, "output_tokens": 1_000, **written}
    ctx.dispatched, ctx.status, ctx.tap = True, 200, Tap()
    ctx.tap.observe_message(parse_message(message([text_block("x")], usage=usage)))
    return ctx


def by_bytes(ctx: RequestContext) -> int:
    """The bound when nothing is known."""
    assert ctx.ask is not None and ctx.price is not None
    content = measure_content(memoryview(ctx.body)[slice(*ctx.ask.spans["messages"])])
    return strict_nanousd(ctx.price, bounded(shape_of(ctx.ask, ctx.body), content))


async def converse(turns: int, *, limit_nanousd: int = 10**15) -> list[tuple[int, int, int]]:
    """Per turn: the bound by bytes, what was held, and what it cost at the dearest state of the cache."""
    accounting, store = books(LimitRow("org", limit_nanousd, strict=True))
    rows: list[tuple[int, int, int]] = []
    agent = None
    for turn in range(1, turns + 1):
        ctx = turn_of(agent, body_of(turn))
        agent = ctx.agent
        await accounting.reserve(ctx)
        held = store.held_total()
        accounting.settle(answer(ctx, prompt=len(ctx.body) // BYTES_PER_TOKEN))
        rows.append((by_bytes(ctx), held, ctx.cost_nanousd))
    return rows


async def test_hold_of_a_long_conversation_is_near_its_cost_and_never_below() -> None:
    rows = await converse(TURNS)
    assert all(cost <= held <= plain for plain, held, cost in rows)
    plain, held, cost = rows[-1]
    assert (plain > 2 * cost, held < cost * 3 // 2) == (True, True)


async def held_after(change: Callable[[RequestContext], None], *, later: Callable[[RequestContext], None]) -> bool:
    """Is less held for the second turn than by bytes? `change` is made to the first, answered, and `later` to it."""
    accounting, store = books(LimitRow("org", 10**15, strict=True))
    first = turn_of(None, body_of(3))
    later(first)
    await accounting.reserve(first)
    answered(first, input_tokens=12_000, output_tokens=10)
    change(first)
    accounting.settle(first)
    second = turn_of(first.agent, body_of(4))
    later(second)
    await accounting.reserve(second)
    return store.held_total() < by_bytes(second)


def unchanged(_: RequestContext) -> None:
    """As it is."""


def tell(**fields: Any) -> Callable[[RequestContext], None]:
    """The answer says this of itself."""

    def change(ctx: RequestContext) -> None:
        assert ctx.tap is not None
        whole = parse_message(message([text_block("x")], usage={"input_tokens": 12_000, "output_tokens": 10}))
        ctx.tap.observe_message(msgspec.structs.replace(whole, usage=msgspec.structs.replace(whole.usage, **fields)))

    return change


def bridge(ctx: RequestContext) -> None:
    """The upstream was sent less than the body holds."""
    ctx.bridged = (Change("tool_examples", "dropped"),)


def lose(ctx: RequestContext) -> None:
    """No usage came."""
    ctx.tap = Tap()


async def test_answer_to_the_body_as_it_stands_is_remembered() -> None:
    assert await held_after(unchanged, later=unchanged)
    assert await held_after(tell(model=MODEL), later=unchanged)


@pytest.mark.parametrize(
    "change",
    [
        lose,
        tell(final=False),
        tell(refused_empty=True),
        tell(web_search_requests=1),
        tell(model="claude-opus-4-8"),
    ],
)
async def test_answer_that_does_not_tell_the_length_of_the_body_is_not_remembered(
    change: Callable[[RequestContext], None],
) -> None:
    assert not await held_after(change, later=unchanged)


def routed(*places: Any) -> Callable[[RequestContext], None]:
    """The route has these upstreams."""

    def change(ctx: RequestContext) -> None:
        ctx.places = {place.upstream: place for place in places}

    return change


async def test_several_upstreams_count_alike_only_when_all_have_the_same_model() -> None:
    other = msgspec.structs.replace(GLOBAL, model="a-deployment")
    assert await held_after(unchanged, later=routed(MAIN, GLOBAL))
    assert not await held_after(unchanged, later=routed(MAIN, other))


async def test_fitted_request_tells_of_later_ones_that_no_other_upstream_may_answer() -> None:
    assert await held_after(bridge, later=unchanged)
    assert not await held_after(bridge, later=routed(MAIN, GLOBAL))


async def begin(*tasks: str) -> list[tuple[int, int, int]]:
    """Per agent that begins with one of these: the bound by bytes, what was held, and what its first request cost."""
    accounting, store = books(LimitRow("org", 10**15, strict=True))
    rows: list[tuple[int, int, int]] = []
    for task in tasks:
        ctx = turn_of(None, body_of(1, task))
        await accounting.reserve(ctx)
        held = store.held_total()
        accounting.settle(answer(ctx, prompt=len(ctx.body) // BYTES_PER_TOKEN))
        rows.append((by_bytes(ctx), held, ctx.cost_nanousd))
    return rows


async def test_first_request_of_another_agent_is_held_near_its_cost_and_never_below() -> None:
    (plain, first, _), (_, second, cost) = await begin("read the files", "write the tests for what was read")
    assert first == plain
    assert cost < second < cost * 7 // 5


async def test_first_request_with_other_words_is_held_with_all_of_them() -> None:
    (_, _, _), (plain, held, cost) = await begin("read the files", "0" * 60_000)
    assert cost + 40_000 * 8_000 < held < plain


async def test_limit_with_no_room_for_the_bytes_has_room_for_a_known_prompt() -> None:
    rows = await converse(4)
    plain, held, _ = rows[-1]
    spent = sum(cost for *_, cost in rows[:-1])
    assert held < plain
    assert await converse(4, limit_nanousd=spent + held) == rows
    with pytest.raises(Refused):
        await converse(4, limit_nanousd=spent + held - 1)
