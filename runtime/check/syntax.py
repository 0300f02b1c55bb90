"""A script as a syntax tree, with the limits and the rules that need no meaning. Not the rules of `meta`: `meta.py`.

What the tree has no hole for may still be no JavaScript: the verdict of a compiler is in `compiler.py`.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

from runtime.check.faults import CheckError, excerpt, fault_at, fault_in
from runtime.core.limits import SCRIPT_BYTES_MAX

NODES_MAX = 200_000
"""Largest syntax tree that is looked at; bounds the time of a check (about a second)."""
DEPTH_MAX = 2_000
BROKEN_BYTES_MAX = 16 * 1024
"""Of a longer script whose tree has holes, what is in the holes is not looked at: it has no bounds of its own."""
CLIMB_MAX = 200
PROBLEMS_MAX = 20

_LANGUAGE = Language(tree_sitter_javascript.language())
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that a reviewer would not see, or that reorder what is seen; TAB and LF are fine."""
_ZERO_WIDTH = re.compile(
    "[\u00ad\u061c\u180e\u200b-\u200f\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_TAGS = "\U000e0000"
"""The first of 128 characters that spell ASCII unseen; flags of regions are written with them."""
_LINE_END = re.compile("\r\n?")
_PREAMBLE = frozenset({"comment", "hash_bang_line", "html_comment", "empty_statement"})
"""What may stand before the first statement, with directives."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script that could be parsed; `problems` may still say that parts of it could not."""

    text: str
    """Normalised."""
    source: bytes
    """The same as UTF-8: what the places of the tree count in."""
    root: Node
    problems: tuple[CheckError, ...]
    broken: bool
    """The tree has holes, so nothing counted in it can be relied on."""


def normalise(source: str | bytes) -> str:
    """Without a leading byte order mark, with LF line ends (W13). Raises `UnicodeDecodeError`."""
    text = source.decode() if isinstance(source, bytes) else source
    return _LINE_END.sub("\n", text.removeprefix("\ufeff"))


def parse_script(text: str) -> Script | tuple[CheckError, ...]:
    """The tree of a normalised script, or the problems that keep it from having one worth reading."""
    try:
        source = text.encode()
    except UnicodeEncodeError as error:
        message = "half of a surrogate pair; write the whole character."
        return (fault_in(text, error.start, "not_unicode", message),)
    if len(source) > SCRIPT_BYTES_MAX:
        return (CheckError("script_too_large", f"{len(source)} bytes; a script has at most {SCRIPT_BYTES_MAX}."),)
    root = Parser(_LANGUAGE).parse(source).root_node
    problems, broken = _check_tree(root, source)
    if broken is None or (broken and len(source) > BROKEN_BYTES_MAX):
        return (*_hidden_characters(text), *problems)
    return Script(text, source, root, (*_hidden_characters(text), *problems), broken)


def node_text(node: Node) -> str:
    """The source text of a node."""
    return (node.text or b"").decode()


def walk(root: Node) -> Iterator[Node]:
    """Every node below `root` and itself, in source order, without recursion."""
    cursor = root.walk()
    while True:
        node = cursor.node
        if node is not None:
            yield node
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def outwards(node: Node) -> Iterator[Node]:
    """What a node stands in, from the inside out, as far as anybody nests."""
    outer = node.parent
    for _ in range(CLIMB_MAX):
        if outer is None:
            return
        yield outer
        outer = outer.parent


def first_statement(program: Node) -> Node | None:
    """The first statement that is neither a comment nor a directive such as `'use strict'`."""
    for child in program.named_children:
        if child.type in _PREAMBLE:
            continue
        if child.type == "expression_statement" and child.named_children[0].type == "string":
            continue
        return child
    return None


def zero_width_warnings(text: str) -> tuple[str, ...]:
    """One warning for each kind of character without a width, with the first place and how many there are (W14)."""
    first: dict[str, int] = {}
    counts: dict[str, int] = {}
    for found in _ZERO_WIDTH.finditer(text):
        kind = min(found.group(), _TAGS)
        first.setdefault(kind, found.start())
        counts[kind] = counts.get(kind, 0) + 1
    return tuple(
        str(fault_in(text, offset, "zero_width_characters", f"{_code_of(kind)}, {counts[kind]} in all."))
        for kind, offset in first.items()
    )


def _code_of(kind: str) -> str:
    return "U+E0000 to U+E007F" if kind == _TAGS else f"U+{ord(kind):04X}"


def _check_tree(root: Node, source: bytes) -> tuple[tuple[CheckError, ...], bool | None]:
    """Problems of the tree, and whether it is broken; None when it is too large to be read at all."""
    problems: list[CheckError] = []
    broken = False
    cursor = root.walk()
    first = first_statement(root)
    nodes = 0
    while True:
        nodes += 1
        if nodes > NODES_MAX or cursor.depth > DEPTH_MAX:
            message = f"over {NODES_MAX} syntax nodes or {DEPTH_MAX} levels; split it."
            return (CheckError("script_too_complex", message),), None
        node = cursor.node
        if node is not None:
            found = _problem_of(node, first, source)
            broken = broken or node.is_error or node.is_missing
            if found and len(problems) < PROBLEMS_MAX:
                problems.append(found)
        if node is not None and not node.is_error and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return tuple(problems), broken


def _problem_of(node: Node, first: Node | None, source: bytes) -> CheckError | None:
    if node.is_missing:
        return fault_at(source, node, "syntax_error", f"'{node.type}' is missing here.")
    if node.is_error:
        start = excerpt(node_text(node).split("\n", 1)[0], 1)
        return fault_at(source, node, "syntax_error", f"this cannot be read as JavaScript: {start}")
    if node.type in ("import_statement", "import", "meta_property") and node.is_named and _loads(node):
        return fault_at(source, node, "module_loading", "a script imports nothing; use the globals it is given.")
    if node.type == "export_statement" and node != first:
        return fault_at(source, node, "module_loading", "only `meta` is exported, as the first statement.")
    return None


def _loads(node: Node) -> bool:
    return node_text(node) != "new.target"


def _hidden_characters(text: str) -> Iterable[CheckError]:
    for found, _ in zip(_HIDDEN.finditer(text), range(PROBLEMS_MAX), strict=False):
        message = f"U+{ord(found.group()):04X} cannot be seen in review; remove it or write it as an escape."
        yield fault_in(text, found.start(), "hidden_characters", message)
