"""What of a first prompt is known from other agents' prompts: their shared pieces, and never less than their tokens."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.estimates.known import Known
from gateway.core.estimates.pieces import LARGE_BYTES
from gateway.core.estimates.prompts import NOTE_TOKENS_MAX, PROMPTS_MAX, Asking, Prompts, Recognised
from gateway.core.estimates.worst import PROMPT_OVERHEAD_TOKENS, Shape, shape_of
from gateway.core.wire.body import Ask, peek

RECORDED = Path(__file__).parents[3] / "golden" / "anthropic" / "d_workflow.json"
BESIDE = ("anthropic", "m", "2023-06-01")
READ = {"name": "Read", "description": "r" * 3_000, "input_schema": {"type": "object"}}
WRITE = {"name": "Write", "description": "w" * 2_000, "input_schema": {"type": "object"}}
KEEP_ALL = {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}
THINKING = {"type": "thinking", "thinking": "hm", "signature": "AA=="}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def body_of(*blocks: dict[str, Any], **fields: Any) -> bytes:
    """A first request: a mark of the client's and 4 KB of system text, two tools, and these blocks of the user."""
    whole = {
        "model": "m",
        "max_tokens": 100,
        "system": [text("mark 39c"), text("s" * 4_000)],
        "tools": [READ, WRITE],
        "messages": [{"role": "user", "content": list(blocks)}],
        **fields,
    }
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def recognised(
    prompts: Prompts, body: bytes, *known: Known, upstreams: Sequence[str] = ("main",), **asking: Any
) -> Recognised:
    ask = peek(body)
    return prompts.recognise(Asking(ask, body, BESIDE, upstreams, **asking), shape_of(ask, body), known)


def taught(body: bytes, tokens: int = 1_500, *, into: Prompts | None = None, fitted: bool = False) -> Prompts:
    """What is remembered after an answer that reported this many tokens."""
    prompts = into or Prompts()
    outline = recognised(prompts, body).outline
    assert outline is not None
    prompts.learn(outline, outline.answered(tokens, "main", fitted=fitted))
    return prompts


def bytes_left(prompts: Prompts, body: bytes, **asking: Any) -> int:
    """Bytes that stay to be bounded; all of them when nothing is known."""
    return recognised(prompts, body, **asking).shape.body_bytes


def is_known(prompts: Prompts, body: bytes, **asking: Any) -> bool:
    return recognised(prompts, body, **asking).shape.known_tokens > 0


REMINDER, FIRST, SECOND = text("n" * 2_000), text("do this"), text("and do that")


def test_other_agents_first_prompt_is_bounded_by_the_bytes_it_does_not_share() -> None:
    earlier, later = body_of(REMINDER, FIRST), body_of(REMINDER, SECOND)
    shape = recognised(taught(earlier), later).shape
    assert shape.known_tokens == 1_500
    assert len(json.dumps(SECOND)) < shape.body_bytes < 300


def test_nothing_is_known_at_first() -> None:
    body = body_of(FIRST)
    assert recognised(Prompts(), body).shape == shape_of(peek(body), body)


@pytest.mark.parametrize(
    ("fields", "new_bytes"),
    [
        ({"system": [text("mark f90"), text("s" * 4_000)]}, 10),
        ({"system": [text("mark 39c"), text("t" * 4_000)]}, 4_000),
        ({"tools": [WRITE]}, 0),
        ({"tools": [READ, {**WRITE, "description": "z" * 2_000}]}, 2_000),
        ({"tools": [WRITE, READ, {"name": "Out", "description": "o" * 500, "input_schema": {}}]}, 500),
        ({"temperature": 1, "metadata": {"user_id": "u" * 200}}, 200),
    ],
)
def test_piece_that_differs_is_new_and_the_others_stay_known(fields: dict[str, Any], new_bytes: int) -> None:
    prompts = taught(body_of(REMINDER, FIRST))
    same = bytes_left(prompts, body_of(REMINDER, FIRST))
    other = body_of(REMINDER, FIRST, **fields)
    assert is_known(prompts, other)
    assert same - 10 <= bytes_left(prompts, other) - new_bytes < same + 100


@pytest.mark.parametrize(
    "fields",
    [{"thinking": {"type": "adaptive"}}, {"tool_choice": {"type": "any"}}, {"output_config": {"effort": "low"}}],
)
def test_nothing_is_known_under_other_settings(fields: dict[str, Any]) -> None:
    assert not is_known(taught(body_of(REMINDER, FIRST)), body_of(REMINDER, FIRST, **fields))


