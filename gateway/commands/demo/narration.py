"""What the demo says while it plays: one line per step, as it happens. Decides and measures nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from gateway.commands.output import plain
from gateway.contract import DENIED_TOOL

WHO_CHARS = 15
TEXT_CHARS_MAX = 600
"""Longer texts of agents and refusals are cut: the demo shows that they came, not all they say."""
PLAIN_WIDTH = 140
"""Width of tables where nobody has a terminal; lines are not wrapped there."""

_SUBJECTS = ("file_path", "command", "description", "path", "pattern")


@dataclass(frozen=True, slots=True)
class Check:
    """A promise, whether it was kept, and what was found."""

    promise: str
    kept: bool
    found: str


class Narrator:
    """Speaks on one console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def scene(self, number: int, title: str) -> None:
        """A scene begins."""
        self._console.print()
        self._console.print(Text(f"Scene {number}. {title}", style="bold cyan"))

    def tell(self, who: str, text: str, style: str = "") -> None:
        """One step: who did what."""
        shown = text.strip() if len(text) <= TEXT_CHARS_MAX else text[:TEXT_CHARS_MAX].strip() + " ..."
        lines = [plain(line) for line in shown.splitlines()]
        if not self._console.is_terminal:
            for number, line in enumerate(lines):
                self._console.print(f"{who if number == 0 else '':<{WHO_CHARS}} {line}", soft_wrap=True, markup=False)
            return
        row = Table.grid(padding=(0, 1))
        row.add_column(width=WHO_CHARS)
        row.add_column(overflow="fold")
        row.add_row(Text(who, style="dim"), Text("\n", style=style).join(lines))
        self._console.print(row)

    def call(self, who: str, tool: str, tool_input: Mapping[str, Any]) -> None:
        """A tool call that reached the client: allowed, or what was written in the place of a denied one."""
        if tool == DENIED_TOOL:
            self.tell(
                who, f"DENIED   {describe_call(str(tool_input.get('tool')), tool_input.get('input'))}", "bold red"
            )
            self.tell("", f"the agent is told: {tool_input.get('reason')}", "red")
            return
        self.tell(who, f"allowed  {describe_call(tool, tool_input)}", "green")

    def check(self, check: Check) -> None:
        """A promise that was put to the test."""
        mark, style = ("kept", "bold green") if check.kept else ("BROKEN", "bold red")
        self.tell(mark, f"{check.promise}: {check.found}", style)

    def show(self, *parts: RenderableType) -> None:
        """Tables and trees."""
        for part in parts:
            self._console.print(part)


def build_narrator(*, stderr: bool) -> Narrator:
    """On stdout, or on stderr when stdout is for JSON; plain lines when that is no terminal."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=PLAIN_WIDTH)
    return Narrator(console)


def describe_call(tool: str, tool_input: object) -> str:
    """A call in a few words: the tool and what it is about."""
    fields: dict[str, Any] = {**tool_input} if isinstance(tool_input, Mapping) else {}
    subject = next((str(fields[name]) for name in _SUBJECTS if name in fields), "")
    return f"{tool}: {subject}" if subject else tool
