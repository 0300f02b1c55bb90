"""Reads a shell line with the tree-sitter grammar of bash and lists every simple command in it. Nothing is run.

Commands are found wherever they stand: lists, pipes, subshells, substitutions, functions, loops, here-documents that
feed a shell, and inside wrappers (`wrappers.py`) down to a bound. What cannot be told is an entry of `unclear`. On a
syntax error a crude split finds commands as well, so that a line which only the grammar cannot read is still looked
at.

Reach: branches are not followed (both are read), values set by programs are unknown, the grammar is bash's; a line
that zsh reads in another way, and whatever a program or script does once it runs, is not seen. Never raises; time is
linear.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NoReturn

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

from gateway.core.decisions.decision import Command
from gateway.policy.feeds import FETCHERS, Feed, fed_words, printed, runs_text, written
from gateway.policy.words import OVERLONG, UNKNOWN, Field, Scope, expand, expand_each, expand_value, text_of
from gateway.policy.wrappers import ASSIGNMENT, Line, unwrap

TEXT_CHARS_MAX = 131_072
"""Longest line, with all the lines nested in it, that is read."""
KEYWORDS_MAX = 4_000
HEREDOCS_MAX = 64
"""The grammar takes quadratic time on unclosed keywords and here-documents."""
COMMANDS_MAX = 400
NODES_MAX = 10_000
DEPTH_MAX = 12
"""Deepest nesting of wrappers and lines within lines."""
UNREADABLE = "unreadable: "
"""Starts the entries of `unclear` that mean that part of the line was not looked at."""

_COMMAND_VARIABLES = frozenset(
    {"EDITOR", "VISUAL", "PAGER", "GIT_EDITOR", "GIT_PAGER", "GIT_SSH_COMMAND", "GIT_SEQUENCE_EDITOR", "PROMPT_COMMAND"}
)
_MID_WORD_LINE_END = re.compile(r"(?<=[^\s\\])\\\n(?=\S)")
_KEYWORDS = re.compile(r"\b(?:if|elif|then|case|for|while|until|do|select|function)\b")
_SYMBOLIC = re.compile("-[a-zA-Z]*s[a-zA-Z]*|--symbolic")
_BRACE_LIST = re.compile(r"\{([^{}\s]*,[^{}\s]*)\}")
_LANGUAGE = Language(tree_sitter_bash.language())


@dataclass(frozen=True, slots=True)
class Redirection:
    """One file that the shell opens for a command."""

    path: str
    access: Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class Found:
    """A command with where it acts."""

    command: Command
    cwd: str
    remote: bool


@dataclass(slots=True)
class Reading:
    """What was found in a line."""

    found: list[Found] = field(default_factory=list[Found])
    opened: list[tuple[Redirection, str]] = field(default_factory=list[tuple[Redirection, str]])
    """Redirections with the folder they are relative to."""
    links: dict[str, str] = field(default_factory=dict[str, str])
    unclear: dict[str, None] = field(default_factory=dict[str, None])
    text_chars: int = 0
    nodes: int = 0


class _Stop(Exception):
    """A limit was passed; what was found so far stands."""


def read_line(line: str) -> Reading:
    """Everything that can be told of `line`."""
    reading = Reading()
    reader = _Reader(reading)
    try:
        reader.line(line, Scope(), 0)
    except _Stop:
        pass
    except RecursionError:
        reading.unclear[UNREADABLE + "nested too deeply"] = None
    return reading


class _Reader:
    """Walks the trees of one line and of the lines nested in it."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.parser = Parser(_LANGUAGE)
        self.depth = 0

    def doubt(self, what: str) -> None:
        self.reading.unclear[what] = None

    def stop(self, what: str) -> NoReturn:
        self.doubt(UNREADABLE + what)
        raise _Stop

    def count(self, nodes: int) -> None:
        self.reading.nodes += nodes
        if self.reading.nodes > NODES_MAX:
            self.stop("the line has too many parts")

    def line(self, text: str, scope: Scope, depth: int, feed: Feed | None = None) -> None:
        self.reading.text_chars += len(text)
        if self.reading.text_chars > TEXT_CHARS_MAX:
            self.stop("the line is too long")
        if text.count("<<") > HEREDOCS_MAX or len(_KEYWORDS.findall(text)) > KEYWORDS_MAX:
            self.stop("the line has too many parts")
        if depth > DEPTH_MAX:
            self.doubt(UNREADABLE + "nested too deeply")
            return
        if OVERLONG in text:
            self.doubt(UNREADABLE + "a word of the line is too long")
        elif UNKNOWN in text:
            self.doubt("text run as a command is not wholly known")
        outer, self.depth = self.depth, depth
        source = re.sub(r"\$IFS(?![A-Za-z0-9_])", "${IFS}", text).replace("\r\n", "\n").replace("\x00", "")
        self.parse(source, scope, feed)
        # The grammar ends a word at an escaped line end. Joined lines are read as well, not instead.
        joined = _MID_WORD_LINE_END.sub("", source)
        if joined != source:
            self.parse(joined, scope, feed)
        self.depth = outer

    def parse(self, source: str, scope: Scope, feed: Feed | None) -> None:
        root = self.parser.parse(source.encode("utf-8", "replace")).root_node
        self.visit(root, scope, feed)
        if root.has_error:
            self.doubt("syntax error")
            self.salvage(source, scope)

    def visit(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        self.count(1)
        visitor = _VISITORS.get(node.type)
        if visitor is None:
            self.inside(node, scope, feed)
        else:
            visitor(self, node, scope, feed)

    def subshell(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        self.inside(node, scope.fork(), feed)

    def function(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        inner = scope.fork()
        inner.positional = None
        self.inside(node, inner, feed)

    def inside(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        for child in node.children:
            if child.child_count or child.type == "command":
                self.visit(child, scope, feed)

    def chain(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        """A list leans to the left: taken apart without recursion, for lines of hundreds of `&&`."""
        stack, parts = [node], list[Node]()
        while stack:
            one = stack.pop()
            if one.type == "list":
                stack.extend(reversed(one.children))
            else:
                parts.append(one)
        for part in parts:
            if part.child_count:
                self.visit(part, scope, feed)

    def loop(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        name, values, seen_in = "", list[str](), False
        for child in node.children:
            if child.type == "variable_name" and not name:
                name = text_of(child)
            elif child.type == "in":
                seen_in = True
            elif child.type in (";", "do_group", "do"):
                break
            elif seen_in:
                self.substitutions(child, scope)
                values.extend(one.text for one in expand(child, scope))
        if name:
            scope.assign(name, tuple(values) or (UNKNOWN,))
        for child in node.children:
            if child.type in ("do_group", "compound_statement"):
                self.visit(child, scope, feed)

    def assignment(self, node: Node, scope: Scope, feed: Feed | None = None) -> None:
        self.substitutions(node, scope)
        name = node.child_by_field_name("name")
        value = node.child_by_field_name("value")
        if name is None or name.type != "variable_name":
            return
        appended = any(child.type == "+=" for child in node.children)
        values = expand_value(value, scope) if value is not None else ("",)
        if appended:
            values = tuple(old + new for old in scope.variables.get(text_of(name), (UNKNOWN,)) for new in values)
        if appended:
            scope.variables.pop(text_of(name), None)
        scope.assign(text_of(name), values)
        if text_of(name) in _COMMAND_VARIABLES:
            for one in values:
                self.line(one, scope.fork(), self.depth + 1)

    def declaration(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        """`export`, `declare` and the like: their assignments, and themselves, for they can print every variable."""
        self.inside(node, scope, feed)
        words = [text_of(child) for child in node.children]
        self.reading.found.append(Found(Command(words[0], tuple(words)), scope.cwd, scope.remote))

    def substitutions(self, node: Node, scope: Scope) -> None:
        """Commands inside the words of `node`, without `node` itself being one."""
        if node.type in ("command_substitution", "process_substitution"):
            self.visit(node, scope, None)
            return
        for child in node.children:
            if child.child_count:
                self.substitutions(child, scope)

    def pipeline(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        self.stages(node.children, scope, feed)

    def stages(self, nodes: Sequence[Node], scope: Scope, feed: Feed | None) -> None:
        for stage in nodes:
            if not stage.child_count:
                continue
            before = len(self.reading.found)
            self.visit(stage, scope.fork(), feed)
            feed = self.output(before, feed)

    def output(self, before: int, feed: Feed | None) -> Feed:
        """What the commands found since `before` write: the fetcher among them and upstream, else the last program."""
        found = self.reading.found[before:]
        upstream = feed.program if feed else None
        fetchers = [one.command.program for one in found if one.command.program in FETCHERS]
        if upstream in FETCHERS and not fetchers:
            return Feed(upstream)
        program = fetchers[-1] if fetchers else found[-1].command.program if found else upstream
        return Feed(program, printed(found[-1].command, feed) if found else None)

    def redirected(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        body = node.child_by_field_name("body")
        here = [child for child in node.children if child.type == "heredoc_redirect"]
        before = len(self.reading.found)
        self.count(node.child_count)
        for child in here:
            feed = Feed(None, self.heredoc(child, scope))
        for child in node.children:
            if child.type == "herestring_redirect":
                feed = self.herestring(child, scope)
        cwd = scope.cwd
        if body is not None:
            self.visit(body, scope, feed)
        for child in node.children:
            if child.type == "file_redirect":
                self.file_redirect(child, scope, cwd, self.output(before, feed))
        for child in here:
            self.after_heredoc(child, scope, self.output(before, feed))

    def heredoc(self, node: Node, scope: Scope) -> str:
        start = next((text_of(child) for child in node.children if child.type == "heredoc_start"), "")
        text = ""
        for child in node.children:
            if child.type == "heredoc_body":
                text = text_of(child)
                self.substitutions(child, scope)
        expands = not re.search(r"['\"\\]", start) and re.search(r"[$`]", text)
        return re.sub(r"\$\([^)]*\)|`[^`]*`", UNKNOWN, text) if expands else text

    def after_heredoc(self, node: Node, scope: Scope, fed: Feed) -> None:
        """The grammar hangs what follows `<<EOF` on the same line under the here-document."""
        for child in node.children:
            if child.type == "pipeline":
                self.stages(child.children, scope, fed)
            elif child.type == "file_redirect":
                self.file_redirect(child, scope, scope.cwd, fed)
            elif child.child_count and child.type not in ("heredoc_body", "heredoc_start", "heredoc_end"):
                self.visit(child, scope, None)

    def herestring(self, node: Node, scope: Scope) -> Feed:
        before = len(self.reading.found)
        self.substitutions(node, scope)
        values = [one for child in node.children if child.is_named for one in expand_value(child, scope)]
        program = self.output(before, None).program if len(self.reading.found) > before else None
        return Feed(program, "\n".join(values))

    def file_redirect(self, node: Node, scope: Scope, cwd: str, fed: Feed | None) -> None:
        operator = next((child.type for child in node.children if not child.is_named), "")
        target = node.child_by_field_name("destination") or (node.children[-1] if node.children else None)
        if target is None or target.type in ("file_descriptor", operator):
            return
        if target.type == "process_substitution":
            self.visit(target, scope, fed)
            return
        self.substitutions(target, scope)
        if operator.endswith("&") and target.type == "number":
            return
        access: Literal["read", "write"] = "read" if operator in ("<", "<&") else "write"
        for one in expand(target, scope):
            self.reading.opened.append((Redirection(one.text, access), cwd))

    def simple(self, node: Node, scope: Scope, feed: Feed | None) -> None:
        words: list[Field] = []
        names: list[list[Field]] = []
        self.count(node.child_count)
        before = len(self.reading.found)
        for child in node.children:
            match child.type:
                case "command_name":
                    self.substitutions(child, scope)
                    names = expand_each(child, scope)
                case "variable_assignment":
                    self.assignment(child, scope)
                case "file_redirect":
                    self.file_redirect(child, scope, scope.cwd, feed)
                case "herestring_redirect":
                    feed = self.herestring(child, scope)
                case "heredoc_redirect":
                    feed = Feed(None, self.heredoc(child, scope))
                case "process_substitution" if text_of(child).startswith(">("):
                    self.visit(child, scope, written(names, feed))
                case _:
                    self.substitutions(child, scope)
                    words.extend(expand(child, scope))
        given = self.output(before, None).program if len(self.reading.found) > before else None
        for name in names or [[]]:
            self.run([*name, *words], scope, _Given(feed, given, self.depth))

    def run(self, words: Sequence[Field], scope: Scope, given: "_Given") -> None:
        while words and (ASSIGNMENT.match(words[0].text) or not words[0].text):
            words = words[1:]
        if not words:
            return
        if len(self.reading.found) >= COMMANDS_MAX:
            self.stop("too many commands")
        if given.depth > DEPTH_MAX:
            self.doubt(UNREADABLE + "nested too deeply")
            return
        program = self.program(words[0])
        fed = given.substituted if given.substituted and runs_text(program, words) else given.feed_program
        argv = (program, *(word.text for word in words[1:]))
        self.reading.found.append(Found(Command(program, argv, fed), scope.cwd, scope.remote))
        self.builtin(program, words[1:], scope)
        self.nested(program, words[1:], scope, given)

    def program(self, word: Field) -> str:
        name = word.text.rstrip("/").rpartition("/")[2].lstrip("=") or word.text
        if UNKNOWN in name or word.pattern:
            self.doubt(f"name of the program is not known: {word.text[:80]}")
            return UNKNOWN
        return name

    def nested(self, program: str, arguments: Sequence[Field], scope: Scope, given: "_Given") -> None:
        inner = unwrap(program, arguments)
        for doubt in inner.unclear:
            self.doubt(doubt)
        for words in inner.commands:
            if program == "xargs":
                words = fed_words(words, given.feed)
            self.run(words, scope, given.deeper())
        for line in inner.lines:
            self.nested_line(line, scope if program in ("eval", "alias") else scope.fork(), given)
        if inner.reads_stdin_as_code and given.feed is not None:
            if given.feed.text is not None:
                self.line(given.feed.text, scope.fork(), given.depth + 1)
            elif given.feed.program is not None:
                self.doubt(f"{program} runs what {given.feed.program} writes")

    def nested_line(self, line: Line, scope: Scope, given: "_Given") -> None:
        scope.remote = scope.remote or line.remote
        outer, scope.positional = scope.positional, line.positional or scope.positional
        self.line(line.text, scope, given.depth + 1, given.feed)
        scope.positional = outer

    def builtin(self, program: str, arguments: Sequence[Field], scope: Scope) -> None:
        texts = [word.text for word in arguments if not word.text.startswith("-") or word.text == "-"]
        if program in ("cd", "pushd", "popd"):
            scope.cwd = _entered(scope.cwd, "-" if program == "popd" else texts[0] if texts else "~")
        elif program == "set":
            scope.positional = None
        elif program in ("read", "mapfile", "readarray", "getopts"):
            for name in texts:
                scope.assign(name, (UNKNOWN,))
        elif program == "ln" and texts and any(_SYMBOLIC.fullmatch(word.text) for word in arguments):
            self.reading.links[texts[1] if len(texts) > 1 else texts[0].rpartition("/")[2]] = texts[0]

    def salvage(self, source: str, scope: Scope) -> None:
        """Commands by a crude split at operators, quotes taken off: for lines that the grammar could not read."""
        source = _BRACE_LIST.sub(lambda match: match[1].replace(",", " "), source)
        for piece in re.split(r"[;&|\n(){}`]+|\$\(", source)[:COMMANDS_MAX]:
            words = [Field(re.sub(r"[\"'\\]", "", word)) for word in piece.split()]
            while words and words[0].text in ("then", "do", "else", "if", "while", "until", "!", "elif", "time"):
                words = words[1:]
            if words and re.fullmatch(r"[\w./+\-]+", words[0].text):
                self.run(words, scope.fork(), _Given(None, None, self.depth))


_VISITORS: dict[str, Callable[[_Reader, Node, Scope, Feed | None], None]] = {
    "command": _Reader.simple,
    "redirected_statement": _Reader.redirected,
    "pipeline": _Reader.pipeline,
    "subshell": _Reader.subshell,
    "command_substitution": _Reader.subshell,
    "process_substitution": _Reader.subshell,
    "function_definition": _Reader.function,
    "variable_assignment": _Reader.assignment,
    "for_statement": _Reader.loop,
    "select_statement": _Reader.loop,
    "list": _Reader.chain,
    "declaration_command": _Reader.declaration,
}


@dataclass(frozen=True, slots=True)
class _Given:
    """What a command is given besides its words."""

    feed: Feed | None
    substituted: str | None
    """The program whose output stands in one of the words."""
    depth: int

    @property
    def feed_program(self) -> str | None:
        return self.feed.program if self.feed else None

    def deeper(self) -> "_Given":
        return _Given(self.feed, self.substituted, self.depth + 1)


def _entered(cwd: str, target: str) -> str:
    """The folder after `cd target` in `cwd`."""
    if target == "-":
        return UNKNOWN
    return target if target.startswith(("/", "~")) or not cwd else f"{cwd}/{target}"