def test_piece_that_occurs_twice_is_known_once() -> None:
    prompts = taught(body_of(REMINDER, FIRST))
    once, twice = (bytes_left(prompts, body_of(*blocks)) for blocks in ([REMINDER], [REMINDER, REMINDER]))
    assert once < 300
    assert 2_000 < twice - once < 2_100


def test_system_text_and_messages_that_are_strings_are_pieces_too() -> None:
    plain = {"system": "s" * 4_000, "messages": [{"role": "user", "content": "n" * 2_000}]}
    more = [*plain["messages"], {"role": "assistant", "content": "hm"}]
    left = bytes_left(taught(body_of(**plain)), body_of(**{**plain, "messages": more}))
    assert len('{"role": "assistant", "content": "hm"}') < left < 300


def test_shortest_prompt_of_a_kind_is_remembered() -> None:
    prompts = taught(body_of(REMINDER, FIRST), 1_500)
    taught(body_of(REMINDER, SECOND), 1_400, into=prompts)
    taught(body_of(REMINDER, text("third")), 9_000, into=prompts)
    assert recognised(prompts, body_of(REMINDER, FIRST)).shape.known_tokens == 1_400


def test_prompt_that_leaves_least_to_bound_counts() -> None:
    other = text("m" * LARGE_BYTES)
    prompts = taught(body_of(REMINDER, FIRST), 3_000)
    taught(body_of(other, FIRST), 2_500, into=prompts)
    assert recognised(prompts, body_of(REMINDER, SECOND)).shape.known_tokens == 3_000
    assert recognised(prompts, body_of(other, SECOND)).shape.known_tokens == 2_500


def test_prompt_whose_tokens_outweigh_its_bytes_does_not_count() -> None:
    body = body_of(REMINDER, FIRST)
    assert not is_known(taught(body, 50_000), body)


def test_known_tools_count_by_their_bytes_when_a_new_piece_refers_to_one() -> None:
    found = {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": [{"type": "tool_reference", "tool_name": "Read"}],
    }
    prompts = taught(body_of(REMINDER, FIRST))
    assert bytes_left(prompts, body_of(REMINDER, text("plain"))) < 300
    assert bytes_left(prompts, body_of(REMINDER, found)) > 5_000


def test_images_of_known_pieces_are_not_held_for_again() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 400}}
    other = {**image, "cache_control": {"type": "ephemeral"}}
    prompts = taught(body_of(REMINDER, image))
    assert recognised(prompts, body_of(REMINDER, image, SECOND)).shape.images == 0
    assert recognised(prompts, body_of(REMINDER, image, other)).shape.images == 1


def test_prompts_of_another_upstream_or_for_another_model_do_not_count() -> None:
    body = body_of(REMINDER, FIRST)
    prompts = taught(body)
    assert is_known(prompts, body, upstreams=("main", "spare"))
    assert not is_known(prompts, body, upstreams=("spare",))
    assert not is_known(prompts, body, one_model=False)
    assert recognised(prompts, body, one_model=False).outline is None


def test_prompt_that_was_fitted_to_its_upstream_counts_where_no_other_may_answer() -> None:
    body = body_of(REMINDER, FIRST)
    prompts = taught(body, fitted=True)
    assert is_known(prompts, body)
    assert not is_known(prompts, body, upstreams=("main", "spare"))


def test_system_entries_are_held_with_the_marks_that_another_upstream_may_be_sent() -> None:
    entries = [{"role": "user", "content": "n" * 2_000}, {"role": "system", "content": [text("a"), text("b")]}]
    body = body_of(messages=entries)
    prompts = taught(body)
    several = bytes_left(prompts, body, upstreams=("main", "spare"))
    assert several - bytes_left(prompts, body) == 2 * NOTE_TOKENS_MAX


def test_fitted_prompt_with_thinking_teaches_nothing() -> None:
    thought = {"role": "assistant", "content": [THINKING, text("b")]}
    messages = [{"role": "user", "content": "a"}, thought, {"role": "user", "content": "c"}]
    with_thinking = recognised(Prompts(), body_of(messages=messages, context_management=KEEP_ALL)).outline
    without = recognised(Prompts(), body_of(FIRST)).outline
    assert with_thinking is not None and without is not None
    assert (with_thinking.teaches(fitted=True), with_thinking.teaches(fitted=False)) == (False, True)
    assert without.teaches(fitted=True)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "x"}}]}]},
        {"messages": [{"role": "system", "content": "now", "clear_at": "next_user_message"}]},
        {"messages": [{"role": "assistant", "content": [THINKING]}]},
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    ],
)
def test_prompt_that_is_not_append_only_is_bounded_by_its_bytes_and_teaches_nothing(fields: dict[str, Any]) -> None:
    body = body_of(FIRST, **fields)
    found = recognised(taught(body_of(FIRST)), body)
    assert found.outline is None
    assert found.shape.known_tokens == 0


