"""A small value that fits a JSON schema, for agents that only pretend to answer (W144).

Best effort: contradictions, `not` and most of what `pattern` can say are passed over. Every declared property is there,
and an array has one item where it may, so that what a script does with them is seen.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, cast

DEPTH_MAX = 24
OPTIONAL_DEPTH_MAX = 8
"""Below it there is only what is required."""
VALUES_MAX = 1_000
ITEMS_MAX = 64
CHARS_MAX = 4_096
PATTERN_CHARS_MAX = 200
REPEATS_MAX = 64
NUMBER_MAX = 10**15
"""Bounds beyond it are passed over."""
NUMBER_MIN = 1e-12
"""A smaller step too."""
TEXT = "sample"

Schema = Mapping[str, Any]

_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "sample@example.com",
    "uri": "https://example.com/sample",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
    "hostname": "example.com",
}
_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a", "n": "\n", "t": "\t", "b": "", "B": ""}
_QUANTIFIER = re.compile(r"[*+?]|\{(\d+)(?:,\d*)?\}")
_UNFOLLOWED = re.compile(r"\((?!\?:)|\(\?[^:]|[|]")


def sample_value(schema: Schema) -> Any:
    """Plain JSON."""
    return _Sampler(schema).value(schema, 0)


class _Sampler:
    """Makes one value. `left`: how many parts it may still have, whatever the schema says of itself."""

    def __init__(self, root: Schema) -> None:
        self.root = root
        self.left = VALUES_MAX

    def value(self, schema: Any, depth: int) -> Any:
        self.left -= 1
        if not isinstance(schema, Mapping) or depth > DEPTH_MAX or self.left < 0:
            return None
        schema = _resolved(cast("Schema", schema), self.root)
        if "const" in schema:
            return schema["const"]
        choices = schema.get("enum")
        if isinstance(choices, list) and choices:
            return cast("list[Any]", choices)[0]
        match _type_of(schema):
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "string":
                return _text(schema)
            case "integer" | "number" as kind:
                return _number(schema, whole=kind == "integer")
            case "boolean":
                return False
            case _:
                return None

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties, listed = schema.get("properties"), schema.get("required")
        declared: Schema = cast("Schema", properties) if isinstance(properties, Mapping) else {}
        required = cast("list[Any]", listed) if isinstance(listed, list) else []
        names = (name for name in (*(() if self._is_deep(depth) else declared), *required) if isinstance(name, str))
        return {name: self.value(declared.get(name, {}), depth + 1) for name in dict.fromkeys(names)}

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        fixed = schema.get("prefixItems")
        first = cast("list[Any]", fixed) if isinstance(fixed, list) else []
        most = min(_whole(schema.get("maxItems"), ITEMS_MAX), ITEMS_MAX)
        least = 0 if self._is_deep(depth) else 1
        wanted = min(max(_whole(schema.get("minItems"), 0), len(first), least), most)
        parts = (first + [schema.get("items", {})] * wanted)[:wanted]
        items = [self.value(part, depth + 1) for part in parts]
        return [_distinct(item, number) for number, item in enumerate(items)] if schema.get("uniqueItems") else items

    def _is_deep(self, depth: int) -> bool:
        """Only what must be there is, so that a schema that holds itself comes to an end."""
        return depth > OPTIONAL_DEPTH_MAX or self.left < VALUES_MAX // 2


def _resolved(schema: Schema, root: Schema) -> Schema:
    """One schema of those that have to hold together: references followed, the first of alternatives taken."""
    merged: dict[str, Any] = dict(schema)
    for _ in range(DEPTH_MAX):
        parts = _parts(merged, root)
        if not parts:
            break
        for word in ("$ref", "allOf", "anyOf", "oneOf"):
            merged.pop(word, None)
        for part in parts:
            _merge(merged, part)
    return merged


def _parts(schema: Schema, root: Schema) -> list[Schema]:
    parts: list[Any] = []
    if isinstance(schema.get("$ref"), str):
        parts.append(_pointed(schema["$ref"], root))
    for word in ("allOf", "anyOf", "oneOf"):
        options = schema.get(word)
        if isinstance(options, list) and options:
            several = cast("list[Any]", options)
            parts.extend(several if word == "allOf" else several[:1])
    return [cast("Schema", part) for part in parts if isinstance(part, Mapping)]


def _pointed(reference: str, root: Schema) -> Any:
    found: Any = root
    for name in reference.removeprefix("#").split("/")[1:]:
        key = name.replace("~1", "/").replace("~0", "~")
        found = cast("Schema", found).get(key) if isinstance(found, Mapping) else None
    return found


def _merge(schema: dict[str, Any], part: Schema) -> None:
    for word, said in part.items():
        known = schema.get(word)
        if word == "properties" and isinstance(known, Mapping) and isinstance(said, Mapping):
            schema[word] = {**known, **said}
        elif word == "required" and isinstance(known, list) and isinstance(said, list):
            schema[word] = [*cast("list[Any]", known), *cast("list[Any]", said)]
        else:
            schema.setdefault(word, said)


def _type_of(schema: Schema) -> Any:
    said: Any = schema.get("type")
    if isinstance(said, list):
        kinds = [kind for kind in cast("list[Any]", said) if kind != "null"]
        return kinds[0] if kinds else "null"
    if said is not None:
        return said
    for word, kind in (("properties", "object"), ("items", "array"), ("pattern", "string"), ("minimum", "number")):
        if word in schema:
            return kind
    return "string"


def _distinct(item: Any, number: int) -> Any:
    if number == 0 or isinstance(item, bool):
        return item
    if isinstance(item, str):
        return f"{item}{number + 1}"
    return item + number if isinstance(item, int | float) else item


def _text(schema: Schema) -> str:
    pattern = schema.get("pattern")
    text = _matching(pattern) if isinstance(pattern, str) else _FORMATS.get(str(schema.get("format")), TEXT)
    least = min(_whole(schema.get("minLength"), 0), CHARS_MAX)
    text += (text[-1:] or "a") * (least - len(text))
    return text[: _whole(schema.get("maxLength"), CHARS_MAX)]


def _matching(pattern: str) -> str:
    """Of a plain sequence of characters, classes and repeats; anything else is not followed."""
    if len(pattern) > PATTERN_CHARS_MAX or _UNFOLLOWED.search(pattern.replace("\\(", "").replace("\\|", "")):
        return TEXT
    text, at = "", 0
    while at < len(pattern):
        piece, at = _piece(pattern, at)
        times = 1
        repeat = _QUANTIFIER.match(pattern, at)
        if repeat is not None:
            at = repeat.end()
            times = int(repeat[1]) if repeat[1] else int(repeat[0] == "+")
        text += piece * min(times, REPEATS_MAX)
    return text[:CHARS_MAX]


def _piece(pattern: str, at: int) -> tuple[str, int]:
    """What one element of a pattern stands for, and where the next begins."""
    character = pattern[at]
    if character in "^$()":
        return "", at + (3 if pattern.startswith("(?:", at) else 1)
    if character == "\\" and at + 1 < len(pattern):
        return _CLASSES.get(pattern[at + 1], pattern[at + 1]), at + 2
    if character == "[":
        end = pattern.find("]", at + 2)
        return (_member(pattern[at + 1 : end]), end + 1) if end > 0 else (character, at + 1)
    return ("a" if character == "." else character), at + 1


def _member(inside: str) -> str:
    """A character of a class, or one that is not in it when it says so."""
    if inside.startswith("^"):
        return next((choice for choice in "a0_" if choice not in inside), "-")
    return _CLASSES.get(inside[1:2], inside[1:2]) if inside.startswith("\\") else inside[:1]


def _number(schema: Schema, *, whole: bool) -> float | int:
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    step = _real(schema.get("multipleOf"))
    step = step if step >= NUMBER_MIN else float(whole)
    least = max(_real(schema.get("minimum"), -math.inf), _real(above, -math.inf))
    most = min(_real(schema.get("maximum"), math.inf), _real(below, math.inf))
    value = min(max(0.0, least), most)
    if step:
        upwards = step * math.ceil(value / step)
        value = upwards if upwards <= most else step * math.floor(value / step)
    nudge = step or (min(1.0, (most - least) / 2) if most > least else 0)
    if above is not None and value <= _real(above):
        value += nudge
    if below is not None and value >= _real(below):
        value -= nudge
    return int(value) if whole or value.is_integer() else value


def _real(said: Any, otherwise: float = 0.0) -> float:
    is_number = isinstance(said, int | float) and not isinstance(said, bool) and abs(said) <= NUMBER_MAX
    return float(said) if is_number else otherwise


def _whole(said: Any, otherwise: int) -> int:
    return said if isinstance(said, int) and not isinstance(said, bool) and said >= 0 else otherwise
