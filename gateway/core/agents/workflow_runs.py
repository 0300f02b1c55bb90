"""Runs of workflow scripts as the gateway sees them. They come and go by three things that pass through it.

    asked    the tool call that carries the script is released            `PendingRun`
    named    its result tells the client's ids, or that nothing started   `read_news`
    ended    a notification names the tool call again                     `read_news`

The client sends neither a run id nor a label with an agent's requests. What agents are given begins with a line that
says so (`task_of`), and when several runs are open the text is held against the words of their scripts. A runtime that
names its run in a header needs none of this. The script is never run here, and never parsed: words in quotes are
enough to tell two apart.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from gateway.contract import MAIN_AGENT
from gateway.core.agents.meters import MINUTE_MS, Crew, Pace, Reach, Used
from gateway.core.wire.body import Message, latest_messages
from gateway.core.wire.spans import Span

OPEN_RUNS_MAX = 16
"""Runs of one session that may gain agents; the oldest is taken for ended when another is asked for."""
RUNS_MAX = 256
"""Runs remembered per session, the ones that have ended forgotten first."""
HOOKED_MAX = 1_024
"""Agents of a session whose run was told before they came."""
SCRIPT_CHARS_READ = 65_536
"""How far a script is read for its words."""
LITERALS_MAX = 256
LITERAL_CHARS_MAX = 200
LITERAL_CHARS_MIN = 4
"""Shorter words occur anywhere."""

_HARNESS = "[Workflow harness"
_TASK_FOLLOWS = "The computed task text follows:\n"
_INDENT = "  "
_INSIDE = (r"'((?:[^'\\\n]|\\.)*+)", r'"((?:[^"\\\n]|\\.)*+)', r"`((?:[^`\\]|\\.)*+)")
_quoted = re.compile(
    "|".join((*(each + each[0] for each in _INSIDE), *(each.replace("((", "(?:(") for each in _INSIDE)))
)
"""What nothing ends is passed over to the end of its line or of the script: to look inside it would not be linear."""
_hole = re.compile(r"\$\{[^}]*+\}?")
_run_id = re.compile(r"^Run ID: (wf_[A-Za-z0-9-]{1,60})\s*$", re.MULTILINE)
_task_id = re.compile(r"\bTask ID: ([A-Za-z0-9_-]{1,64})")
_script_file = re.compile(r"/scripts/([^/\n]{1,200})-wf_")
_NOTIFIES = "<task-notification>"
_ended = re.compile(r"<tool-use-id>([^<]{1,128})</tool-use-id>")


@dataclass(frozen=True, slots=True)
class PendingRun:
    """A run that a released tool call asked for; `script` None: the call only names it."""

    tool_use_id: str
    script_sha256: str | None
    script: str | None
    name: str | None = None
    parent: str = MAIN_AGENT
    """The agent that asked."""


class Owner(NamedTuple):
    """Whose a run is: the session that it was first seen in, and who uses that."""

    session: str
    credential: str
    user: str


@dataclass(slots=True, eq=False)
class RunNode:
    """One run. Its id never changes once an agent was counted for it: limits and fuses go by it."""

    id: str
    """The client's run id; the tool call's where an agent came before that was told."""
    owner: Owner
    first_seen_ms: int
    source: Literal["claude-code", "runtime"] = "claude-code"
    tool_use_id: str | None = None
    parent: str | None = None
    script_sha256: str | None = None
    name: str | None = None
    literals: tuple[str, ...] = ()
    client_id: str | None = None
    task_id: str | None = None
    state: Literal["running", "ended"] = "running"
    ended_ms: int | None = None
    agents: set[str] = field(default_factory=set[str])
    """Keys of its agents."""
    used: Used = field(default_factory=Used)
    elsewhere: Used = field(default_factory=Used)
    crew: Crew[object] = field(default_factory=Crew[object])
    pace: Pace = field(default_factory=lambda: Pace(MINUTE_MS))
    reach: Reach = field(default_factory=Reach)
    deepest: int = 0

    @property
    def names(self) -> tuple[str | None, ...]:
        """Whatever it may be called by."""
        return self.id, self.client_id, self.task_id, self.tool_use_id

    def meters(self, now_ms: int) -> dict[str, int]:
        """Sums over its agents, and their number."""
        until = now_ms if self.ended_ms is None else self.ended_ms
        meters = self.used.meters(self.elsewhere, (until - self.first_seen_ms) // 1000, self.deepest)
        meters["agents"] = len(self.agents)
        meters["active_agents"] = self.crew.count(now_ms)
        meters["agents_per_minute"] = self.pace.count(now_ms)
        return meters

    def blast(self) -> dict[str, int]:
        """How much its tool calls name, and how many agents it has."""
        return self.reach.blast() | {"agents": len(self.agents)}

    def end(self, now_ms: int) -> None:
        """Nothing new belongs to it."""
        self.state = "ended"
        self.ended_ms = self.ended_ms or now_ms

    def likeness(self, task: str) -> int:
        """Length of the longest words of its script that stand in an agent's task."""
        return max((len(words) for words in self.literals if words in task), default=0)


