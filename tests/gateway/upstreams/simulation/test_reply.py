"""From a conversation and a turn to a whole message, as a value."""

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.wire.usage import Tokens
from gateway.upstreams.simulation.conversation import Conversation, read_conversation
from gateway.upstreams.simulation.reply import Reply, Selected, compose_reply, replace_counts, select_turn
from gateway.upstreams.simulation.scenario import (
    AT_ONCE,
    Block,
    Pace,
    Scenario,
    Structured,
    Text,
    Thinking,
    ToolUse,
    Turn,
    UsageOverride,
    When,
)

COUNTED = Tokens(input=10, cache_read=20, cache_write_5m=30, cache_write_1h=40)
SCHEMA = {"type": "object", "properties": {"found": {"type": "integer", "minimum": 3}}, "required": ["found"]}


def conversation(prompt: str = "hi", *later: dict[str, Any], **fields: Any) -> Conversation:
    document = {"model": "claude-x", "max_tokens": 1000, "messages": [{"role": "user", "content": prompt}, *later]}
    return read_conversation(json.dumps(document | fields).encode())


def reply_to(asked: Conversation, *blocks: Block, **turn: Any) -> Reply:
    selected = Selected(Turn(reply=blocks, **turn), {"file": "a.py"}, AT_ONCE)
    return compose_reply(selected, asked, counted=COUNTED, seed=b"seed")


def contents(reply: Reply) -> list[dict[str, Any]]:
    return [block.content for block in reply.blocks]


def test_directive_goes_before_the_scenario_while_it_has_turns() -> None:
    scripted = Scenario((Turn(reply=(Text("scenario"),)),), AT_ONCE)
    directive = (Turn(reply=(Text("directive"),)),)
    assert select_turn(scripted, directive, conversation()).turn.reply == (Text("directive"),)
    assert select_turn(scripted, None, conversation()).turn.reply == (Text("scenario"),)


def test_directive_that_has_run_out_is_answered_unscripted() -> None:
    scripted = Scenario((Turn(reply=(Text("scenario"),)),))
    (first, *_) = select_turn(scripted, (), conversation("again")).turn.reply
    assert first != Text("scenario")


def test_selected_turn_brings_the_groups_and_the_pace_of_its_scenario() -> None:
    scripted = Scenario((Turn(when=When(prompt=re.compile("fix (?P<file>\\S+)"))),), Pace(1.0, 5.0))
    selected = select_turn(scripted, None, conversation("fix a.py"))
    assert (selected.groups, selected.pace) == ({"file": "a.py"}, Pace(1.0, 5.0))


def test_placeholders_are_filled_wherever_texts_stand() -> None:
    asked = conversation("go", system="Working directory: /srv/app")
    call = ToolUse("Read{{n}}", {"path": "{{workspace}}/{{ file }}", "deep": ["{{prompt}}", {"n": "{{turn}}"}], "k": 1})
    (content,) = contents(reply_to(asked, call))
    assert content["name"] == "Read1"
    assert content["input"] == {"path": "/srv/app/a.py", "deep": ["go", {"n": "1"}], "k": 1}


def test_unknown_placeholder_stays_as_it_is_written() -> None:
    assert contents(reply_to(conversation(), Text("{{nobody}} {{n}}")))[0]["text"] == "{{nobody}} 1"


def test_what_a_placeholder_brings_in_is_not_filled_again() -> None:
    assert contents(reply_to(conversation("{{workspace}}"), Text("{{prompt}}")))[0]["text"] == "{{workspace}}"


def test_repeated_call_counts_and_has_ids_of_its_own() -> None:
    found = contents(reply_to(conversation(), ToolUse("Bash", {"command": "{{n}}"}, times=3)))
    assert [content["input"]["command"] for content in found] == ["1", "2", "3"]
    assert len({content["id"] for content in found}) == 3


def test_ids_follow_from_the_seed_alone() -> None:
    blocks = (Text("a"), ToolUse("Bash", {}))
    same = reply_to(conversation(), *blocks)
    other = compose_reply(Selected(Turn(reply=blocks), {}, AT_ONCE), conversation(), counted=COUNTED, seed=b"other")
    assert same == reply_to(conversation(), *blocks)
    assert same.message_id != other.message_id and contents(same)[1]["id"] != contents(other)[1]["id"]


def test_thinking_is_left_out_where_it_is_not_enabled() -> None:
    assert contents(reply_to(conversation(), Thinking("hm"), Text("a"))) == [{"type": "text", "text": "a"}]


def test_thinking_is_signed_counted_and_part_of_the_output() -> None:
    reply = reply_to(conversation(thinking={"type": "enabled", "budget_tokens": 99}), Thinking("x" * 40), Text("y" * 8))
    assert len(contents(reply)[0]["signature"]) == 64
    assert (reply.thinking_tokens, reply.tokens.output) == (10, 12)


