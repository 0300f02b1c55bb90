"""A value that fits a JSON Schema: always the same one for the same schema. Not a validator.

Covers what tool schemas use: type, enum, const, default, properties, required, items, prefixItems, bounds, string
lengths and formats, anyOf/oneOf/allOf, local `$ref`. `pattern` is best effort (`pattern.py`); `not`, `if` and dependent
schemas are not looked at.
"""

import math
from typing import Any

from gateway.upstreams.simulation.pattern import text_for_pattern
from gateway.upstreams.simulation.values import Json, as_list, as_object, as_objects

DEPTH_MAX = 12
"""Below it optional parts are left out, so that a schema that refers to itself ends."""
ITEMS_MAX = 100
TEXT = "simulated"

_FORMATS = {
    "date": "2026-01-01",
    "date-time": "2026-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "email": "agent@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
}


def sample(schema: Any) -> Any:
    """A value for `schema`; for a schema that is no object, an empty object."""
    return _value(schema, schema, 0)


def _value(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, dict):
        return {}
    fields = _flattened(as_object(schema), root, depth)
    for key in ("const", "default"):
        if key in fields:
            return fields[key]
    if fields.get("enum"):
        return as_list(fields["enum"])[0]
    return _typed(_kind(fields), fields, root, depth)


def _typed(kind: str, fields: Json, root: Any, depth: int) -> Any:
    match kind:
        case "object":
            return _object(fields, root, depth)
        case "array":
            return _array(fields, root, depth)
        case "string":
            return _text(fields)
        case "integer" | "number":
            return _number(fields, whole=kind == "integer")
        case "boolean":
            return True
        case _:
            return None


def _flattened(schema: Json, root: Any, depth: int) -> Json:
    """The schema with its references followed, its first alternative taken, its `allOf` merged in."""
    fields: Json = dict(schema)
    if depth > DEPTH_MAX * 2:
        return fields
    if "$ref" in fields:
        target = _resolve(str(fields.pop("$ref")), root)
        fields = {**_flattened(target, root, depth + 1), **fields}
    for key in ("anyOf", "oneOf"):
        choices = as_objects(fields.pop(key, None))
        if choices:
            chosen = next((choice for choice in choices if choice != {"type": "null"}), choices[0])
            fields = _merged(fields, _flattened(chosen, root, depth + 1))
    for part in as_objects(fields.pop("allOf", None)):
        fields = _merged(fields, _flattened(part, root, depth + 1))
    return fields


def _merged(left: Json, right: Json) -> Json:
    merged = {**left, **right}
    if "properties" in left and "properties" in right:
        merged["properties"] = {**left["properties"], **right["properties"]}
    if "required" in left and "required" in right:
        merged["required"] = [*left["required"], *right["required"]]
    return merged


def _resolve(reference: str, root: Any) -> Json:
    target: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        target = as_object(target).get(key) if key else target
    return as_object(target)


def _kind(fields: Json) -> str:
    named = fields.get("type")
    if isinstance(named, str):
        return named
    choices = [name for name in as_list(named) if name != "null"]
    if named is not None:
        return str(choices[0]) if choices else "null"
    if "properties" in fields or "required" in fields:
        return "object"
    if "items" in fields or "prefixItems" in fields:
        return "array"
    return "number" if "minimum" in fields or "maximum" in fields else "string"


def _object(fields: Json, root: Any, depth: int) -> dict[str, Any]:
    properties = as_object(fields.get("properties"))
    required = [str(name) for name in as_list(fields.get("required"))]
    wanted = [*required, *(name for name in properties if name not in required)] if depth < DEPTH_MAX else required
    if depth > DEPTH_MAX * 2:
        return {}
    found = {name: _value(properties.get(name, {"type": "string"}), root, depth + 1) for name in wanted}
    more = fields.get("minProperties", 0) - len(found)
    filler = as_object(fields.get("additionalProperties")) or {"type": "string"}
    return found | {f"key{number}": _value(filler, root, depth + 1) for number in range(min(more, ITEMS_MAX))}


def _array(fields: Json, root: Any, depth: int) -> list[Any]:
    first = [_value(part, root, depth + 1) for part in as_list(fields.get("prefixItems"))]
    least = fields.get("minItems", 0)
    wanted = max(least, 1 if depth < DEPTH_MAX and fields.get("maxItems", 1) else 0)
    if depth > DEPTH_MAX * 2:
        return []
    items = fields.get("items", {"type": "string"})
    for number in range(len(first), min(wanted, ITEMS_MAX)):
        item = _value(items, root, depth + 1)
        if fields.get("uniqueItems") and item in first:
            item = _another(items, item, number)
        first.append(item)
    return first


def _another(items: Any, value: Any, number: int) -> Any:
    """A value that differs from its siblings, where that is easy."""
    choices = as_list(as_object(items).get("enum"))
    if number < len(choices):
        return choices[number]
    if isinstance(value, str):
        return f"{value}{number}"
    return value + number if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _text(fields: Json) -> str:
    if "pattern" in fields:
        return text_for_pattern(str(fields["pattern"]), least=fields.get("minLength", 0))
    text = _FORMATS.get(str(fields.get("format")), TEXT)
    text = text.ljust(fields.get("minLength", 0), ".")
    return text[: fields["maxLength"]] if "maxLength" in fields else text


def _number(fields: Json, *, whole: bool) -> int | float:
    step = fields.get("multipleOf") or 1
    low = fields.get("minimum", -math.inf)
    high = fields.get("maximum", math.inf)
    above = fields.get("exclusiveMinimum", -math.inf)
    below = fields.get("exclusiveMaximum", math.inf)
    if max(low, above) == -math.inf:
        start: float = min(1, high, below - step if below != math.inf else 1)
    else:
        start = max(low, above, 1 if high >= 1 and below > 1 else -math.inf)
    number = math.ceil(start / step) * step
    if number <= above:
        number += step
    if not whole and (number > high or number >= below):
        number = (max(low, above) + min(high, below)) / 2
    return int(number) if whole else number
