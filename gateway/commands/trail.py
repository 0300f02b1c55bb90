"""The audit trail read back as requests: the file and what was rotated away from it. Changes nothing.

Newest file first; sums do not depend on the order.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.commands.audit_files import audit_lines
from gateway.core.money.showback import Record, Unreadable, parse_record

PLACES_NAMED = 5


class Trail:
    """The records of requests in audit files and their rotated files, and which lines were none."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.unreadable = 0
        """Lines that are no audit record."""
        self.places: list[str] = []
        """The first of them, as `file:line`."""
        self.oldest_ms: int | None = None
        """The moment of the oldest request that was read."""
        self._paths = tuple(paths)

    def requests(self) -> Iterator[Record]:
        """Every request. Raises `CommandFailed` when a file cannot be read."""
        for place, line in audit_lines(self._paths):
            record = self._parsed(place, line)
            if record is not None:
                self.oldest_ms = record.at_ms if self.oldest_ms is None else min(record.at_ms, self.oldest_ms)
                yield record

    def _parsed(self, place: str, line: bytes) -> Record | None:
        try:
            return parse_record(line)
        except Unreadable:
            self.unreadable += 1
            if len(self.places) < PLACES_NAMED:
                self.places.append(place)
            return None
