"""Writes the lines of a run by hand, one second apart, and draws random journals as a run may have them."""

from collections.abc import Iterable
from typing import Any

import msgspec
from hypothesis import strategies as st

from runtime.core.journal import (
    EndedLine,
    ErrorLine,
    IssuedLine,
    Line,
    LogLine,
    NestedLine,
    PhaseLine,
    RefusedLine,
    ResultLine,
    RunLine,
    StartedLine,
    StateLine,
    StoppedLine,
    WarningLine,
)
from runtime.core.model import (
    AgentId,
    CallIndex,
    CallOptions,
    Failure,
    NullReason,
    Outcome,
    RunSpec,
    RunState,
    Scope,
    ThrowCode,
    Thrown,
    Tokens,
    Usage,
)
from runtime.core.views.events import Event, Narrator
from runtime.core.views.view import View
from tests.runtime.core.play import NOW, spec

SECOND_MS = 1_000


def usage(tokens: int = 0, cost_nanousd: int | None = 0, *, tools: int = 0) -> Usage:
    """What an attempt took, as output tokens."""
    return Usage(tokens=Tokens(output=tokens), cost_nanousd=cost_nanousd, requests=1, tool_calls=tools)


class Told:
    """What is told of a run, line by line, as its driver does it."""

    def __init__(self, told: RunSpec, epoch: str = "host") -> None:
        self.view = View(told)
        self.narrator = Narrator(told, epoch, self.view.counts)

    def feed_all(self, lines: Iterable[Line]) -> list[Event]:
        """The events that follow from these."""
        events: list[Event] = []
        for line in lines:
            self.view.feed(line)
            events += self.narrator.feed(line)
        return events


class Story:
    """The journal of one run; every method adds a line a second after the one before."""

    def __init__(self, **changed: Any) -> None:
        self.spec: RunSpec = spec(**changed)
        self.lines: list[Line] = [RunLine(at_ms=NOW, spec=self.spec)]
        self.so_far = View(self.spec)
        self.now_ms = NOW
        self.seq = 0
        self.calls: list[int] = []
        """Attempts of each call."""

    def add(self, kind: type[Any], **fields: Any) -> "Story":
        """Any line."""
        self.now_ms += SECOND_MS
        self.lines.append(kind(at_ms=self.now_ms, **fields))
        self.so_far.feed(self.lines[-1])
        return self

    def goes(self, before: RunState, after: RunState, **fields: Any) -> "Story":
        """From one state to another."""
        return self.add(StateLine, before=before, after=after, **fields)

    def runs(self) -> "Story":
        """The script begins."""
        return self.goes("queued", "running", reason="started")

    def issues(self, prompt: str = "do it", *, phase: str | None = None, nested: int = 0, **options: Any) -> "Story":
        """The next call."""
        index = len(self.calls)
        self.calls.append(0)
        return self.add(
            IssuedLine,
            id=index,
            index=CallIndex(index),
            key=f"k{index}",
            scope=Scope(""),
            prompt=prompt,
            options=CallOptions(**options),
            phase=phase,
            nested=nested,
        )

    def starts(self, index: int) -> "Story":
        """An attempt of a call."""
        self.calls[index] += 1
        attempt = self.calls[index]
        return self.add(StartedLine, index=CallIndex(index), attempt=attempt, agent_id=AgentId(f"a{index}-{attempt}"))

    def gives(self, index: int, value: str = '"ok"', used: Usage | None = None, **fields: Any) -> "Story":
        """A value."""
        return self._settles(ResultLine, index, used, scope=Scope(""), value=msgspec.Raw(value.encode()), **fields)

    def gives_cached(self, index: int, used: Usage | None = None) -> "Story":
        """A value of an earlier run."""
        return self._settles(ResultLine, index, used, scope=Scope(""), value=msgspec.Raw(b"1"), cached=True)

    def gives_null(self, index: int, reason: NullReason, used: Usage | None = None, **fields: Any) -> "Story":
        """No value."""
        return self._settles(ErrorLine, index, used, null=reason, **fields)

    def throws(self, index: int, code: ThrowCode = "schema_retries_exhausted", used: Usage | None = None) -> "Story":
        """An error."""
        return self._settles(ErrorLine, index, used, thrown=Thrown(code=code, message=f"{code} of {index}"))

    def tries_again(self, index: int, used: Usage | None = None) -> "Story":
        """The attempt gave none, and another follows."""
        self.add(
            ErrorLine,
            index=CallIndex(index),
            key=f"k{index}",
            null="stalled",
            attempt=self.calls[index],
            usage=used or Usage(),
        )
        return self.starts(index)

    def is_refused(self, index: int, code: ThrowCode = "agent_limit") -> "Story":
        """It never starts."""
        self.seq += 1
        return self.add(
            RefusedLine,
            index=CallIndex(index),
            key=f"k{index}",
            seq=self.seq,
            spent=0,
            thrown=Thrown(code=code, message="no room"),
        )

    def is_stopped(self, index: int, reason: str = "stopped", used: Usage | None = None) -> "Story":
        """Somebody ends it."""
        if reason in ("stopped", "skipped"):
            return self._settles(StoppedLine, index, used, reason=reason, by="alice")
        return self.add(
            StoppedLine,
            index=CallIndex(index),
            key=f"k{index}",
            reason=reason,
            attempt=self.calls[index],
            usage=used or Usage(),
        )

    def names_phase(self, title: str, nested: int = 0) -> "Story":
        """`phase(title)`."""
        return self.add(PhaseLine, title=title, nested=nested)

    def logs(self, text: str = "hello", dropped: int = 0) -> "Story":
        """`log(text)`."""
        return self.add(LogLine, text=text, dropped=dropped)

    def warns(self, code: str = "odd", message: str = "text") -> "Story":
        """Something to tell of."""
        return self.add(WarningLine, code=code, message=message)

    def nests(self, id: int, name: str) -> "Story":
        """`workflow(name)` was found."""
        return self.add(NestedLine, id=id, scope=Scope(""), seq=0, spent=0, wanted=name, name=name)

    def ends(self, state: RunState = "completed", value: str | None = '"done"', **fields: Any) -> "Story":
        """The last line; its census is what the view counted."""
        view = self.view()
        view.counts.close(self.now_ms)
        outcome: Outcome = fields.pop("outcome", view.counts.outcome())
        if value is not None and state == "completed":
            fields["value"] = msgspec.Raw(value.encode())
        return self.add(EndedLine, state=state, outcome=outcome, usage=Usage(), **fields)

    def fails(self, **fields: Any) -> "Story":
        """The run fails."""
        failure = Failure(type="program_error", detail="script_threw", message="boom")
        return self.ends("failed", failure=failure, **fields)

    def view(self) -> View:
        """All of it folded."""
        view = View(self.spec)
        for line in self.lines:
            view.feed(line)
        return view

    def record(self) -> dict[str, Any]:
        """As it stands now."""
        return self.view().record(self.now_ms)

    def events(self, epoch: str = "host-1") -> list[Event]:
        """Everything that is told of it."""
        return Told(self.spec, epoch).feed_all(self.lines)

    def told(self) -> list[str]:
        """Types of the events, without what they have in common."""
        return [event.type.removeprefix("workflow_run.") for event in self.events()]

    def _settles(self, kind: type[Any], index: int, used: Usage | None, **fields: Any) -> "Story":
        self.seq += 1
        return self.add(
            kind,
            index=CallIndex(index),
            key=f"k{index}",
            seq=self.seq,
            spent=fields.pop("spent", 0),
            attempt=self.calls[index],
            usage=used or Usage(),
            **fields,
        )


