"""A YAML (or JSON) file as a tree whose every value knows its place, and the secrets it refers to put in.

Not the meaning of any key: `sections.py`. Anchors, aliases and tags are refused, so that the tree is as large as the
text; a value is read as what its key expects, so `off`, `no` and `0123` never turn into something else.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

CONFIG_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 32
SECRET_FILE_BYTES_MAX = 64 * 1024

_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding: `place` is `file:line:column` (or the file), `message` what is wrong, `suggestion` what to do."""

    place: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" + (f" ({self.suggestion})" if self.suggestion else "")


@dataclass(slots=True)
class Source:
    """One file being read: what its references resolve against, and what was found wrong so far."""

    path: Path
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list[Problem])
    warnings: list[Problem] = field(default_factory=list[Problem])

    @property
    def folder(self) -> Path:
        """What relative paths start from."""
        return self.path.parent

    def place(self, mark: yaml.Mark | None) -> str:
        """`file:line:column`, both counted from 1."""
        return str(self.path) if mark is None else f"{self.path}:{mark.line + 1}:{mark.column + 1}"


@dataclass(frozen=True, slots=True)
class Text:
    """A scalar with its references resolved. `written` is as in the file: what a message may show."""

    value: str
    written: str
    plain: bool
    """Not quoted, or a reference: may stand for a number or a flag."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One value of the document under its dotted name."""

    name: str
    node: yaml.Node
    source: Source
    key: yaml.Node | None = None

    @property
    def absent(self) -> bool:
        """Written as null, which means the same as not written."""
        node = self.node
        return isinstance(node, yaml.ScalarNode) and node.style is None and node.value in _NULLS

    @property
    def is_list(self) -> bool:
        """For keys that take a single value or a list."""
        return isinstance(self.node, yaml.SequenceNode)

    def problem(self, message: str, suggestion: str = "") -> None:
        """Report that this value cannot be used."""
        self.source.problems.append(Problem(self.source.place(self.node.start_mark), message, suggestion))

    def key_problem(self, message: str, suggestion: str = "") -> None:
        """Report that the key of this value cannot be used."""
        Entry(self.name, self.key or self.node, self.source).problem(message, suggestion)

    def warning(self, message: str, suggestion: str = "") -> None:
        """Report something worth knowing that does not stop anything."""
        self.source.warnings.append(Problem(self.source.place(self.node.start_mark), message, suggestion))

    def text(self) -> Text | None:
        """The scalar; None after reporting that it is none or that a reference in it does not resolve."""
        node = self.node
        if not isinstance(node, yaml.ScalarNode):
            self.problem(f"{self.name} must be a single value, not {_shape(node)}")
            return None
        written = str(node.value)
        resolved = self._resolve(written) if "${" in written else written
        if resolved is None:
            return None
        value = _joined_surrogates(resolved)
        if value is None:
            self.problem(f"{self.name} contains half a character (a lone surrogate)", "write the character itself")
            return None
        return Text(value=value, written=written, plain=node.style is None or "${" in written)

    def elements(self) -> list["Entry"]:
        """The entries of a list; empty after reporting that it is none."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.problem(f"{self.name} must be a list, not {_shape(self.node)}", "write it as [a, b]")
            return []
        return [Entry(f"{self.name}[{at}]", node, self.source) for at, node in enumerate(self.node.value)]

    def members(self) -> dict[str, "Entry"]:
        """The members of a mapping in order; empty after reporting that it is none. Duplicate keys are problems."""
        if not isinstance(self.node, yaml.MappingNode):
            self.problem(f"{self.name or 'the file'} must be a mapping, not {_shape(self.node)}")
            return {}
        found: dict[str, Entry] = {}
        for key_node, value_node in self.node.value:
            key_entry = Entry(self.name, key_node, self.source)
            if not isinstance(key_node, yaml.ScalarNode):
                key_entry.problem(f"a key in {self.name or 'the file'} is {_shape(key_node)}", "keys are single words")
                continue
            key = str(key_node.value)
            name = f"{self.name}.{key}" if self.name else key
            if key in found:
                first = self.source.place((found[key].key or key_node).start_mark)
                key_entry.problem(f"{name} is written twice, first at {first}", "keep one of the two")
                continue
            found[key] = Entry(name, value_node, self.source, key_node)
        return found

    def _resolve(self, written: str) -> str | None:
        whole = re.fullmatch(r"\$\{file:([^}]*)\}", written)
        if whole is not None:
            return self._file_text(whole.group(1))
        unresolved = False

        def replacement(match: re.Match[str]) -> str:
            nonlocal unresolved
            value = "${" if match.group() == "$${" else self._variable(match)
            unresolved = unresolved or value is None
            return value or ""

        resolved = _REFERENCE.sub(replacement, written)
        return None if unresolved else resolved

    def _variable(self, match: re.Match[str]) -> str | None:
        name = match.group(1)
        if name.startswith("file:"):
            self.problem(f"{self.name}: ${{file:...}} must be the whole value", "move the other text into the file")
            return None
        if not match.group().endswith("}") or not _ENV_NAME.fullmatch(name):
            self.problem(
                f"{self.name}: ${{ begins a reference that is not ${{NAME}} or ${{file:/path}}",
                "write $${ where the text itself is meant",
            )
            return None
        value = self.source.environ.get(name)
        if value is None:
            self.problem(f"{self.name}: the environment variable {name} is not set", f"export {name} before starting")
        return value

    def _file_text(self, name: str) -> str | None:
        path = self.source.folder / name
        try:
            with path.open("rb") as file:
                content = file.read(SECRET_FILE_BYTES_MAX + 1)
            if len(content) > SECRET_FILE_BYTES_MAX:
                self.problem(f"{self.name}: {path} is larger than {SECRET_FILE_BYTES_MAX} bytes", "name another file")
                return None
            return content.decode().strip()
        except UnicodeDecodeError:
            self.problem(f"{self.name}: {path} is not UTF-8 text", "name another file")
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) and error.strerror else "not a usable path"
            self.problem(f"{self.name}: cannot read {path}: {cause}", "check the path and its permissions")
        return None


def parse_document(text: str, source: Source) -> Entry | None:
    """The root of the document; None after reporting why it cannot be read."""
    try:
        root = _Composer(_without_json_tabs(text)).get_single_node()
    except yaml.MarkedYAMLError as error:
        place = source.place(error.problem_mark or error.context_mark)
        source.problems.append(
            Problem(place, f"not readable as YAML: {error.problem or error.context}", error.note or "")
        )
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not readable as YAML: a character that it does not allow ({error.reason})"
        source.problems.append(Problem(f"{source.path}:{line}", message, "remove it"))
        return None
    except (yaml.YAMLError, ValueError, OverflowError):
        message = "not readable as YAML: a quoted text contains an escape that is no character"
        source.problems.append(Problem(str(source.path), message, "look for \\x, \\u and \\U in double quotes"))
        return None
    if root is None:
        source.problems.append(Problem(str(source.path), "the file is empty", "upstreams is the least it must name"))
        return None
    return Entry("", root, source)


class _Composer(yaml.SafeLoader):
    """Builds nodes only, and refuses what would let a small text mean a large or a surprising tree."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = cast(yaml.Event, self.peek_event())  # pyright: ignore[reportUnknownMemberType]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.MarkedYAMLError(
                None, None, "anchors and aliases are not read", event.start_mark, "repeat the value"
            )
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(None, None, "tags are not read", event.start_mark, "remove the !tag")
        if self._depth > DEPTH_MAX:
            raise yaml.MarkedYAMLError(None, None, f"nested deeper than {DEPTH_MAX}", event.start_mark, "flatten it")
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1


def _without_json_tabs(text: str) -> str:
    """JSON may be indented with tabs, YAML may not; a JSON text has tabs nowhere else."""
    if "\t" not in text or not text.lstrip().startswith("{"):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


def _joined_surrogates(text: str) -> str | None:
    """JSON writes characters beyond U+FFFF as two escapes; None when one of a pair is missing."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError:
        return None


def _shape(node: yaml.Node) -> str:
    if isinstance(node, yaml.MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
