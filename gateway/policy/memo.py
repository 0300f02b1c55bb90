"""Remembers decisions by exactly those parts of a query that the policies can read. Sound because policies are pure.

The key is the JSON of those parts, so two queries with equal keys cannot be told apart by any rule. Bounded by
entries and by bytes; the least recently used goes first. Not a cache of time: nothing here expires, a new policy set
has a new memo.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, cast, get_args, get_type_hints

import msgspec

from gateway.core.decisions.decision import Action, Decision, Infer, Query, Run, Spawn, ToolCall
from gateway.policy.reads import RefPath

ENTRIES_MAX = 4096
BYTES_MAX = 8 * 1024 * 1024
KEY_BYTES_MAX = 16 * 1024
"""Longer keys are not remembered: such a query seldom comes again."""
DECISION_BYTES = 256
"""Counted for a decision beside its key; allowing ones are shared."""

KIND_TYPES: dict[str, type[Action]] = {"infer": Infer, "spawn": Spawn, "tool_call": ToolCall, "run": Run}

Getter = Callable[[Any], object]
_encode = msgspec.json.Encoder().encode


class Memo:
    """Least-recently-used map of keys to decisions."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, Decision] = OrderedDict()
        self._bytes = 0
        self.hits = 0
        self.misses = 0

    def find(self, key: bytes) -> Decision | None:
        decision = self._entries.get(key)
        if decision is None:
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return decision

    def add(self, key: bytes, decision: Decision) -> None:
        if len(key) > KEY_BYTES_MAX or key in self._entries:
            return
        self._entries[key] = decision
        self._bytes += len(key) + DECISION_BYTES
        while len(self._entries) > ENTRIES_MAX or self._bytes > BYTES_MAX:
            gone, _ = self._entries.popitem(last=False)
            self._bytes -= len(gone) + DECISION_BYTES

    def __len__(self) -> int:
        return len(self._entries)


def key_builder(kind: str, paths: Sequence[RefPath]) -> Callable[[Query], bytes]:
    """A function from a query of `kind` to the encoding of the parts under `paths`."""
    prefix = kind.encode() + b":"
    getters = [getter for path in paths if (getter := _getter(kind, path)) is not None]

    def build(query: Query) -> bytes:
        return prefix + _encode([get(query) for get in getters])

    return build


def _getter(kind: str, path: RefPath) -> Getter | None:
    """None: a query of this kind never has the path, or it is the kind itself."""
    if path == ("action", "kind"):
        return None
    current: Any = Query
    names: list[str] = []
    rest = list(path)
    while rest and isinstance(current, type) and issubclass(current, msgspec.Struct):
        if rest[0] == "kind" and current in get_args(Action):
            return None
        name = dict(zip(current.__struct_encode_fields__, current.__struct_fields__, strict=True)).get(rest[0])
        if name is None:
            return None
        hint = get_type_hints(current)[name]
        current = KIND_TYPES[kind] if current is Query and name == "action" else hint
        names.append(name)
        rest.pop(0)
    return _attribute(names, rest)


def _attribute(names: Sequence[str], keys: Sequence[str]) -> Getter:
    def get(query: Any) -> object:
        value: Any = query
        for name in names:
            value = getattr(value, name)
        if not keys:
            return value
        for key in keys:
            if isinstance(value, msgspec.Struct):
                return value
            if not isinstance(value, dict) or key not in value:
                return []
            value = cast("dict[str, Any]", value)[key]
        return [value]

    return get
