"""What the live view of a run shows, and what a key does to it. Pure: no terminal, no gateway, no clock.

A key changes the screen, and may give an order for the gateway; what cannot be undone is asked about first. Texts of
scripts and models are cleaned of whatever would steer the terminal.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from rich.cells import set_cell_size
from rich.text import Text

from gateway.commands.output import plain
from gateway.commands.run_rows import STOPPED_STATES, WORKING_STATES, AgentRow, PhaseRow, RunRow
from gateway.commands.run_words import (
    count_text,
    duration,
    money,
    next_steps,
    pause_text,
    phase_name,
    progress_text,
    stopped_of,
)

NOTES_KEPT = 50
NOTES_SHOWN = 3
PHASES_SHOWN = 6
KEYS = (
    "p pause/go on  x stop  r restart  s save  f phase  j/k agent  q quit",
    "p pause x stop r redo s save f phase q quit",
    "keys: p x r s f j k q",
)
"""The longest that fits is shown."""
LINES_OF_WORDS = 3
"""That what is asked, refused or to be known may take on a narrow terminal."""
NARROW, NARROWER, NARROWEST = 73, 65, 52
"""Widths below which tables have a column less: model or tokens, then tokens or cost, then cost."""
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


def _save(screen: Screen) -> Order | None:
    return Order("/save", f"the script is saved as {screen.run.name}" if screen.run is not None else "it is saved")


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
        return [plain("reading the run ..."), *_footer(screen, width)][:height]
    sight = _Sight(screen, width, since_ms)
    head, footer = _head(sight, run), _footer(screen, width)
    phases = _phase_lines(sight, run.phases, min(PHASES_SHOWN, max(1, height // 4)))
    notes = [Text(f"  {clean(note)}", style="dim") for note in list(screen.notes)[-NOTES_SHOWN:]]
    notes = notes if height >= 20 else []
    room = height - len(head) - len(phases) - len(notes) - len(footer)
    agents = _agent_lines(sight, room)
    empty = [Text()] * max(0, room - len(agents))
    lines = [*head, *phases, *agents, *empty, *notes][: max(0, height - len(footer))]
    for line in (lines := [*lines, *footer[:height]]):
        line.truncate(width, overflow="ellipsis")
    return lines


def clean(text: str) -> str:
    """One line of what somebody else wrote."""
    return plain(text).plain


@dataclass(frozen=True, slots=True)
class _Sight:
    """What is looked at, how much of it fits, and how old it is."""

    screen: Screen
    width: int
    since_ms: int


def _head(sight: _Sight, run: RunRow) -> list[Text]:
    width = sight.width
    elapsed = run.elapsed_ms + (sight.since_ms if run.state in ("running", "paused") else 0)
    state = clean(run.status.text or run.state)
    name = Text(clean(run.name), style="bold")
    name.truncate(max(8, width - len(state) - len(run.id) - 4), overflow="ellipsis")
    title = Text.assemble(name, "  ", (state, STYLES.get(run.state, "")), f"  {run.id}")
    counts, new = run.agents, run.usage.new
    done = f"{counts.get('done', 0) + counts.get('cached', 0)}/{counts.get('total', 0)}"
    failed, stopped, running = counts.get("error", 0), stopped_of(counts), counts.get("running", 0)
    if width < NARROW:
        sums = f"{duration(elapsed)} {money(new)} {done} done"
        sums += f", {failed} failed" if failed else f", {running} running"
    else:
        also = f", {stopped} stopped" if stopped else ""
        sums = (
            f"{duration(elapsed)}  {done} agents done, {failed} failed{also}, "
            f"{running} running  {count_text(new.total_tokens)} tokens  {money(new)}"
        )
    return [title, Text(sums), *_word(sight, run)]


def _word(sight: _Sight, run: RunRow) -> list[Text]:
    """The one thing to know now."""
    width = sight.width
    if not sight.screen.connected:
        return _wrapped("the connection is gone; trying again ...", "bold yellow", width)
    if run.failure is not None:
        return _wrapped(f"{run.failure.detail}: {run.failure.message}", "red", width)
    if run.state == "pending_approval":
        return _wrapped("it waits for a person: " + "; ".join(next_steps(run)), "yellow", width)
    if run.pauses:
        steps = next_steps(run) if run.budget.cost.is_spent else []
        return _wrapped("paused: " + "; ".join([*map(pause_text, run.pauses), *steps]), "yellow", width)
    return [Text(clean(run.size_warning or (run.warnings[-1] if run.warnings else run.description)), style="dim")]


def _wrapped(text: str, style: str, width: int) -> list[Text]:
    """What has to be read to its end."""
    lines = wrap(clean(text), max(1, width), max_lines=LINES_OF_WORDS, placeholder=" ...")
    return [Text(line, style=style) for line in lines] or [Text()]


def _phase_lines(sight: _Sight, phases: Sequence[PhaseRow], most: int) -> list[Text]:
    """A window of the phases that ends with the last one that has begun."""
    if not phases:
        return []
    begun = max((at for at, phase in enumerate(phases) if phase.total), default=0)
    first = max(0, min(begun + 1, len(phases)) - most)
    left = len(phases) - min(len(phases), most)
    lines = [Text(f"phases{f' ({left} more)' if left else ''}", style="bold")]
    lines += (_phase_line(sight, phase) for phase in phases[first : first + most])
    return lines


def _phase_line(sight: _Sight, phase: PhaseRow) -> Text:
    width = sight.width
    sums = [
        *([f"{count_text(phase.tokens):>7}"] if width >= NARROW else []),
        *([f"{money(phase):>9}"] if width >= NARROWER else []),
        f"{duration(phase.elapsed_ms + (sight.since_ms if WORKING_STATES & _there(phase) else 0)):>7}",
    ]
    room = width - sum(map(len, sums)) - len(sums) - 3
    progress_cells = min(max(19, min(34, room - 16)), max(1, room - 1))
    name = set_cell_size(clean(phase_name(phase)), max(1, min(room - progress_cells, 40)))
    mark = ">" if phase.title == sight.screen.focus else " "
    return Text(" ".join([f"{mark} {name}", set_cell_size(progress_text(phase), progress_cells), *sums]))


def _there(phase: PhaseRow) -> frozenset[str]:
    return frozenset(state for state, count in phase.agents.items() if count)


def _agent_lines(sight: _Sight, room: int) -> list[Text]:
    """A window of the agents: around the cursor, else ending with the last one that has begun."""
    screen = sight.screen
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
    return [Text(heading, style="bold"), *(_agent_line(sight, agent) for agent in window)]


def _agent_line(sight: _Sight, agent: AgentRow) -> Text:
    width, is_pointed = sight.width, agent.index == sight.screen.cursor
    elapsed = agent.elapsed_ms + (sight.since_ms if agent.state == "running" else 0)
    sums = [
        *([set_cell_size(_about(agent), 12)] if width >= NARROWER else []),
        *([f"{count_text(agent.tokens):>7}"] if width >= NARROW else []),
        *([f"{money(agent):>9}"] if width >= NARROWEST else []),
        f"{duration(elapsed):>7}",
    ]
    label = set_cell_size(clean(agent.label), max(1, width - 16 - sum(map(len, sums)) - len(sums)))
    line = Text.assemble(
        f"{'>' if is_pointed else ' '} {agent.index:>4} ",
        label,
        " ",
        (f"{agent.state:<8}", STYLES.get(agent.state, "")),
        " ",
        " ".join(sums),
    )
    if is_pointed:
        line.stylize("reverse")
    return line


def _about(agent: AgentRow) -> str:
    """The model that answered; of one that has not, whether anything has come yet; of one that failed, why."""
    if agent.state in STOPPED_STATES | {"error"} and agent.reason:
        return clean(agent.reason)
    if agent.state == "running" and agent.model is None:
        return "answering" if agent.answering else "no answer"
    return clean(agent.model or "-").removeprefix("claude-")


def _footer(screen: Screen, width: int) -> list[Text]:
    if screen.question is not None:
        return _wrapped(screen.question.text, "bold yellow", width)
    if screen.notice:
        return _wrapped(screen.notice, "yellow", width)
    return [Text(next((keys for keys in KEYS if len(keys) <= width), KEYS[-1]), style="dim")]