PHASES = st.sampled_from([None, "Find", "Fix", "Report", "x" * 80])
USAGES = st.builds(usage, st.integers(0, 5_000), st.none() | st.integers(0, 10**9), tools=st.integers(0, 5))


@st.composite
def stories(draw: st.DrawFn, *, ended: bool | None = None) -> Story:
    """A run as it may have gone, up to any moment of it."""
    limits = {
        "max_cost_nanousd": draw(st.none() | st.integers(1, 10**9)),
        "budget_tokens": draw(st.none() | st.just(900)),
    }
    story = Story(phases=("Find", "Never"), **limits)
    story.runs()
    for _ in range(draw(st.integers(0, 25))):
        _go_on(draw, story)
    if draw(st.booleans()) if ended is None else ended:
        draw(st.sampled_from([story.ends, story.fails, lambda: story.ends("stopped", by="alice")]))()
    return story


def _go_on(draw: st.DrawFn, story: Story) -> None:
    states = [call.state for call in story.so_far.counts.calls.values()]
    queued = [index for index, state in enumerate(states) if state == "queued"]
    running = [index for index, state in enumerate(states) if state == "running"]
    choices = ["issues", "phase", "log", "warning", "pause", *["start"] * bool(queued), *["end"] * 3 * bool(running)]
    match draw(st.sampled_from(choices)):
        case "issues":
            story.issues(phase=draw(PHASES))
        case "phase":
            story.names_phase(draw(PHASES.filter(bool)) or "")
        case "log":
            story.logs()
        case "warning":
            story.warns()
        case "pause":
            story.goes("running", "paused", reason="person").goes("paused", "running", reason="resumed")
        case "start":
            _take(draw, story, draw(st.sampled_from(queued)))
        case _:
            _finish(draw, story, draw(st.sampled_from(running)))


def _take(draw: st.DrawFn, story: Story, index: int) -> None:
    how = draw(st.sampled_from(["starts", "starts", "starts", "cached", "refused", "stopped"]))
    if how == "starts" or story.calls[index]:
        story.starts(index)
    elif how == "cached":
        story.gives_cached(index, draw(USAGES))
    elif how == "refused":
        story.is_refused(index, draw(st.sampled_from(["agent_limit", "schema_invalid"])))
    else:
        story.is_stopped(index, "skipped")


def _finish(draw: st.DrawFn, story: Story, index: int) -> None:
    used = draw(USAGES)
    match draw(
        st.sampled_from(["gives", "gives", "null", "empty", "throws", "again", "stopped", "restarted", "interrupted"])
    ):
        case "gives":
            story.gives(index, used=used)
        case "null":
            story.gives_null(index, "api_error", used)
        case "empty":
            story.gives_null(index, "empty", used)
        case "throws":
            story.throws(index, used=used)
        case "again":
            story.tries_again(index, used)
        case "stopped":
            story.is_stopped(index, "stopped", used)
        case reason:
            story.is_stopped(index, reason, used)
