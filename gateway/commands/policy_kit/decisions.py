"""The decisions of an audit trail, read back. Requests, holds and fuses are left to other readers of it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from gateway.commands.audit_files import audit_lines
from gateway.core.decisions.recorded import DecisionRecord

EVENT = "decision"
PLACES_NAMED = 5


class _Named(msgspec.Struct, frozen=True):
    event: str


_named = msgspec.json.Decoder(_Named)
_decision = msgspec.json.Decoder(DecisionRecord)


class Decisions:
    """The decisions in audit files and their rotated files, and which lines were no record at all."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.unreadable = 0
        """Lines that are no record."""
        self.places: list[str] = []
        """The first of them, as `file:line`."""
        self.oldest_ms: int | None = None
        """The moment of the oldest decision that was read."""
        self._paths = tuple(paths)

    def __iter__(self) -> Iterator[DecisionRecord]:
        """Every decision, newest file first. Raises `CommandFailed` when a file cannot be read."""
        for place, line in audit_lines(self._paths):
            record = self._parsed(place, line)
            if record is not None:
                self.oldest_ms = record.at_ms if self.oldest_ms is None else min(record.at_ms, self.oldest_ms)
                yield record

    def _parsed(self, place: str, line: bytes) -> DecisionRecord | None:
        try:
            if _named.decode(line).event != EVENT:
                return None
            return _decision.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.unreadable += 1
            if len(self.places) < PLACES_NAMED:
                self.places.append(place)
            return None
