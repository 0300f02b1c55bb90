"""What a command says: results on stdout as text or JSON, and the one error that ends it. No command's content."""

import codecs
import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.core.money.pricing import format_usd

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DEGRADED = 3
EXIT_RUN_FAILED = 4
EXIT_RUN_STOPPED = 5
EXIT_UNREACHABLE = 6
EXIT_REFUSED = 7

PIPED_COLUMNS = 160
"""Width where there is no terminal: a line that another program reads should not be broken."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0001-\U000e007f]"
)

EXIT_CODES = """exit codes:
  0  done
  1  failed, or problems were found
  2  wrong usage
  3  policy replay: something would be decided otherwise; runs: completed, but not every agent gave a result
  4  runs: the run failed, or its script is not valid
  5  runs: the run was denied or stopped
  6  the gateway did not answer
  7  the gateway refused
  130  interrupted
"""


class CommandFailed(Exception):
    """A command cannot go on: `message` says what happened and what to do next, without a traceback."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


def print_json(value: Any) -> None:
    """`value` (also msgspec Structs and dataclasses) as indented JSON."""
    print(harmless(json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=_is_narrow())))


def print_json_line(value: Any) -> None:
    """`value` as JSON in one line, at once: for who reads while the command goes on."""
    print(harmless(json.dumps(msgspec.to_builtins(value), ensure_ascii=_is_narrow())), flush=True)


def tolerate_narrow_encodings() -> None:
    """Stdout that cannot write every character (`LC_ALL=C`) shows `?` for it: a label must not end a command."""
    reconfigure: Callable[..., None] | None = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")


def _is_narrow() -> bool:
    return not (sys.stdout.encoding or "").lower().startswith("utf")


def json_writer() -> Callable[[bytes], object]:
    """Writes JSON to stdout that comes in pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda piece: sys.stdout.buffer.write(harmless(decoder.decode(piece)).encode())


def harmless(text: str) -> str:
    """The same JSON, in which nothing steers the terminal: what cannot be seen stands in strings only, as an escape."""
    return _UNSEEN.sub(lambda found: " " if found[0] == "\r" else json.dumps(found[0])[1:-1], text)


def print_rich(*parts: RenderableType) -> None:
    """Tables, trees and text, as wide as the terminal; wide and without colours when stdout is none."""
    console = _console()
    for part in parts:
        console.print(part)


def columns_shown() -> int:
    """How wide what `print_rich` prints may be."""
    return _console().width


def _console() -> Console:
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPED_COLUMNS)
    return console


def table(title: str, *columns: str) -> Table:
    """An empty table; a column whose name begins with `>` is aligned right.

    The first column is what people copy into the next command, so it is never shortened.
    """
    built = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        justify = "right" if column.startswith(">") else "left"
        built.add_column(column.removeprefix(">"), justify=justify, overflow="fold", no_wrap=not built.columns)
    return built


def plain(value: object) -> Text:
    """Text that came from elsewhere: markup means nothing in it, and nothing in it steers the terminal."""
    return Text("".join(char if char.isprintable() else "\ufffd" for char in str(value)))


def amount(meter: str, value: int) -> str:
    """Dollars for cost, else the count."""
    return format_usd(value) if meter == "cost" else str(value)


def moment(unix_ms: int | None) -> str:
    """UTC to the second; `-` for none."""
    if unix_ms is None:
        return "-"
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "-"
