"""The verdict of QuickJS's own compiler on a script (W15). Nothing of the script is ever run.

The script stands as the body of a function that nobody calls, behind a `throw` that is the first thing to happen: also
text that closes the function by a bracket too many is only read. Such text would pass, so what the syntax tree has a
hole in must be refused by the caller. The engine reads in native code that no time limit stops; what costs it time out
of proportion, many names in one scope, is bounded here. It takes up to half a second and other threads go on meanwhile.

Rejected: `new Function(...)` and a module compile, which can be talked into running what they read.
"""

import re

import _quickjs
from tree_sitter import Node

from runtime.check.faults import CheckError, excerpt, fault_at
from runtime.check.hints import typescript_hint
from runtime.check.meta import meta_object
from runtime.check.sizes import Bindings
from runtime.check.syntax import Script, first_statement, node_text, walk

HEAP_BYTES_MAX = 32 * 1024 * 1024
STACK_BYTES_MAX = 512 * 1024
NAMES_MAX = 2_000
"""Declared in all; the engine compares each with each."""
REGEXES_MAX = 200
"""Regular expressions that are looked at one by one to find the wrong one."""

_OPEN = b"throw 0;(async function(){'use strict';"
_CLOSE = b"\n})"
_PLACE = re.compile(r"\n +at <input>:(\d+):(\d+)")
_EXPORT = re.compile(rb"^[ \t]*export(?=\s+const\s+meta\b)", re.MULTILINE)
_NOT_CLOSED = "the script ends in the middle: a bracket, brace or quote that is opened here or later is not closed."
_TOO_COMPLEX = CheckError("script_too_complex", "nested too deeply or too large for the engine; split it.")


def blank_meta(script: Script) -> str:
    """The script without its `export const meta = ...`: spaces instead, so that lines and columns stay."""
    source = script.source
    statement = first_statement(script.root)
    if statement is not None and meta_object(statement) is not None:
        source = _blank(source, statement.start_byte, statement.end_byte)
    return _without_hash_bang(script, source).decode()


def is_judged(script: Script) -> bool:
    """False with an `export` that is not that of `meta`: the function that the compiler sees can hold none."""
    exports = [child for child in script.root.named_children if child.type == "export_statement"]
    first = first_statement(script.root)
    return script.broken or all(child == first and meta_object(child) is not None for child in exports)


def compile_fault(script: Script, bindings: Bindings) -> CheckError | None:
    """What QuickJS has against it, with the offending line."""
    private = sum(node.type == "private_property_identifier" for node in walk(script.root))
    if private + sum(binding.declarations for binding in bindings.names.values()) > NAMES_MAX:
        return CheckError("script_too_complex", f"over {NAMES_MAX} names are declared; split it.")
    complaint = _complaint(_without_export(script))
    if complaint is None:
        return None
    message, _, _ = complaint.partition("\n")
    if not message.startswith("SyntaxError: ") or "out of memory" in message or "stack overflow" in message:
        return _TOO_COMPLEX
    message = message.removeprefix("SyntaxError: ")
    place = _PLACE.search(complaint)
    if place is None:
        return _unplaced(script, message)
    return _placed(script, message, int(place[1]), int(place[2]) - 1)


def _complaint(source: bytes) -> str | None:
    context = _quickjs.Context()
    context.set_memory_limit(HEAP_BYTES_MAX)
    context.set_max_stack_size(STACK_BYTES_MAX)
    try:
        context.eval((_OPEN + source + _CLOSE).decode())
    except _quickjs.JSException as error:
        # The guard throws a number: reaching it means that all of it was read.
        complaint = str(error)
        return None if complaint.startswith("0\n") else complaint
    return "SyntaxError: this cannot be read as the body of a function"


def _placed(script: Script, message: str, line: int, width: int) -> CheckError:
    """`width`: bytes before the place, in the line as the engine saw it."""
    lines = script.source.split(b"\n")
    if line > len(lines):
        if script.broken:
            return _not_closed(script)
        line, width = len(lines), len(lines[-1]) + (len(_OPEN) if len(lines) == 1 else 0)
    width -= len(_OPEN) if line == 1 else 0
    column = len(lines[line - 1][: max(0, width)].decode(errors="replace")) + 1
    text = lines[line - 1].decode()
    hint = typescript_hint(text, column)
    return CheckError("syntax_error", f"{message}, in: {excerpt(text, column)}{hint}", line, column)


def _not_closed(script: Script) -> CheckError:
    for problem in script.problems:
        if problem.code == "syntax_error":
            return CheckError("syntax_error", _NOT_CLOSED, problem.line, problem.column)
    lines = script.text.split("\n")
    return CheckError("syntax_error", _NOT_CLOSED, len(lines), len(lines[-1]) + 1)


def _unplaced(script: Script, message: str) -> CheckError:
    """The engine gives no place for regular expressions and private names."""
    for node, _ in zip(_of_type(script, "regex"), range(REGEXES_MAX), strict=False):
        if _complaint(node_text(node).encode()) is not None:
            return fault_at(script.source, node, "syntax_error", f"{message}, in: {excerpt(node_text(node), 1)}")
    for node in _of_type(script, "private_property_identifier"):
        if f"'{node_text(node)}'" in message:
            return fault_at(script.source, node, "syntax_error", f"{message}.")
    return CheckError("syntax_error", f"{message}.")


def _of_type(script: Script, kind: str) -> list[Node]:
    return [node for node in walk(script.root) if node.type == kind]


def _without_export(script: Script) -> bytes:
    """`const meta = ...` stays, so that it is judged with the rest."""
    source = script.source
    statement = first_statement(script.root)
    if statement is not None and meta_object(statement) is not None:
        source = _blank(source, statement.start_byte, statement.start_byte + len(b"export"))
    elif script.broken and (found := _EXPORT.search(source)):
        source = _blank(source, *found.span())
    return _without_hash_bang(script, source)


def _without_hash_bang(script: Script, source: bytes) -> bytes:
    first = script.root.named_children[:1]
    is_one = first and first[0].type == "hash_bang_line"
    return _blank(source, first[0].start_byte, first[0].end_byte) if is_one else source


def _blank(source: bytes, start: int, end: int) -> bytes:
    """A space for each character that is no line end."""
    taken = source[start:end].decode()
    return source[:start] + re.sub(r"[^\n\u2028\u2029]", " ", taken).encode() + source[end:]
