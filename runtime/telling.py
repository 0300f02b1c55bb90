"""What is told of a run while it is driven: the view that people read and the numbered events, folded from its lines.

Not when anybody is told: that is up to whoever has written the lines.
"""

from runtime.core.journal import Line
from runtime.core.model import RunSpec
from runtime.core.views.events import Narrator
from runtime.core.views.view import View
from runtime.ports import EventRow


class Telling:
    """What is told of a run, folded from its lines."""

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
