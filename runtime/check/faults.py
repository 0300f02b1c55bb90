"""What is wrong with a script: a stable code, what and what to do, and where. Shapes only; finding it is elsewhere."""

from dataclasses import dataclass

from tree_sitter import Node

EXCERPT_CHARS_MAX = 120


@dataclass(frozen=True, slots=True)
class CheckError:
    """One fault. Line and column count from 1, columns in characters. As text `<line>:<column> <code>: <message>`."""

    code: str
    message: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.line}:{self.column} {self.code}: {self.message}"


def fault_at(source: bytes, node: Node, code: str, message: str) -> CheckError:
    """A fault where a node of the tree of `source` begins."""
    line_start = source.rfind(b"\n", 0, node.start_byte) + 1
    column = len(source[line_start : node.start_byte].decode(errors="replace")) + 1
    return CheckError(code, message, node.start_point.row + 1, column)


def fault_in(text: str, offset: int, code: str, message: str) -> CheckError:
    """A fault at a character of the source."""
    line_start = text.rfind("\n", 0, offset) + 1
    return CheckError(code, message, text.count("\n", 0, offset) + 1, offset - line_start + 1)


def excerpt(line: str, column: int) -> str:
    """The part of a line that a person has to look at."""
    start = max(0, min(column - EXCERPT_CHARS_MAX // 2, len(line) - EXCERPT_CHARS_MAX))
    return line[start : start + EXCERPT_CHARS_MAX].strip()
