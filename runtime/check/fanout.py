"""How many agents a script can start at most, as far as its literals say. Counts agents, evaluates nothing.

Every expression has a cost in two parts: `now`, the agents started by evaluating it once, and `later`, those started
by calling (once) the functions that are its value. `parallel`, `pipeline`, array callbacks and promise callbacks turn
`later` into `now`, multiplied by the size of what they go over; calling a value does the same once. Where a value with
`later` goes to code whose calls cannot be counted, or a size is not visible, the count is infinite, never a small one.

Not followed: functions reached by computed access on built-ins; a script that wants to hide an agent there can.
Workflows that the script starts are not counted here.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tree_sitter import Node

from runtime.check.sizes import Bindings, trip_count
from runtime.check.syntax import Script, node_text

FAN_OUT_MAX = 1_000_000
"""Counts above it are told as this: the difference means nothing any more."""

UNBOUNDED_MAX = 64
"""Most places without a bound that are told."""
_LOOPS = {"while_statement": "while", "do_statement": "do", "for_statement": "for", "for_in_statement": "for-of"}

FUNCTIONS = frozenset(
    {
        "arrow_function",
        "function_expression",
        "function_declaration",
        "generator_function",
        "generator_function_declaration",
        "method_definition",
    }
)
_DECLARED_FUNCTIONS = frozenset({"function_declaration", "generator_function_declaration"})
_RUNS_ONCE = frozenset({"parallel", "Promise.all", "Promise.allSettled", "Promise.any", "Promise.race"})
_PER_ELEMENT = frozenset(
    {"map", "flatMap", "forEach", "filter", "find", "findIndex", "some", "every", "reduce", "reduceRight"}
)
_PER_PROMISE = frozenset({"then", "catch", "finally"})
_UNFATHOMABLE = frozenset({"eval", "Function", "globalThis", "Reflect", "Proxy"})
"""Names through which code can be reached that is not in the tree."""


class Cost(NamedTuple):
    """Agents, `math.inf` for no visible bound."""

    now: float = 0
    later: float = 0


FREE = Cost()
UNBOUNDED = Cost(math.inf, 0)


@dataclass(frozen=True, slots=True)
class Unbounded:
    """A place that starts agents and shows no bound: `while`, `for-of`, `map`, `pipeline`, `recursion`, `unseen`."""

    line: int
    what: str


@dataclass(frozen=True, slots=True)
class FanOut:
    """The most agents that a script's own calls can start, None without a visible bound; and where none is visible."""

    agents: int | None
    unbounded: tuple[Unbounded, ...] = ()


def estimate_fan_out(script: Script, bindings: Bindings) -> FanOut:
    """Counted over the whole script."""
    estimate = _Estimate(bindings)
    try:
        total = estimate.cost(script.root).now
    except RecursionError:
        # Nested beyond what anybody writes: as good as unbounded.
        return FanOut(None, (Unbounded(1, "unseen"),))
    places = sorted(estimate.unbounded, key=lambda place: (place.line, place.what))
    return FanOut(None if math.isinf(total) else min(int(total), FAN_OUT_MAX), tuple(places[:UNBOUNDED_MAX]))


@dataclass(slots=True)
class _Found:
    """A cost that is being or has been found; asked for while it is being found, the code calls itself."""

    cost: Cost = FREE
    done: bool = False
    recursive: bool = False