def test_conversation_that_goes_on_is_known_from_its_own_agent() -> None:
    prompts = Prompts()
    body = body_of(REMINDER, FIRST)
    outline = recognised(prompts, body).outline
    assert outline is not None and outline.pieces is not None
    own = outline.answered(1_500, "main")
    answer = {"role": "assistant", "content": "ok"}
    later = body_of(messages=[{"role": "user", "content": [REMINDER, FIRST]}, answer])
    found = recognised(prompts, later, own)
    assert found.shape.known_tokens == 1_500
    assert found.outline is not None and found.outline.pieces is None
    assert not recognised(prompts, later, replace(own, fitted=True), upstreams=("main", "spare")).shape.known_tokens


def test_agent_that_begins_anew_is_known_from_first_prompts_rather_than_its_own_long_one() -> None:
    prompts = taught(body_of(REMINDER, FIRST))
    outline = recognised(Prompts(), body_of(REMINDER, text("long ago " * 10_000))).outline
    assert outline is not None
    own = outline.answered(40_000, "main")
    assert recognised(prompts, body_of(REMINDER, text("summary")), own).shape.known_tokens == 1_500


def test_number_of_prompts_is_bounded_and_the_unused_are_forgotten() -> None:
    prompts = taught(body_of(REMINDER, FIRST))
    taught(body_of(text("q" * 2_000), FIRST, tools=None, system=None), into=prompts)
    for index in range(PROMPTS_MAX - 1):
        taught(body_of(FIRST, system=f"{index:05}" + "x" * LARGE_BYTES, tools=None), 400, into=prompts)
        assert index % 100 or is_known(prompts, body_of(REMINDER, FIRST))
    assert is_known(prompts, body_of(REMINDER, FIRST))
    assert not is_known(prompts, body_of(text("q" * 2_000), FIRST, tools=None, system=None))


def recorded() -> list[tuple[Ask, bytes, str | None]]:
    """The requests of one workflow as the client sent them, with their agents."""
    found: list[tuple[Ask, bytes, str | None]] = []
    for each in json.loads(RECORDED.read_text())["requests"]:
        body = json.dumps(each["body"], separators=(",", ":")).encode()
        agent = {name.lower(): value for name, value in each["headers"]}.get("x-claude-code-agent-id")
        found.append((peek(body), body, agent))
    return found


def test_recorded_agents_of_a_workflow_are_known_from_the_ones_before() -> None:
    prompts = Prompts()
    left: list[tuple[int, int]] = []
    for _, body, agent in recorded():
        if agent is None:
            continue
        outline = recognised(prompts, body).outline
        assert outline is not None
        left.append((bytes_left(prompts, body), len(body)))
        prompts.learn(outline, outline.answered(len(body) // 4, "main"))
    assert left[0][0] == left[0][1]
    assert all(new < whole // 2 for new, whole in left[2:])


words = st.text(st.sampled_from("ab\u00e9 \U0001f600"), min_size=1, max_size=8).map(lambda each: text(each * 9))
drawn = st.tuples(
    st.lists(words, max_size=4), st.lists(words, max_size=4), st.lists(words, max_size=4), st.integers(0, 1_024)
)


@settings(max_examples=200)
@given(st.lists(drawn, min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_bound_covers_every_count_that_fits_and_never_passes_the_bound_by_bytes(
    requests: list[tuple[list[Any], list[Any], list[Any], int]], chance: Any
) -> None:
    """A tokenizer that gives any piece any count up to its bytes, and hidden tokens that change between requests."""
    prompts = Prompts()
    counts: dict[str, int] = {}
    for system, tools, blocks, hidden in requests:
        named = [{"name": each["text"], "input_schema": {}} for each in tools]
        body = body_of(*blocks, system=system, tools=named)
        truth = hidden
        for piece in map(json.dumps, (*system, *named, *blocks)):
            truth += counts.setdefault(piece, chance.randint(0, len(piece)))
        shape, outline = recognised(prompts, body)
        assert truth <= _bound(shape) <= len(body) + PROMPT_OVERHEAD_TOKENS
        assert outline is not None
        prompts.learn(outline, outline.answered(truth, "main"))


def _bound(shape: Shape) -> int:
    return shape.known_tokens + shape.body_bytes + PROMPT_OVERHEAD_TOKENS
