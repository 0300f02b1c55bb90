"""What the live view of a run shows, and what a key does to it. Pure: no terminal, no gateway, no clock.

A key changes the screen, and may give an order for the gateway; what cannot be undone is asked about first. Texts of
scripts and models are cleaned of whatever would steer the terminal.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.cells import set_cell_size
from rich.text import Text

from gateway.commands.output import plain
from gateway.commands.run_rows import (
    FAILED_STATES,
    AgentRow,
    PhaseRow,
    RunRow,
    count_text,
    duration,
    money,
    pause_text,
    phase_name,
    progress_text,
)

NOTES_KEPT = 50
NOTES_SHOWN = 3
PHASES_SHOWN = 6
KEYS = "p pause/go on  x stop  r restart  s save  f phase  j/k agent  q quit"
STYLES = {
    "running": "cyan",
    "done": "green",
    "cached": "green",
    "completed": "green",
    "error": "red",
    "failed": "red",
    "stopped": "yellow",
    "skipped": "yellow",
    "denied": "yellow",
    "paused": "yellow",
    "pending_approval": "yellow",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What the gateway is asked to do, and what to say when it has done it."""

    path: str
    said: str
    body: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Question:
    """Asked before an order is given."""

    text: str
    order: Order


@dataclass(slots=True)
class Screen:
    """One run as it is looked at."""

    run: RunRow | None = None
    agents: list[AgentRow] = field(default_factory=list[AgentRow])
    notes: deque[str] = field(default_factory=lambda: deque[str](maxlen=NOTES_KEPT))
    cursor: int | None = None
    """Index of the agent that is pointed at; None: the run."""
    focus: str | None = None
    """Only the agents of this phase."""
    question: Question | None = None
    notice: str = ""
    connected: bool = True
    quitting: bool = False

    def press(self, key: str) -> Order | None:
        """One key."""
        self.notice = ""
        if self.question is not None:
            question, self.question = self.question, None
            return question.order if key == "y" else None
        action = _ACTIONS.get(key)
        return None if action is None else action(self)

    @property
    def shown(self) -> list[AgentRow]:
        """Agents of the focused phase, or all."""
        return [agent for agent in self.agents if self.focus in (None, agent.phase)]

    @property
    def pointed(self) -> AgentRow | None:
        """The agent under the cursor."""
        return next((agent for agent in self.shown if agent.index == self.cursor), None)


def _pause(screen: Screen) -> Order | None:
    state = screen.run.state if screen.run is not None else ""
    if state == "paused":
        return Order("/resume", "it goes on")
    if state == "running":
        return Order("/pause", "no more agents start")
    screen.notice = f"a run that is {state or 'not known yet'} is neither paused nor resumed"
    return None


def _stop(screen: Screen) -> Order | None:
    agent = screen.pointed
    if agent is None:
        order = Order("/stop", "it is stopped")
        screen.question = Question("stop the whole run? y/n", order)
    else:
        order = Order(f"/agents/{agent.index}/stop", f"agent {agent.index} is stopped")
        screen.question = Question(f"stop agent {agent.index} ({agent.label})? its call gives null. y/n", order)
    return None


def _restart(screen: Screen) -> Order | None:
    agent = screen.pointed
    if agent is not None and agent.state == "running":
        return Order(f"/agents/{agent.index}/restart", f"agent {agent.index} begins anew")
    screen.notice = "point at a running agent with j and k to restart it"
    return None


def _save(_screen: Screen) -> Order | None:
    return Order("/save", "the script is saved under its name")


def _focus(screen: Screen) -> Order | None:
    titles = list(dict.fromkeys(agent.phase for agent in screen.agents))
    following = titles.index(screen.focus) + 1 if screen.focus in titles else 0
    screen.focus = titles[following] if following < len(titles) else None
    screen.cursor = None
    return None


def _move(by: int) -> Callable[[Screen], Order | None]:
    def move(screen: Screen) -> Order | None:
        indices = [None, *(agent.index for agent in screen.shown)]
        at = indices.index(screen.cursor) if screen.cursor in indices else 0
        screen.cursor = indices[max(0, min(at + by, len(indices) - 1))]
        return None

    return move


def _quit(screen: Screen) -> Order | None:
    screen.quitting = True
    return None


_ACTIONS: dict[str, Callable[[Screen], Order | None]] = {
    "p": _pause,
    "x": _stop,
    "r": _restart,
    "s": _save,
    "f": _focus,
    "j": _move(1),
    "k": _move(-1),
    "down": _move(1),
    "up": _move(-1),
    "q": _quit,
}


