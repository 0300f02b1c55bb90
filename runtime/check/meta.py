"""Reads `export const meta = {...}` off the syntax tree. It is a pure literal: parsed here, never evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from tree_sitter import Node

from runtime.check.faults import CheckError, fault_at
from runtime.check.syntax import Script, first_statement, node_text
from runtime.core.limits import DECLARED_PHASES_MAX

LITERAL_DEPTH_MAX = 32
RESERVED_KEYS = frozenset({"__proto__", "constructor", "prototype"})

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": ""}
_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}
_KEYS = frozenset({"name", "description", "whenToUse", "phases"})
_PHASE_KEYS = frozenset({"title", "detail", "model"})


@dataclass(frozen=True, slots=True)
class PlannedPhase:
    """A phase as `meta` announces it."""

    title: str
    detail: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Meta:
    """What the script says of itself; None and empty where it says nothing usable."""

    name: str | None = None
    description: str | None = None
    phases: tuple[PlannedPhase, ...] = ()
    value: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """All of it; no key of it is one that means something to JavaScript objects."""
    warnings: tuple[str, ...] = ()


class NotLiteral(Exception):
    """A construct that would have to be evaluated."""

    def __init__(self, node: Node, code: str, message: str) -> None:
        super().__init__(message)
        self.node = node
        self.code = code
        self.message = message


def read_meta(script: Script) -> tuple[Meta, tuple[CheckError, ...]]:
    """The meta of a script and every problem with it."""
    statement = first_statement(script.root)
    literal = None if statement is None else meta_object(statement)
    if statement is None or literal is None:
        return Meta(), (_missing(script, statement),)
    try:
        value = read_literal(literal)
    except NotLiteral as error:
        return Meta(), (fault_at(script.source, error.node, error.code, error.message),)
    return _checked(script, literal, value)


def read_literal(node: Node, depth: int = 0) -> Any:
    """The value of a pure literal. Raises `NotLiteral` naming the construct that is none."""
    if depth > LITERAL_DEPTH_MAX:
        raise NotLiteral(node, "meta_not_literal", f"nested more than {LITERAL_DEPTH_MAX} levels deep.")
    match node.type:
        case "string":
            return _string(node)
        case "template_string" if not any(child.type == "template_substitution" for child in node.children):
            return _string(node)
        case "number":
            return _number(node)
        case "unary_expression" if node_text(node).startswith("-") and node.named_children[0].type == "number":
            return -_number(node.named_children[0])
        case "true" | "false" | "null":
            return _CONSTANTS[node.type]
        case "array":
            return [read_literal(child, depth + 1) for child in node.named_children if child.type != "comment"]
        case "object":
            return _object(node, depth)
        case _:
            raise NotLiteral(node, "meta_not_literal", f"`meta` holds literals only, not this {_label(node)}.")


def meta_object(statement: Node) -> Node | None:
    """The object of `export const meta = {...}`; None when the statement is anything else."""
    declaration = statement.child_by_field_name("declaration")
    if statement.type != "export_statement" or declaration is None or declaration.type != "lexical_declaration":
        return None
    declarators = [child for child in declaration.named_children if child.type == "variable_declarator"]
    if not node_text(declaration).startswith("const") or len(declarators) != 1:
        return None
    name, value = declarators[0].child_by_field_name("name"), declarators[0].child_by_field_name("value")
    if name is None or node_text(name) != "meta":
        return None
    return value


def _missing(script: Script, first: Node | None) -> CheckError:
    later = [child for child in script.root.named_children if meta_object(child) is not None]
    if later:
        message = "`export const meta` must be the first statement."
        return fault_at(script.source, later[0], "meta_not_first", message)
    message = "begin the script with `export const meta = {name: '...', description: '...'}`."
    if first is None:
        return CheckError("meta_missing", message)
    return fault_at(script.source, first, "meta_missing", message)


def _checked(script: Script, node: Node, value: Any) -> tuple[Meta, tuple[CheckError, ...]]:
    if not isinstance(value, dict):
        return Meta(), (fault_at(script.source, node, "meta_not_literal", "`meta` must be an object literal."),)
    fields = cast(dict[str, Any], value)
    problems: list[CheckError] = []
    texts: dict[str, str | None] = {}
    for key in ("name", "description"):
        text = fields.get(key)
        texts[key] = text if isinstance(text, str) and text.strip() else None
        if texts[key] is None:
            message = f"`meta.{key}` must be a text that is not empty."
            problems.append(fault_at(script.source, node, f"meta_missing_{key}", message))
    planned = _planned(fields.get("phases", []))
    if planned is None:
        message = (
            f"`meta.phases` is a list of at most {DECLARED_PHASES_MAX} objects with a `title` and perhaps a `detail` "
            "and a `model`, all of them texts."
        )
        problems.append(fault_at(script.source, node, "meta_invalid_phases", message))
    warnings = _warnings(fields, planned or ())
    return Meta(texts["name"], texts["description"], planned or (), fields, warnings), tuple(problems)


def _warnings(fields: dict[str, Any], planned: tuple[PlannedPhase, ...]) -> tuple[str, ...]:
    """What is not used, or can hardly be meant."""
    unknown = [key for key in fields if key not in _KEYS]
    phases = fields.get("phases", [])
    entries = cast(list[Any], phases) if planned and isinstance(phases, list) else []
    unknown += [f"phases[{i}].{key}" for i, entry in enumerate(entries) for key in entry if key not in _PHASE_KEYS]
    warnings = [f"meta_unknown_key: `meta.{key}` is not used." for key in unknown]
    if not isinstance(fields.get("whenToUse", ""), str):
        warnings.append("meta_unused_value: `meta.whenToUse` is no text and not used.")
    titles = [phase.title for phase in planned]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    return (*warnings, *(f"meta_duplicate_phase: the phase '{title}' is declared twice." for title in twice))


def _planned(phases: Any) -> tuple[PlannedPhase, ...] | None:
    entries = cast(list[Any], phases) if isinstance(phases, list) else None
    if entries is None or len(entries) > DECLARED_PHASES_MAX:
        return None
    planned = [_phase(cast(dict[str, Any], entry)) if isinstance(entry, dict) else None for entry in entries]
    found = [phase for phase in planned if phase is not None]
    return tuple(found) if len(found) == len(planned) else None


def _phase(entry: dict[str, Any]) -> PlannedPhase | None:
    """None without a title, and with anything but texts."""
    title, detail, model = (entry.get(key) for key in ("title", "detail", "model"))
    if not isinstance(title, str) or not title.strip():
        return None
    if not isinstance(detail, str | None) or not isinstance(model, str | None):
        return None
    return PlannedPhase(title, detail, model or None)


def _object(node: Node, depth: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for child in node.named_children:
        if child.type == "comment":
            continue
        if child.type != "pair":
            raise NotLiteral(child, "meta_not_literal", f"`meta` holds literals only, not this {_label(child)}.")
        key, value = child.named_children[0], child.named_children[-1]
        name = _key(key)
        if name in RESERVED_KEYS:
            raise NotLiteral(key, "meta_reserved_key", f"`{name}` cannot be a key.")
        if name in fields:
            raise NotLiteral(key, "meta_duplicate_key", f"`{name}` is given twice.")
        fields[name] = read_literal(value, depth + 1)
    return fields


def _key(node: Node) -> str:
    if node.type == "string":
        return _string(node)
    if node.type in ("property_identifier", "number"):
        # An escape in a bare key could spell a reserved one.
        return _unescape(node_text(node), node)
    raise NotLiteral(node, "meta_not_literal", f"keys of `meta` are plain names, not this {_label(node)}.")


def _string(node: Node) -> str:
    return _unescape(node_text(node)[1:-1], node)


def _unescape(text: str, node: Node) -> str:
    """The characters that a JavaScript string literal stands for."""
    if "\\" not in text:
        return text
    parts: list[str] = []
    position = 0
    while position < len(text):
        character = text[position]
        if character != "\\":
            parts.append(character)
            position += 1
            continue
        taken, width = _escape(text[position + 1 :], node)
        parts.append(taken)
        position += 1 + width
    # Pairs of \\uD83D\\uDE00 are one character.
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _escape(rest: str, node: Node) -> tuple[str, int]:
    kind = rest[:1]
    digits = ""
    width = 0
    if kind == "x":
        digits, width = rest[1:3], 3
    elif kind == "u" and rest[1:2] == "{":
        end = rest.find("}")
        digits, width = rest[2:end], end + 1
    elif kind == "u":
        digits, width = rest[1:5], 5
    else:
        return _ESCAPES.get(kind, kind), 1
    try:
        return chr(int(digits, 16)), width
    except (ValueError, OverflowError):
        raise NotLiteral(node, "meta_not_literal", "this escape names no character.") from None


def _number(node: Node) -> int | float:
    number = read_number(node_text(node))
    if number is None:
        raise NotLiteral(node, "meta_not_literal", "`meta` holds plain numbers only, not a BigInt.")
    return number


def read_number(text: str) -> int | float | None:
    """The value of a JavaScript number literal; None for a BigInt and for what is none."""
    plain = text.replace("_", "").lower()
    try:
        return int(plain, 0) if plain[:2] in ("0x", "0o", "0b") else int(plain) if plain.isdecimal() else float(plain)
    except (ValueError, OverflowError):
        return None


def _label(node: Node) -> str:
    return node.type.replace("_", " ")
