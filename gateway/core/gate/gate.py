"""The gate: holds each tool_use block of a response until it was decided; everything else passes as it came.

A client runs a tool when the block's `content_block_stop` arrives, so a call must be decided before that. Text and
thinking pass at once. Rules, all failing closed:

    message_start        once, and with no content in it                                       else broken
    content_block_start  index is the number of blocks begun before; no tool_use block is open  else broken
                         tool_use: held; anything else passes
    content_block_delta  of the held block: held;  text, thinking: pass;  of an open block: pass; else broken
    content_block_stop   of the held block: decided now;  of an open block: passes;             else broken
    message_delta, message_stop                     pass; while a block is held                      broken
    error                passes; written anew when it names the operator's account or is in a cloud's own shape
    any other event      passes
    a repeated key, a key in other case, a name and a type that disagree, JSON we cannot read         broken
    stream ends          what is held is dropped

Blocks come one at a time because clients in use find a delta's block by its position and others by its index: with
gaps, or with a block begun while another waits, they would run a name with an input that was not decided with it.
`server_tool_use` and `mcp_tool_use` report what the upstream runs itself and pass.

Answers that are not streamed pass the gate in `calls.py`; how a stream is ended before its time is
`endings.py`. Not here: deciding, waiting, writing to the client.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from gateway.contract import DENIED_TOOL, REASON_MEMBER, error_envelope
from gateway.core.gate.calls import (
    END_TURN,
    HELD_BYTES_MAX,
    TOO_LARGE,
    DenialForm,
    HeldCall,
    ascii_json,
    gate_message,
    require_releasable,
    rewrite_message,
)
from gateway.core.gate.denial import Denial, denial_text, denied_input
from gateway.core.gate.endings import Shown, block_delta, finish, refuse, text_block, whole_block
from gateway.core.wire.errorbody import is_clean
from gateway.core.wire.faults import read_fault
from gateway.core.wire.messages import Tap
from gateway.core.wire.spans import members, splice
from gateway.core.wire.sse import Frame, Framing, InputRun, TextRun
from gateway.core.wire.strict import (
    JsonObject,
    block_index,
    broke,
    object_member,
    parse_input,
    read_event,
    string_member,
)
from gateway.errors import GatewayError

__all__ = ["HELD_BYTES_MAX", "DenialForm", "HeldCall", "StreamGate", "gate_message", "rewrite_message"]


@dataclass(slots=True)
class _Held:
    """The block being held: its frames as they came, and what they say."""

    index: int
    block: JsonObject
    frames: list[bytes] = field(default_factory=list[bytes])
    parts: list[str] = field(default_factory=list[str])
    size: int = 0
    problem: str | None = None

    def add(self, raw: bytes, part: str = "") -> None:
        self.size += len(raw)
        if self.size > HELD_BYTES_MAX:
            self.problem = TOO_LARGE
            self.frames.clear()
            self.parts.clear()
            self.block = {"type": "tool_use", "id": self.block["id"], "name": self.block["name"]}
            return
        self.frames.append(raw)
        if part:
            self.parts.append(part)

    def call(self) -> HeldCall:
        """Deltas count when there are any, as in every client; else the input that the block began with."""
        text = "".join(self.parts) or json.dumps(self.block.get("input", {}), ensure_ascii=False)
        tool_input, problem = (None, self.problem) if self.problem else parse_input(text)
        return HeldCall(
            index=self.index,
            id=self.block["id"],
            name=self.block["name"],
            input=tool_input,
            problem=problem,
        )


class StreamGate:
    """The gate of one streamed response. `tap` sees every event as it came, also those that are held.

    `rename` is a model as the upstream writes it, and as the client is to see it. After a GatewayError only `refusal`
    may follow, after `finish` nothing.
    """

    def __init__(
        self, framing: Framing, tap: Tap, *, form: DenialForm = "tool_use", rename: tuple[str, str] | None = None
    ) -> None:
        self._framing = framing
        self._tap = tap
        self._form: DenialForm = form
        self._rename = rename
        self._begun = 0
        self._shown = Shown()
        self._ids: set[str] = set()
        self._held: _Held | None = None
        self._waiting: tuple[HeldCall, _Held] | None = None
        self._broken: GatewayError | None = None

    @property
    def ended(self) -> bool:
        """The message came to its end, or to an error that says why not."""
        return self._shown.ended

    @property
    def concluded(self) -> bool:
        """The client was told why the message stopped, and what it used."""
        return self._shown.concluded or self._shown.ended

    @property
    def can_finish(self) -> bool:
        """May `finish` be called now? A call that is held does not stand in its way, one that waits does."""
        return self._waiting is None and self._shown.can_finish

    @property
    def holding(self) -> bool:
        """A tool call is being held, or waits for its decision."""
        return self._held is not None or self._waiting is not None

    def feed(self, chunk: bytes) -> Iterator[bytes | HeldCall]:
        """What `chunk` lets through, in order: bytes to write, or a call to `release` or `deny` before the next piece.

        Raises:
            GatewayError: UPSTREAM_BROKE, after everything before the fault was yielded.
            RuntimeError: a call was left undecided.
        """
        self._require_decided()
        if self._broken is not None:
            raise self._broken
        try:
            self._framing.push(chunk)
        except GatewayError as error:
            self._broken = error
            raise
        return self._pieces(self._incoming())

    def close(self) -> Iterator[bytes | HeldCall]:
        """The upstream ended. What is held, and an event cut short, are dropped."""
        self._require_decided()
        frames = [] if self._broken is not None else self._framing.close()
        yield from self._pieces(frame for frame in frames if frame.complete)
        self._held = None

    def release(self, call: HeldCall) -> bytes:
        """The block exactly as it came."""
        require_releasable(call)
        held = self._decided(call)
        self._shown.add_call()
        return b"".join(held.frames)

    def deny(self, call: HeldCall, denial: Denial) -> bytes:
        """The block that stands in for the call."""
        held = self._decided(call)
        framing, index = self._framing, call.index
        if self._form == "text":
            self._shown.add_call_as_text()
            return text_block(framing, index, denial_text(call.name, denial))
        self._shown.add_call()
        block: JsonObject = {**held.block, "name": DENIED_TOOL, "input": {}}
        stand_in = json.dumps(denied_input(call.name, call.input, denial))
        delta: JsonObject = {"type": "input_json_delta", "partial_json": stand_in}
        return whole_block(framing, index, block, block_delta(framing, index, delta))

    def refusal(self, error_type: str, message: str, reason: str | None = None) -> bytes:
        """Bytes that end a begun stream with an error that the client shows; none where it would not be heeded."""
        return refuse(self._shown, self._framing, error_type, message, reason)

    def finish(self) -> bytes:
        """Bytes that end the message here as one that reached its `max_tokens`. A held call is dropped unseen.

        Raises RuntimeError unless `can_finish`.
        """
        self._require_decided()
        self._held = None
        tokens = self._tap.floor_usage(0).tokens.output
        return finish(self._shown, self._framing, output_chars=self._tap.output_chars, output_tokens=tokens)

    def _require_decided(self) -> None:
        if self._waiting is not None:
            raise RuntimeError(f"the call {self._waiting[0].id} was neither released nor denied")

    def _decided(self, call: HeldCall) -> _Held:
        if self._waiting is None or self._waiting[0] is not call:
            raise RuntimeError(f"the call {call.id} does not wait for a decision")
        held = self._waiting[1]
        self._waiting = None
        return held

    def _incoming(self) -> Iterator[Frame | TextRun | InputRun]:
        framing = self._framing
        while True:
            held = self._held
            run = framing.text_run() if held is None else framing.input_run(held.index)
            item = run or framing.next_frame()
            if item is None:
                return
            yield item

    def _pieces(self, incoming: Iterator[Frame | TextRun | InputRun]) -> Iterator[bytes | HeldCall]:
        """Passing frames joined into as few writes as the order allows."""
        passing: list[bytes] = []
        try:
            for item in incoming:
                if isinstance(item, TextRun):
                    self._tap.add_output(item.chars)
                    passing.append(item.raw)
                    continue
                if isinstance(item, InputRun):
                    self._collect(item)
                    continue
                outcome = self._judge(item)
                if isinstance(outcome, bytes):
                    passing.append(outcome)
                elif outcome is not None:
                    if passing:
                        yield b"".join(passing)
                        passing = []
                    yield outcome
                    self._require_decided()
        except GatewayError as error:
            self._broken = error
            if passing:
                yield b"".join(passing)
            raise
        if passing:
            yield b"".join(passing)

    def _collect(self, run: InputRun) -> None:
        assert self._held is not None
        self._tap.add_output(len(run.text))
        self._held.add(run.raw, run.text)

    def _judge(self, frame: Frame) -> bytes | HeldCall | None:
        """What becomes of one event: its bytes to pass, a call to decide, or None while held."""
        kind, event = read_event(frame)
        if not kind and "error" in event:
            kind = "error"
        self._tap.observe(kind, event)
        match kind:
            case "content_block_delta":
                return self._extend(frame, event)
            case "content_block_start":
                return self._begin(frame, event)
            case "content_block_stop":
                return self._end(frame, event)
            case "message_start":
                return self._start(frame, event)
            case "message_delta" | "message_stop":
                if self._held is not None:
                    raise broke("ended its message inside a tool call")
                if kind == "message_delta":
                    return self._conclude(frame, event)
                self._shown.ended = True
                return frame.raw
            case "error":
                return self._fail(frame, event)
            case _:
                return frame.raw

    def _start(self, frame: Frame, event: JsonObject) -> bytes:
        message = object_member(event, "message")
        if self._shown.started or message.get("content"):
            raise broke("began its message twice or with content already in it")
        self._shown.started = True
        if self._rename is None or message.get("model") != self._rename[0]:
            return frame.raw
        return self._rewritten(frame, ("message", "model"), ascii_json(self._rename[1]))

    def _begin(self, frame: Frame, event: JsonObject) -> bytes | None:
        block = object_member(event, "content_block")
        kind = string_member(block, "type")
        if self._held is not None or block_index(event) != self._begun:
            raise broke("sent content blocks out of order")
        index = self._begun
        self._begun += 1
        if kind != "tool_use":
            self._shown.begin(index, block, kind, self._tap.output_chars)
            return frame.raw
        call_id = string_member(block, "id")
        string_member(block, "name")
        if call_id in self._ids:
            raise broke("sent two tool calls with one id")
        self._ids.add(call_id)
        self._held = _Held(index, block)
        self._held.add(frame.raw)
        return None

    def _extend(self, frame: Frame, event: JsonObject) -> bytes | None:
        index = block_index(event)
        delta = object_member(event, "delta")
        kind = delta.get("type")
        if self._held is not None and index == self._held.index:
            part = delta.get("partial_json") if kind == "input_json_delta" else None
            if not isinstance(part, str):
                self._held.problem = self._held.problem or "the call holds a delta of an unknown kind"
                part = ""
            self._held.add(frame.raw, part)
            return None
        if index not in self._shown.open and kind not in ("text_delta", "thinking_delta"):
            raise broke("sent a delta for a content block that is not open")
        return frame.raw

    def _end(self, frame: Frame, event: JsonObject) -> bytes | HeldCall:
        index = block_index(event)
        held = self._held
        if held is not None and index == held.index:
            held.add(frame.raw)
            call = held.call()
            self._held = None
            self._waiting = (call, held)
            return call
        if not self._shown.end(index):
            raise broke("ended a content block that is not open")
        return frame.raw

    def _fail(self, frame: Frame, event: JsonObject) -> bytes:
        """The upstream's last words: as they came, or as the event that says the same without naming an account."""
        self._shown.ended = True
        spelt_as_known = event.get("type") == "error" or "error" not in event
        if spelt_as_known and not _claims_reason(event) and is_clean(frame.data):
            return frame.raw
        fault = read_fault("anthropic", 200, (), frame.data)
        return self._framing.encode("error", error_envelope(fault.error_type, fault.message))

    def _conclude(self, frame: Frame, event: JsonObject) -> bytes:
        """A message that is left without its tool calls did not stop for them: clients would ask again for ever."""
        self._shown.concluded = True
        if self._shown.calls or not self._shown.calls_as_text:
            return frame.raw
        if object_member(event, "delta").get("stop_reason") != "tool_use":
            return frame.raw
        return self._rewritten(frame, ("delta", "stop_reason"), END_TURN)

    def _rewritten(self, frame: Frame, path: tuple[str, str], value: bytes) -> bytes:
        """The event with one value replaced."""
        try:
            outer = members(frame.data)[path[0]]
            start, end = members(frame.data[slice(*outer)])[path[1]]
        except (GatewayError, msgspec.MsgspecError, ValueError) as error:
            raise broke(f"sent a message that cannot be rewritten ({error})") from None
        return self._framing.rewrite(frame, splice(frame.data, [(outer[0] + start, outer[0] + end, value)]))


def _claims_reason(event: JsonObject) -> bool:
    """Only what the gateway itself says has one."""
    error = event.get("error")
    return isinstance(error, dict) and REASON_MEMBER in error
