"""What of a prompt is known: only what an earlier one began with, and never less than its tokens."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.agents.lineage import AgentNode, SessionNode
from gateway.core.estimates.content import measure_content
from gateway.core.estimates.known import KNOWN_MAX, Known, Outline, is_append_only, narrowed, read_outline
from gateway.core.estimates.worst import PROMPT_OVERHEAD_TOKENS, Shape, bounded, shape_of
from gateway.core.wire.body import Ask, peek

BESIDE = ("anthropic", "m", "2023-06-01")
RECORDED = Path(__file__).parents[3] / "golden" / "anthropic" / "b_tool.json"
KEEP_ALL = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "AA=="}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
Message = dict[str, Any]


def said(text: str, *blocks: Any, role: str = "user", marked: bool = False) -> Message:
    """A message as an agent's client writes it: a plain string when it can, blocks where a breakpoint must stand."""
    if not blocks and not marked:
        return {"role": role, "content": text}
    mark = {"cache_control": {"type": "ephemeral"}} if marked else {}
    return {"role": role, "content": [*blocks, {"type": "text", "text": text, **mark}]}


def request(*messages: Message, **fields: Any) -> tuple[Ask, bytes]:
    whole = {"model": "m", "system": "Be brief." * 50, "max_tokens": 100, "messages": messages, **fields}
    body = json.dumps({name: value for name, value in whole.items() if value is not None}).encode()
    return peek(body), body


def peek_of(fields: Mapping[str, Any]) -> tuple[Ask, bytes]:
    body = json.dumps(fields, separators=(",", ":")).encode()
    return peek(body), body


def outlined(asked: tuple[Ask, bytes], *known: Known, beside: Sequence[str] = BESIDE) -> Outline:
    return read_outline(*asked, beside=beside, known=known)


def known(asked: tuple[Ask, bytes], tokens: int = 40) -> Known:
    return outlined(asked).answered(tokens, "main")


def rest_of(asked: tuple[Ask, bytes], *earlier: Known) -> Shape:
    ask, body = asked
    part = outlined(asked, *earlier).part
    assert part is not None
    return narrowed(shape_of(ask, body), body, part)


FIRST, ANSWER, SECOND = said("a" * 500), said("b" * 50, role="assistant"), said("c" * 60)


def test_prompt_that_goes_on_is_bounded_by_its_new_bytes_on_top_of_the_known_tokens() -> None:
    earlier, later = request(FIRST), request(FIRST, ANSWER, SECOND)
    rest = rest_of(later, known(earlier))
    assert rest.known_tokens == 40
    assert len(ANSWER["content"]) + len(SECOND["content"]) < rest.body_bytes < len(later[1]) - 500 - 450


def test_same_prompt_again_has_nothing_new_but_its_settings() -> None:
    asked = request(FIRST, ANSWER, SECOND)
    assert rest_of(request(FIRST, ANSWER, SECOND, max_tokens=7), known(asked)).body_bytes < 120


def test_breakpoint_that_moves_on_makes_no_words_new() -> None:
    earlier = request(FIRST, ANSWER, said("c" * 60, marked=True))
    later = request(FIRST, ANSWER, SECOND, ANSWER, said("d", marked=True))
    part = outlined(later, known(earlier)).part
    assert part is not None
    assert part.messages_bytes == len(json.dumps([FIRST, ANSWER])) - 1 + len(json.dumps(SECOND["content"]))


def test_words_said_again_after_a_known_message_are_new() -> None:
    earlier = request(FIRST, ANSWER, said("c" * 600, marked=True))
    once, twice = (rest_of(request(FIRST, ANSWER, *[said("c" * 600)] * times), known(earlier)) for times in (1, 2))
    assert once.body_bytes < 200
    assert twice.body_bytes - once.body_bytes > 600
    whole = request(FIRST, ANSWER, said("c" * 600))
    assert rest_of(request(FIRST, ANSWER, *[said("c" * 600)] * 2), known(whole)).body_bytes > 600


