"""A streamed answer of the Messages API, folded from its events. Pure: no request is made here.

Blocks are kept as they came, so that the history that goes back is what the model wrote. A tool's input is read as
exactly as JSON allows: integers of any size, the last of two members with the same name, no number beyond a double.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from runtime.core.limits import RESULT_DEPTH_MAX
from runtime.core.model import Tokens

_APPENDED = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature"}
"""Where the text of a delta is added to its block."""


class BrokenStream(Exception):
    """The stream ended before the message did, or is none."""


class Unreadable(ValueError):
    """A text is no JSON that can be worked with; the message says why."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """A tool call of the model. `input` None: `raw` could not be read, for the reason `fault`."""

    id: str
    name: str
    input: dict[str, Any] | None
    raw: str
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole message of the model."""

    model: str
    content: tuple[dict[str, Any], ...]
    """As the history wants it back: without blocks of empty text, and without a call that was cut off."""
    text: str
    tool_uses: tuple[ToolUse, ...]
    stop_reason: str
    stop_detail: str
    tokens: Tokens


@dataclass(slots=True)
class _Block:
    block: dict[str, Any]
    parts: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    ended: bool = False

    def add(self, name: str, text: str) -> None:
        self.parts.setdefault(name, []).append(text)

    def joined(self, name: str) -> str:
        return "".join(self.parts.get(name, ()))


