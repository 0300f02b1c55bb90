"""Names, array sizes and loop counts that a script's literals make visible. None always means: not visible.

A name is followed only when it is declared once and never assigned again, an array only when nothing in the script
could change its length. Scopes are not told apart; the same name declared twice is simply not followed.
"""

from dataclasses import dataclass, field

from tree_sitter import Node

from runtime.check.meta import read_number
from runtime.check.syntax import node_text, walk

SIZE_MAX = 10_000_000
"""Sizes above it are told as this; it keeps products of sizes small numbers."""

_SAME_SIZE = frozenset(
    {"map", "filter", "slice", "sort", "reverse", "toSorted", "toReversed", "fill", "keys", "values", "entries"}
)
_LENGTH_KEPT = _SAME_SIZE | frozenset(
    {
        "at",
        "concat",
        "every",
        "find",
        "findIndex",
        "flat",
        "flatMap",
        "forEach",
        "includes",
        "indexOf",
        "join",
        "length",
    }
    | {"reduce", "reduceRight", "some"}
)
_READ_ONLY_CALLS = frozenset(
    {"agent", "log", "parallel", "pipeline", "JSON.stringify", "Array.from", "Set", "Map"}
    | {"Object.keys", "Object.values", "Object.entries"}
    | {"Promise.all", "Promise.allSettled", "Promise.any", "Promise.race"}
)
_SIZE_OF_FIRST = frozenset({"parallel", "pipeline", "Promise.all", "Promise.allSettled", "Array.from", "Set"})
_SIZE_OF_KEYS = frozenset({"Object.keys", "Object.values", "Object.entries"})
_ARRAY_PARAMETER = {
    **dict.fromkeys(("every", "filter", "find", "findIndex", "flatMap", "forEach", "map", "some"), 3),
    **dict.fromkeys(("reduce", "reduceRight"), 4),
}
"""Methods that hand the array itself to their callback, and as which parameter."""
_HARMLESS_CALLBACKS = frozenset({"Boolean", "String", "Number"})
_PATTERNS = frozenset({"formal_parameters", "array_pattern", "pair_pattern", "rest_pattern", "catch_clause"})
_NAMES = frozenset({"identifier", "shorthand_property_identifier", "shorthand_property_identifier_pattern"})


@dataclass(slots=True)
class _Binding:
    value: Node | None = None
    declarations: int = 0
    assigned: bool = False
    length_kept: bool = True


@dataclass(slots=True)
class Bindings:
    """What the names of a script stand for."""

    names: dict[str, _Binding] = field(default_factory=dict[str, _Binding])
    _sizes: dict[str, int | None] = field(default_factory=dict[str, "int | None"])

    def value_of(self, name: str) -> Node | None:
        """The expression or function a name always stands for."""
        binding = self.names.get(name)
        if binding is None or binding.declarations != 1 or binding.assigned:
            return None
        return binding.value

    def is_steady(self, name: Node | None) -> bool:
        """True when the name in this declaration always stands for the same value."""
        return name is not None and name.type == "identifier" and self.value_of(node_text(name)) is not None

    def size_of(self, node: Node) -> int | None:
        """Most elements of an array expression."""
        size = self._size_of(node)
        return None if size is None else min(size, SIZE_MAX)

    def number_of(self, node: Node | None) -> int | None:
        """The whole number an expression stands for."""
        if node is None:
            return None
        match node.type:
            case "number":
                number = read_number(node_text(node))
                return int(number) if number is not None and number == number // 1 and abs(number) < 1e15 else None
            case "parenthesized_expression":
                return self.number_of(node.named_children[0])
            case "identifier":
                return self.number_of(self.value_of(node_text(node)))
            case "member_expression" if _property(node) == "length":
                target = node.child_by_field_name("object")
                return None if target is None else self.size_of(target)
            case _:
                return None

    def _size_of(self, node: Node) -> int | None:
        match node.type:
            case "array":
                elements = [self._element(child) for child in node.named_children if child.type != "comment"]
                return self._sum([*elements, _holes(node)])
            case "parenthesized_expression" | "await_expression":
                return self.size_of(node.named_children[0])
            case "identifier":
                return self._size_of_name(node_text(node))
            case "ternary_expression":
                return self._largest(node, "consequence", "alternative")
            case "binary_expression" if node_text(node.children[1]) in ("||", "??"):
                return self._largest(node, "left", "right")
            case "call_expression" | "new_expression":
                return self._size_of_call(node)
            case "object":
                return self.number_of(_only_length(node))
            case _:
                return None

    def _element(self, node: Node) -> int | None:
        return self.size_of(node.named_children[0]) if node.type == "spread_element" else 1

    def _size_of_name(self, name: str) -> int | None:
        if name not in self._sizes:
            self._sizes[name] = None
            value = self.value_of(name)
            if value is not None and self.names[name].length_kept:
                self._sizes[name] = self.size_of(value)
        return self._sizes[name]

    def _size_of_call(self, node: Node) -> int | None:
        callee = node.child_by_field_name("function") or node.child_by_field_name("constructor")
        arguments = node.child_by_field_name("arguments")
        if callee is None or arguments is None:
            return None
        given = [child for child in arguments.named_children if child.type != "comment"]
        name = node_text(callee)
        if name == "Array":
            return self.number_of(given[0]) if len(given) == 1 else len(given)
        if name in _SIZE_OF_KEYS:
            return _key_count(given[0]) if given else None
        if name in _SIZE_OF_FIRST:
            return self.size_of(given[0]) if given else 0
        receiver = callee.child_by_field_name("object")
        if receiver is None:
            return None
        method = _property(callee)
        if method in _SAME_SIZE:
            return self.size_of(receiver)
        if method == "concat":
            return self._sum([self.size_of(receiver), *(self.size_of(child) for child in given)])
        if method == "flatMap" and given:
            body = given[0].child_by_field_name("body")
            inner = None if body is None else self.size_of(body)
            outer = self.size_of(receiver)
            return None if inner is None or outer is None else inner * outer
        return None

    def _largest(self, node: Node, *names: str) -> int | None:
        sizes = [None if child is None else self.size_of(child) for child in map(node.child_by_field_name, names)]
        known = [size for size in sizes if size is not None]
        return max(known) if len(known) == len(sizes) else None

    @staticmethod
    def _sum(sizes: list[int | None]) -> int | None:
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None


