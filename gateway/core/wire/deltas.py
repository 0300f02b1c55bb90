"""Runs of plain deltas for framings that read frame by frame: what the gate need not look at one by one. Not a framing.

A run holds deltas written exactly as the API writes them. One pattern covers every byte of the JSON, strings included,
so nothing else can hide in a run; the first frame that is no such delta is kept for `next_frame`.
"""

import re
from abc import ABC, abstractmethod
from typing import NamedTuple

import msgspec

from gateway.core.wire.sse import JSON_STRING, RUN_FRAMES_MAX, Frame, InputRun, TextRun
from gateway.errors import GatewayError

_EVENT = b"content_block_delta"
_delta = re.compile(
    rb'\{"type": ?"content_block_delta", ?"index": ?(0|[1-9][0-9]{0,8}), ?'
    rb'"delta": ?\{"type": ?"(?:text_delta", ?"text|thinking_delta", ?"thinking|(input_json_delta", ?"partial_json))'
    rb'": ?"(' + JSON_STRING + rb')"\} *\}'
)


class _Delta(NamedTuple):
    block: int
    is_input: bool
    text: str
    """As it is written: escapes are not decoded."""


class FrameReader(ABC):
    """`next_frame` and the shortcuts over `_take`, which reads one frame; frames and faults come in their order."""

    def __init__(self) -> None:
        self._ahead: Frame | None = None
        self._fault: GatewayError | None = None

    @abstractmethod
    def _take(self) -> Frame | None:
        """The next complete event, or None. Raises GatewayError(UPSTREAM_BROKE)."""

    def next_frame(self) -> Frame | None:
        """The next complete event, or None until more bytes came. Raises GatewayError(UPSTREAM_BROKE)."""
        frame = self._ahead
        if frame is not None:
            self._ahead = None
            return frame
        if self._fault is not None:
            raise self._fault
        return self._take()

    def text_run(self) -> TextRun | None:
        """The text deltas that come next."""
        raws: list[bytes] = []
        chars = 0
        while len(raws) < RUN_FRAMES_MAX and (frame := self._look()) is not None:
            delta = _read(frame)
            if delta is None or delta.is_input:
                break
            raws.append(frame.raw)
            chars += len(delta.text)
            self._ahead = None
        return TextRun(b"".join(raws), chars) if raws else None

    def input_run(self, index: int) -> InputRun | None:
        """The pieces of input that come next, all of block `index`.

        A piece with an escape by number is left to `next_frame`: the next must not complete half a surrogate pair.
        """
        raws: list[bytes] = []
        texts: list[str] = []
        while len(raws) < RUN_FRAMES_MAX and (frame := self._look()) is not None:
            delta = _read(frame)
            if delta is None or not delta.is_input or delta.block != index or "\\u" in delta.text:
                break
            raws.append(frame.raw)
            texts.append(msgspec.json.decode(f'"{delta.text}"', type=str) if "\\" in delta.text else delta.text)
            self._ahead = None
        return InputRun(b"".join(raws), "".join(texts)) if raws else None

    def _look(self) -> Frame | None:
        """The next frame, left where it is; a fault waits for `next_frame`."""
        if self._ahead is None and self._fault is None:
            try:
                self._ahead = self._take()
            except GatewayError as error:
                self._fault = error
        return self._ahead


def _read(frame: Frame) -> _Delta | None:
    found = _delta.fullmatch(frame.data) if frame.event == _EVENT else None
    if found is None:
        return None
    try:
        return _Delta(int(found[1]), found[2] is not None, found[3].decode())
    except UnicodeDecodeError:
        return None
