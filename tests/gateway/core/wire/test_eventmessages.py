"""Messages of the event stream: those we write are read by botocore, those we read are read in one way or refused."""

import base64
import json
import struct

import pytest
from botocore.eventstream import EventStreamBuffer

from gateway.core.wire.eventmessages import (
    encode_chunk,
    encode_error,
    encode_exception,
    encode_message,
    event_name,
    parse_headers,
    read_message,
)
from gateway.core.wire.sse import Frame
from gateway.errors import GatewayError, Reason
from tests.support.clouds.eventstream import CHUNK, exception, header, message, string_headers
from tests.support.dialects import event_messages
from tests.support.eventstreams import sdk_events

STOP = b'{"type":"message_stop"}'
STOP_BASE64 = base64.b64encode(STOP).decode()


def read(payload: bytes, **fields: str) -> Frame:
    """A message with the headers of a chunk, some replaced."""
    headers = {
        name: value for name, value in (CHUNK | {f":{k.replace('_', '-')}": v for k, v in fields.items()}).items()
    }
    raw = message(string_headers(headers), payload)
    return read_message(raw, dict(headers), payload)


def test_chunk_is_read_by_botocore() -> None:
    (found,) = event_messages(encode_chunk(STOP))
    assert found.headers == CHUNK
    assert base64.b64decode(json.loads(found.payload)["bytes"]) == STOP


def test_chunk_is_read_by_the_official_sdk() -> None:
    assert sdk_events(encode_chunk(STOP)) == [("message_stop", {"type": "message_stop"})]


def test_exception_is_read_by_the_official_sdk() -> None:
    ((name, event),) = sdk_events(encode_exception("throttlingException", 'slow "down" é'))
    assert name == "error"
    assert event["error"] == {"type": "throttlingException", "message": 'slow "down" é'}


def test_error_event_becomes_an_exception_that_botocore_knows() -> None:
    data = b'{"type":"error","error":{"type":"rate_limit_error","message":"wait"}}'
    (found,) = event_messages(encode_error(data))
    assert found.headers[":exception-type"] == "throttlingException"
    assert json.loads(found.payload) == {"message": "wait"}


@pytest.mark.parametrize("data", [b"", b"no json", b"[]", b'{"error":5}', b'{"error":{"type":5,"message":[]}}'])
def test_error_event_without_words_is_still_an_exception(data: bytes) -> None:
    (found,) = event_messages(encode_error(data))
    assert found.headers[":message-type"] == "exception"
    assert json.loads(found.payload) == {"message": ""}


def test_message_with_headers_of_ours_is_read_by_botocore() -> None:
    (found,) = event_messages(encode_message([("a", "é"), ("b", "")], b"payload"))
    assert found.headers == {"a": "é", "b": ""}
    assert found.payload == b"payload"


def test_headers_of_every_type_agree_with_botocore() -> None:
    raw = b"".join(
        (
            header("true", 0, b""),
            header("false", 1, b""),
            header("byte", 2, b"\x01"),
            header("short", 3, b"\x00\x01"),
            header("int", 4, bytes(4)),
            header("long", 5, bytes(8)),
            header("bytes", 6, struct.pack(">H", 3) + b"abc"),
            header("time", 8, bytes(8)),
            header("uuid", 9, bytes(16)),
            header("text", 7, struct.pack(">H", 2) + "é".encode()),
        )
    )
    buffer = EventStreamBuffer()
    buffer.add_data(message(raw, b""))
    headers = parse_headers(raw)
    assert headers["text"] == "é"
    assert list(headers) == list(next(buffer).headers)