def collect_bindings(root: Node) -> Bindings:
    """Every name of the script with its one value, if it has one."""
    bindings = Bindings()
    for node in walk(root):
        if node.type in _NAMES and node.parent is not None:
            _note(bindings.names.setdefault(node_text(node), _Binding()), node, node.parent)
    return bindings


def trip_count(loop: Node, bindings: Bindings) -> int | None:
    """How often the body of a loop runs at most."""
    if loop.type == "for_in_statement":
        operator, over = loop.child_by_field_name("operator"), loop.child_by_field_name("right")
        return bindings.size_of(over) if over is not None and operator is not None and operator.type == "of" else None
    if loop.type != "for_statement":
        return None
    name, start = _counter(loop.child_by_field_name("initializer"), bindings)  # only `let`: no other scope can set it
    condition, step = (
        loop.child_by_field_name("condition"),
        _step(loop.child_by_field_name("increment"), name, bindings),
    )
    body = loop.child_by_field_name("body")
    if name is None or start is None or condition is None or step is None or body is None:
        return None
    if any(_assigns(node, name) for node in walk(body)):
        return None
    limit = _limit(condition, name, bindings)
    if limit is None:
        return None
    operator, bound = limit
    distance = bound - start + (operator == "<=") if step > 0 else start - bound + (operator == ">=")
    if (step > 0) != operator.startswith("<"):
        return None
    return min(max(0, -(-distance // abs(step))), SIZE_MAX)


def _note(binding: _Binding, node: Node, parent: Node) -> None:
    """Record one appearance of a name: declared, assigned, or used."""
    role = parent.type
    if role == "variable_declarator" and _is_field(parent, "name", node):
        binding.declarations += 1
        binding.value = parent.child_by_field_name("value")
    elif role in ("function_declaration", "generator_function_declaration") and _is_field(parent, "name", node):
        binding.declarations += 1
        binding.value = parent
    elif (
        role in _PATTERNS
        or node.type == "shorthand_property_identifier_pattern"
        or (role == "arrow_function" and _is_field(parent, "parameter", node))
        or (role in ("for_in_statement", "assignment_pattern") and _is_field(parent, "left", node))
        or role in ("class_declaration", "function_expression")
    ):
        binding.declarations += 1
    elif role == "update_expression" or (
        role in ("assignment_expression", "augmented_assignment_expression") and _is_field(parent, "left", node)
    ):
        binding.assigned = True
    elif not _keeps_length(node, parent):
        binding.length_kept = False


def _keeps_length(node: Node, parent: Node) -> bool:
    """False when this use could lead to the array growing: it is changed, or handed to somebody."""
    match parent.type:
        case "member_expression" | "subscript_expression":
            owner = parent.parent
            if owner is not None and owner.type.endswith("assignment_expression") and _is_field(owner, "left", parent):
                return False
            called = owner is not None and owner.type == "call_expression" and _is_field(owner, "function", parent)
            if parent.type == "subscript_expression":
                return not called
            return _property(parent) in _LENGTH_KEPT and not (called and _hands_array_over(owner, _property(parent)))
        case "arguments":
            call = parent.parent
            callee = None if call is None else call.child_by_field_name("function")
            callee = callee or (None if call is None else call.child_by_field_name("constructor"))
            return callee is not None and node_text(callee) in _READ_ONLY_CALLS
        case "for_in_statement" | "spread_element" | "template_substitution":
            return True
        case _:
            return False


def _hands_array_over(call: Node | None, method: str) -> bool:
    """Could the callback of `a.forEach(...)` get hold of `a`? An arrow function with too few parameters cannot."""
    arguments = None if call is None else call.child_by_field_name("arguments")
    if method not in _ARRAY_PARAMETER or arguments is None or not arguments.named_children:
        return False
    callback = arguments.named_children[0]
    if callback.type == "identifier":
        return node_text(callback) not in _HARMLESS_CALLBACKS
    if callback.type != "arrow_function":
        return True
    parameters = callback.child_by_field_name("parameters")
    given = [] if parameters is None else parameters.named_children
    return len(given) >= _ARRAY_PARAMETER[method] or any(each.type == "rest_pattern" for each in given)


def _holes(array: Node) -> int:
    """Elisions: `[, , 1]` has two."""
    tokens = [child.type for child in array.children if child.type != "comment"]
    return sum(token == "," and before in (",", "[") for before, token in zip(tokens, tokens[1:], strict=False))


def _key_count(node: Node) -> int | None:
    """Most keys of an object literal."""
    children = [child for child in node.named_children if child.type != "comment"]
    if node.type != "object" or any(child.type == "spread_element" for child in children):
        return None
    return len(children)


def _only_length(node: Node) -> Node | None:
    """The value of `{length: n}`; None for an object with anything more or written otherwise."""
    children = [child for child in node.named_children if child.type != "comment"]
    key = children[0].child_by_field_name("key") if len(children) == 1 and children[0].type == "pair" else None
    if key is None or key.type != "property_identifier" or node_text(key) != "length":
        return None
    return children[0].child_by_field_name("value")


def _counter(initializer: Node | None, bindings: Bindings) -> tuple[str | None, int | None]:
    """`let i = 0`: the name and where it starts."""
    if initializer is None or initializer.type != "lexical_declaration" or len(initializer.named_children) != 1:
        return None, None
    declarator = initializer.named_children[0]
    name = declarator.child_by_field_name("name")
    return (
        None if name is None else node_text(name),
        bindings.number_of(declarator.child_by_field_name("value")),
    )


def _step(increment: Node | None, name: str | None, bindings: Bindings) -> int | None:
    """`i++`, `i--`, `i += k`, `i -= k`."""
    if increment is None or name is None or not _assigns(increment, name):
        return None
    if increment.type == "update_expression":
        return 1 if "++" in node_text(increment) else -1
    operator, by = increment.child_by_field_name("operator"), bindings.number_of(increment.child_by_field_name("right"))
    if operator is None or not by or by < 0:
        return None
    return {"+=": by, "-=": -by}.get(operator.type)


def _limit(condition: Node, name: str, bindings: Bindings) -> tuple[str, int] | None:
    """`i < n`: the operator and n."""
    if condition.type == "expression_statement":
        condition = condition.named_children[0]
    left, right = condition.child_by_field_name("left"), condition.child_by_field_name("right")
    if condition.type != "binary_expression" or left is None or node_text(left) != name:
        return None
    operator, bound = node_text(condition.children[1]), bindings.number_of(right)
    return (operator, bound) if bound is not None and operator in ("<", "<=", ">", ">=") else None


def _assigns(node: Node, name: str) -> bool:
    if node.type == "update_expression":
        target = node.child_by_field_name("argument")
    elif node.type in ("assignment_expression", "augmented_assignment_expression"):
        target = node.child_by_field_name("left")
    else:
        return False
    return target is not None and any(child.type in _NAMES and node_text(child) == name for child in walk(target))


def _property(member: Node) -> str:
    name = member.child_by_field_name("property")
    return "" if name is None else node_text(name)


def _is_field(parent: Node, name: str, node: Node) -> bool:
    return parent.child_by_field_name(name) == node
