"""Call sites and literal options of a script: what `agent()` is asked for by name. How often: `fanout.py`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from tree_sitter import Node

from runtime.check.meta import NotLiteral, read_literal
from runtime.check.sizes import Bindings
from runtime.check.syntax import Script, node_text, outwards, walk

OPTIONS = ("model", "agentType", "isolation", "effort")
VALUES_MAX = 64
"""Most distinct values listed for an option."""
SITES_MAX = 64
"""Most call sites, and most `parallel` and `pipeline`, that are described; all are counted."""
TEXT_CHARS_MAX = 120
SPREADS_MAX = 8
"""How deep options are followed through `...base`."""
UNKNOWN = "\ufffd"

_LOOPS = frozenset({"while_statement", "do_statement", "for_statement", "for_in_statement"})
_CALLBACKS = frozenset({"arrow_function", "function_expression"})
_FIELDS = {
    "label": "label",
    "phase": "phase",
    "model": "model",
    "agentType": "agent_type",
    "isolation": "isolation",
    "effort": "effort",
}


@dataclass(frozen=True, slots=True)
class CallSite:
    """One `agent(...)` and its options. None: not given; what cannot be known statically is `\\ufffd`."""

    line: int
    label: str | None = None
    phase: str | None = None
    model: str | None = None
    agent_type: str | None = None
    isolation: str | None = None
    effort: str | None = None
    schema: bool = False
    """The answer must have a given form."""
    more: bool = False
    """Options may be given that cannot be seen."""
    inside: Literal["", "loop", "callback"] = ""
    """What it stands in, nearest first: it may start more than one agent."""


@dataclass(frozen=True, slots=True)
class Width:
    """How much one `parallel` or `pipeline` has side by side; None: cannot be seen."""

    line: int
    call: str
    width: int | None


@dataclass(slots=True)
class Sites:
    """`options`: distinct literal values by option, in order of appearance."""

    agent_calls: int = 0
    workflow_calls: int = 0
    options: Mapping[str, dict[str, None]] = field(
        default_factory=lambda: {name: dict[str, None]() for name in OPTIONS}
    )
    calls: list[CallSite] = field(default_factory=list[CallSite])
    widths: list[Width] = field(default_factory=list[Width])

    def values(self, option: str) -> tuple[str, ...]:
        """The distinct literal values of an option."""
        return tuple(self.options[option])


def find_sites(script: Script, bindings: Bindings) -> Sites:
    """Every place outside `meta` that names an option counts, wherever the options object is built."""
    sites = Sites()
    for node in _outside_exports(script.root):
        if node.type == "call_expression":
            _note_call(sites, node, bindings)
            continue
        name, value = _named_value(node)
        if name in sites.options and value is not None:
            found = sites.options[name]
            found.update(dict.fromkeys(text for text in _texts(value) if len(found) < VALUES_MAX))
    return sites


def _note_call(sites: Sites, call: Node, bindings: Bindings) -> None:
    callee = call.child_by_field_name("function")
    name = node_text(callee) if callee is not None and callee.type == "identifier" else ""
    if name == "agent":
        sites.agent_calls += 1
        if len(sites.calls) < SITES_MAX:
            sites.calls.append(_site(call, bindings))
    elif name == "workflow":
        sites.workflow_calls += 1
    elif name in ("parallel", "pipeline") and len(sites.widths) < SITES_MAX:
        given = _arguments(call)
        sites.widths.append(Width(_line(call), name, bindings.size_of(given[0]) if given else 0))


def _site(call: Node, bindings: Bindings) -> CallSite:
    given = _arguments(call)
    site = CallSite(_line(call), inside=_inside(call))
    if any(each.type == "spread_element" for each in given[:2]):
        return replace(site, more=True)
    return site if len(given) < 2 else _with_options(site, given[1], bindings, SPREADS_MAX)


def _inside(call: Node) -> Literal["", "loop", "callback"]:
    for outer in outwards(call):
        if outer.type in _LOOPS:
            return "loop"
        if outer.type in _CALLBACKS and outer.parent is not None and outer.parent.type == "arguments":
            return "callback"
    return ""


def _with_options(site: CallSite, options: Node, bindings: Bindings, spreads: int) -> CallSite:
    """The options of an object literal, followed through names and `...base`; later ones win."""
    while options.type == "parenthesized_expression":
        options = options.named_children[0]
    if options.type == "identifier":
        value = bindings.value_of(node_text(options))
        if value is None or spreads <= 0:
            return replace(site, more=True)
        # The object may be changed between here and the call.
        return replace(_with_options(site, value, bindings, spreads - 1), more=True)
    if options.type != "object":
        return replace(site, more=True)
    for child in options.named_children:
        if child.type == "spread_element" and child.named_children and spreads > 0:
            site = _with_options(site, child.named_children[0], bindings, spreads - 1)
        elif child.type != "comment":
            site = _with_option(site, child)
    return site


def _with_option(site: CallSite, member: Node) -> CallSite:
    if member.type == "shorthand_property_identifier":
        return _set(site, node_text(member), UNKNOWN)
    name, value = _named_value(member)
    if member.type != "pair" or value is None:
        return replace(site, more=True)
    key = member.child_by_field_name("key")
    if key is not None and key.type == "computed_property_name" and key.named_children[0].type != "string":
        return replace(site, more=True)
    return _set(site, name, _text(value))


def _set(site: CallSite, name: str, text: str) -> CallSite:
    if name == "schema":
        return replace(site, schema=True)
    return replace(site, **{_FIELDS[name]: text}) if name in _FIELDS else site


def _text(value: Node) -> str:
    """The text of a literal; of a template all that is literal in it."""
    if value.type == "template_string":
        parts = [
            UNKNOWN if child.type == "template_substitution" else node_text(child) for child in value.named_children
        ]
        return "".join(parts)[:TEXT_CHARS_MAX]
    found = list(_texts(value)) if value.type == "string" else []
    return found[0][:TEXT_CHARS_MAX] if found else UNKNOWN


def _outside_exports(root: Node) -> Iterator[Node]:
    for child in root.named_children:
        if child.type != "export_statement":
            yield from walk(child)


def _arguments(call: Node) -> list[Node]:
    arguments = call.child_by_field_name("arguments")
    return [] if arguments is None else [child for child in arguments.named_children if child.type != "comment"]


def _line(node: Node) -> int:
    return node.start_point.row + 1


def _named_value(node: Node) -> tuple[str, Node | None]:
    """`name: value` in an object, or `x.name = value`."""
    if node.type == "pair":
        key = node.child_by_field_name("key")
        return ("" if key is None else node_text(key).strip("[]'\"`"), node.child_by_field_name("value"))
    if node.type == "assignment_expression":
        left = node.child_by_field_name("left")
        member = None if left is None else left.child_by_field_name("property")
        return ("" if member is None else node_text(member), node.child_by_field_name("right"))
    return ("", None)


def _texts(value: Node) -> Iterator[str]:
    """Literal texts a value can take: itself, or the branches of a choice."""
    if value.type in ("string", "template_string"):
        try:
            yield str(read_literal(value))
        except NotLiteral:
            return
        return
    if value.type == "ternary_expression":
        branches = ("consequence", "alternative")
    elif value.type == "binary_expression" and node_text(value.children[1]) in ("||", "??", "&&"):
        branches = ("left", "right")
    else:
        return
    for branch in branches:
        node = value.child_by_field_name(branch)
        if node is not None:
            yield from _texts(node)
