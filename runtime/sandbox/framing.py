"""Frames between a host and its sandbox: length, kind, id, payload. Bytes in, frames out; what they mean is not here.

Imports nothing, as little as the child can: a dataclass alone would add 7 ms to the start of each sandbox.
"""

FRAME_BYTES_MAX = 32 * 1024 * 1024
"""Of one frame, either way."""
HEAD_BYTES = 5

START, NEST, DELIVER = 1, 2, 3
"""To the sandbox: the run's script, a nested workflow for operation `id`, a settlement of operation `id`."""
READY, DRAINED, FAILED = 16, 17, 18
"""From it: what protects it, one drain, why it gives up."""
KINDS = frozenset({START, NEST, DELIVER, READY, DRAINED, FAILED})


class FrameFault(Exception):
    """These bytes are no frames."""


class Frame:
    """One message. `id` is 0 where no operation is meant."""

    __slots__ = ("id", "kind", "payload")

    def __init__(self, kind: int, id: int, payload: bytes) -> None:
        self.kind = kind
        self.id = id
        self.payload = payload


def encode(kind: int, payload: bytes, id: int = 0) -> bytes:
    """Raises `FrameFault` for a payload that the other side would refuse."""
    size = HEAD_BYTES + len(payload)
    if size > FRAME_BYTES_MAX:
        raise FrameFault(f"a message of {size} bytes is longer than {FRAME_BYTES_MAX}")
    return size.to_bytes(4, "big") + kind.to_bytes(1, "big") + id.to_bytes(4, "big") + payload


class Frames:
    """Cuts a stream of bytes into frames. Holds at most one frame that is not complete."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, received: bytes) -> list[Frame]:
        """The frames that are complete now. Raises `FrameFault`, after which the stream is useless."""
        held = self._held
        held += received
        frames: list[Frame] = []
        at = 0
        while len(held) - at >= 4:
            size = int.from_bytes(held[at : at + 4], "big")
            if not HEAD_BYTES <= size <= FRAME_BYTES_MAX:
                raise FrameFault(f"a frame cannot have {size} bytes")
            if len(held) - at - 4 < size:
                break
            frames.append(_frame(held, at + 4, size))
            at += 4 + size
        del held[:at]
        return frames

    @property
    def is_between(self) -> bool:
        """Nothing is held: the next byte begins a frame."""
        return not self._held


def _frame(held: bytearray, at: int, size: int) -> Frame:
    kind = held[at]
    if kind not in KINDS:
        raise FrameFault(f"there are no frames of kind {kind}")
    id = int.from_bytes(held[at + 1 : at + HEAD_BYTES], "big")
    return Frame(kind, id, bytes(held[at + HEAD_BYTES : at + size]))
