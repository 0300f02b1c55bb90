"""Whose conversation it is, by digests."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.agents import conversations
from gateway.core.agents.conversations import Conversations, Holder, last_words, read_opening
from gateway.core.wire.body import peek
from tests.gateway.lineages.cases import NAMES, scenario

MINE = Holder("s", "main")


def digests(known: Conversations, messages: list[dict[str, Any]], owner: str = "laptop") -> list[bytes]:
    """Of a conversation's beginnings."""
    body = json.dumps({"model": "m", "messages": messages}).encode()
    return known.digests(owner, body, peek(body).spans["messages"])


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


MARK = {"cache_control": {"type": "ephemeral"}}
RESULT = {"type": "tool_result", "tool_use_id": "t"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (user("hi"), user([text("hi")])),
        (user([text("hi", **MARK)]), user([text("hi")])),
        (user([RESULT | {"content": "ok"}]), user([RESULT | {"content": [text("ok", **MARK)]} | MARK])),
        ({"role": "user", "content": "hi"}, {"content": "hi", "role": "user"}),
        ({"role": "user", "content": "hi", **MARK}, user("hi")),
    ],
)
def test_what_clients_write_otherwise_from_time_to_time_is_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    known = Conversations()
    assert digests(known, [one]) == digests(known, [other])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (user("hi"), user("ho")),
        (user("hi"), {"role": "assistant", "content": "hi"}),
        (user([text("a"), text("b")]), user([text("ab")])),
        (user([RESULT | {"content": "a"}]), user([RESULT | {"content": "b"}])),
        (
            {"role": "assistant", "content": [{"type": "tool_use", "input": {"cache_control": 1}}]},
            {"role": "assistant", "content": [{"type": "tool_use", "input": {}}]},
        ),
    ],
)
def test_what_differs_is_not_alike(one: dict[str, Any], other: dict[str, Any]) -> None:
    known = Conversations()
    assert digests(known, [one]) != digests(known, [other])


def test_conversation_of_another_owner_is_another() -> None:
    known = Conversations()
    assert digests(known, [user("hi")]) != digests(known, [user("hi")], owner="phone")


def test_longest_known_beginning_tells_whose_it_is() -> None:
    known = Conversations()
    first, second = digests(known, [user("a"), user("b")])
    known.learn(first, Holder("s", "one"))
    known.learn(second, Holder("s", "other"))
    assert known.find([first]) == Holder("s", "one")
    assert known.find([first, second, b"more"]) == Holder("s", "other")
    assert known.find([b"less"]) is None


@given(st.lists(st.text(max_size=3), min_size=2, max_size=6))
def test_conversation_that_grows_is_the_same_one(words: list[str]) -> None:
    known = Conversations()
    messages = [user(each) for each in words]
    for length in range(1, len(messages)):
        shorter, longer = digests(known, messages[:length]), digests(known, messages[: length + 1])
        assert longer[:length] == shorter


@pytest.mark.parametrize("name", NAMES)
def test_recorded_conversations_only_ever_grow(name: str) -> None:
    recorded = scenario(name)
    for agent in {request.agent for request in recorded.requests}:
        mine = [each for each in recorded.requests if each.agent == agent and "tool_choice" not in each.body]
        known = Conversations()
        for before, after in pairwise(mine):
            earlier = digests(known, before.body["messages"])
            assert digests(known, after.body["messages"])[: len(earlier)] == earlier


def test_memory_is_bounded() -> None:
    known = Conversations()
    for number in range(conversations.CONVERSATIONS_MAX + 1):
        known.learn(number.to_bytes(8), MINE)
    assert known.find([(0).to_bytes(8)]) is None
    assert known.find([(1).to_bytes(8)]) == MINE


@pytest.mark.parametrize("raw", [b"7", b'"x"', b'{"content":7}', b"{}", b'{"role":"user","content":[7,{"a":1}]}'])
def test_odd_messages_have_a_digest_too(raw: bytes) -> None:
    body = b'{"model":"m","messages":[' + raw + b"]}"
    assert len(Conversations().digests("laptop", body, peek(body).spans["messages"])) == 1


def test_opening_is_what_the_first_user_message_says_and_the_last_one_answers() -> None:
    body = json.dumps(
        {
            "model": "m",
            "system": [text("You are a subagent spawned by a workflow orchestration script. …")],
            "messages": [
                {"role": "system", "content": "environment"},
                user([text("reminder"), {"type": "image"}, text("task")]),
                {"role": "assistant", "content": []},
                user([RESULT | {"content": "ok"}, text("more")]),
            ],
        }
    ).encode()
    spans = peek(body).spans
    opening = read_opening(body, spans)
    assert (opening.texts, opening.answered, opening.from_script) == (("reminder", "task"), frozenset("t"), True)
    assert (opening.task, last_words(body, spans["messages"])) == ("task", "\nmore")


@pytest.mark.parametrize("content", ["words", [{"type": "text", "text": "words"}]])
def test_opening_is_read_in_either_form(content: Any) -> None:
    body = json.dumps({"model": "m", "messages": [user(content)]}).encode()
    assert read_opening(body, peek(body).spans).task == "words"


def test_request_that_says_nothing_has_an_empty_opening() -> None:
    body = b'{"model":"m","messages":[]}'
    assert (read_opening(body, peek(body).spans).task, last_words(body, peek(body).spans["messages"])) == ("", "")
