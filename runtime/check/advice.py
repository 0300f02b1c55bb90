"""Warnings about a script that can run: what will throw or spin when it does (W24, W116). Nothing here is an error,
except a `require` that nothing declares (W22).
"""

from collections.abc import Iterator

from tree_sitter import Node

from runtime.check.fanout import FUNCTIONS
from runtime.check.faults import CheckError, fault_at
from runtime.check.sizes import Bindings
from runtime.check.syntax import PROBLEMS_MAX, Script, node_text, outwards, walk

WARNINGS_MAX = 50

_FORBIDDEN = {
    "Date.now": "`Date.now()` throws in a script, as it would break a resume; pass a time in `args`.",
    "Math.random": "`Math.random()` throws in a script, as it would break a resume; vary by index instead.",
    "Date": "`Date()` without an argument throws in a script, as it would break a resume; pass a time in `args`.",
}
_CONDITIONAL = frozenset({"while_statement", "do_statement", "for_statement"})


def find_warnings(script: Script, bindings: Bindings) -> tuple[str, ...]:
    """`<line>:<column> <code>: <message>`, in source order."""
    found = (fault for node in walk(script.root) for fault in _advise(script, bindings, node))
    return tuple(str(fault) for fault, _ in zip(found, range(WARNINGS_MAX), strict=False))


def find_requires(script: Script, bindings: Bindings) -> tuple[CheckError, ...]:
    """Calls of a `require` that the script does not declare itself."""
    if _is_declared(bindings, "require"):
        return ()
    message = "`require` does not exist here; use the globals a script is given."
    calls = [node for node in walk(script.root) if node.type == "call_expression" and _callee(node) == "require"]
    return tuple(fault_at(script.source, node, "module_loading", message) for node in calls[:PROBLEMS_MAX])


def _advise(script: Script, bindings: Bindings, node: Node) -> Iterator[CheckError]:
    if node.type in ("call_expression", "new_expression"):
        name = _callee(node)
        forbidden = _FORBIDDEN.get(name)
        if forbidden and not _is_declared(bindings, name.split(".", 1)[0]) and not (name == "Date" and _given(node)):
            yield fault_at(script.source, node, "nondeterministic", forbidden)
        if name == "phase" and not _is_declared(bindings, "phase") and _wraps(bindings, _given(node)):
            message = "`phase()` is not a wrapper and throws when it is given a function; call it and go on below it."
            yield fault_at(script.source, node, "phase_wrapper", message)
    elif node.type in _CONDITIONAL and _is_only_budgeted(node):
        message = (
            "without a budget `budget.remaining()` is Infinity and this loop goes on to the agent cap; "
            "test `budget.total` too, or count."
        )
        yield fault_at(script.source, node, "budget_loop", message)


def _callee(node: Node) -> str:
    callee = node.child_by_field_name("function") or node.child_by_field_name("constructor")
    return node_text(callee) if callee is not None and callee.type in ("identifier", "member_expression") else ""


def _given(node: Node) -> list[Node]:
    arguments = node.child_by_field_name("arguments")
    return [] if arguments is None else [child for child in arguments.named_children if child.type != "comment"]


def _is_declared(bindings: Bindings, name: str) -> bool:
    binding = bindings.names.get(name)
    return binding is not None and binding.declarations > 0


def _wraps(bindings: Bindings, given: list[Node]) -> bool:
    """Is the second argument a function?"""
    if len(given) < 2:
        return False
    body: Node | None = given[1]
    if given[1].type == "identifier":
        body = bindings.value_of(node_text(given[1]))
    return body is not None and body.type in FUNCTIONS


def _is_only_budgeted(loop: Node) -> bool:
    """Nothing but what remains of the budget ends it, as far as its condition says."""
    condition = loop.child_by_field_name("condition")
    terms = [] if condition is None else list(_terms(condition))
    if not terms or not all("budget.remaining(" in term and "budget.total" not in term for term in terms):
        return False
    leaves = any(child.type in ("break_statement", "return_statement") for child in walk(loop))
    return not leaves and not _is_guarded(loop)


def _terms(condition: Node) -> Iterator[str]:
    """What is joined by `&&`."""
    while condition.type in ("parenthesized_expression", "expression_statement") and condition.named_children:
        condition = condition.named_children[0]
    left, right = condition.child_by_field_name("left"), condition.child_by_field_name("right")
    if condition.type == "binary_expression" and left and right and node_text(condition.children[1]) == "&&":
        yield from _terms(left)
        yield from _terms(right)
    else:
        yield node_text(condition)


def _is_guarded(node: Node) -> bool:
    """Does an `if` around it ask for `budget.total`?"""
    for outer in outwards(node):
        condition = outer.child_by_field_name("condition") if outer.type == "if_statement" else None
        if condition is not None and "budget.total" in node_text(condition):
            return True
    return False
