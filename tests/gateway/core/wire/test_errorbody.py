"""What an error body says and in which shape."""

import json

import pytest

from gateway.core.wire.errorbody import NESTED_WITHIN_CHARS, Said, is_clean, read_envelope, read_error

ENVELOPE = '{"type":"error","error":{"type":"api_error","message":"m"}}'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (ENVELOPE, Said("anthropic", "api_error", "m")),
        ('{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}', Said("vertex", "UNAVAILABLE", "m", 503)),
        ('[{"error":{"message":"m"}},{}]', Said("vertex", "", "m", wrapped=True)),
        ('{"error":{"code":"NotFound","message":"m"}}', Said("vertex", "NotFound", "m")),
        ('{"error":"invalid_grant","error_description":"m"}', Said("vertex", "invalid_grant", "m")),
        ('{"Message":"m","__type":"a#B"}', Said("bedrock", "a#B", "m")),
        ('{"message":"m","originalStatusCode":429}', Said("bedrock", "", "m", 429)),
        ('{"message":"m","originalMessage":"o","originalStatusCode":true}', Said("bedrock", "", "o")),
        ("\ufeff" + ENVELOPE, Said("anthropic", "api_error", "m")),
    ],
)
def test_error_body_is_told_by_its_members(body: str, said: Said) -> None:
    assert read_error(body.encode()) == said


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b'"error"',
        b"[" * 50_000,
        b"\x1f\x8bbroken",
        b'{"message":"\xff"}',
        b'{"message":"a","message":"b"}',
        b'{"message":7,"error":null}',
        b'{"message":"the answer","content":[]}',
        b'{"id":"msg_1","type":"message"}',
    ],
)
def test_body_that_is_no_error_or_unreadable_says_nothing(body: bytes) -> None:
    assert read_error(body) is None


def test_envelope_with_an_unspeakable_type_is_no_envelope() -> None:
    said = read_error(ENVELOPE.replace("api_error", "<b>").encode())
    assert said is not None and (said.form, said.code) == ("vertex", "")


def test_envelope_is_found_behind_words_but_not_far_behind() -> None:
    assert read_envelope(f"The model said: {ENVELOPE}") == Said("anthropic", "api_error", "m", nested=True)
    assert read_envelope(" " * NESTED_WITHIN_CHARS + ENVELOPE) is None
    assert read_envelope('{"error": {"message": "m"}}') is None


def test_escapes_and_keys_are_seen_through() -> None:
    assert is_clean(ENVELOPE.encode())
    assert not is_clean(b'{"a\\u0072n:aws:s3:::bucket": 1}')
    assert not is_clean(json.dumps({"details": [{"deep": "123456789012"}]}).encode())
