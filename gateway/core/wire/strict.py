"""Reading what an upstream sends in the one way that every client reads it, or refusing it. Not what it means.

What was decided must be what runs. Decoders in use differ on repeated keys, keys in other case, NaN, unpaired
surrogates and broken UTF-8, and clients differ on whether an event's name or its `type` counts.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from gateway.contract import TOOL_INPUT_DEPTH_MAX
from gateway.core.wire.sse import Frame
from gateway.errors import GatewayError, Reason

_ACTING = frozenset(
    "message_start content_block_start content_block_delta content_block_stop message_delta message_stop".split()
)
_STRUCTURAL = frozenset("type index content_block delta message content id name input partial_json stop_reason".split())
_UNSPELLABLE = "the input holds a number or character that has no JSON spelling"

JsonObject = dict[str, Any]


class Unreadable(ValueError):
    """Not JSON, or JSON that decoders read differently (a repeated key, NaN)."""


def decode_strictly(text: str) -> Any:
    """Decode JSON; refuses what decoders in use disagree about.

    Raises:
        Unreadable: says what is wrong.
    """
    try:
        return _strict.decode(text)
    except RecursionError:
        raise Unreadable("is nested too deep") from None
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"is not valid JSON ({error})") from None


def _distinct(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Unreadable("repeats a key")
    return found


def _refuse_constant(name: str) -> Any:
    raise Unreadable(f"is not valid JSON ({name})")


_strict = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_refuse_constant)


def parse_input(text: str) -> tuple[JsonObject | None, str | None]:
    """A tool input as an object, or None and the problem for which the call must be denied."""
    try:
        found = decode_strictly(text)
    except Unreadable as error:
        return None, f"the input {error}"
    problem = _input_problem(found)
    return (None, problem) if problem else (found, None)


def _input_problem(found: object) -> str | None:
    """Why a decoded input cannot be decided: not an object, too deep, or values that have no JSON spelling."""
    if not isinstance(found, dict):
        return "the input is not a JSON object"
    level: Sequence[object] = [cast(object, found)]
    depth = 0
    while level := [cast(Any, value) for value in level if isinstance(value, dict | list)]:
        depth += 1
        if depth > TOOL_INPUT_DEPTH_MAX:
            return f"the input is nested deeper than {TOOL_INPUT_DEPTH_MAX} levels"
        level = [inner for outer in level for inner in _inner(outer)]
    return None if _encodable(cast(object, found)) else _UNSPELLABLE


def _inner(outer: JsonObject | list[Any]) -> Iterable[object]:
    return outer.values() if isinstance(outer, dict) else outer


def _encodable(found: object) -> bool:
    try:
        json.dumps(found, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return True


def broke(fault: str) -> GatewayError:
    """The error for an upstream whose answer clients could read in different ways, or not at all."""
    return GatewayError(
        Reason.UPSTREAM_BROKE, f"The upstream {fault}; the answer was ended before that. Send the request again."
    )


def read_event(frame: Frame) -> tuple[str, JsonObject]:
    """Type and content of an event. What no client could act on comes as an empty object.

    Some clients go by the event's name and some by `type` inside: for events that act, both must agree.

    Raises:
        GatewayError: UPSTREAM_BROKE when clients could read the event differently.
    """
    name = frame.event.decode(errors="replace")
    try:
        event: object = decode_strictly(frame.data.decode()) if frame.data else None
    except ValueError as error:
        event = error
    if not isinstance(event, dict):
        if b"{" in frame.data or name in _ACTING:
            raise broke(f"sent an event '{name[:40]}' whose data is not a JSON object that every client reads alike")
        return name, {}
    event = cast(JsonObject, event)
    check_spelling(event)
    kind = event.get("type")
    kind = kind if isinstance(kind, str) else ""
    if name and name != kind and (name in _ACTING or kind in _ACTING):
        raise broke(f"sent an event named '{name[:40]}' that says it is '{kind[:40]}'")
    return ("error" if name == "error" else kind or name), event


def object_member(event: JsonObject, name: str) -> JsonObject:
    """A member that must be an object. Raises GatewayError(UPSTREAM_BROKE)."""
    found = event.get(name)
    if not isinstance(found, dict):
        raise broke(f"sent an event without the object '{name}'")
    found = cast(JsonObject, found)
    check_spelling(found)
    return found


def string_member(found: Mapping[str, object], name: str) -> str:
    """A member that must be a string of characters. Raises GatewayError(UPSTREAM_BROKE)."""
    value = found.get(name)
    if not isinstance(value, str) or not _encodable(value):
        raise broke(f"sent a content block without the string '{name}'")
    return value


def block_index(event: JsonObject) -> int:
    """`index` of a content block event. Raises GatewayError(UPSTREAM_BROKE)."""
    index = event.get("index")
    if type(index) is not int or index < 0:
        raise broke("sent a content block event without an index")
    return index


def check_spelling(found: Iterable[str]) -> None:
    """Refuse keys that a decoder which ignores case would take for one of ours. Raises GatewayError(UPSTREAM_BROKE)."""
    for key in found:
        if key not in _STRUCTURAL and key.casefold() in _STRUCTURAL:
            raise broke(f"sent the key '{key}', which clients read differently")
