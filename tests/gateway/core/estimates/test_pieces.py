"""A prompt taken apart: the same words are the same piece, however a client writes them."""

import json
from typing import Any

from gateway.core.estimates.pieces import (
    MESSAGES_MAX,
    PIECES_MAX,
    Pieces,
    bytes_known,
    message_pieces,
    read_pieces,
    split,
)
from gateway.core.wire.body import peek
from gateway.core.wire.spans import elements

MARK = {"cache_control": {"type": "ephemeral"}}


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


def read(*messages: Any, beside: tuple[str, ...] = (), **fields: Any) -> Pieces | None:
    body = json.dumps({"model": "m", "messages": messages, **fields}).encode()
    return read_pieces(peek(body), body, beside)


def taken_apart(*messages: Any, beside: tuple[str, ...] = (), **fields: Any) -> Pieces:
    pieces = read(*messages, beside=beside, **fields)
    assert pieces is not None
    return pieces


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_string_is_the_same_piece_as_one_block_of_text_marked_or_not() -> None:
    spellings = ["hello", [text("hello")], [text("hello", **MARK)], [{**MARK, "text": "hello", "type": "text"}]]
    assert len({taken_apart(user(content)).digests for content in spellings}) == 1
    assert taken_apart(user("hello")).digests != taken_apart(user([text("hello", citations=[])])).digests


def test_piece_is_known_by_the_bytes_that_say_it_and_not_by_what_is_around_it() -> None:
    (piece,) = taken_apart(user("hello")).all
    assert piece.bytes_known == len('"hello"')
    assert piece.span[1] - piece.span[0] == len(json.dumps(user("hello")))
    assert bytes_known(taken_apart(user([text("hello")])).all, "message", "block") == len(json.dumps(text("hello")))


def test_place_tells_pieces_apart() -> None:
    block = text("x")
    asked = taken_apart(user([block]), system=[block], tools=[{"name": "a"}, {"name": "b"}])
    assert [piece.kind for piece in asked.all] == ["system", "tools", "tools", "block"]
    assert len(asked.digests) == 4


def test_each_known_piece_counts_once() -> None:
    pieces = taken_apart(user([text("a"), text("b"), text("a")]))
    alike, new = split(pieces.all, taken_apart(user("a")).digests)
    assert [piece.span for piece in alike] == [pieces.all[0].span]
    assert [piece.span for piece in new] == [each.span for each in pieces.all[1:]]


def test_settings_are_all_that_is_no_piece_and_may_not_differ() -> None:
    plain = taken_apart(user("a"))
    assert (
        taken_apart(user("b"), system="s", tools=[], max_tokens=7, metadata={"user_id": "u"}).settings == plain.settings
    )
    assert taken_apart(user("a"), tool_choice={"type": "any"}).settings != plain.settings
    assert taken_apart(user("a"), beside=("a-beta",)).settings != plain.settings


def test_kind_is_told_by_large_pieces_and_by_all_where_none_is_large() -> None:
    large = text("l" * 2_000)
    assert taken_apart(user([large, text("a")])).kind == taken_apart(user([large, text("b")])).kind
    assert taken_apart(user("a")).kind != taken_apart(user("b")).kind


def test_long_conversations_and_many_pieces_are_not_taken_apart() -> None:
    many, blocks = [user("x")] * (MESSAGES_MAX + 1), [text(str(index)) for index in range(PIECES_MAX + 1)]
    assert read(*many) is None
    assert read(user(blocks)) is None
    assert read(user(blocks[1:]), tools=[{"name": "one"}]) is None
    assert len(taken_apart(*many[1:]).all) == MESSAGES_MAX
    assert len(taken_apart(user(blocks[1:])).all) == PIECES_MAX


def test_message_block_or_system_block_with_a_key_twice_is_not_taken_apart() -> None:
    for messages, system in (
        (b'[{"role":"user","content":"a","content":"b"}]', b'"s"'),
        (b'[{"role":"user","content":[{"type":"text","text":"a","text":"b"}]}]', b'"s"'),
        (b"[]", b'[{"type":"text","text":"a","text":"b"}]'),
    ):
        body = b'{"model":"m","messages":%b,"system":%b}' % (messages, system)
        assert read_pieces(peek(body), body, ()) is None
    raw = b'[{"content":"a","content":"b"}]'
    assert message_pieces(raw, elements(raw)) is None
