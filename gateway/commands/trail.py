"""The audit trail read back: the file and what was rotated away from it, while a gateway may write. Changes nothing.

Newest file first: a rotation meanwhile moves files to where they are read later, so that none is missed, and a file
that was read before is known by its inode. Sums do not depend on the order.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from gateway.commands.output import CommandFailed
from gateway.core.showback import Record, Unreadable, parse_record

LINE_BYTES_MAX = 64 * 1024 * 1024
"""Above any record: a tool's input that is logged in full is no longer than a request may be."""
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
        read: set[tuple[int, int]] = set()
        for path in (path for named in self._paths for path in (named, *_rotated(named))):
            try:
                yield from self._requests_in(path, read)
            except FileNotFoundError:
                if path in self._paths:
                    message = f"{path}: there is no such audit trail; name the file with --audit"
                    raise CommandFailed(message) from None
            except OSError as error:
                cause = error.strerror or str(error)
                raise CommandFailed(f"{path}: cannot be read: {cause}; run this as who may read it") from None

    def _requests_in(self, path: Path, read: set[tuple[int, int]]) -> Iterator[Record]:
        with _open(path) as file:
            status = os.fstat(file.fileno())
            if (status.st_dev, status.st_ino) in read:
                return
            read.add((status.st_dev, status.st_ino))
            for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), 1):
                record = self._parsed(line, f"{path}:{number}")
                if record is not None:
                    self.oldest_ms = record.at_ms if self.oldest_ms is None else min(record.at_ms, self.oldest_ms)
                    yield record

    def _parsed(self, line: bytes, place: str) -> Record | None:
        if not line.strip():
            return None
        try:
            return parse_record(line)
        except Unreadable:
            self.unreadable += 1
            if len(self.places) < PLACES_NAMED:
                self.places.append(place)
            return None


def _rotated(named: Path) -> list[Path]:
    prefix = named.name + "."
    try:
        names = os.listdir(named.parent)
    except OSError:
        return []
    numbers = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    present = sorted(int(number) for number in numbers if number.isascii() and number.isdigit())
    meanwhile = present[-1] + 1 if present else 1
    return [named.with_name(f"{prefix}{number}") for number in (*present, meanwhile)]


def _open(path: Path) -> BinaryIO:
    """A regular file for reading: what is none may never end, or never begin."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise CommandFailed(f"{path}: is no file that can be read back; name one with --audit")
    return path.open("rb")
