"""One level of JSON: spans, duplicates, exact replacement."""

import pytest

from gateway.core.wire.spans import Malformed, elements, members, splice

SPACED = b' { "model" : "claude-opus-5-5" ,\n "max_tokens":5, "messages" : [ ] }\n'


def test_spaced_object_gives_exact_spans() -> None:
    spans = members(SPACED)
    assert {name: SPACED[slice(*span)] for name, span in spans.items()} == {
        "model": b'"claude-opus-5-5"',
        "max_tokens": b"5",
        "messages": b"[ ]",
    }


def test_escaped_key_is_known_by_its_meaning() -> None:
    raw = b'{"mod\\u0065l":"a"}'
    assert raw[slice(*members(raw)["model"])] == b'"a"'


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{ "model" : "a" , "x":1, "model" : "bb"}',
        b'{"model":"a","x":{"model":"c"},"model":"a"}',
    ],
)
def test_duplicate_key_is_refused_by_name(raw: bytes) -> None:
    with pytest.raises(Malformed, match="model: the key occurs twice"):
        members(raw)


def test_same_key_at_another_level_is_no_duplicate() -> None:
    assert set(members(b'{"model":"a","x":{"model":"c"}}')) == {"model", "x"}


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"null", b"{", b'{"a":1}x', b'{"a":}', b"\xef\xbb\xbf{}", b"\x1f\x8b", b'{"\xff":1}']
)
def test_anything_but_an_object_is_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        members(raw)


def test_spaced_array_gives_exact_spans() -> None:
    raw = b' [ 1 , {"a":[2]} ,"x" ] '
    assert [raw[slice(*span)] for span in elements(raw)] == [b"1", b'{"a":[2]}', b'"x"']


def test_splice_takes_edits_in_any_order() -> None:
    assert splice(b"abcdef", [(4, 5, b""), (0, 1, b"XY"), (6, 6, b"!")]) == b"XYbcdf!"
    assert splice(b"abc", []) == b"abc"
