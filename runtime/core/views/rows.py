"""The lines of tables about a run: one agent, one phase (W91). Text in them is fit to be shown; nothing is counted."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from runtime.core.aside import put_aside
from runtime.core.display import clip, label_of, one_line, visible
from runtime.core.journal import ErrorLine, IssuedLine, RefusedLine, ResultLine, StartedLine, StoppedLine
from runtime.core.model import Thrown, Worktree
from runtime.core.views.counts import OPEN_CALLS, Counted, Group

PROMPT_CHARS_MAX = 2_000
PREVIEW_CHARS_MAX = 200
DETAIL_CHARS_MAX = 1_000
TOOL_CHARS_MAX = 120
TOOLS_KEPT = 5
ATTEMPTS_KEPT = 20
OPTIONS_SHOWN = ("model", "effort", "agent_type", "isolation", "tools", "max_turns", "max_tokens", "timeout_ms")

AttemptLine = StartedLine | ResultLine | ErrorLine | RefusedLine | StoppedLine


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that is over."""

    number: int
    end: str
    tokens: int


@dataclass(slots=True)
class Row:
    """One call. Of its prompt and its value only the beginnings are kept."""

    index: int
    label: str
    prompt: str
    prompt_chars: int
    options: dict[str, Any]
    issued_ms: int
    counted: Counted
    messages: int = 0
    answering: bool = False
    agent_id: str | None = None
    model: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    reason: str | None = None
    """Why there is no value: of a null (W54), of a throw, or who ended it."""
    detail: str = ""
    preview: str | None = None
    schema_attempts: int = 0
    steered: bool = False
    worktree: Worktree | None = None
    transcript_sha256: str | None = None
    tools: deque[str] = field(default_factory=lambda: deque[str](maxlen=TOOLS_KEPT))
    """The last ones of the running attempt."""
    tools_used: int = 0
    """By the running attempt."""
    attempts: deque[Attempt] = field(default_factory=lambda: deque[Attempt](maxlen=ATTEMPTS_KEPT))

    def feed(self, line: AttemptLine) -> None:
        """What happened to the call; the counts have been changed already."""
        if isinstance(line, StartedLine):
            self.agent_id = line.agent_id
            self.started_ms = line.at_ms if self.started_ms is None else self.started_ms
            return
        if not isinstance(line, RefusedLine):
            self.agent_id = line.agent_id or self.agent_id
            if line.attempt:
                self.attempts.append(Attempt(line.attempt, _end_of(line), line.usage.tokens.total))
        match line:
            case ResultLine():
                self._take_result(line)
            case ErrorLine():
                self.model = line.model or self.model
                self.worktree = line.worktree or self.worktree
                self._take_reason(_end_of(line), line.thrown, line.detail)
            case RefusedLine():
                self._take_reason(_end_of(line), line.thrown, "")
            case StoppedLine():
                self._take_reason(line.reason, None, "" if line.by is None else f"by {line.by}")
        self.close(line.at_ms)

    def use(self, tool: str) -> None:
        """The running attempt used a tool."""
        self.tools.append(one_line(tool, TOOL_CHARS_MAX))
        self.tools_used += 1

    def close(self, at_ms: int) -> None:
        """An attempt ended; what was shown of its work goes."""
        self.tools.clear()
        self.tools_used = 0
        self.answering = False
        self.ended_ms = at_ms

    def brief(self, now_ms: int) -> dict[str, Any]:
        """As it stands in the list of agents."""
        counted = self.counted
        is_open = counted.state in OPEN_CALLS
        end_ms = now_ms if is_open or self.ended_ms is None else self.ended_ms
        return {
            "index": self.index,
            "agent_id": self.agent_id,
            "label": self.label,
            "phase": counted.group.phase.title,
            "phase_id": counted.group.phase.id,
            "workflow": counted.group.phase.workflow,
            "state": counted.state,
            "answering": self.answering,
            "attempts": counted.attempts,
            "model": self.model,
            "tokens": counted.tokens,
            "cost_nanousd": counted.cost_nanousd,
            "cost_complete": not counted.unpriced,
            "tool_calls": counted.used.tool_calls + self.tools_used,
            "issued_ms": self.issued_ms,
            "started_ms": self.started_ms,
            "ended_ms": None if is_open else self.ended_ms,
            "elapsed_ms": 0 if self.started_ms is None else max(0, end_ms - self.started_ms),
            "reason": None if is_open else self.reason,
            "steered": self.steered or self.messages > 0,
            "schema_attempts": self.schema_attempts,
        }

    def full(self, now_ms: int) -> dict[str, Any]:
        """All that is kept of it."""
        return {
            **self.brief(now_ms),
            "prompt": visible(self.prompt),
            "prompt_chars": self.prompt_chars,
            "options": self.options,
            "recent_tools": list(self.tools),
            "detail": self.detail,
            "result_preview": self.preview,
            "messages": self.messages,
            "worktree": None if self.worktree is None else msgspec.structs.asdict(self.worktree),
            "transcript_sha256": self.transcript_sha256,
            "past_attempts": [{"attempt": a.number, "end": a.end, "tokens": a.tokens} for a in self.attempts],
        }

    def _take_result(self, line: ResultLine) -> None:
        line = cast(ResultLine, put_aside(line)[0])
        self.model = line.model or self.model
        self.schema_attempts = line.schema_attempts
        self.steered = line.steered
        self.worktree = line.worktree
        self.transcript_sha256 = line.transcript_sha256
        self.reason, self.detail = None, clip(visible(line.detail), DETAIL_CHARS_MAX)
        self.preview = _preview(line)

    def _take_reason(self, reason: str, thrown: Thrown | None, detail: str) -> None:
        self.reason = reason
        self.detail = clip(visible(thrown.message if thrown is not None else detail), DETAIL_CHARS_MAX)


