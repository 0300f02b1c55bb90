"""The tap: what a Messages-API response says of itself, and what it used.

Nothing here changes or holds bytes: that is `gate/gate.py`. Nothing here raises for what an upstream reports: usage
that cannot be read is usage that is not final.
"""

from collections import Counter
from typing import Annotated, Any, cast

import msgspec

from gateway.core.wire.strict import JsonObject
from gateway.core.wire.usage import Iteration, Tokens, Usage

CHARS_PER_TOKEN = 4
"""Of the floor estimate: text is seldom written in fewer tokens than this gives."""
UPSTREAM_TOOLS_MAX = 256
"""Calls of the upstream's own tools that are remembered per response; all are counted."""
ERROR_CHARS_MAX = 1000
INVOCATION_METRICS = "amazon-bedrock-invocationMetrics"
"""Member of the last event in which Bedrock reports what it counted itself."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_5m_input_tokens: Count | None = None
    ephemeral_1h_input_tokens: Count | None = None


class _ServerToolUse(msgspec.Struct, frozen=True):
    web_search_requests: Count | None = None


class _IterationUsage(msgspec.Struct, frozen=True):
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: _CacheCreation | None = None
    model: str | None = None


class _Reported(_IterationUsage, frozen=True):
    """`usage` as reported; None is not reported."""

    server_tool_use: _ServerToolUse | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    iterations: tuple[_IterationUsage, ...] | None = None
    fallback_credit: Any = None


_NOTHING = _Reported()


class _Counted(msgspec.Struct, frozen=True):
    """What Bedrock counted. Its counts of the cache may be left out, and are then those of the message."""

    input: Count = msgspec.field(name="inputTokenCount")
    output: Count = msgspec.field(name="outputTokenCount")
    cache_read: Count | None = msgspec.field(name="cacheReadInputTokenCount", default=None)
    cache_write: Count | None = msgspec.field(name="cacheWriteInputTokenCount", default=None)


class WholeMessage(msgspec.Struct, frozen=True):
    """A `stream: false` answer as far as accounting goes."""

    id: str | None
    model: str | None
    stop_reason: str | None
    usage: Usage
    upstream_tools: tuple[tuple[str, str], ...]
    blocks: dict[str, int]
    output_chars: int


class Tap:
    """Observer of one response: what it is, what it used, how it ended.

    A later report of a count replaces an earlier one, since counts are cumulative; what `message_delta` leaves out
    keeps the value of `message_start`. What Bedrock counted itself stands in for usage that was not reported.
    """

    def __init__(self) -> None:
        self.message_id: str | None = None
        self.model: str | None = None
        self.stop_reason: str | None = None
        self.error: tuple[str, str] | None = None
        """Type (or a cloud's word for it) and message of an `error` event."""
        self.blocks: Counter[str] = Counter()
        """Content blocks begun, by type."""
        self.upstream_tools: list[tuple[str, str]] = []
        """(block type, tool name) of calls that the upstream runs itself."""
        self.output_chars = 0
        self._reported = _NOTHING
        self._counted: _Counted | None = None
        self._readable = True
        self._final = False
        self._whole: Usage | None = None

    def observe(self, kind: str, event: JsonObject) -> None:
        """One decoded event of type `kind`."""
        if INVOCATION_METRICS in event:
            self._count(event[INVOCATION_METRICS])
        match kind:
            case "content_block_delta":
                delta = _object(event.get("delta"))
                text = delta.get("text") or delta.get("thinking") or delta.get("partial_json")
                self.add_output(len(text) if isinstance(text, str) else 0)
            case "content_block_start":
                self._count_block(_object(event.get("content_block")))
            case "message_start":
                message = _object(event.get("message"))
                self.message_id = _string(message.get("id"))
                self.model = _string(message.get("model"))
                self.stop_reason = _string(message.get("stop_reason"))
                self._merge(message.get("usage"))
            case "message_delta":
                self.stop_reason = _string(_object(event.get("delta")).get("stop_reason")) or self.stop_reason
                self._merge(event.get("usage"))
                self._final = self._reported.output_tokens is not None
            case "error":
                self.error = _read_error(event.get("error"))
            case _:
                pass

    def add_output(self, chars: int) -> None:
        """Output of which only the length is known."""
        self.output_chars += chars

    def observe_message(self, message: WholeMessage) -> None:
        """A whole answer, instead of events."""
        self.message_id = message.id
        self.model = message.model
        self.stop_reason = message.stop_reason
        self.blocks = Counter(message.blocks)
        self.upstream_tools = list(message.upstream_tools)
        self.output_chars = message.output_chars
        self._whole = message.usage

    def usage(self) -> Usage:
        """What has been reported so far."""
        if self._whole is not None:
            return self._whole
        reported = self._reported
        server_tools = reported.server_tool_use or _ServerToolUse()
        counted = None if self._final else self._counted
        return Usage(
            model=self.model,
            tokens=_tokens(reported if counted is None else _completed(reported, counted)),
            iterations=tuple(Iteration(_tokens(one), one.model) for one in reported.iterations or ()),
            web_search_requests=server_tools.web_search_requests or 0,
            speed=reported.speed,
            inference_geo=reported.inference_geo,
            service_tier=reported.service_tier,
            fallback_credit_redeemed=_redeemed(reported.fallback_credit),
            refused_empty=self.stop_reason == "refusal" and not self.blocks,
            final=(self._final or counted is not None) and self._readable,
        )

    def floor_usage(self, input_tokens_estimate: int) -> Usage:
        """The least that was used, for a response whose final usage never came: what was reported or seen, if more."""
        usage = self.usage()
        if usage.final:
            return usage
        tokens = usage.tokens
        seen = -(-self.output_chars // CHARS_PER_TOKEN)
        reported_prompt = tokens.prompt > 0
        floor = msgspec.structs.replace(
            tokens,
            input=tokens.input if reported_prompt else input_tokens_estimate,
            output=max(tokens.output, seen),
        )
        return msgspec.structs.replace(usage, tokens=floor)

    def _count_block(self, block: JsonObject) -> None:
        kind = _string(block.get("type")) or ""
        self.blocks[kind] += 1
        if kind in ("server_tool_use", "mcp_tool_use") and len(self.upstream_tools) < UPSTREAM_TOOLS_MAX:
            self.upstream_tools.append((kind, _string(block.get("name")) or ""))
        if kind == "fallback":
            self.model = _string(_object(block.get("to")).get("model")) or self.model

    def _count(self, metrics: object) -> None:
        try:
            self._counted = msgspec.convert(metrics, _Counted)
        except (msgspec.MsgspecError, RecursionError):
            self._counted = None

    def _merge(self, usage: object) -> None:
        if usage is None:
            return
        try:
            later = msgspec.convert(usage, _Reported)
        except (msgspec.MsgspecError, RecursionError):
            self._readable = False
            return
        if self._reported is _NOTHING:
            self._reported = later
            return
        fields = {name: value for name in _Reported.__struct_fields__ if (value := getattr(later, name)) is not None}
        self._reported = msgspec.structs.replace(self._reported, **fields)


def parse_message(body: bytes) -> WholeMessage:
    """Read a `stream: false` answer. Never raises: what cannot be read is missing, and usage then is not final."""
    try:
        message = _object(msgspec.json.decode(body))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        message = {}
    tap = Tap()
    tap.observe("message_start", {"message": message})
    tap.observe("message_delta", {"usage": message.get("usage")})
    content: Any = message.get("content")
    blocks = [_object(block) for block in cast(list[Any], content)] if isinstance(content, list) else []
    for block in blocks:
        tap.observe("content_block_start", {"content_block": block})
        tap.observe("content_block_delta", {"delta": block})
    return WholeMessage(
        id=tap.message_id,
        model=tap.model,
        stop_reason=tap.stop_reason,
        usage=tap.usage(),
        upstream_tools=tuple(tap.upstream_tools),
        blocks=dict(tap.blocks),
        output_chars=tap.output_chars,
    )


def _tokens(reported: _IterationUsage) -> Tokens:
    """Cache writes beyond the reported split are the unrequested ones of server tools, which last 5 minutes."""
    split = reported.cache_creation or _CacheCreation()
    five = split.ephemeral_5m_input_tokens or 0
    hour = split.ephemeral_1h_input_tokens or 0
    excess = max(0, (reported.cache_creation_input_tokens or 0) - five - hour)
    return Tokens(
        input=reported.input_tokens or 0,
        output=reported.output_tokens or 0,
        cache_read=reported.cache_read_input_tokens or 0,
        cache_write_5m=five + excess,
        cache_write_1h=hour,
    )


def _completed(reported: _Reported, counted: _Counted) -> _Reported:
    """What was reported, with the counts of Bedrock in place of those that were never final."""
    read, written = counted.cache_read, counted.cache_write
    return msgspec.structs.replace(
        reported,
        input_tokens=counted.input,
        output_tokens=counted.output,
        cache_read_input_tokens=reported.cache_read_input_tokens if read is None else read,
        cache_creation_input_tokens=reported.cache_creation_input_tokens if written is None else written,
    )


def _redeemed(fallback_credit: object) -> bool:
    status: Any = _object(fallback_credit).get("status")
    return status == "redeemed" or _object(status).get("type") == "redeemed"


def _read_error(error: object) -> tuple[str, str]:
    found = _object(error)
    kind = _string(found.get("type")) or _string(found.get("status"))
    return kind or "", (_string(found.get("message")) or "")[:ERROR_CHARS_MAX]


def _object(value: object) -> JsonObject:
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None
