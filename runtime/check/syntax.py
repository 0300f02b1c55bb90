"""A script as a syntax tree, with the limits and the rules that need no meaning. Not the rules of `meta`: `meta.py`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import tree_sitter_javascript
from tree_sitter import Language, Node, Parser

SCRIPT_BYTES_MAX = 524_288
NODES_MAX = 200_000
"""Largest syntax tree that is looked at; bounds the time of a check (about a second)."""
DEPTH_MAX = 2_000
PROBLEMS_MAX = 20

_LANGUAGE = Language(tree_sitter_javascript.language())
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Characters that a reviewer would not see, or that reorder what is seen; TAB and LF are fine."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script that could be parsed; `problems` may still say that parts of it could not."""

    root: Node
    problems: tuple[str, ...]
    broken: bool
    """The tree has holes, so nothing counted in it can be relied on."""


def parse_script(text: str) -> Script | tuple[str, ...]:
    """The tree of a script, or the problems that keep it from having one worth reading."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    try:
        source = text.encode()
    except UnicodeEncodeError as error:
        return (f"{_place(text, error.start)} not_unicode: half of a surrogate pair; write the whole character.",)
    if len(source) > SCRIPT_BYTES_MAX:
        return (f"1:1 script_too_large: {len(source)} bytes; a script has at most {SCRIPT_BYTES_MAX}.",)
    root = Parser(_LANGUAGE).parse(source).root_node
    problems, broken = _check_tree(root)
    if broken is None:
        return problems
    return Script(root, (*_hidden_characters(text), *problems), broken)


def node_text(node: Node) -> str:
    """The source text of a node."""
    return (node.text or b"").decode()


def place_of(node: Node) -> str:
    """`line:column` of a node's start, both counted from 1 (columns in bytes of UTF-8)."""
    return f"{node.start_point.row + 1}:{node.start_point.column + 1}"


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


def _check_tree(root: Node) -> tuple[tuple[str, ...], bool | None]:
    """Problems of the tree, and whether it is broken; None when it is too large to be read at all."""
    problems: list[str] = []
    broken = False
    cursor = root.walk()
    nodes = 0
    while True:
        nodes += 1
        if nodes > NODES_MAX or cursor.depth > DEPTH_MAX:
            return (f"1:1 script_too_complex: over {NODES_MAX} syntax nodes or {DEPTH_MAX} levels; split it.",), None
        node = cursor.node
        if node is not None:
            found = _problem_of(node)
            broken = broken or node.is_error or node.is_missing
            if found and len(problems) < PROBLEMS_MAX:
                problems.append(found)
        if node is not None and not node.is_error and cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return tuple(problems), broken


def _problem_of(node: Node) -> str | None:
    if node.is_missing:
        return f"{place_of(node)} syntax_error: '{node.type}' is missing here."
    if node.is_error:
        excerpt = node_text(node).split("\n", 1)[0][:40]
        return f"{place_of(node)} syntax_error: not JavaScript from '{excerpt}' on; scripts are plain JavaScript."
    if (
        node.is_named
        and node.type in ("import_statement", "import", "meta_property")
        and node_text(node) != "new.target"
    ):
        return f"{place_of(node)} module_loading: a script imports nothing; use the globals it is given."
    if node.type == "export_statement" and node.parent is not None and node.start_byte != _first_statement(node):
        return f"{place_of(node)} module_loading: only `meta` is exported, as the first statement."
    return None


def _first_statement(node: Node) -> int:
    """Where the first statement of the program begins, comments and directives left out."""
    program = node.parent
    while program is not None and program.parent is not None:
        program = program.parent
    statement = None if program is None else first_statement(program)
    return -1 if statement is None else statement.start_byte


def first_statement(program: Node) -> Node | None:
    """The first statement that is neither a comment nor a directive such as `'use strict'`."""
    for child in program.named_children:
        if child.type in ("comment", "hash_bang_line", "html_comment", "empty_statement"):
            continue
        if child.type == "expression_statement" and child.named_children[0].type == "string":
            continue
        return child
    return None


def _hidden_characters(text: str) -> tuple[str, ...]:
    return tuple(
        f"{_place(text, found.start())} hidden_characters: U+{ord(found.group()):04X} cannot be seen in review; "
        "remove it or write it as an escape."
        for found, _ in zip(_HIDDEN.finditer(text), range(PROBLEMS_MAX), strict=False)
    )


def _place(text: str, offset: int) -> str:
    line_start = text.rfind("\n", 0, offset) + 1
    return f"{text.count(chr(10), 0, offset) + 1}:{offset - line_start + 1}"