def test_recorded_coding_agent_goes_on_from_its_earlier_request() -> None:
    asked = [peek_of(each["body"]) for each in json.loads(RECORDED.read_text())["requests"]]
    part = outlined(asked[1], known(asked[0], 20_000)).part
    assert part is not None
    assert asked[1][1].startswith(b'{"type":"text","text":"Running tools."}', part.new_blocks[0][0])
    assert all(
        is_append_only(*each, measure_content(each[1][slice(*each[0].spans["messages"])]), single_upstream=True)
        for each in asked
    )


def test_known_beginning_that_leaves_least_to_bound_counts() -> None:
    short, long = known(request(FIRST), 30), known(request(FIRST, ANSWER, SECOND), 50)
    assert rest_of(request(FIRST, ANSWER, SECOND, ANSWER, SECOND), short, long).known_tokens == 50
    assert rest_of(request(FIRST, ANSWER, said("other")), short, long).known_tokens == 30
    assert rest_of(request(FIRST, ANSWER, SECOND, ANSWER), short, replace(long, prompt_tokens=500)).known_tokens == 30


@pytest.mark.parametrize(
    "fields",
    [
        {"system": "Be verbose."},
        {"system": None},
        {"tools": [{"name": "Read"}]},
        {"thinking": {"type": "disabled"}},
        {"tool_choice": {"type": "any"}},
        {"context_management": KEEP_ALL},
        {"output_config": {"effort": "high"}},
        {"a_field_of_tomorrow": 1},
    ],
)
def test_nothing_is_known_when_anything_beside_the_messages_differs(fields: Mapping[str, Any]) -> None:
    assert outlined(request(FIRST, ANSWER, **fields), known(request(FIRST))).part is None
    assert outlined(request(FIRST, ANSWER, **fields), known(request(FIRST, **fields))).part is not None


def test_nothing_is_known_under_another_model_version_or_beta() -> None:
    later, earlier = request(FIRST, ANSWER), known(request(FIRST))
    for beside in (("anthropic", "n", "2023-06-01"), (*BESIDE, "a-beta"), BESIDE[:2]):
        assert outlined(later, earlier, beside=beside).part is None


def test_old_message_that_was_edited_is_new_and_the_others_stay_known() -> None:
    long = said("b" * 700, role="assistant")
    edited = said("b" * 699 + "x", role="assistant")
    rest = rest_of(request(FIRST, edited, SECOND), known(request(FIRST, long, SECOND)))
    assert 700 < rest.body_bytes < 1_000


@pytest.mark.parametrize("messages", [(SECOND,), (FIRST, ANSWER), ()])
def test_prompt_of_which_messages_were_taken_away_is_at_most_as_long_as_before(messages: Any) -> None:
    rest = rest_of(request(*messages), known(request(FIRST, ANSWER, SECOND)))
    assert rest.known_tokens == 40
    assert rest.body_bytes < 250


def test_only_images_of_the_new_part_are_held_for() -> None:
    pictured = said("see", IMAGE)
    later = request(pictured, ANSWER, said("and", IMAGE, IMAGE))
    assert rest_of(later, known(request(pictured))).images == 2


def test_tools_count_again_when_the_new_part_refers_to_one() -> None:
    tools = [{"name": "Read", "description": "x" * 900, "defer_loading": True}]
    found = {"type": "tool_result", "content": [{"type": "tool_reference", "tool_name": "Read"}]}
    earlier = known(request(FIRST, tools=tools))
    plain = rest_of(request(FIRST, ANSWER, said("e"), tools=tools), earlier)
    referring = rest_of(request(FIRST, ANSWER, said("e", found), tools=tools), earlier)
    assert plain.body_bytes < 900 < referring.body_bytes


def append_only(*messages: Message, single: bool = True, **fields: Any) -> bool:
    ask, body = request(*messages, **fields)
    content = measure_content(body[slice(*ask.spans["messages"])])
    return is_append_only(ask, body, content, single_upstream=single)