def build_row(line: IssuedLine, counted: Counted) -> Row:
    """A call that was just issued."""
    given = msgspec.structs.asdict(line.options)
    return Row(
        index=line.index,
        label=label_of(line.prompt, line.options),
        prompt=clip(line.prompt, PROMPT_CHARS_MAX),
        prompt_chars=len(line.prompt),
        options={name: given[name] for name in OPTIONS_SHOWN if given[name] is not None},
        issued_ms=line.at_ms,
        counted=counted,
    )


def phase_row(index: int, group: Group, now_ms: int) -> dict[str, Any]:
    """A phase with its agents by state, tokens and time."""
    phase, is_open = group.phase, group.open > 0
    end_ms = now_ms if is_open else group.last_ms
    return {
        "id": phase.id,
        "index": index,
        "title": phase.title,
        "workflow": phase.workflow,
        "declared": phase.declared,
        "agents": {state: count for state, count in group.counts.items() if count},
        "total": group.calls,
        "tokens": group.used.total_tokens,
        "tokens_replayed": group.replayed.total_tokens,
        "cost_nanousd": group.used.cost_nanousd,
        "cost_complete": not group.used.unpriced,
        "started_ms": group.first_ms,
        "ended_ms": None if is_open else group.last_ms,
        "elapsed_ms": 0 if group.first_ms is None or end_ms is None else max(0, end_ms - group.first_ms),
    }


def _end_of(line: ResultLine | ErrorLine | RefusedLine | StoppedLine) -> str:
    match line:
        case ResultLine():
            return "cached" if line.cached else "done"
        case ErrorLine():
            return line.thrown.code if line.thrown is not None else line.null or "error"
        case RefusedLine():
            return line.thrown.code
        case StoppedLine():
            return line.reason


def _preview(line: ResultLine) -> str:
    """The beginning of the value; a text without its quotes. Large ones are not looked at."""
    if not isinstance(line.value, msgspec.Raw):
        return f"(stored apart: {line.ref})"
    text = bytes(line.value)[: 8 * PREVIEW_CHARS_MAX].decode(errors="replace")
    if text.startswith('"'):
        try:
            text = msgspec.json.decode(line.value, type=str)
        except msgspec.MsgspecError:
            text = text[1:]
    return one_line(text, PREVIEW_CHARS_MAX)
