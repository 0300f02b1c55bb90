"""The process of a sandbox: takes frames from its host, drives the contexts of one run, answers with drains.

Not to be imported by the host. What it says is hostile to the host by definition: `judge` decides what is believed.
"""

import os
import sys
import time

from runtime.sandbox.engine import Allowance, Broken, Script, flooded, load_prelude, out_of_memory
from runtime.sandbox.framing import DELIVER, DRAINED, FAILED, NEST, READY, START, Frame, FrameFault, Frames, encode
from runtime.sandbox.hardening import harden

READ_BYTES = 256 * 1024
ANSWER_BYTES_HELD = 128 * 1024
ANSWER_SECONDS_HELD = 0.25
"""Answers are written together, up to about so many bytes and seconds."""
RETURNED_BYTES = len(b'{"end":"returned","value":}')
ROOT = 0
"""Key of the run's own script; a nested workflow has the id of its operation + 1."""


class Child:
    """The contexts of one run. Frames in, frames out."""

    def __init__(self, prelude: str, bounds: dict[str, int], allowance: Allowance) -> None:
        self._prelude = prelude
        self._bounds = bounds
        self._allowance = allowance
        self._scripts: dict[int, Script] = {}
        self._heap_bytes: dict[int, int] = {}
        self._owners: dict[int, int] = {}
        self._running = ROOT
        self._shared = ""
        self._next_id = 0
        self._ops: list[str] = []
        self._end = ""

    @property
    def ended(self) -> bool:
        """The run's own script has ended."""
        return self._end != ""

    def answer(self, frame: Frame) -> bytes:
        """One drain. Raises `Broken`, `FrameFault`, `MemoryError`."""
        self._ops = []
        self._allowance.begin()
        text = frame.payload.decode()
        if frame.kind == START:
            self._start(ROOT, text, "")
        elif frame.kind == NEST:
            owner = self._owners.pop(frame.id)
            self._heap_bytes[owner] = self._scripts[owner].heap_bytes()
            self._start(frame.id + 1, text, str(self._tell(owner, "inner", frame.id)))
        elif frame.kind == DELIVER:
            self._deliver(frame.id, text)
        else:
            raise FrameFault("a frame that is none for a sandbox")
        return self._drained(self._allowance.end())

    def _start(self, key: int, text: str, scope: str) -> None:
        lines = text.count("\\n") + 2
        self._scripts[key] = Script(self._prelude, self._bounds, self._allowance, lines=lines)
        self._go(key, "start", text, key, scope)

    def _deliver(self, id: int, text: str) -> None:
        owner = self._owners.pop(id, None)
        if owner in self._scripts:
            self._go(owner, "deliver", text)

    def _go(self, key: int, verb: str, *words: str | int) -> None:
        """Tell one context something and drain it. The end of a nested workflow goes on into its parent."""
        self._tell(key, verb, *words)
        script = self._scripts[key]
        taken = script.drain()
        for id in range(self._next_id, taken.next_id):
            self._owners[id] = key
        self._next_id, self._shared = taken.next_id, taken.shared
        self._ops += taken.ops
        if taken.standing == "memory":
            raise out_of_memory()
        if taken.standing == "flooded":
            raise flooded()
        if taken.standing == "ended":
            self._conclude(key, str(script.tell("outcome")))
        elif len(self._scripts) > 1:
            self._heap_bytes[key] = script.heap_bytes()

    def _conclude(self, key: int, end: str) -> None:
        if key == ROOT:
            self._end = end
            return
        del self._scripts[key]
        self._heap_bytes.pop(key, None)
        self._go(ROOT, "conclude", key - 1, end)

    def _tell(self, key: int, verb: str, *words: str | int) -> str | int | bool | None:
        script = self._scripts[key]
        if key != self._running:
            script.set_heap_bytes(self._free_bytes(key))
            script.tell("enter", self._shared)
            self._running = key
        return script.tell(verb, *words)

    def _free_bytes(self, key: int) -> int:
        """The heap is one for the run: what the other contexts hold is taken."""
        others = sum(held for other, held in self._heap_bytes.items() if other != key)
        return max(self._bounds["heapBytes"] - others, 1)

    def _drained(self, cpu_seconds: float) -> bytes:
        end = self._end.encode()
        value_bytes, value_bytes_max = len(end) - RETURNED_BYTES, self._bounds["artefactBytes"]
        if value_bytes > value_bytes_max:
            message = f"the result has {value_bytes} bytes of JSON, and may have {value_bytes_max}"
            end = b'{"end":"threw","code":"result_too_large","message":"' + message.encode() + b'"}'
        ops = ",".join(self._ops).encode()
        payload = b'{"ops":[' + ops + b'],"end":' + (end or b"null") + b',"cpu_seconds":%.6f}' % cpu_seconds
        try:
            return encode(DRAINED, payload)
        except FrameFault:
            raise flooded() from None


def main() -> None:
    """Serve one host until it closes the pipe or the script is over."""
    host_pid, drain_seconds, total_seconds, *words = sys.argv[3:]
    bounds = {name: int(value) for name, _, value in (word.partition("=") for word in words)}
    prelude = load_prelude(os.path.join(os.path.dirname(__file__), "prelude"))
    os.close(2)
    had = harden(bounds["heapBytes"], float(total_seconds), int(host_pid))
    _write(encode(READY, " ".join(had).encode()))
    _serve(Child(prelude, bounds, Allowance(float(drain_seconds), float(total_seconds))))
    os._exit(0)


def _serve(child: Child) -> None:
    frames = Frames()
    while received := os.read(0, READ_BYTES):
        answers = b""
        since = time.monotonic()
        for frame in frames.feed(received):
            answer, goes_on = _answered(child, frame)
            answers += answer
            if not goes_on:
                _write(answers)
                return
            if len(answers) > ANSWER_BYTES_HELD or time.monotonic() - since > ANSWER_SECONDS_HELD:
                _write(answers)
                answers = b""
                since = time.monotonic()
        _write(answers)


def _answered(child: Child, frame: Frame) -> tuple[bytes, bool]:
    """The answer, and whether the next frame may be taken up."""
    try:
        return child.answer(frame), not child.ended
    except Broken as broken:
        return _failed(broken), False
    except MemoryError:
        return _failed(out_of_memory()), False


def _failed(broken: Broken) -> bytes:
    return encode(FAILED, f"{broken.code} {broken.message}".encode("utf-8", "replace"))


def _write(answers: bytes) -> None:
    left = memoryview(answers)
    while left:
        left = left[os.write(1, left) :]