def test_structured_block_without_a_value_fits_the_schema_of_its_tool() -> None:
    asked = conversation(tools=[{"name": "StructuredOutput", "input_schema": SCHEMA}])
    (made,) = contents(reply_to(asked, Structured()))
    (written,) = contents(reply_to(asked, Structured({"found": 7})))
    jsonschema.validate(made["input"], SCHEMA)
    assert (made["name"], written["input"]) == ("StructuredOutput", {"found": 7})


@pytest.mark.parametrize(
    ("blocks", "said", "expected"),
    [
        ((Text("a"),), None, "end_turn"),
        ((), None, "end_turn"),
        ((Text("a"), ToolUse("Bash", {})), None, "tool_use"),
        ((Text("a"),), "pause_turn", "pause_turn"),
        ((Text("a" * 8_000),), None, "max_tokens"),
        ((Text("a" * 8_000),), "refusal", "max_tokens"),
        ((Text("a" * 4_000), ToolUse("Bash", {})), None, "max_tokens"),
    ],
)
def test_stop_reason_is_what_the_blocks_call_for(blocks: tuple[Block, ...], said: str | None, expected: str) -> None:
    assert reply_to(conversation(), *blocks, stop_reason=said).stop_reason == expected


@given(st.text(max_size=200), st.integers(0, 60))
def test_answer_never_passes_max_tokens_and_cuts_no_character(text: str, max_tokens: int) -> None:
    reply = reply_to(conversation(max_tokens=max_tokens), Text(text), Text("more"))
    assert reply.tokens.output <= max_tokens
    whole = text.encode(errors="replace").decode()
    assert all(whole.startswith(content["text"]) or content["text"] in "more" for content in contents(reply))


def test_text_is_cut_where_max_tokens_end_and_what_follows_is_left_out() -> None:
    reply = reply_to(conversation(max_tokens=3), Text("abcd"), Text("efghijklmnop"), Text("q"))
    assert [content["text"] for content in contents(reply)] == ["abcd", "efghijkl"]
    assert (reply.stop_reason, reply.tokens.output) == ("max_tokens", 3)


def test_call_that_does_not_fit_is_left_out_whole() -> None:
    reply = reply_to(conversation(max_tokens=5), Text("abcd"), ToolUse("Bash", {"command": "x" * 100}))
    assert [content["type"] for content in contents(reply)] == ["text"]
    assert (reply.stop_reason, reply.tokens.output) == ("max_tokens", 1)


def test_reported_output_is_bounded_by_max_tokens_and_says_so() -> None:
    within = reply_to(conversation(), Text("a"), usage=UsageOverride(output_tokens=1000))
    beyond = reply_to(conversation(), Text("a"), usage=UsageOverride(output_tokens=1001))
    assert (within.tokens.output, within.stop_reason) == (1000, "end_turn")
    assert (beyond.tokens.output, beyond.stop_reason) == (1000, "max_tokens")


def test_counts_that_the_scenario_names_replace_the_counted_ones() -> None:
    assert replace_counts(COUNTED, UsageOverride(), 5) == Tokens(10, 5, 20, 30, 40)
    named = UsageOverride(input_tokens=0, cache_read_input_tokens=1, cache_creation_input_tokens=2)
    assert replace_counts(COUNTED, named, 5) == Tokens(0, 5, 1, 2, 0)


def test_pace_of_the_turn_goes_before_that_of_the_scenario() -> None:
    assert reply_to(conversation(), pace=Pace(9.0, 9.0)).pace == Pace(9.0, 9.0)
    assert reply_to(conversation()).pace == AT_ONCE


def unscripted(asked: Conversation) -> list[dict[str, Any]]:
    return contents(compose_reply(select_turn(Scenario(), None, asked), asked, counted=COUNTED, seed=b""))


CALLED = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {}}]}


@pytest.mark.parametrize(("failed", "word"), [(False, "worked"), (True, "failed")])
def test_unscripted_result_is_told_back(failed: bool, word: str) -> None:
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "42 tests", "is_error": failed}
    (content,) = unscripted(conversation("go", CALLED, {"role": "user", "content": [result]}))
    assert word in content["text"] and "42 tests" in content["text"]


def test_unscripted_schemas_are_met() -> None:
    forced = conversation(
        tools=[{"name": "Judge", "input_schema": SCHEMA}], tool_choice={"type": "tool", "name": "Judge"}
    )
    formatted = conversation(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    (call,), (text,) = unscripted(forced), unscripted(formatted)
    jsonschema.validate(call["input"], SCHEMA)
    jsonschema.validate(json.loads(text["text"]), SCHEMA)
    assert call["name"] == "Judge"
