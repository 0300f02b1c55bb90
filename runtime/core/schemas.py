"""Looks at an output schema before a call is counted (W63, W64). It does not validate anything against it.

A problem is what no answer could ever satisfy, or what a validator cannot work with. Impossible parts that an answer
can leave out or get around are only warned of. Draft-07 and `$defs`; `format` is not asserted.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from runtime.core.limits import SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX

WARNINGS_MAX = 20

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_ONE_SCHEMA = ("additionalProperties", "contains", "propertyNames", "not", "if", "then", "else", "additionalItems")
_MANY_SCHEMAS = ("allOf", "anyOf", "oneOf")
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_TEXTS = ("pattern", "format", "title", "description", "$ref", "$id", "$schema", "$comment")
_OTHERS = ("type", "required", "enum", "const", "items", "uniqueItems", "dependencies", "default", "examples")
_SILENT = ("readOnly", "writeOnly", "deprecated", "contentMediaType", "contentEncoding", "$anchor", "additionalItems")
_KNOWN = frozenset(
    (*_ONE_SCHEMA, *_MANY_SCHEMAS, *_NAMED_SCHEMAS, *_COUNTS, *_NUMBERS, *_TEXTS, *_OTHERS, *_SILENT, "prefixItems")
)
_PAIRS = (
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
    ("minimum", "maximum"),
    ("exclusiveMinimum", "maximum"),
    ("minimum", "exclusiveMaximum"),
    ("exclusiveMinimum", "exclusiveMaximum"),
)


@dataclass(frozen=True, slots=True)
class Preflight:
    """`problem` names the path and what is wrong; warnings are `<code>: <text>`."""

    problem: str | None = None
    warnings: tuple[str, ...] = ()


class _Refused(Exception):
    """This schema cannot be used."""


@dataclass(slots=True)
class _Look:
    root: dict[str, Any]
    warnings: dict[str, None] = field(default_factory=dict[str, None])
    followed: set[str] = field(default_factory=set[str])
    """References that were looked at as parts that must hold."""

    def warn(self, text: str) -> None:
        if len(self.warnings) < WARNINGS_MAX:
            self.warnings[text] = None

    def impossible(self, path: str, text: str, *, forced: bool) -> None:
        """No value fits here; that matters where a value has to be."""
        if forced:
            raise _Refused(f"{path}: {text}")
        self.warn(f"schema_impossible: {path}: {text}")


def preflight(schema: object) -> Preflight:
    """Takes the schema as JSON gave it."""
    problem = _size_problem(schema)
    if problem is not None:
        return Preflight(problem)
    root = cast(dict[str, Any], schema)
    look = _Look(root)
    try:
        if root.get("type") not in ("object", ["object"]):
            raise _Refused('schema.type: the root must be of type "object"')
        _look_at(look, root, "schema", forced=True)
    except _Refused as refused:
        return Preflight(str(refused))
    return Preflight(None, tuple(look.warnings))


def _size_problem(schema: object) -> str | None:
    if not isinstance(schema, dict):
        return 'schema: must be an object with type "object"'
    if _depth(cast(object, schema)) > SCHEMA_DEPTH_MAX:
        return f"schema: nested more than {SCHEMA_DEPTH_MAX} levels deep"
    try:
        size = len(msgspec.json.encode(cast(object, schema)))
    except (TypeError, ValueError) as error:
        return f"schema: is not JSON: {error}"
    return f"schema: {size} bytes, at most {SCHEMA_BYTES_MAX}" if size > SCHEMA_BYTES_MAX else None


def _depth(value: object) -> int:
    """Levels of objects and arrays; stops counting where it is too deep anyway."""
    level: list[object] = [value]
    depth = 0
    while level and depth <= SCHEMA_DEPTH_MAX:
        inner = [_children(each) for each in level]
        if all(children is None for children in inner):
            break
        depth += 1
        level = [child for children in inner for child in children or ()]
    return depth


def _children(value: object) -> list[object] | None:
    """None when it holds nothing."""
    if isinstance(value, dict):
        return list(cast(dict[str, object], value).values())
    return cast(list[object], value) if isinstance(value, list) else None


def _look_at(look: _Look, schema: object, path: str, *, forced: bool) -> None:
    """`forced`: every answer needs a value that fits here."""
    if isinstance(schema, bool):
        if not schema:
            look.impossible(path, "`false` allows nothing", forced=forced)
        return
    if not isinstance(schema, dict):
        raise _Refused(f"{path}: must be a schema, an object or a boolean")
    node = cast(dict[str, Any], schema)
    _check_form(look, node, path)
    for text in _contradictions(node):
        look.impossible(path, text, forced=forced)
    if "$ref" in node:
        _follow(look, node["$ref"], path, forced=forced)
    for child, child_path, child_forced in _parts(node, path):
        _look_at(look, child, child_path, forced=forced and child_forced)


def _check_form(look: _Look, node: dict[str, Any], path: str) -> None:
    """What a validator would choke on."""
    for key in node:
        if key not in _KNOWN:
            look.warn(f"schema_unknown_keyword: {path}.{key} is not known and ignored")
    if "prefixItems" in node:
        look.warn(f"schema_unknown_keyword: {path}.prefixItems is ignored")
    for keys, what, fits in _FORMS:
        for key in keys:
            if key in node and not fits(node[key]):
                raise _Refused(f"{path}.{key}: must be {what}")


def _contradictions(node: dict[str, Any]) -> Iterator[str]:
    """What can be told from one schema alone."""
    for low, high in _PAIRS:
        strict = "exclusive" in low + high
        if low in node and high in node and (node[low] > node[high] or (strict and node[low] == node[high])):
            yield f"{low} {node[low]} and {high} {node[high]} leave nothing"
    types = _types_of(node["type"]) if "type" in node else None
    if node.get("enum") == []:
        yield "enum is empty"
    elif "enum" in node and types is not None and not any(_is_of(value, types) for value in node["enum"]):
        yield f"no value of enum is of type {node['type']}"
    if "const" in node and types is not None and not _is_of(node["const"], types):
        yield f"const is not of type {node['type']}"
    if node.get("not") in (True, {}):
        yield "not excludes everything"
    if types is None or "object" in types:
        yield from _missing_keys(node)


def _missing_keys(node: dict[str, Any]) -> Iterator[str]:
    required: list[str] = node.get("required", [])
    if node.get("additionalProperties") is False and not node.get("patternProperties"):
        known: dict[str, Any] = node.get("properties", {})
        for name in required:
            if name not in known:
                yield f"required names '{name}', which additionalProperties: false excludes"
        if node.get("minProperties", 0) > len(known):
            yield f"minProperties {node['minProperties']} is more than there are properties"
    if len(set(required)) > node.get("maxProperties", len(required)):
        yield f"required names more than maxProperties {node['maxProperties']}"


def _parts(node: dict[str, Any], path: str) -> Iterator[tuple[object, str, bool]]:
    """Schemas within a schema, and whether each must hold wherever the outer one does."""
    # A key of an object counts only where the value has to be an object, an element only of an array.
    types = _types_of(node["type"]) if "type" in node else None
    required: list[str] = node.get("required", []) if types == {"object"} else []
    for key in _NAMED_SCHEMAS:
        for name, child in cast(dict[str, object], node.get(key, {})).items():
            yield child, f"{path}.{key}.{name}", key == "properties" and name in required
    for key in _MANY_SCHEMAS:
        branches = cast(list[object], node.get(key, []))
        for index, child in enumerate(branches):
            yield child, f"{path}.{key}[{index}]", key == "allOf" or len(branches) == 1
    for key in _ONE_SCHEMA:
        if key in node and not isinstance(node[key], bool):
            yield node[key], f"{path}.{key}", False
    items = node.get("items", True)
    if isinstance(items, list):
        for index, child in enumerate(cast(list[object], items)):
            yield child, f"{path}.items[{index}]", False
    elif items is not True:
        yield cast(object, items), f"{path}.items", types == {"array"} and node.get("minItems", 0) > 0


def _follow(look: _Look, reference: str, path: str, *, forced: bool) -> None:
    """A local reference to something that is there; what it leads to is looked at once as a part that must hold."""
    seen: set[str] = set()
    target: object = None
    onward: object = reference
    while isinstance(onward, str):
        reference = onward
        if reference in seen:
            raise _Refused(f"{path}.$ref: {reference} leads back to itself")
        seen.add(reference)
        target = _resolve(look.root, reference, path)
        onward = _ref_of(target)
    if forced and reference not in look.followed:
        look.followed.add(reference)
        _look_at(look, target, f"{path}({reference})", forced=True)


def _ref_of(schema: object) -> object:
    return cast(dict[str, object], schema).get("$ref") if isinstance(schema, dict) else None


def _resolve(root: dict[str, Any], reference: str, path: str) -> object:
    if not reference.startswith("#"):
        raise _Refused(f"{path}.$ref: {reference} is not in this schema; only references like #/$defs/name work")
    target: object = root
    for step in reference[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(target, list) and name.isdecimal() and int(name) < len(cast(list[object], target)):
            target = cast(list[object], target)[int(name)]
        elif isinstance(target, dict) and name in target:
            target = cast(dict[str, object], target)[name]
        else:
            raise _Refused(f"{path}.$ref: there is nothing at {reference}")
    return target


def _types_of(value: object) -> set[str] | None:
    """None when it names no types."""
    names: object = [value] if isinstance(value, str) else value
    if not _is_texts(names) or names == []:
        return None
    found = set(cast(list[str], names))
    return found if found <= _TYPES.keys() else None


def _is_of(value: object, types: set[str]) -> bool:
    if isinstance(value, bool):
        return "boolean" in types
    if isinstance(value, float) and not value.is_integer():
        return "number" in types
    return any(isinstance(value, _TYPES[name]) for name in types if name != "boolean")


def _is_count(value: object) -> bool:
    return _is_number(value) and float(cast(float, value)).is_integer() and cast(float, value) >= 0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_texts(value: object) -> bool:
    """Each of them once."""
    if not isinstance(value, list):
        return False
    texts = cast(list[object], value)
    return all(isinstance(each, str) for each in texts) and len(set(texts)) == len(texts)


_FORMS: tuple[tuple[tuple[str, ...], str, Callable[[object], bool]], ...] = (
    (_NAMED_SCHEMAS, "an object", lambda value: isinstance(value, dict)),
    (_MANY_SCHEMAS, "a list that is not empty", lambda value: isinstance(value, list) and value != []),
    (_COUNTS, "a whole number from 0 on", _is_count),
    (_NUMBERS, "a number", _is_number),
    (_TEXTS, "a text", lambda value: isinstance(value, str)),
    (("enum",), "a list", lambda value: isinstance(value, list)),
    (("required",), "a list of texts, each once", _is_texts),
    (("items",), "a schema, or a list of some", lambda value: value != []),
    (("multipleOf",), "more than 0", lambda value: cast(float, value) > 0),
    (("uniqueItems", "readOnly", "writeOnly", "deprecated"), "true or false", lambda value: isinstance(value, bool)),
    (("dependencies",), "an object", lambda value: isinstance(value, dict)),
    (("examples",), "a list", lambda value: isinstance(value, list)),
    (("type",), f"one or more of {', '.join(_TYPES)}", lambda value: _types_of(value) is not None),
)
"""Keywords and what a validator needs them to be."""
