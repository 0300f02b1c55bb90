"""What became of tool calls that were decided, so that one which is asked about again gets the same answer. No policy.

A call is known by its session and id. With the same content it is the same call. Clients spell some of it anew before
they carry a call out: `1.0` as `1`, `"5"` as `5`, a flag or number added that was left out. What is left of such a call
(`outline`) still tells that its texts are those that were decided.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, NamedTuple, cast

from gateway.core.decisions.exhibit import canonical

CALLS_MAX = 50_000
"""Calls remembered, of all sessions; a client asks again within moments."""

_number_or_flag = re.compile(r"-?\d{1,20}(\.\d{1,20})?|true|false")


class SeenCall(NamedTuple):
    """One call and what was decided. `message` is the reason of a denial."""

    digest: bytes
    outline: bytes
    allowed: bool
    message: str
    decision: str


class SeenCalls:
    """The latest calls."""

    def __init__(self) -> None:
        self._calls: OrderedDict[tuple[str, str], SeenCall] = OrderedDict()

    def remember(self, session: str, tool_use_id: str, call: SeenCall) -> None:
        """Keep what was decided last of a call."""
        self._calls[session, tool_use_id] = call
        self._calls.move_to_end((session, tool_use_id))
        while len(self._calls) > CALLS_MAX:
            self._calls.popitem(last=False)

    def find(self, session: str, tool_use_id: str) -> SeenCall | None:
        """What was decided of the call with this id; whether it is the same call tells its digest."""
        return self._calls.get((session, tool_use_id))


def seen_call(
    tool: str, tool_input: Mapping[str, Any] | None, *, allowed: bool, message: str, decision: str
) -> SeenCall:
    """A call as it is remembered."""
    return SeenCall(call_digest(tool, tool_input), call_outline(tool, tool_input), allowed, message, decision)


def call_digest(tool: str, tool_input: Mapping[str, Any] | None) -> bytes:
    """The same for the same call, however its members are ordered."""
    return sha256(canonical([tool, tool_input])).digest()


def call_outline(tool: str, tool_input: Mapping[str, Any] | None) -> bytes:
    """The same for a call that a client has spelt anew: of its members those that are neither number nor flag."""
    members = {name: _plain(value) for name, value in (tool_input or {}).items() if not _is_scalar(value)}
    return sha256(canonical([tool, members])).digest()


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, str | list | dict) or (
        isinstance(value, str) and bool(_number_or_flag.fullmatch(value))
    )


def _plain(value: Any) -> Any:
    """With whole numbers written as such; input is never deeper than what is decided."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[Any]", value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value
