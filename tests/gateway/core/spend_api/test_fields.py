"""What clients send is read strictly, and complained of as the API's clients know it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.spend_api.fields import LIST_ITEMS_MAX, Asked, Fields, Malformed, decode_object, kind_of

NOT_JSON = [b"", b"{", b'{"a":NaN}', b"\xff", b"[" * 100_000, b'{"a":1}x', b'{"a":' + b"9" * 5000 + b"}"]


@pytest.mark.parametrize("body", NOT_JSON)
def test_body_that_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed, match="^invalid JSON body$"):
        decode_object(body)


@pytest.mark.parametrize(("body", "kind"), [(b"[]", "array"), (b"null", "null"), (b"1", "number"), (b'"x"', "string")])
def test_body_that_is_no_object_is_named_by_its_type(body: bytes, kind: str) -> None:
    with pytest.raises(Malformed, match=f"^Expected object, received {kind}$"):
        decode_object(body)


@given(st.binary(max_size=60))
def test_any_body_is_an_object_or_a_complaint(body: bytes) -> None:
    try:
        assert decode_object(body) == json.loads(body)
    except Malformed as error:
        assert str(error).isprintable()


def test_name_that_comes_twice_is_refused_at_any_depth() -> None:
    with pytest.raises(Malformed, match="^amount: given twice$"):
        decode_object(b'{"amount":"1","amount":"2"}')
    with pytest.raises(Malformed, match="^type: given twice$"):
        decode_object(b'{"scope":{"type":"user","type":"organization"}}')


def test_kinds_are_those_of_json() -> None:
    values: list[Any] = [None, True, 1, 1.5, "x", [], {}]
    assert [kind_of(value) for value in values] == [
        "null",
        "boolean",
        "number",
        "number",
        "string",
        "array",
        "object",
    ]


COMPLAINTS: list[tuple[Any, str]] = [
    (lambda fields: fields.text("absent"), "here.absent: Required"),
    (lambda fields: fields.text("number"), "here.number: Expected string, received number"),
    (lambda fields: fields.text("empty"), "here.empty: String must contain at least 1 character(s)"),
    (lambda fields: fields.text("long"), "here.long: String must contain at most 256 character(s)"),
    (lambda fields: fields.text("control"), "here.control: must be printable"),
    (lambda fields: fields.flag("text"), "here.text: Expected boolean, received string"),
    (lambda fields: fields.inner("text"), "here.text: Expected object, received string"),
    (lambda fields: fields.choice("text", ("a", "b"), "a"), "Invalid enum value. Expected 'a' | 'b', received 'plain'"),
    (lambda fields: fields.choice("number", ("a",), "a"), "here.number: Expected 'a', received number"),
    (lambda fields: fields.texts("mixed"), "here.mixed.1: Expected string, received number"),
    (lambda fields: fields.texts("crowd"), f"Array must contain at most {LIST_ITEMS_MAX} element(s)"),
    (lambda fields: fields.texts("text"), "here.text: Expected array, received string"),
    (lambda fields: fields.percents("mixed", (), 100), "here.mixed.0: must be a whole number between 1 and 100"),
    (lambda fields: fields.percents("flags", (), 100), "here.flags.0: must be a whole number between 1 and 100"),
    (lambda fields: fields.percents("falling", (), 100), "here.falling: must be in ascending order"),
    (lambda fields: fields.require_known(("text",)), "here.number: Unrecognized key"),
]
VALUES: dict[str, Any] = {
    "text": "plain",
    "number": 7,
    "empty": "",
    "long": "x" * 257,
    "control": "a\nb",
    "mixed": ["a", 7],
    "crowd": [str(number) for number in range(LIST_ITEMS_MAX + 1)],
    "flags": [True],
    "falling": [95, 75],
}


@pytest.mark.parametrize(("read", "complaint"), COMPLAINTS)
def test_value_of_another_type_is_refused_with_its_place(read: Any, complaint: str) -> None:
    with pytest.raises(Malformed) as error:
        read(Fields(VALUES, "here."))
    assert str(error.value).endswith(complaint)


def test_what_is_right_is_read_and_what_is_absent_has_its_default() -> None:
    fields = Fields({"text": "x", "names": ["b", "a", "b"], "warn": [50, 75], "flag": True, "none": None})
    assert (fields.text("text"), fields.texts("names"), fields.percents("warn", (), 100)) == ("x", ("a", "b"), (50, 75))
    assert fields.flag("flag") and not fields.flag("absent") and fields.is_null("none") and not fields.is_null("text")
    assert fields.choice("absent", ("a",), "a") == "a" and fields.percents("absent", (9,), 100) == (9,)


def test_complaint_shows_nothing_that_harms_a_log() -> None:
    with pytest.raises(Malformed) as error:
        Fields({"a\nb\x1b[31m" + "x" * 500: 1}).require_known(())
    assert str(error.value).isprintable() and len(str(error.value)) < 100


def test_query_knows_lists_with_and_without_brackets_and_nothing_else() -> None:
    asked = Asked([("user_ids[]", "a"), ("user_ids", "b"), ("user_ids[]", "a"), ("limit", "7")], {"user_ids", "limit"})
    assert asked.several("user_ids") == ("a", "b")
    assert asked.limit(20, 1000) == 7 and asked.one("absent") is None
    with pytest.raises(Malformed, match="^userids: Unrecognized key$"):
        Asked([("userids", "a")], {"user_ids"})
    with pytest.raises(Malformed, match="^q: must be given once$"):
        Asked([("q", "a"), ("q", "b")], {"q"}).one("q")


@pytest.mark.parametrize("text", ["0", "1001", "", "ten", "-1", "1.5", "9" * 30, "²"])
def test_limit_of_a_page_is_bounded(text: str) -> None:
    with pytest.raises(Malformed, match="^limit: must be between 1 and 1000$"):
        Asked([("limit", text)], {"limit"}).limit(20, 1000)
