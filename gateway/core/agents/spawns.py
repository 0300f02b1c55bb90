"""Agents that were asked for and have not come yet, and messages to agents that were there before.

By what an agent's request says it is told which tool call asked for it. Which agent makes a request is not here.
"""

from dataclasses import dataclass, replace
from hashlib import sha256

from gateway.contract import MAIN_AGENT

PENDING_SPAWNS_MAX = 256
"""Asked-for agents of one session that have not made their first request yet; the oldest is forgotten first."""
PENDING_MESSAGES_MAX = 64
PROMPT_CHARS = 200
"""How much of a prompt is kept to recognise it by, beside its digest."""
TELLING_CHARS = 24
"""A prompt at least this long is recognised wherever it stands; a shorter one only where the text ends with it."""
FORK = "fork"
"""Type of an agent that goes on with the conversation of the one that asked for it."""


@dataclass(frozen=True, slots=True)
class PendingSpawn:
    """An agent that was asked for by a released tool call."""

    agent_type: str | None
    prompt: str
    tool_use_id: str = ""
    parent: str = MAIN_AGENT
    model: str | None = None
    background: bool | None = None
    approved: bool = False
    """A person approved it."""
    prompt_sha256: str | None = None
    """Filled in when it is expected."""


@dataclass(frozen=True, slots=True)
class PendingMessage:
    """A message to an agent, sent by a released tool call; `to`: whom, as far as the call tells."""

    tool_use_id: str
    message: str
    to: str | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """What an agent's request says for itself."""

    texts: tuple[str, ...] = ()
    """Text blocks of its first user message; the last one is what it was asked."""
    answered: frozenset[str] = frozenset()
    """Ids of the tool calls whose results its last user message carries."""
    from_script: bool = False
    """Its system prompt is that of a workflow's agent."""

    @property
    def task(self) -> str:
        """What it was asked."""
        return self.texts[-1] if self.texts else ""

    @property
    def task_sha256(self) -> str:
        """By which it is known what it was asked."""
        return text_sha256(self.task)


class Expected:
    """What one session waits for."""

    def __init__(self) -> None:
        self._spawns: list[PendingSpawn] = []
        self.messages: list[PendingMessage] = []

    def __len__(self) -> int:
        return len(self._spawns)

    def add(self, spawn: PendingSpawn) -> None:
        """Wait for an agent."""
        del self._spawns[: max(0, len(self._spawns) - PENDING_SPAWNS_MAX + 1)]
        digest = spawn.prompt_sha256 or text_sha256(spawn.prompt)
        self._spawns.append(replace(spawn, prompt=spawn.prompt[:PROMPT_CHARS], prompt_sha256=digest))

    def find(self, opening: Opening, parent: str | None) -> PendingSpawn | None:
        """The waiting spawn that this first request answers to; of several, one of `parent`, then the first."""
        asker = parent or MAIN_AGENT
        digest = opening.task_sha256
        best, best_rank = None, (0, 0, False)
        for spawn in self._spawns:
            likeness = _likeness(spawn, opening, digest)
            rank = (likeness, len(spawn.prompt) if likeness == 1 else 0, spawn.parent == asker)
            if likeness and rank > best_rank:
                best, best_rank = spawn, rank
        return best

    def claim(self, opening: Opening, parent: str | None) -> PendingSpawn | None:
        """The same, and it waits no longer."""
        found = self.find(opening, parent)
        if found is not None:
            self._spawns = [spawn for spawn in self._spawns if spawn is not found]
        return found

    def wake(self, message: PendingMessage) -> None:
        """Wait for an agent to go on."""
        del self.messages[: max(0, len(self.messages) - PENDING_MESSAGES_MAX + 1)]
        self.messages.append(replace(message, message=message.message[:PROMPT_CHARS]))

    def answer(self, agent: str, words: str) -> PendingMessage | None:
        """The message that an agent's request goes on from: one to it by name, or one whose words it repeats."""
        for index, each in enumerate(self.messages):
            if each.to == agent or (each.message and each.message in words):
                return self.messages.pop(index)
        return None


def text_sha256(text: str) -> str:
    """By which a prompt or a script is known: of its text as it is."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _likeness(spawn: PendingSpawn, opening: Opening, digest: str) -> int:
    """3: a fork that says which call made it; 2: this very prompt; 1: the prompt among other words; 0: no."""
    if spawn.agent_type == FORK and spawn.tool_use_id in opening.answered:
        return 3
    if not spawn.prompt:
        return 0
    if spawn.prompt_sha256 == digest:
        return 2
    if len(spawn.prompt) >= TELLING_CHARS:
        return int(any(spawn.prompt in text for text in opening.texts))
    return int(opening.task.rstrip().endswith(spawn.prompt))