@pytest.mark.parametrize(
    "raw",
    [
        b"\x05a",
        b"\x01a",
        header("a", 10, b""),
        header("a", 255, b""),
        header("a", 5, bytes(7)),
        header("a", 7, b"\x00"),
        header("a", 7, b"\x00\x05abc"),
        header("a", 7, b"\x00\x01\xff"),
        header("a", 0, b"") + header("a", 1, b""),
        b"\x01\xff\x00",
    ],
)
def test_headers_that_cannot_be_read_are_refused(raw: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        parse_headers(raw)
    assert caught.value.reason is Reason.UPSTREAM_BROKE


@pytest.mark.parametrize(
    "payload",
    [
        '{"bytes":"%s"}',
        '{"bytes":"%s","p":"abcDEF123"}',
        '{ "p" : "abc", "bytes" : "%s", "other" : [1] }',
        '{"p":"a\\u0062","bytes":"%s"}',
    ],
)
def test_event_of_a_chunk_is_shown(payload: str) -> None:
    frame = read((payload % STOP_BASE64).encode())
    assert (frame.data, frame.event) == (STOP, b"message_stop")


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "[]",
        "5",
        "{}",
        "{",
        '{"type":"message_stop"}',
        '{"bytes":5}',
        '{"bytes":null}',
        '{"bytes":["%s"]}',
        '{"Bytes":"%s"}',
        '{"BYTES":"%s","bytes":"%s"}',
        '{"byte\u017f":"%s","bytes":"%s"}',
        '{"bytes":"%s","bytes":"%s"}',
        '{"bytes":"%s","\\u0062ytes":"%s"}',
        '{"bytes":"%s"}{}',
        '{"bytes":"%s"} x',
        '{"bytes":"%s","x":NaN}',
        '{"bytes":"%s',
        '{"bytes":"eyJ9"}'.replace("9", "é"),
        '{"bytes":"e30"}',
        '{"bytes":"e30=="}',
        '{"bytes":"e30=e30="}',
        '{"bytes":"e3 0="}',
        '{"bytes":"e30\\n="}',
        '{"bytes":"____"}',
        '{"bytes":"="}',
    ],
)
def test_chunk_that_clients_could_read_differently_is_refused(payload: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read(payload.replace("%s", STOP_BASE64).encode())
    assert caught.value.reason is Reason.UPSTREAM_BROKE


def test_chunk_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(GatewayError):
        read(b'{"bytes":"e30=","x":"\xff"}')


@pytest.mark.parametrize("payload", ["", "{}", '{"anything": [1]}'])
def test_event_of_an_unknown_kind_passes_unread(payload: str) -> None:
    frame = read(payload.encode(), event_type="initial-response")
    assert (frame.data, frame.event) == (b"", b"")
    assert frame.raw.endswith(payload.encode() + frame.raw[-4:])


@pytest.mark.parametrize("payload", ['{"bytes":"e30="}', '{"Bytes":"e30="}', '{"\\u0062ytes":1}', "bytes", "[]"])
def test_event_of_an_unknown_kind_that_may_hold_a_chunk_is_refused(payload: str) -> None:
    with pytest.raises(GatewayError):
        read(payload.encode(), event_type="Chunk")


@pytest.mark.parametrize("kind", ["", "Event", "other"])
def test_message_of_an_unknown_type_is_refused(kind: str) -> None:
    with pytest.raises(GatewayError):
        read(b'{"bytes":"e30="}', message_type=kind)


def test_message_without_a_type_is_refused() -> None:
    with pytest.raises(GatewayError):
        read_message(b"", {}, b"{}")


def test_message_whose_type_is_no_string_is_refused() -> None:
    with pytest.raises(GatewayError):
        read_message(b"", {":message-type": None, ":event-type": "chunk"}, b'{"bytes":"e30="}')


def test_exception_is_an_error_event() -> None:
    payload = b'{"message":"Too many tokens."}'
    raw = exception("throttlingException", payload)
    frame = read_message(raw, {":message-type": "exception", ":exception-type": "throttlingException"}, payload)
    assert frame.event == b"error"
    assert json.loads(frame.data)["error"] == {"type": "rate_limit_error", "message": "Too many tokens."}
    assert frame.raw == raw


def test_error_message_is_an_error_event() -> None:
    headers = {":message-type": "error", ":error-code": "throttlingException", ":error-message": "Wait."}
    raw = message(string_headers(headers), b"")
    frame = read_message(raw, dict(headers), b"")
    assert json.loads(frame.data)["error"] == {"type": "rate_limit_error", "message": "Wait."}
    assert frame.raw == raw


@pytest.mark.parametrize("payload", [b"", b"<html>", b"[1]", b'{"message":5}', b"\xff", b"[" * 5000])
def test_exception_without_words_is_an_error_event(payload: bytes) -> None:
    frame = read_message(b"raw", {":message-type": "exception"}, payload)
    assert frame.event == b"error"
    assert json.loads(frame.data)["error"]["type"] == "api_error"


ARN = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abcdef"


@pytest.mark.parametrize(
    "said",
    [
        {"message": f"No access to {ARN}."},
        {"Message": f"No access to {ARN}."},
        {"message": "The model failed.", "originalMessage": f"in {ARN}"},
    ],
)
def test_exception_that_names_an_account_is_written_without_it(said: dict[str, str]) -> None:
    for payload in (json.dumps(said).encode(), json.dumps(said).replace("arn:aws", "\\u0061rn:aws").encode()):
        raw = exception("validationException", payload)
        frame = read_message(raw, {":message-type": "exception", ":exception-type": "validationException"}, payload)
        ((name, event),) = sdk_events(frame.raw)
        assert name == "error"
        assert event["error"]["type"] == "validationException"
        assert "123456789012" not in frame.data.decode() + str(event_messages(frame.raw)[0].payload)


@pytest.mark.parametrize(
    "payload",
    [
        f'{{"message":"No {ARN}","message":"No."}}',
        f'{{"message":"No.","message":"No {ARN}"}}',
        f"<html>No {ARN}</html>",
        f'{{"message":"No.","deep":{"[" * 2000}"{ARN}"{"]" * 2000}}}',
    ],
)
def test_exception_that_clients_read_differently_is_written_anew(payload: str) -> None:
    headers: dict[str, str | None] = {":message-type": "exception", ":exception-type": "validationException"}
    frame = read_message(exception("validationException", payload.encode()), headers, payload.encode())
    assert event_messages(frame.raw)[0].headers[":exception-type"] == "validationException"
    assert b"123456789012" not in frame.raw + frame.data


def test_error_that_names_an_account_is_written_without_it() -> None:
    headers: dict[str, str | None] = {":message-type": "error", ":error-code": "x", ":error-message": f"No {ARN}"}
    frame = read_message(b"raw", headers, b"")
    assert event_messages(frame.raw)[0].headers[":message-type"] == "exception"
    assert "123456789012" not in (frame.raw + frame.data).decode(errors="replace")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'{"type":"ping"}', b"ping"),
        (b'{"type": "ping", "x": 1}', b"ping"),
        (b' {"x":1,"type":"ping"}', b"ping"),
        (b'{"x":1}', b""),
        (b'{"x":1,"type":5}', b""),
        (b'{"type":"a\\nb"}', b""),
        (b'{"type":"a b"}', b""),
        (b'{"type":""}', b""),
        (b'{"type":"\xc3\xa9"}', b""),
        (b'{"type":"' + b"x" * 65 + b'"}', b""),
        (b"[]", None),
        (b"5", None),
        (b"{", None),
        (b"", None),
        (b'{"x":"\xff"', None),
        (b"[" * 5000, None),
    ],
)
def test_name_of_an_event_is_its_type_when_that_is_plain(data: bytes, name: bytes | None) -> None:
    assert event_name(data) == name
