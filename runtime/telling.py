"""What is told of a run while it is driven: the view that people read and the numbered events, folded from its lines,
and what metrics, audit trail and webhook hear of each.

Not when anybody is told: that is up to whoever has written the lines.
"""

from runtime.core.journal import ErrorLine, Line, RefusedLine, ResultLine, StateLine, StoppedLine
from runtime.core.model import RunSpec, Usage
from runtime.core.views.events import Narrator
from runtime.core.views.view import View
from runtime.ports import EventRow, Listener

NOTHING = Usage()


class Telling:
    """Feed it every line, in order, and report each once it is durable."""

    def __init__(self, spec: RunSpec, epoch: str) -> None:
        """`epoch` names the process that tells it."""
        self.view = View(spec)
        self.seq = 0
        """Number of the last event."""
        self._narrator = Narrator(spec, epoch, self.view.counts)

    def feed(self, line: Line) -> list[EventRow]:
        """The events that follow from the next line."""
        self.view.feed(line)
        rows: list[EventRow] = []
        for event in self._narrator.feed(line):
            self.seq += 1
            rows.append(EventRow(seq=self.seq, type=event.type, at_ms=line.at_ms, text=event.numbered(self.seq)))
        return rows

    def report(self, line: Line, listener: Listener, now_ms: int) -> None:
        """A line is durable."""
        match line:
            case StateLine() if line.before != line.after:
                listener.run_changed(self.view.spec, line, self.view.record(now_ms))
            case ResultLine():
                listener.call_settled("cached" if line.cached else "done", line.usage)
            case ErrorLine(seq=int()):
                listener.call_settled("null" if line.thrown is None else "threw", line.usage)
            case RefusedLine():
                listener.call_settled("refused", NOTHING)
            case StoppedLine() if line.seq is not None or line.reason in ("unawaited", "run_ended"):
                listener.call_settled("stopped", line.usage)
            case _:
                pass
