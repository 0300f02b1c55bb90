"""Expands one shell word of a parsed line: quotes, escapes, variables, braces. Not globs, and nothing is ever run.

What cannot be known from the line alone becomes U+FFFD *inside* the word, so that the rest of it can still be judged:
`"$DIR/.env"` is `\\ufffd/.env`. A variable that was given several values in the line yields one word for each.
Reach: zsh-only expansions, arithmetic, `${x//a/b}` and the like are unknown; `$HOME` is `~` and `$PWD` is `.`.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from tree_sitter import Node

UNKNOWN = "\ufffd"
ALTERNATIVES_MAX = 32
"""Most words that one word may become; more is one unknown word."""
VALUES_MAX = 8
"""Most values kept of one variable; more makes it unknown."""
WORD_CHARS_MAX = 16_384
"""Longest word that is looked into; longer is unknown."""

VALUE_CHARS_MAX = 1_024
"""Longest value kept of a variable, so that variables which double each other stay small."""
OVERLONG = UNKNOWN * 2
"""Stands for a word that was not looked into."""

_QUOTED_BASE = 0xE000
_SPECIAL = " \t\n*?[]{},~"
_QUOTE = {ord(char): chr(_QUOTED_BASE + ord(char)) for char in _SPECIAL}
_QUOTE_MARK = chr(_QUOTED_BASE)
"""Stands where a quote was, so that `""` is still a word."""
_UNQUOTE = {_QUOTED_BASE + ord(char): char for char in _SPECIAL} | {_QUOTED_BASE: None}
_PRIVATE = {code: UNKNOWN for code in _UNQUOTE}
_BRACES = re.compile(r"\{([^{}]*,[^{}]*)\}")
_ANSI_ESCAPE = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_ANSI_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "v": "\v"}
_PWD_COMMAND = re.compile(r"(\$\(|`)\s*pwd\s*(-[LP])?\s*(\)|`)")
_POSITIONAL = re.compile(r"[0-9]+|[@*]")
_OPAQUE = frozenset({"arithmetic_expansion", "array", "brace_expression", "process_substitution"})


class Field(NamedTuple):
    """One word after expansion. `pattern`: it holds a wildcard that the shell would expand."""

    text: str
    pattern: bool = False


@dataclass(slots=True)
class Scope:
    """What the line has said so far. Copied for subshells."""

    variables: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"HOME": ("~",), "PWD": (".",), "IFS": (" ",)}
    )
    positional: tuple[str, ...] | None = ()
    """`$0`, `$1`, ...; None: not known."""
    cwd: str = ""
    """Relative to the workspace unless absolute; holds U+FFFD when not known."""
    links: dict[str, str] = field(default_factory=dict[str, str])
    """Symbolic links that the line itself makes: normalised path to target."""
    remote: bool = False
    """The commands act on another host or in a container: their paths are not ours."""

    def fork(self) -> "Scope":
        """The scope of a subshell: sees everything, leaves nothing behind."""
        return Scope(dict(self.variables), self.positional, self.cwd, dict(self.links), self.remote)

    def assign(self, name: str, values: tuple[str, ...]) -> None:
        """A variable may have any of the values it was ever given: branches are not followed."""
        values = tuple(value if len(value) <= VALUE_CHARS_MAX else UNKNOWN for value in values)
        known = self.variables.get(name, ())
        if name in ("HOME", "PWD", "IFS"):
            known = ()
        merged = tuple(dict.fromkeys((*known, *values)))
        self.variables[name] = merged if len(merged) <= VALUES_MAX else (UNKNOWN,)


def text_of(node: Node) -> str:
    """The source text of a node."""
    return (node.text or b"").decode("utf-8", "replace")


def expand(node: Node, scope: Scope) -> list[Field]:
    """The words that one word of the source becomes: none, one or several."""
    fields = [one for each in expand_each(node, scope) for one in each]
    return fields if len(fields) <= ALTERNATIVES_MAX else [Field(UNKNOWN)]


def expand_each(node: Node, scope: Scope) -> list[list[Field]]:
    """The same, apart for each value that a variable in the word may have."""
    return [
        [_finish(word) for part in re.split(r"[ \t\n]+", one) for word in _expand_braces(part) if word]
        for one in _alternatives(node, scope, quoted=False)
    ]


def expand_value(node: Node, scope: Scope) -> tuple[str, ...]:
    """The values of the right side of an assignment, which is not split into words."""
    return tuple(_finish(one).text for one in _alternatives(node, scope, quoted=False))


def _finish(marked: str) -> Field:
    return Field(marked.translate(_UNQUOTE), any(char in marked for char in "*?["))


def _expand_braces(marked: str) -> list[str]:
    pending, done = [marked], list[str]()
    while pending:
        one = pending.pop(0)
        match = _BRACES.search(one)
        if match is None:
            done.append(one)
        else:
            pending.extend(one[: match.start()] + part + one[match.end() :] for part in match[1].split(","))
        if len(pending) + len(done) > ALTERNATIVES_MAX:
            return [UNKNOWN]
    return done


def _alternatives(node: Node, scope: Scope, *, quoted: bool) -> list[str]:
    if node.end_byte - node.start_byte > WORD_CHARS_MAX:
        return [OVERLONG]
    if node.type in ("concatenation", "command_name"):
        return _joined([_alternatives(child, scope, quoted=quoted) for child in node.children])
    if node.type in _EXPANSIONS:
        return _EXPANSIONS[node.type](node, scope, quoted)
    return [UNKNOWN] if node.type in _OPAQUE else [_literal(node)]


def _literal(node: Node) -> str:
    match node.type:
        case "raw_string":
            return _QUOTE_MARK + _quote(text_of(node)[1:-1])
        case "ansi_c_string":
            return _QUOTE_MARK + _quote(_decode_ansi(text_of(node)[2:-1]))
        case "$":
            return ""
        case _:
            return _unquoted(text_of(node))


def _substituted(node: Node, _scope: Scope, _quoted: bool) -> list[str]:
    return ["." if _PWD_COMMAND.fullmatch(text_of(node)) else UNKNOWN]


def _joined(parts: list[list[str]]) -> list[str]:
    total = 1
    for part in parts:
        total *= max(1, len(part))
    longest = sum(max((len(one) for one in part), default=0) for part in parts)
    if total > ALTERNATIVES_MAX or longest > WORD_CHARS_MAX:
        return [OVERLONG]
    return ["".join(choice) for choice in itertools.product(*parts)]


def _quote(text: str) -> str:
    return text.translate(_PRIVATE).translate(_QUOTE)


def _plain(text: str) -> str:
    return text.translate(_PRIVATE)


def _unquoted(text: str) -> str:
    pieces = text.translate(_PRIVATE).split("\\")
    out = [pieces[0]]
    rest = iter(pieces[1:])
    for piece in rest:
        if piece == "":
            out.append("\\" + next(rest, ""))
        elif piece[0] == "\n":
            out.append(piece[1:])
        else:
            out.append(_quote(piece[0]) + piece[1:])
    return "".join(out)


def _double_quoted(node: Node, scope: Scope, _quoted: bool) -> list[str]:
    source = node.text or b""
    base, position, end = node.start_byte, source.find(b'"') + 1, len(source)
    parts: list[list[str]] = [[_QUOTE_MARK]]
    for child in node.children:
        if child.type == '"' or child.type == "string_content":
            continue
        start = child.start_byte - base
        if start >= position and child.is_named:
            parts.append([_quoted_text(source[position:start])])
            parts.append(_alternatives(child, scope, quoted=True))
            position = child.end_byte - base
    closed = source.endswith(b'"') and end - 1 >= position
    parts.append([_quoted_text(source[position : end - 1 if closed else end])])
    return _joined(parts)


def _quoted_text(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace")
    return _quote(re.sub(r'\\([$`"\\])|\\\n', lambda match: match[1] or "", text))


def _decode_ansi(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        hexadecimal = match[1] or match[2] or match[3]
        if hexadecimal:
            code = int(hexadecimal, 16)
            return chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else UNKNOWN
        if match[4]:
            return chr(int(match[4], 8) & 0xFF)
        if match[5]:
            return chr(ord(match[5]) & 0x1F)
        return _ANSI_LETTERS.get(match[6], match[6])

    return _ANSI_ESCAPE.sub(one, text)


def _simple_expansion(node: Node, scope: Scope, quoted: bool) -> list[str]:
    text = text_of(node)
    lead, _, name = text.partition("$")
    # Only one digit belongs to the name: `$10` is `${1}0`.
    name, tail = (name[:1], name[1:]) if name[:1].isdigit() else (name, "")
    return [_quote(lead) + value + tail for value in _values(name, scope, quoted=quoted)]


def _values(name: str, scope: Scope, *, quoted: bool) -> list[str]:
    mark = _quote if quoted else _plain
    if name == "IFS" and not quoted:
        return [" "]
    if _POSITIONAL.fullmatch(name):
        return [mark(value) for value in _positional(name, scope)]
    values = scope.variables.get(name)
    return [UNKNOWN] if values is None else [mark(value) for value in values]


def _positional(name: str, scope: Scope) -> list[str]:
    if scope.positional is None:
        return [UNKNOWN]
    if name in "@*":
        return [" ".join(scope.positional[1:])]
    index = int(name)
    return [scope.positional[index] if index < len(scope.positional) else ""]


def _braced_expansion(node: Node, scope: Scope, quoted: bool) -> list[str]:
    text = text_of(node)
    match = re.fullmatch(r"\$\{(\w+|[@*])(?:(:?[-=])(.*))?\}", text, re.DOTALL)
    if match is None:
        return [UNKNOWN]
    name, operator, default = match[1], match[2], match[3]
    if not operator or name in scope.variables:
        return _values(name, scope, quoted=quoted)
    if re.search(r"[$`'\"\\]", default):
        return [UNKNOWN]
    return [_quote(default) if quoted else default]


_EXPANSIONS: dict[str, Callable[[Node, Scope, bool], list[str]]] = {
    "string": _double_quoted,
    "translated_string": _double_quoted,
    "simple_expansion": _simple_expansion,
    "expansion": _braced_expansion,
    "command_substitution": _substituted,
}
