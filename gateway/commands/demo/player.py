"""What plays a scene: an agent client that takes one prompt to its end. The clients are `sdk.py` and `claude.py`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Part:
    """One session of a scene: its id, the folder that its agent works in, and whether it goes on from before."""

    session: str
    workspace: Path
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as it reached the client."""

    tool: str
    input: dict[str, Any]


@dataclass(slots=True)
class Ending:
    """What the client saw: its last words, or the refusal that ended it, and every call that reached it."""

    text: str = ""
    refusal: str | None = None
    calls: list[Call] = field(default_factory=list[Call])


class Player(Protocol):
    """An agent client."""

    @property
    def name(self) -> str: ...
    async def play(self, prompt: str, part: Part) -> Ending:
        """One prompt, with all its turns, tool calls and sub-agents. A refusal is an ending, not an error."""
        ...
