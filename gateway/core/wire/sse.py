"""Server-sent events as frames: bytes in, frames out, and frames written. Not JSON, and not the meaning of an event.

Cutting follows the WHATWG grammar, which the clients' parsers implement: a line ends with LF, CR or CRLF, a blank line
ends an event, a byte order mark is skipped at the start of the stream only. Where parsers in use disagree (some skip a
mark at the start of every line) the stream is refused: what is decided must be what the client reads.

A CR at the end of what has arrived may be half of a CRLF, so an event ended by bare CRs is complete one byte later.

`text_run` and `input_run` are the shortcuts: deltas written exactly as the API writes them are recognised whole in C.
The patterns cover every byte of each frame, strings included, so nothing else can hide in a run.
"""

import re
from typing import Protocol

import msgspec

from gateway.errors import GatewayError, Reason

EVENT_BYTES_MAX = 8 * 1024 * 1024
"""Longest single event, and so the most that is kept while waiting for the end of one."""
REJOINED_BYTES_MAX = 4096
"""A begun event up to this size is joined with each new chunk; a larger one only when its end is in sight."""
RUN_FRAMES_MAX = 1000
COUNTED_BYTES_MIN = 2000
"""Text of a run from this size on is counted as a whole where it can be; below it that costs more than it saves."""

JSON_STRING = rb'[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+'
"""Pattern of everything that may stand between the quotes of a JSON string."""

_BOM = b"\xef\xbb\xbf"
_EOL = rb"(?>\r\n|\n|\r)"
_TEXT_HEAD = (
    rb'event: content_block_delta\ndata: \{"type": ?"content_block_delta", ?"index": ?(?:0|[1-9][0-9]{0,8}), ?'
    rb'"delta": ?\{"type": ?"(?:text_delta", ?"text|thinking_delta", ?"thinking)": ?"'
)
_TEXT_FRAME = _TEXT_HEAD + JSON_STRING + rb'"\} *\}\n\n'

_blank_line = re.compile(_EOL + _EOL)
_line_end = re.compile(_EOL)
_plain_frame = re.compile(rb"event: ([^\r\n]*+)\ndata: ([^\r\n]*+)\n\n")
_text_head = re.compile(_TEXT_HEAD)
_text_frame = re.compile(_TEXT_FRAME)
_text_frames = re.compile(rb"(?:%b){1,%d}+" % (_TEXT_FRAME, RUN_FRAMES_MAX))
_INPUT_FRAME = (
    rb'event: content_block_delta\ndata: \{"type": ?"content_block_delta", ?"index": ?(?:0|[1-9][0-9]{0,8}), ?'
    rb'"delta": ?\{"type": ?"input_json_delta", ?"partial_json": ?"' + JSON_STRING + rb'"\} *\}\n\n'
)
_input_frames = re.compile(rb"(?:%b){1,%d}+" % (_INPUT_FRAME, RUN_FRAMES_MAX))
_input_bodies = re.compile(
    rb'"content_block_delta", ?"index": ?([0-9]+), ?"delta": ?\{"type": ?"input_json_delta", ?"partial_json": ?"'
    rb"(" + JSON_STRING + rb')"\} *\}\n'
)
_text_bodies = re.compile(rb'"(?:text|thinking)": ?"([^"\\]*+(?:\\.[^"\\]*+)*+)"\} *\}\n')


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One event. `raw` is every byte of it with its blank line; the raws of a stream joined are the stream."""

    raw: bytes
    data: bytes = b""
    event: bytes = b""
    complete: bool = True
    """False for what was left when the stream ended inside an event; parsers discard it."""


class TextRun(msgspec.Struct, frozen=True, gc=False):
    """Consecutive text and thinking deltas."""

    raw: bytes
    chars: int
    """Characters of text, an escape counted as it is written."""


class InputRun(msgspec.Struct, frozen=True, gc=False):
    """Consecutive pieces of one tool call's input."""

    raw: bytes
    text: str
    """The pieces joined."""


