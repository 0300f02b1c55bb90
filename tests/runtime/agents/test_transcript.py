"""What is sent: the same prefix for siblings, breakpoints where they pay, and nothing of the cache in the hash."""

import json
from collections.abc import Iterator
from typing import Any

from runtime.agents.answer import Answer
from runtime.agents.prompts import PREAMBLE, system_prompt
from runtime.agents.transcript import Transcript, encode
from runtime.core.model import Tokens

READ = {"name": "Read", "description": "Reads.", "input_schema": {"type": "object"}}


def transcript(
    prompt: str = "Find it.", *, place: str | None = None, tools: tuple[dict[str, Any], ...] = ()
) -> Transcript:
    made = Transcript(system="Preamble.", place=place, tools=list(tools), model="m", effort=None)
    made.add_text(prompt)
    return made


def said(*content: dict[str, Any]) -> Answer:
    return Answer(
        model="m", content=content, text="", tool_uses=(), stop_reason="end_turn", stop_detail="", tokens=Tokens()
    )


def sent(made: Transcript) -> dict[str, Any]:
    return json.loads(made.body(max_tokens=100))


def marks(value: Any, path: str = "") -> Iterator[str]:
    """Where a request may be cut for the prompt cache."""
    if isinstance(value, dict):
        if "cache_control" in value:
            yield path
        for name, each in value.items():
            yield from marks(each, f"{path}/{name}")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from marks(each, f"{path}/{index}")


def test_w43_a_conversation_begins_with_the_prompt_alone() -> None:
    assert sent(transcript("Find it."))["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Find it."}]}
    ]


def test_w46_agent_is_told_how_it_runs() -> None:
    told = system_prompt(None, schema=False)
    for word in ("nobody answers questions", "as it is, as data", "What the task asks for", "do not start workflows"):
        assert word in told


def test_w46_agent_with_a_schema_is_told_that_the_call_is_the_answer() -> None:
    told = system_prompt("You review.", schema=True)
    assert "one call of the tool StructuredOutput" in told and "as it is, as data" not in told
    assert told.index(PREAMBLE.strip()) < told.index("You review.") < told.index("StructuredOutput")


def test_w97_siblings_share_everything_up_to_the_first_mark() -> None:
    one, other = (
        sent(transcript(prompt, place=place, tools=(READ,)))
        for prompt, place in (("One.", "In /a."), ("Another.", "In /b."))
    )
    assert one["tools"] == other["tools"] and one["system"][0] == other["system"][0]
    assert next(marks(one)) == "/system/0" and one["system"][1] == {"type": "text", "text": "In /a."}


def test_single_question_without_tools_pays_for_no_write_of_its_own() -> None:
    assert list(marks(sent(transcript()))) == ["/system/0"]


def test_marks_move_along_with_the_conversation() -> None:
    made = transcript(tools=(READ,))
    assert list(marks(sent(made))) == ["/system/0", "/messages/0/content/0"]
    for turn in range(3):
        made.add_answer(said({"type": "text", "text": f"turn {turn}"}))
        made.add_blocks([{"type": "tool_result", "tool_use_id": "t", "content": "x"}])
    assert list(marks(sent(made))) == ["/system/0", "/messages/4/content/0", "/messages/6/content/0"]
    assert "cache_control" not in json.dumps(made.messages)


def test_texts_of_the_user_stand_in_one_message() -> None:
    made = transcript()
    made.add_text("And hurry.")
    assert [block["text"] for block in sent(made)["messages"][0]["content"]] == ["Find it.", "And hurry."]


def test_paused_turn_is_continued_in_the_same_message() -> None:
    made = transcript()
    made.add_answer(said({"type": "text", "text": "a"}))
    made.add_answer(said({"type": "text", "text": "b"}))
    made.add_answer(said())
    assert [message["role"] for message in sent(made)["messages"]] == ["user", "assistant"]
    assert len(sent(made)["messages"][1]["content"]) == 2


def test_w47_effort_is_named_only_when_there_is_one() -> None:
    made = transcript()
    assert "output_config" not in sent(made) and "tools" not in sent(made)
    made.effort = "low"
    assert sent(made)["output_config"] == {"effort": "low"}


def test_hash_is_that_of_what_was_said() -> None:
    one, same, other = transcript("a"), transcript("a", tools=(READ,)), transcript("b")
    assert one.sha256() == same.sha256() != other.sha256()


def test_text_that_no_utf8_can_carry_is_mended() -> None:
    assert json.loads(encode({"a\ud800": ["\ud83d", 1, None]})) == {"a\ufffd": ["\ufffd", 1, None]}