class _Estimate:
    def __init__(self, bindings: Bindings) -> None:
        self._bindings = bindings
        self._found: dict[int, _Found] = {}
        self.unbounded: set[Unbounded] = set()
        self._by_kind: dict[str, Callable[[Node], Cost]] = {
            **dict.fromkeys(FUNCTIONS, self._function),
            "identifier": self._identifier,
            "shorthand_property_identifier": self._identifier,
            "call_expression": self._call,
            "new_expression": self._call,
            "variable_declarator": self._declarator,
            "assignment_expression": self._assignment,
            "augmented_assignment_expression": self._assignment,
            "if_statement": self._choice,
            "ternary_expression": self._choice,
            "for_statement": self._loop,
            "for_in_statement": self._loop,
            "while_statement": self._loop,
            "do_statement": self._loop,
            "binary_expression": self._binary,
            "class_declaration": self._anywhere,
            "class": self._anywhere,
            "formal_parameters": self._anywhere,
            "object_pattern": self._anywhere,
            "array_pattern": self._anywhere,
        }

    def cost(self, node: Node) -> Cost:
        """Agents of a statement or expression."""
        return self._by_kind.get(node.type, self._children)(node)

    def _anywhere(self, node: Node) -> Cost:
        """Methods and defaults may run any number of times, called from anywhere."""
        return self._unseen(node) if _total(self._children(node)) else FREE

    def _children(self, node: Node) -> Cost:
        return _sum(self.cost(child) for child in node.named_children)

    def _function(self, node: Node) -> Cost:
        """A function is worth nothing now; a named one is counted where its name is used."""
        if node.type in _DECLARED_FUNCTIONS:
            if self._bindings.is_steady(node.child_by_field_name("name")):
                return FREE
            return self._unseen(node) if _total(self._invoked(node)) else FREE
        return Cost(0, _total(self._invoked(node)))

    def _invoked(self, node: Node) -> Cost:
        """What one call of the function `node` costs; `later` is that of what it returns."""
        return self._once(node, self._body)

    def _body(self, function: Node) -> Cost:
        return _sum(self._field(function, name) for name in ("parameters", "parameter", "body"))

    def _once(self, node: Node, find: Callable[[Node], Cost]) -> Cost:
        """Each named value and function is looked at once, however often it is used."""
        known = self._found.get(node.id)
        if known is not None:
            known.recursive = known.recursive or not known.done
            return known.cost
        found = self._found[node.id] = _Found()
        found.cost = find(node)
        found.done = True
        if found.recursive and _total(found.cost):
            found.cost = self._unseen(node, "recursion")
        return found.cost

    def _identifier(self, node: Node) -> Cost:
        name = node_text(node)
        if name == "agent":
            return Cost(0, 1)
        if name in _UNFATHOMABLE:
            return self._unseen(node)
        value = self._bindings.value_of(name)
        return FREE if value is None else Cost(0, self._value(value).later)

    def _value(self, node: Node) -> Cost:
        """The cost of what a name stands for."""
        if node.type in FUNCTIONS:
            return Cost(0, _total(self._invoked(node)))
        return self._once(node, self.cost)

    def _declarator(self, node: Node) -> Cost:
        """A steady name's `later` is counted where it is used; a name that changes must not hold any."""
        value = node.child_by_field_name("value")
        if value is None:
            return FREE
        cost = self._value(value)
        if cost.later and not self._bindings.is_steady(node.child_by_field_name("name")):
            return self._unseen(node)
        return Cost(cost.now, 0)

    def _assignment(self, node: Node) -> Cost:
        left, right = node.child_by_field_name("left"), node.child_by_field_name("right")
        target = FREE if left is None or left.type == "identifier" else self.cost(left)
        value = FREE if right is None else self.cost(right)
        return self._unseen(node) if value.later else Cost(target.now + value.now, 0)

    def _choice(self, node: Node) -> Cost:
        condition, first, second = (self._field(node, name) for name in ("condition", "consequence", "alternative"))
        return Cost(condition.now + condition.later + max(first.now, second.now), max(first.later, second.later))

    def _binary(self, node: Node) -> Cost:
        """Chains of `a + b + ...` are taken apart without recursion: a long text is often written that way."""
        total = FREE
        left: Node | None = node
        while left is not None and left.type == "binary_expression":
            total = _sum((total, self._field(left, "right")))
            left = left.child_by_field_name("left")
        return total if left is None else _sum((total, self.cost(left)))

    def _loop(self, node: Node) -> Cost:
        once = self._field(node, "initializer")
        body = _sum(self._field(node, name) for name in ("condition", "increment", "body"))
        if node.type == "for_in_statement":
            once = self._field(node, "right")
            if once.later:
                # The loop variable stands for functions whose calls cannot be told apart.
                return self._unseen(node, _loop_word(node))
        if not _total(body):
            return once
        trips = trip_count(node, self._bindings)
        return Cost(once.now + self._times(trips, body.now, node, _loop_word(node)), body.later)

    def _call(self, node: Node) -> Cost:
        callee = node.child_by_field_name("function") or node.child_by_field_name("constructor")
        arguments = node.child_by_field_name("arguments")
        if callee is None:
            return self._children(node)
        given = [] if arguments is None else [child for child in arguments.named_children if child.type != "comment"]
        name = node_text(callee) if callee.type in ("identifier", "member_expression") else ""
        if name in _RUNS_ONCE:
            return Cost(_total(_sum(self.cost(child) for child in given)), 0)
        if name == "pipeline" and given:
            return self._pipeline(node, given)
        if callee.type == "member_expression":
            return self._method(callee, given)
        passed = _sum(self.cost(child) for child in given)
        if passed.later:
            return self._unseen(node)
        returned = self._callback(callee)
        return Cost(returned.now + passed.now, returned.later)

    def _pipeline(self, call: Node, given: list[Node]) -> Cost:
        items, stages = self.cost(given[0]), _sum(self.cost(child) for child in given[1:])
        size = self._bindings.size_of(given[0])
        return Cost(items.now + stages.now + items.later + self._times(size, stages.later, call, "pipeline"), 0)

    def _method(self, callee: Node, given: list[Node]) -> Cost:
        receiver, method = callee.child_by_field_name("object"), callee.child_by_field_name("property")
        if receiver is None or method is None:
            return self._unseen(callee)
        name = node_text(method)
        held = self.cost(receiver)
        if name in _PER_ELEMENT and given:
            return self._per_element(receiver, held, given, name)
        if node_text(callee) == "Array.from" and len(given) > 1:
            return self._per_element(given[0], self.cost(given[0]), given[1:], "Array.from")
        passed = _sum(self.cost(child) for child in given)
        if name in _PER_PROMISE:
            return Cost(held.now + held.later + passed.now + passed.later, 0)
        if passed.later or (name in ("call", "apply", "bind") and held.later):
            return self._unseen(callee)
        return Cost(held.now + passed.now + held.later, held.later)

    def _per_element(self, receiver: Node, held: Cost, given: list[Node], word: str) -> Cost:
        """A callback over an array: each call counts, and what it returns stays to be called."""
        callback, rest = self._callback(given[0]), _sum(self.cost(child) for child in given[1:])
        if held.later and given[0].type in FUNCTIONS:
            # The callback is handed functions; whether and how often it calls them is its business.
            return self._unseen(receiver)
        if not _total(callback):
            return Cost(held.now + rest.now, held.later + rest.later)
        size = self._bindings.size_of(receiver)
        now = self._times(size, callback.now, given[0], word)
        return Cost(held.now + rest.now + now, held.later + self._times(size, callback.later, given[0], word))

    def _callback(self, node: Node) -> Cost:
        """What one call of a function given by value or by name costs."""
        while node.type == "parenthesized_expression":
            node = node.named_children[0]
        if node.type == "identifier":
            if node_text(node) == "agent":
                return Cost(1, 0)
            node = self._bindings.value_of(node_text(node)) or node
        if node.type in FUNCTIONS:
            return self._invoked(node)
        cost = self.cost(node)
        return Cost(cost.now + cost.later, cost.later)

    def _times(self, count: float | None, agents: float, node: Node, word: str) -> float:
        """`count` None: unknown. Nothing stays nothing, however often."""
        if not agents or count == 0:
            return 0
        if count is None:
            self._unseen(node, word)
            return math.inf
        return count * agents

    def _unseen(self, node: Node, word: str = "unseen") -> Cost:
        """No bound is visible here."""
        self.unbounded.add(Unbounded(node.start_point.row + 1, word))
        return UNBOUNDED

    def _field(self, node: Node, name: str) -> Cost:
        child = node.child_by_field_name(name)
        return FREE if child is None else self.cost(child)


def _sum(costs: Iterable[Cost]) -> Cost:
    now = later = 0.0
    for cost in costs:
        now += cost.now
        later += cost.later
    return Cost(now, later)


def _total(cost: Cost) -> float:
    return cost.now + cost.later


def _loop_word(loop: Node) -> str:
    operator = loop.child_by_field_name("operator")
    return "for-in" if operator is not None and operator.type == "in" else _LOOPS[loop.type]