class AnswerReader:
    """`feed(event)` each decoded event, then `finish()`. What has been used is known from the first event on."""

    def __init__(self) -> None:
        self._blocks: dict[int, _Block] = {}
        self._model = ""
        self._stop_reason: str | None = None
        self._stop_detail = ""
        self._usage: dict[str, Any] = {}
        self._ended = False

    @property
    def begun(self) -> bool:
        """A message has begun, and so has its bill."""
        return bool(self._usage)

    @property
    def model(self) -> str:
        """The one that answers; empty before the message has begun."""
        return self._model

    @property
    def tokens(self) -> Tokens:
        """What the message has used so far."""
        return tokens_of(self._usage)

    def feed(self, event: object) -> None:
        """Take an event; kinds that are not known are passed over. Raises `BrokenStream`."""
        try:
            self._take(cast(dict[str, Any], event))
        except (AttributeError, KeyError, TypeError, ValueError) as fault:
            raise BrokenStream(f"the answer has an event that cannot be read ({type(fault).__name__})") from None

    def _take(self, known: dict[str, Any]) -> None:
        match known.get("type"):
            case "message_start":
                message: dict[str, Any] = known.get("message") or {}
                self._model = str(message.get("model") or "")
                self._usage.update(message.get("usage") or {"output_tokens": 0})
            case "content_block_start":
                self._blocks[int(known["index"])] = _Block(dict(known.get("content_block") or {}))
            case "content_block_delta":
                self._extend(int(known["index"]), known.get("delta") or {})
            case "content_block_stop":
                if (block := self._blocks.get(int(known["index"]))) is not None:
                    block.ended = True
            case "message_delta":
                self._end(known.get("delta") or {}, known.get("usage") or {})
            case "message_stop":
                self._ended = True
            case _:
                pass

    def _extend(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks.get(index)
        if block is None:
            return
        kind = delta.get("type")
        if kind == "input_json_delta":
            block.add("input", str(delta.get("partial_json") or ""))
        elif kind == "citations_delta":
            block.block["citations"] = [*(block.block.get("citations") or ()), delta.get("citation")]
        elif kind in _APPENDED:
            name = _APPENDED[kind]
            block.add(name, str(delta.get(name) or ""))

    def _end(self, delta: dict[str, Any], usage: dict[str, Any]) -> None:
        self._stop_reason = delta.get("stop_reason") or self._stop_reason
        details = delta.get("stop_details")
        if isinstance(details, dict):
            named = cast(dict[str, Any], details)
            self._stop_detail = str(named.get("explanation") or named.get("category") or "")
        self._usage.update({name: value for name, value in usage.items() if value is not None})

    def finish(self) -> Answer:
        """The whole message. Raises `BrokenStream` when its end was not seen."""
        if not self._ended or self._stop_reason is None:
            raise BrokenStream("the answer broke off before its end")
        content: list[dict[str, Any]] = []
        calls: list[ToolUse] = []
        texts: list[str] = []
        for _, block in sorted(self._blocks.items()):
            written = self._written(block, calls)
            if written is not None:
                content.append(written)
                texts += [written["text"]] if written.get("type") == "text" else []
        return Answer(
            model=self._model,
            content=tuple(content),
            text="".join(texts),
            tool_uses=tuple(calls),
            stop_reason=self._stop_reason,
            stop_detail=self._stop_detail,
            tokens=self.tokens,
        )

    def _written(self, block: _Block, calls: list[ToolUse]) -> dict[str, Any] | None:
        """A block as it goes back, its call noted; None when it must not go back."""
        written = dict(block.block)
        for name in block.parts.keys() - {"input"}:
            written[name] = mend(str(written.get(name) or "") + block.joined(name))
        kind = written.get("type")
        if kind == "text":
            return written if written.get("text") else None
        if not str(kind).endswith("tool_use"):
            return written
        call = _read_call(written, block.joined("input"))
        if call.input is None and (self._stop_reason == "max_tokens" or not block.ended):
            return None
        written["input"] = call.input if call.input is not None else {}
        if kind == "tool_use":
            calls.append(call)
        return written


def _read_call(block: dict[str, Any], raw: str) -> ToolUse:
    text = raw or json.dumps(block.get("input") or {})
    identity, name = str(block.get("id") or ""), str(block.get("name") or "")
    try:
        value = read_value(text)
    except Unreadable as fault:
        return ToolUse(identity, name, None, text, str(fault))
    if not isinstance(value, dict):
        return ToolUse(identity, name, None, text, "it is not an object")
    return ToolUse(identity, name, cast(dict[str, Any], value), text)


def tokens_of(usage: Mapping[str, Any]) -> Tokens:
    """The counts of a `usage` object. Writes of unsaid lifetime count as those of five minutes."""
    split = usage.get("cache_creation")
    by_lifetime: Mapping[str, Any] = cast("Mapping[str, Any]", split) if isinstance(split, dict) else {}
    written = _count(usage, "cache_creation_input_tokens")
    hour = min(_count(by_lifetime, "ephemeral_1h_input_tokens"), written)
    return Tokens(
        input=_count(usage, "input_tokens"),
        output=_count(usage, "output_tokens"),
        cache_read=_count(usage, "cache_read_input_tokens"),
        cache_write_5m=written - hour,
        cache_write_1h=hour,
    )


def _count(usage: Mapping[str, Any], name: str) -> int:
    value = usage.get(name)
    return max(0, value) if isinstance(value, int) else 0


def read_value(text: str) -> Any:
    """The value of a JSON text. Raises `Unreadable`."""
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_read_float)
    except RecursionError:
        raise Unreadable(f"it nests deeper than {RESULT_DEPTH_MAX} levels") from None
    except Unreadable:
        raise
    except ValueError as fault:
        raise Unreadable(f"it is not valid JSON ({fault})") from None
    if _deeper_than(value, RESULT_DEPTH_MAX):
        raise Unreadable(f"it nests deeper than {RESULT_DEPTH_MAX} levels")
    return _mended(value)


def _refuse_constant(name: str) -> Any:
    raise Unreadable(f"{name} is not a JSON value")


def _read_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Unreadable(f"the number {text[:40]} is too large")
    return number


def _deeper_than(value: Any, levels: int) -> bool:
    """Level by level, so that depth itself is no danger."""
    row: list[Any] = [value]
    for _ in range(levels + 1):
        row = [each for item in row for each in _members(item)]
        if not row:
            return False
    return True


def _members(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(cast(dict[str, Any], value).values())
    return cast(list[Any], value) if isinstance(value, list) else []


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, list):
        return [_mended(item) for item in cast(list[Any], value)]
    if isinstance(value, dict):
        return {mend(name): _mended(item) for name, item in cast(dict[str, Any], value).items()}
    return value


def mend(text: str) -> str:
    """The text with half surrogate pairs, which no UTF-8 can carry, replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