def test_thinking_is_append_only_where_all_of_it_is_kept_by_one_upstream() -> None:
    thought = said("b", THINKING, role="assistant")
    assert append_only(FIRST, thought, context_management=KEEP_ALL)
    assert not append_only(FIRST, thought)
    assert not append_only(FIRST, thought, single=False, context_management=KEEP_ALL)
    assert append_only(FIRST, single=False, context_management=KEEP_ALL)


@pytest.mark.parametrize(
    "edits",
    [
        {"edits": [{"type": "clear_tool_uses_20250919"}]},
        {"edits": [{"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 2}}]},
        {"edits": [*KEEP_ALL["edits"], {"type": "compact_20260112"}]},
        {"edits": []},
        {"edits": 5},
        {},
        "odd",
    ],
)
def test_context_that_is_cleared_is_not_append_only(edits: Any) -> None:
    assert not append_only(FIRST, context_management=edits)


def test_entries_for_one_turn_and_unbounded_content_are_not_append_only() -> None:
    assert not append_only(FIRST, {"role": "system", "content": "now", "clear_at": "next_user_message"})
    assert not append_only(said("x", {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}))


def test_agent_remembers_the_newest_prompt_of_each_kind_and_few_kinds() -> None:
    node = AgentNode(SessionNode("s", "c", "u", "cli", inferred=False), "main", None, 0, 0, 0)
    kinds = [replace(known(request(FIRST)), fixed=bytes([kind])) for kind in range(KNOWN_MAX + 1)]
    for each in (*kinds, replace(kinds[-1], prompt_tokens=99)):
        node.learn(each)
    assert [each.fixed[0] for each in node.known] == [4, 3, 2, 1]
    assert node.known[0].prompt_tokens == 99


@dataclass(frozen=True)
class Turn:
    """A message, what it truly counts, and where else it goes on from than the turn before."""

    text: str
    blocks: int
    tokens_percent: int
    back: int


turns = st.builds(
    Turn,
    st.text(min_size=1, max_size=60),
    st.integers(0, 2),
    st.integers(0, 100),
    st.sampled_from([0, 0, 0, 0, 1, 2]),
)


@settings(max_examples=200)
@given(
    st.lists(turns, min_size=1, max_size=8),
    st.lists(st.integers(0, PROMPT_OVERHEAD_TOKENS), min_size=8, max_size=8),
    st.integers(0, 100),
)
def test_bound_covers_every_count_that_fits_and_never_passes_the_bound_by_bytes(
    conversation: list[Turn], hidden: list[int], fixed_percent: int
) -> None:
    """A tokenizer that gives any message any count up to its bytes, and hidden tokens that change between requests."""
    remembered: tuple[Known, ...] = ()
    history: list[tuple[Message, int]] = []
    for turn, extra in zip(conversation, hidden, strict=False):
        history = history[: len(history) - turn.back]
        message = said(turn.text, *[{"type": "text", "text": "y"}] * turn.blocks)
        history.append((message, len(json.dumps(message)) * turn.tokens_percent // 100))
        spelt = [each for each, _ in history[:-1]] + [said(turn.text, *message["content"][:-1], marked=True)]
        ask, body = asked = request(*(spelt if turn.blocks else [each for each, _ in history]))
        truth = sum(count for _, count in history) + len("Be brief.") * 50 * fixed_percent // 100 + extra
        plain = bounded(shape_of(ask, body), measure_content(body[slice(*ask.spans["messages"])]))
        outline = outlined(asked, *remembered)
        near = plain if outline.part is None else narrowed(plain, body, outline.part)
        bound = min(each.known_tokens + each.body_bytes + PROMPT_OVERHEAD_TOKENS for each in (plain, near))
        assert truth <= bound <= len(body) + PROMPT_OVERHEAD_TOKENS
        remembered = (outline.answered(truth, "main"), *remembered)
