"""Frames come out as they went in, however the bytes are cut; what is no frame is refused before it is held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sandbox.framing import DRAINED, FRAME_BYTES_MAX, KINDS, Frame, FrameFault, Frames, encode

frames = st.lists(
    st.tuples(st.sampled_from(sorted(KINDS)), st.binary(max_size=200), st.integers(0, 2**32 - 1)), max_size=8
)


def shown(found: list[Frame]) -> list[tuple[int, bytes, int]]:
    return [(frame.kind, frame.payload, frame.id) for frame in found]


@given(frames, st.lists(st.integers(1, 40)))
def test_stream_cut_anywhere_gives_the_same_frames(sent: list[tuple[int, bytes, int]], sizes: list[int]) -> None:
    stream = b"".join(encode(kind, payload, id) for kind, payload, id in sent)
    decoder, found = Frames(), list[Frame]()
    for size in [*sizes, len(stream)]:
        found += decoder.feed(stream[:size])
        stream = stream[size:]
    assert shown(found) == sent
    assert decoder.is_between


@given(frames)
def test_stream_byte_by_byte_gives_the_same_frames(sent: list[tuple[int, bytes, int]]) -> None:
    stream = b"".join(encode(kind, payload, id) for kind, payload, id in sent)
    decoder = Frames()
    found = [frame for at in range(len(stream)) for frame in decoder.feed(stream[at : at + 1])]
    assert shown(found) == sent


@given(st.binary(max_size=300))
def test_any_bytes_give_frames_or_a_fault(stream: bytes) -> None:
    decoder = Frames()
    try:
        found = decoder.feed(stream)
    except FrameFault:
        return
    assert all(frame.kind in KINDS for frame in found)
    assert b"".join(encode(frame.kind, frame.payload, frame.id) for frame in found) == stream[: _taken(found)]


def _taken(found: list[Frame]) -> int:
    return sum(9 + len(frame.payload) for frame in found)


def test_length_above_the_bound_is_refused_before_anything_is_held() -> None:
    with pytest.raises(FrameFault, match="bytes"):
        Frames().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))


def test_payload_above_the_bound_is_not_sent() -> None:
    with pytest.raises(FrameFault, match="longer than"):
        encode(DRAINED, bytes(FRAME_BYTES_MAX))


def test_half_a_frame_is_kept_until_its_rest_comes() -> None:
    decoder, stream = Frames(), encode(DRAINED, b"abc", 7)
    assert decoder.feed(stream[:6]) == []
    assert not decoder.is_between
    assert shown(decoder.feed(stream[6:])) == [(DRAINED, b"abc", 7)]
