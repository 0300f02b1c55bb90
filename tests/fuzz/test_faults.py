"""Whatever an upstream answers: a fault is read without an error, is bounded, names no account, and can be written."""

import gzip
import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.wire.faults import (
    MESSAGE_CHARS_MAX,
    embedded_fault,
    exception_of,
    passes,
    read_exception,
    read_fault,
    redact,
    write_fault,
)
from gateway.core.wire.shapes import SHAPES, Shape

GUID = "11111111-2222-3333-4444-555555555555"
NAMES = [
    "arn:aws:iam::123456789012:role/gw",
    "123456789012",
    "projects/acme-prod-1/locations",
    "gw@acme-prod-1.iam.gserviceaccount.com",
    f"/subscriptions/{GUID}/x",
    f"tenant {GUID}",
    "vpce-1.bedrock.us-east-1.vpce.amazonaws.com",
    "10.0.0.7",
    "AKIAIOSFODNN7EXAMPLE",
]
GLUED = [f"'{name}'" if name[0].isdigit() else name for name in NAMES]
"""Among digits and dots, those that begin with a digit would be other numbers."""
PIECES = [
    *GLUED,
    "arn:aws:",
    "project ",
    "projects/",
    "@",
    ".",
    "-",
    "/",
    "1",
    "a",
    " ",
    "é",
    "\n",
    '"',
    "{",
    "\\",
    "\ud800",
]
KEYS = ["type", "error", "message", "Message", "__type", "status", "code", "originalStatusCode", "details", "content"]
WORDS = ["error", "invalid_request_error", "UNAVAILABLE", "ThrottlingException", "Input is too long", "404"]

shapes = st.sampled_from(SHAPES)
texts = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
values = st.recursive(
    texts | st.sampled_from(WORDS) | st.integers(-1, 700) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
documents = values.map(lambda value: json.dumps(value).encode())
bodies = documents | documents.map(gzip.compress) | st.binary(max_size=40) | documents.map(lambda body: body[:-1])
headers = st.lists(st.tuples(st.sampled_from(["x-amzn-ErrorType", "Retry-After", "x-other"]), texts), max_size=3)


def texts_of(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in [*value, *value.values()] for text in texts_of(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts_of(item)]
    return [value] if isinstance(value, str) else []


@settings(max_examples=300)
@given(shapes, st.integers(100, 999), headers, bodies)
def test_any_answer_is_a_bounded_fault_that_names_no_account(
    shape: Shape, status: int, sent: list[tuple[str, str]], body: bytes
) -> None:
    fault = read_fault(shape, status, sent, body)
    assert 400 <= fault.status <= 599 and 0 < len(fault.message) <= MESSAGE_CHARS_MAX + 100
    for dialect in SHAPES:
        written = write_fault(dialect, fault, "dec_1")
        assert 400 <= written.status <= 599 and fault.message in texts_of(json.loads(written.body))
        assert not any(name in written.body.decode() for name in NAMES)


@settings(max_examples=300)
@given(shapes, shapes, documents)
@example("bedrock", "bedrock", b'{"message":"arn:aws:iam::1:role/x","message":"y"}')
def test_body_that_passes_names_no_account(dialect: Shape, shape: Shape, body: bytes) -> None:
    if passes(dialect, shape, body):
        said = texts_of(json.loads(body))
        assert said and not any(name in text for name in NAMES for text in said)


@settings(max_examples=300)
@given(texts)
def test_redacted_text_holds_nothing_more_to_redact(text: str) -> None:
    once = redact(text)
    assert not any(name in once for name in NAMES)
    assert once is text or once != text


@settings(max_examples=300)
@given(shapes, bodies)
def test_fault_in_a_200_is_the_fault_of_the_same_error(shape: Shape, body: bytes) -> None:
    fault = embedded_fault(shape, body)
    assert fault is None or fault == read_fault(shape, 200, [], body)


@settings(max_examples=300)
@given(texts | st.sampled_from(WORDS), texts | documents.map(bytes.decode))
def test_any_exception_is_a_type_and_a_clean_message(name: str, message: str) -> None:
    error_type, shown = read_exception(name, message)
    assert exception_of(error_type).endswith("Exception") and shown.encode()
    assert not any(account in shown for account in NAMES)
