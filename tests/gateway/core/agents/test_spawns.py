"""Which call asked for an agent, by what its first request says."""

from typing import Any

import pytest

from gateway.core.agents.spawns import (
    PENDING_MESSAGES_MAX,
    PENDING_SPAWNS_MAX,
    PROMPT_CHARS,
    Expected,
    Opening,
    PendingMessage,
    PendingSpawn,
    text_sha256,
)

REMINDER = "<system-reminder>\nsomething\n</system-reminder>"


def asks(prompt: str, id: str = "toolu_1", **rest: Any) -> PendingSpawn:
    """A call that asks for an agent."""
    return PendingSpawn(rest.pop("agent_type", None), prompt, id, **rest)


def waiting(*spawns: PendingSpawn) -> Expected:
    """What waits for these."""
    expected = Expected()
    for spawn in spawns:
        expected.add(spawn)
    return expected


def claimed(expected: Expected, *texts: str, parent: str | None = None) -> str | None:
    """The call that an agent answers to which says this."""
    found = expected.claim(Opening(texts), parent)
    return None if found is None else found.tool_use_id


def test_spawn_is_claimed_once_by_the_agent_that_got_its_prompt() -> None:
    expected = waiting(asks("look for x", "toolu_1"), asks("plan y", "toolu_2"))
    assert claimed(expected, REMINDER, "plan y") == "toolu_2"
    assert claimed(expected, REMINDER, "plan y") is None


@pytest.mark.parametrize("texts", [("plan y",), (REMINDER, "plan y"), (f"{REMINDER}\nplan y\n",)])
def test_prompt_is_found_alone_and_behind_what_the_client_says(texts: tuple[str, ...]) -> None:
    assert claimed(waiting(asks("plan y")), *texts) == "toolu_1"


def test_short_prompt_is_not_found_inside_other_words() -> None:
    assert claimed(waiting(asks("go")), "go and look for it") is None
    assert claimed(waiting(asks("")), "anything") is None


def test_long_prompt_is_found_wherever_it_stands_by_its_beginning() -> None:
    prompt = "look at every file of the parser and tell " * 50
    assert claimed(waiting(asks(prompt)), f"{prompt}\n{REMINDER}") == "toolu_1"
    assert claimed(waiting(asks(prompt)), prompt[: PROMPT_CHARS - 1]) is None


def test_very_prompt_comes_before_one_that_it_contains() -> None:
    longer = "look at every file of the parser, and then at the printer"
    expected = waiting(asks("look at every file of the parser", "toolu_1"), asks(longer, "toolu_2"))
    assert claimed(expected, longer) == "toolu_2"


def test_of_equal_prompts_the_parents_own_comes_first_and_then_the_one_asked_first() -> None:
    expected = waiting(*(asks("same", f"toolu_{parent}", parent=parent) for parent in ("main", "a1", "a2")))
    assert [claimed(expected, "same", parent=parent) for parent in ("a2", None, "a2")] == [
        "toolu_a2",
        "toolu_main",
        "toolu_a1",
    ]


def test_fork_is_told_by_the_call_whose_result_it_goes_on_from() -> None:
    expected = waiting(asks("FORK go", "toolu_1", agent_type="fork"), asks("FORK go", "toolu_2", agent_type="fork"))
    found = expected.claim(Opening(("what main was asked",), frozenset({"toolu_2"})), None)
    assert found is not None and found.tool_use_id == "toolu_2"


def test_result_of_a_call_that_asked_for_no_fork_is_no_claim() -> None:
    expected = waiting(asks("go there", "toolu_1"))
    assert expected.claim(Opening(("hello",), frozenset({"toolu_1"})), None) is None


def test_digest_is_of_the_whole_prompt_and_the_prompt_is_not_kept_whole() -> None:
    prompt = "x" * 10_000
    found = waiting(asks(prompt)).claim(Opening((prompt,)), None)
    assert found is not None
    assert (found.prompt_sha256, len(found.prompt)) == (text_sha256(prompt), PROMPT_CHARS)


def test_oldest_is_forgotten_when_too_many_wait() -> None:
    expected = waiting(*(asks(f"prompt {number}!", f"toolu_{number}") for number in range(PENDING_SPAWNS_MAX + 1)))
    assert (len(expected), claimed(expected, "prompt 0!"), claimed(expected, "prompt 1!")) == (
        PENDING_SPAWNS_MAX,
        None,
        "toolu_1",
    )


def test_message_is_told_by_whom_it_goes_to_or_by_its_words_once() -> None:
    expected = Expected()
    expected.wake(PendingMessage("toolu_1", "", "a1"))
    expected.wake(PendingMessage("toolu_2", "please go on"))
    answers = [expected.answer("a2", "sent: please go on"), expected.answer("a1", ""), expected.answer("a1", "please")]
    assert [each and each.tool_use_id for each in answers] == ["toolu_2", "toolu_1", None]


def test_messages_are_bounded() -> None:
    expected = Expected()
    for number in range(PENDING_MESSAGES_MAX + 5):
        expected.wake(PendingMessage(f"toolu_{number}", "x" * 1000))
    assert len(expected.messages) == PENDING_MESSAGES_MAX
    assert len(expected.messages[0].message) == PROMPT_CHARS