class Runs:
    """The runs of one session."""

    def __init__(self) -> None:
        self.open: list[RunNode] = []
        """Asked for by tool calls, and not ended."""
        self._kept: dict[str, RunNode] = {}
        self._hooked: dict[str, str] = {}

    def __iter__(self) -> Iterator[RunNode]:
        return iter(self._kept.values())

    def __contains__(self, run: object) -> bool:
        return run in self._kept

    def launch(self, pending: PendingRun, owner: Owner, now_ms: int) -> RunNode:
        """A script was released: from now on agents may belong to its run."""
        run = RunNode(
            id=pending.tool_use_id,
            owner=owner,
            first_seen_ms=now_ms,
            tool_use_id=pending.tool_use_id,
            parent=pending.parent,
            script_sha256=pending.script_sha256,
            name=pending.name,
            literals=literals_of(pending.script or ""),
        )
        while len(self.open) >= OPEN_RUNS_MAX:
            self.open.pop(0).end(now_ms)
        self.open.append(run)
        self.keep(run)
        return run

    def keep(self, run: RunNode) -> None:
        """Remember it, by the id that it has now."""
        self._kept = {id: each for id, each in self._kept.items() if each is not run}
        while len(self._kept) >= RUNS_MAX:
            del self._kept[next((id for id, each in self._kept.items() if each.ended_ms), next(iter(self._kept)))]
        self._kept[run.id] = run

    def find(self, name: str) -> RunNode | None:
        """The run that has this id, as the gateway, the client, a task or a tool call calls it."""
        return self._kept.get(name) or next((run for run in self if name in run.names), None)

    def match(self, task: str) -> tuple[RunNode | None, bool]:
        """The open run that an agent with this task belongs to, if any is open, and whether that is only a guess."""
        if not self.open:
            return None, False
        ranked = sorted(self.open, key=lambda run: run.likeness(task))
        best = ranked[-1]
        told = len(ranked) == 1 or best.likeness(task) > ranked[-2].likeness(task)
        return (best, False) if told else (self.open[-1], True)

    def end(self, tool_use_id: str, now_ms: int) -> None:
        """The run that this call asked for is over."""
        for run in [each for each in self.open if each.tool_use_id == tool_use_id]:
            self.open.remove(run)
            run.end(now_ms)

    def hook(self, agent: str, name: str) -> None:
        """Remember what the run of an agent that has not come is called."""
        while len(self._hooked) >= HOOKED_MAX:
            del self._hooked[next(iter(self._hooked))]
        self._hooked[agent] = name

    def hooked(self, agent: str) -> RunNode | None:
        """The run of an agent that comes now, as a hook told."""
        name = self._hooked.pop(agent, None)
        return None if name is None else self.find(name)


@dataclass(frozen=True, slots=True)
class Launched:
    """What the result of a tool call that asked for a run says; without `client_id` nothing was started."""

    tool_use_id: str
    client_id: str | None = None
    task_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """A run is over, as the client says."""

    tool_use_id: str


class _Text(msgspec.Struct):
    text: str = ""


class _Block(msgspec.Struct):
    type: str = ""
    text: str = ""
    tool_use_id: str = ""
    content: str | list[_Text] = ""


def task_of(text: str) -> str | None:
    """What a workflow's agent was asked, taken out of the frame the client puts around it; None: no such frame."""
    if not text.startswith(_HARNESS):
        return None
    _, _, task = text.partition(_TASK_FOLLOWS)
    return "\n".join(line.removeprefix(_INDENT) for line in task.split("\n"))


def literals_of(script: str) -> tuple[str, ...]:
    """Words in quotes, longest first; of a template the words around its holes."""
    found: dict[str, None] = {}
    for single, double, template in _quoted.findall(script[:SCRIPT_CHARS_READ]):
        for words in (single, double, *_hole.split(template)):
            if len(words) >= LITERAL_CHARS_MIN:
                found[words[:LITERAL_CHARS_MAX].strip()] = None
    return tuple(sorted(found, key=len, reverse=True)[:LITERALS_MAX])


def read_news(body: bytes, span: Span) -> Iterator[Launched | Ended]:
    """What the messages since the last answer say of runs. Only what the client writes counts: no tool's output."""
    for message in latest_messages(body, span):
        if message.role == "assistant":
            return
        if message.role == "user":
            yield from _news(message)


def _news(message: Message) -> Iterator[Launched | Ended]:
    try:
        content = msgspec.json.decode(message.content, type=str | list[_Block])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return
    for block in [_Block("text", content)] if isinstance(content, str) else content:
        if block.type == "tool_result":
            told = block.content
            yield _launched(block.tool_use_id, told if isinstance(told, str) else "\n".join(t.text for t in told))
        elif (at := block.text.find(_NOTIFIES)) >= 0 and (ended := _ended.search(block.text, at)) is not None:
            yield Ended(ended[1])


def _launched(tool_use_id: str, text: str) -> Launched:
    run, task, script = _run_id.search(text), _task_id.search(text), _script_file.search(text)
    if run is None:
        return Launched(tool_use_id)
    return Launched(tool_use_id, run[1], task[1] if task else None, script[1] if script else None)