def draw(screen: Screen, width: int, height: int, *, since_ms: int = 0) -> list[Text]:
    """At most `height` lines of at most `width` cells. `since_ms`: how old the record is."""
    run = screen.run
    if run is None:
        return [plain("reading the run ..."), _footer(screen)][:height]
    head = _head(screen, run, since_ms)
    phases = _phase_lines(run.phases, screen.focus, min(PHASES_SHOWN, max(1, height // 4)), width)
    notes = [Text(f"  {clean(note)}", style="dim") for note in list(screen.notes)[-NOTES_SHOWN:]]
    notes = notes if height >= 20 else []
    room = height - len(head) - len(phases) - len(notes) - 1
    agents = _agent_lines(screen, room, width)
    empty = [Text()] * max(0, room - len(agents))
    lines = [*head, *phases, *agents, *empty, *notes][: height - 1]
    for line in (lines := [*lines, _footer(screen)]):
        line.truncate(width, overflow="ellipsis")
    return lines


def clean(text: str) -> str:
    """One line of what somebody else wrote."""
    return plain(text).plain


def _head(screen: Screen, run: RunRow, since_ms: int) -> list[Text]:
    elapsed = run.elapsed_ms + (since_ms if run.state == "running" else 0)
    style = STYLES.get(run.state, "")
    title = Text.assemble((clean(run.name), "bold"), "  ", (clean(run.status.text or run.state), style), f"  {run.id}")
    counts = run.agents
    failed = sum(counts.get(state, 0) for state in FAILED_STATES)
    done = counts.get("done", 0) + counts.get("cached", 0)
    new = run.usage.new
    sums = (
        f"{duration(elapsed)}  {done}/{counts.get('total', 0)} agents done, {failed} failed, "
        f"{counts.get('running', 0)} running  {count_text(new.total_tokens)} tokens  {money(new)}"
    )
    return [title, Text(sums), _word(screen, run)]


def _word(screen: Screen, run: RunRow) -> Text:
    """The one thing to know now."""
    if not screen.connected:
        return Text("the connection is gone; trying again ...", style="bold yellow")
    if run.failure is not None:
        return Text(clean(f"{run.failure.detail}: {run.failure.message}"), style="red")
    if run.state == "pending_approval":
        return Text(f"it waits for a person: ringfence runs approve {run.id}", style="yellow")
    if run.pauses:
        return Text(clean("paused: " + "; ".join(map(pause_text, run.pauses))), style="yellow")
    return Text(clean(run.size_warning or (run.warnings[-1] if run.warnings else run.description)), style="dim")


def _phase_lines(phases: Sequence[PhaseRow], focus: str | None, most: int, width: int) -> list[Text]:
    """A window of the phases that ends with the last one that has begun."""
    if not phases:
        return []
    begun = max((at for at, phase in enumerate(phases) if phase.total), default=0)
    first = max(0, min(begun + 1, len(phases)) - most)
    left = len(phases) - min(len(phases), most)
    lines = [Text(f"phases{f' ({left} more)' if left else ''}", style="bold")]
    for phase in phases[first : first + most]:
        name = set_cell_size(clean(phase_name(phase)), max(10, min(width - 63, 40)))
        text = f"{name} {progress_text(phase):<34} {count_text(phase.tokens):>7} {money(phase):>9}"
        mark = ">" if phase.title == focus else " "
        lines.append(Text(f"{mark} {text} {duration(phase.elapsed_ms):>7}"))
    return lines


def _agent_lines(screen: Screen, room: int, width: int) -> list[Text]:
    """A window of the agents: around the cursor, else ending with the last one that has begun."""
    rows = screen.shown
    if room < 2 or not rows:
        return []
    most = room - 1
    at = next((at for at, agent in enumerate(rows) if agent.index == screen.cursor), None)
    if at is None:
        begun = max((at for at, agent in enumerate(rows) if agent.state not in ("queued", "held")), default=0)
        first = begun + 1 - most
    else:
        first = at - most // 2
    first = max(0, min(first, len(rows) - most))
    where = f" of {clean(screen.focus)}" if screen.focus is not None else ""
    window = rows[first : first + most]
    heading = f"agents{where} {first + 1}-{first + len(window)} of {len(rows)}"
    return [Text(heading, style="bold"), *(_agent_line(agent, screen.cursor, width) for agent in window)]


def _agent_line(agent: AgentRow, cursor: int | None, width: int) -> Text:
    label = set_cell_size(clean(agent.label), max(12, width - 58))
    model = set_cell_size(clean(agent.model or "-").removeprefix("claude-"), 12)
    sums = f"{count_text(agent.tokens):>7} {money(agent):>9} {duration(agent.elapsed_ms):>7}"
    line = Text.assemble(
        f"{'>' if agent.index == cursor else ' '} {agent.index:>4} ",
        label,
        " ",
        (f"{agent.state:<8}", STYLES.get(agent.state, "")),
        f" {model} {sums}",
    )
    if agent.index == cursor:
        line.stylize("reverse")
    return line


def _footer(screen: Screen) -> Text:
    if screen.question is not None:
        return Text(clean(screen.question.text), style="bold yellow")
    return Text(clean(screen.notice), style="yellow") if screen.notice else Text(KEYS, style="dim")