class Framing(Protocol):
    """How events are laid out in a byte stream. `push`, then take runs and frames until there is none."""

    def push(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        ...

    def text_run(self) -> TextRun | None:
        """The text deltas that come next, when recognised as such; None says nothing about what comes next."""
        ...

    def input_run(self, index: int) -> InputRun | None:
        """The pieces of input of block `index` that come next, when recognised as such; None says nothing."""
        ...

    def next_frame(self) -> Frame | None:
        """The next complete event, or None until more bytes came."""
        ...

    def close(self) -> list[Frame]:
        """The stream ended: what was left."""
        ...

    def encode(self, event: str, data: bytes) -> bytes:
        """One event as bytes."""
        ...

    def rewrite(self, frame: Frame, data: bytes) -> bytes:
        """`frame` as bytes with other data; what else it holds stays where it can."""
        ...


class SseDecoder:
    """Incremental decoder; a `Framing`. Any split of a stream into chunks gives the same frames."""

    def __init__(self) -> None:
        self._buffer = b""
        self._at = 0
        self._begun: list[bytes] = []
        self._begun_bytes = 0
        self._first = True

    def feed(self, chunk: bytes) -> list[Frame]:
        """Events completed by `chunk`. Raises GatewayError(UPSTREAM_BROKE)."""
        self.push(chunk)
        frames: list[Frame] = []
        while (frame := self.next_frame()) is not None:
            frames.append(frame)
        return frames

    def push(self, chunk: bytes) -> None:
        """Take the next bytes. Raises GatewayError(UPSTREAM_BROKE) when a begun event would pass EVENT_BYTES_MAX."""
        if self._at < len(self._buffer):
            self._park()
        if self._begun_bytes > REJOINED_BYTES_MAX and not self._ends_in(chunk):
            self._keep(chunk)
            return
        self._buffer = b"".join((*self._begun, chunk)) if self._begun else chunk
        self._at = 0
        self._begun = []
        self._begun_bytes = 0

    def text_run(self) -> TextRun | None:
        """The text deltas at the front, if they are written as the API writes them."""
        for pattern in (_text_frames, _text_frame):
            found = pattern.match(self._buffer, self._at)
            if found is None:
                return None
            raw = found[0]
            if pattern is _text_frames and len(raw) > EVENT_BYTES_MAX:
                continue
            _check_bytes(len(raw))
            try:
                chars = _count_chars(raw)
            except UnicodeDecodeError:
                continue
            self._at = found.end()
            self._first = False
            return TextRun(raw, chars)
        return None

    def input_run(self, index: int) -> InputRun | None:
        """The pieces of input at the front, if they are written as the API writes them, all of block `index`.

        A piece with an escape by number is left to `next_frame`: the next must not complete half a surrogate pair.
        """
        found = _input_frames.match(self._buffer, self._at)
        if found is None or len(found[0]) > EVENT_BYTES_MAX:
            return None
        raw = found[0]
        pieces = _input_bodies.findall(raw)
        joined = b"".join([piece for _, piece in pieces])
        if b"\\u" in joined or any(int(each) != index for each, _ in pieces):
            return None
        try:
            text = msgspec.json.decode(b'"%b"' % joined, type=str) if b"\\" in joined else joined.decode()
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        self._at = found.end()
        self._first = False
        return InputRun(raw, text)

    def next_frame(self) -> Frame | None:
        """The next complete event. Raises GatewayError(UPSTREAM_BROKE)."""
        return self._cut(at_end=False)

    def close(self) -> list[Frame]:
        """The stream ended. An event ended by a bare CR is complete now; anything else left is one incomplete frame."""
        self.push(b"")
        self._buffer = b"".join((*self._begun, self._buffer))
        self._begun = []
        self._begun_bytes = 0
        frames: list[Frame] = []
        while (frame := self._cut(at_end=True)) is not None:
            frames.append(frame)
        rest = b"".join(self._begun)
        self._begun = []
        self._begun_bytes = 0
        return [*frames, Frame(rest, complete=False)] if rest else frames

    def encode(self, event: str, data: bytes) -> bytes:
        """One event as bytes."""
        return encode(event, data)

    def rewrite(self, frame: Frame, data: bytes) -> bytes:
        """The bytes of `frame` with other data; written anew when its data does not stand in one place."""
        if frame.raw.count(frame.data) != 1:
            return encode(frame.event.decode(), data)
        return frame.raw.replace(frame.data, data)

    def _cut(self, *, at_end: bool) -> Frame | None:
        buffer, at = self._buffer, self._at
        plain = _plain_frame.match(buffer, at)
        if plain is not None:
            end = plain.end()
            frame = Frame(plain[0], plain[2], plain[1])
        else:
            end = _find_end(buffer, at)
            if end < 0 or (not at_end and end == len(buffer) and buffer.endswith(b"\r")):
                self._park()
                return None
            frame = _parse_frame(buffer[at:end], first=self._first)
        _check_bytes(end - at)
        self._at = end
        self._first = False
        return frame

    def _park(self) -> None:
        rest = self._buffer[self._at :]
        self._buffer = b""
        self._at = 0
        self._keep(rest)

    def _ends_in(self, chunk: bytes) -> bool:
        """Does the begun event end in `chunk`? A line end before it, if there is one, ends the last piece kept."""
        return _find_end(b"x" + self._begun[-1][-3:] + chunk, 0) >= 0

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        _check_bytes(self._begun_bytes + len(piece))
        self._begun.append(piece)
        self._begun_bytes += len(piece)


def encode(event: str, data: bytes) -> bytes:
    """One event as bytes, without a name when `event` is empty; line ends inside `data` become further data lines."""
    lines = b"\ndata: ".join(data.splitlines())
    return b"%bdata: %b\n\n" % (b"event: %b\n" % event.encode() if event else b"", lines)


PING = encode("ping", b'{"type": "ping"}')


def _find_end(buffer: bytes, at: int) -> int:
    """Where the event that begins at `at` ends, its blank line included; -1 when that has not come."""
    if b"\r" in buffer:
        found = _line_end.match(buffer, at) or _blank_line.search(buffer, at)
        return found.end() if found else -1
    if buffer.startswith(b"\n", at):
        return at + 1
    found = buffer.find(b"\n\n", at)
    return found + 2 if found >= 0 else -1


def _check_bytes(size: int) -> None:
    if size > EVENT_BYTES_MAX:
        raise GatewayError(
            Reason.UPSTREAM_BROKE,
            f"The upstream sent an event longer than {EVENT_BYTES_MAX} bytes; the answer was ended before it. "
            "Send the request again.",
        )


def _count_chars(run: bytes) -> int:
    """Characters of text in a run. Many frames that differ in their text alone are not looked at one by one."""
    head = _text_head.match(run) if len(run) > COUNTED_BYTES_MIN else None
    if head is not None and b" }\n" not in run:
        frames = run.count(b"\n") // 3
        if run.count(head[0]) == frames:
            return len(run.decode()) - frames * (head.end() + len(b'"}}\n\n'))
    return len(b"".join(_text_bodies.findall(run)).decode())


def _parse_frame(raw: bytes, *, first: bool) -> Frame:
    lines = (raw.removeprefix(_BOM) if first else raw).splitlines()
    event = b""
    data: list[bytes] = []
    for line in lines:
        name, _, value = line.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
        elif name == b"event":
            event = value.removeprefix(b" ")
        elif name.startswith(_BOM):
            raise GatewayError(
                Reason.UPSTREAM_BROKE,
                "The upstream put a byte order mark inside its stream, which clients read differently; the answer was "
                "ended before that. Send the request again.",
            )
    return Frame(raw, b"\n".join(data), event)
