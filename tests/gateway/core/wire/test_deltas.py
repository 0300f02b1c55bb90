"""Runs taken frame by frame: what they hold, where they end, and that nothing is lost or reordered around them."""

from collections.abc import Iterable

import pytest

from gateway.core.wire.deltas import FrameReader
from gateway.core.wire.sse import RUN_FRAMES_MAX, Frame, InputRun, SseDecoder, TextRun
from gateway.errors import GatewayError, Reason
from tests.support.streams import block_stop, delta, event, json_delta, text_delta


class Script(FrameReader):
    """Frames from a list, then a fault when one is given."""

    def __init__(self, frames: Iterable[Frame], fault: GatewayError | None = None) -> None:
        super().__init__()
        self.frames = list(frames)
        self.fault = fault

    def _take(self) -> Frame | None:
        if self.frames:
            return self.frames.pop(0)
        if self.fault is not None:
            raise self.fault
        return None


def reader(*events: bytes) -> Script:
    """A reader of events written as server-sent events."""
    return Script(SseDecoder().feed(b"".join(events)))


def test_text_and_thinking_deltas_are_one_run() -> None:
    events = (text_delta(0, "ab"), delta(0, type="thinking_delta", thinking="é"), text_delta(3, 'x"'))
    assert reader(*events).text_run() == TextRun(b"".join(events), 6)


def test_frame_after_a_run_comes_next() -> None:
    found = reader(text_delta(0, "a"), block_stop(0), text_delta(1, "b"))
    assert found.text_run() == TextRun(text_delta(0, "a"), 1)
    assert found.text_run() is None
    assert found.next_frame() == SseDecoder().feed(block_stop(0))[0]
    assert found.text_run() == TextRun(text_delta(1, "b"), 1)
    assert found.next_frame() is None


def test_input_of_a_block_is_one_run_with_its_text() -> None:
    events = (json_delta(2, '{"a":'), json_delta(2, ""), json_delta(2, '"é\\n\t"}'))
    assert reader(*events).input_run(2) == InputRun(b"".join(events), '{"a":"é\\n\t"}')


@pytest.mark.parametrize(
    "other",
    [
        json_delta(1, "x"),
        text_delta(0, "x"),
        block_stop(0),
        json_delta(0, "").replace(b'"partial_json":""', b'"partial_json":"\\u0061"'),
        json_delta(0, "").replace(b'"partial_json":""', b'"partial_json":5'),
        json_delta(0, "").replace(b'"partial_json":""', b'"partial_json":"","x":""'),
        json_delta(0, "\xff").replace("\xff".encode(), b"\xff"),
    ],
)
def test_input_run_ends_before_anything_else(other: bytes) -> None:
    found = reader(json_delta(0, "{"), other)
    assert found.input_run(0) == InputRun(json_delta(0, "{"), "{")
    assert found.input_run(0) is None
    frame = found.next_frame()
    assert frame is not None
    assert frame.raw == other


@pytest.mark.parametrize(
    "other",
    [
        json_delta(0, "x"),
        event("content_block_delta", delta={"type": "text_delta", "text": "x"}, index=0),
        text_delta(0, "x").replace(b'"index":0', b'"index":00'),
        text_delta(0, "x").replace(b'"index":0', b'"index":-1'),
        text_delta(0, "x").replace(b'"text":"x"', b'"text":"x","text":"y"'),
        text_delta(0, "x").replace(b'"text":"x"', b'"thinking":"x"'),
        text_delta(0, "x").replace(b'"text":"x"', b'"text":"\\x"'),
        text_delta(0, "x").replace(b'"text":"x"', b'"text":"\xff"'),
        text_delta(0, "x").replace(b"event: content_block_delta", b"event: ping"),
        text_delta(0, "x").replace(b"event: content_block_delta\n", b""),
    ],
)
def test_delta_written_otherwise_is_a_frame(other: bytes) -> None:
    found = reader(other)
    assert found.text_run() is None
    assert found.next_frame() == SseDecoder().feed(other)[0]


def test_run_has_a_longest() -> None:
    found = reader(*(text_delta(0, "x") for _ in range(RUN_FRAMES_MAX + 2)))
    first, rest = found.text_run(), found.text_run()
    assert first is not None
    assert rest == TextRun(text_delta(0, "x") * 2, 2)


def test_fault_comes_after_the_run_before_it() -> None:
    fault = GatewayError(Reason.UPSTREAM_BROKE, "broke")
    found = Script(SseDecoder().feed(text_delta(0, "a")), fault)
    assert found.text_run() == TextRun(text_delta(0, "a"), 1)
    assert found.text_run() is None
    for _ in range(2):
        with pytest.raises(GatewayError):
            found.next_frame()
