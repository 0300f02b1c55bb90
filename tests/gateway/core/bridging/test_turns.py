"""Where system entries go when they become the user's, and what is left of the entries around them."""

import json
from typing import Any

import pytest

from gateway.core.bridging.losses import Losses
from gateway.core.bridging.trimming import Trimmer
from gateway.core.bridging.turns import fit_messages
from gateway.core.wire.parts import members_at
from gateway.core.wire.spans import Edit, splice
from gateway.errors import Refused
from tests.support.capabilities import NEW, OLD, support
from tests.support.features import ASK, CALL, RESULT

ANSWER = {"role": "assistant", "content": [CALL]}
RESULTS = {"role": "user", "content": [RESULT]}
SEARCHED = {"role": "assistant", "content": [{"type": "web_search_tool_result", "tool_use_id": "s", "content": []}]}


def system(content: Any, **members: Any) -> dict[str, Any]:
    return {"role": "system", "content": content, **members}


def text(words: str, **members: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **members}


def note(words: str, **members: Any) -> dict[str, Any]:
    return text(f"<operator-note>\n{words}\n</operator-note>", **members)


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def fitted(messages: list[Any], *, model: str = OLD, spaced: bool = False) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    raw = json.dumps({"messages": messages}, separators=separators, ensure_ascii=False).encode()
    span = members_at(raw, (0, len(raw)), "")["messages"]
    lacks = support("vertex").lacks(model)
    edits: list[Edit] = fit_messages(Trimmer(raw, lacks, Losses("vertex")), span)
    return splice(raw, edits)


def turns(messages: list[Any], *, model: str = OLD, spaced: bool = False) -> list[Any]:
    return json.loads(fitted(messages, model=model, spaced=spaced))["messages"]


def test_entry_after_a_user_turn_joins_it() -> None:
    assert turns([ASK, system("Be brief.")]) == [user(text("List the files."), note("Be brief."))]


def test_entry_keeps_its_place_among_later_turns() -> None:
    found = turns(
        [ASK, system("Be brief."), ANSWER, RESULTS, system("Stop soon."), {"role": "assistant", "content": "x"}]
    )
    assert [entry["role"] for entry in found] == ["user", "assistant", "user", "assistant"]
    assert found[0]["content"][1] == note("Be brief.") and found[2]["content"] == [RESULT, note("Stop soon.")]


def test_entry_between_call_and_result_comes_after_the_result() -> None:
    found = turns([ASK, ANSWER, system("Be brief."), user(RESULT, text("And?"))])
    assert found[2] == user(RESULT, note("Be brief."), text("And?"))


def test_entry_between_results_in_two_entries_comes_after_both() -> None:
    second = RESULT | {"tool_use_id": "toolu_2"}
    assert turns([ASK, ANSWER, RESULTS, system("Be brief."), user(second)])[2] == user(
        RESULT, second, note("Be brief.")
    )


def test_consecutive_entries_keep_their_order() -> None:
    found = turns([ASK, system("One."), system([text("Two."), text("Three.")])])
    assert found == [user(text("List the files."), note("One."), note("Two."), note("Three."))]


def test_entry_between_two_of_the_assistant_becomes_a_turn() -> None:
    assert turns([ASK, SEARCHED, system("Be brief."), SEARCHED], model="claude-sonnet-5")[2] == user(note("Be brief."))


def test_first_entry_becomes_the_begin_of_the_first_turn() -> None:
    assert turns([system("Be brief."), ASK]) == [user(note("Be brief."), text("List the files."))]


def test_cache_control_of_an_entry_stays_on_its_text() -> None:
    cached = text("Be brief.", cache_control={"type": "ephemeral", "ttl": "1h"})
    told = note("Be brief.", cache_control={"type": "ephemeral", "ttl": "1h"})
    assert turns([ASK, system([cached])])[0]["content"][1] == told


def test_scope_is_taken_off_inside_a_moved_entry() -> None:
    cached = text("Be brief.", cache_control={"type": "ephemeral", "scope": "global"})
    told = note("Be brief.", cache_control={"type": "ephemeral"})
    assert turns([ASK, system([cached])])[0]["content"][1] == told


@pytest.mark.parametrize("empty", ["", []])
def test_entry_that_says_nothing_leaves_nothing(empty: Any) -> None:
    assert turns([SEARCHED, system(empty), SEARCHED], model="claude-sonnet-5") == [SEARCHED, SEARCHED]
    assert turns([user(text("x")), system(empty)]) == [user(text("x"))]


def test_words_are_carried_as_they_were_written() -> None:
    words = 'Say "é" \\ 😀 \u2028 and\ttab'
    assert turns([ASK, system(words)])[0]["content"][1] == note(words)
    assert json.dumps(words, ensure_ascii=False)[1:-1].encode() in fitted([ASK, system(words)])


def test_entries_of_others_are_not_touched() -> None:
    raw = fitted([ASK, ANSWER, RESULTS, ANSWER, RESULTS, system("Be brief.")], spaced=True)
    untouched = json.dumps([ASK, ANSWER, RESULTS, ANSWER])[:-1].encode()
    assert untouched in raw


def test_model_with_system_entries_keeps_them() -> None:
    messages = [ASK, system("Be brief."), ANSWER, RESULTS, system("Go.")]
    assert turns(messages, model=NEW) == messages


def test_entry_with_lost_members_alone_is_left_out() -> None:
    lost = {"role": "system", "output_config": {"effort": "low"}}
    assert turns([ASK, system("Be brief."), lost], model=NEW) == [ASK, system("Be brief.")]
    assert turns([ASK, lost, ANSWER], model=NEW) == [ASK, ANSWER]
    assert turns([ASK, lost, ANSWER]) == [user(text("List the files.")), ANSWER]


def test_message_whose_only_block_is_lost_is_left_out() -> None:
    fallback = {"role": "assistant", "content": [{"type": "fallback"}]}
    assert turns([ASK, fallback, ANSWER], model=NEW) == [ASK, ANSWER]


def test_tool_changes_become_words_in_a_kept_entry() -> None:
    added = {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "Wr\\ite"}}
    removed = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "Read"}}
    found = turns([ASK, system([added, text("So."), removed])], model=NEW)[1]["content"]
    assert found[0] == text("The tool Wr\\ite can be used from here on.")
    assert found[1:] == [text("So."), text("The tool Read can no longer be used; do not call it.")]


def test_tool_change_keeps_its_cache_control_without_the_scope() -> None:
    change = {"type": "tool_removal", "tool": {"type": "tool_reference", "name": "Read"}}
    scoped = change | {"cache_control": {"type": "ephemeral", "scope": "global"}}
    found = turns([ASK, system([scoped])], model=NEW)[1]["content"][0]
    assert found["type"] == "text" and found["cache_control"] == {"type": "ephemeral"}


def test_tool_change_that_is_no_reference_is_refused() -> None:
    inline = {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "Write"}}}
    with pytest.raises(Refused, match="capability_rejected: tool_changes: .* declare the tool in tools"):
        turns([ASK, system([inline])], model=NEW)
    with pytest.raises(Refused, match="tool_changes"):
        turns([ASK, system([{"type": "tool_removal"}])], model=NEW)


def test_the_same_history_gives_the_same_bytes() -> None:
    messages = [ASK, system("Be brief."), ANSWER, RESULTS, system("Go.")]
    assert fitted(messages) == fitted(json.loads(json.dumps(messages)))
