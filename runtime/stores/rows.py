"""What every store of runs makes of what it is given, and the figures they share. Nothing is stored here."""

import re
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from runtime.core.model import RunId, RunState
from runtime.ports import Entry, RunRow

FIRST_LEASE_MS = 15_000
"""How long whoever created a run holds it before it has to be renewed."""

Spawn = Callable[[str, Coroutine[Any, Any, None]], object]
"""Starts a named task that is kept and awaited by whoever hands this in."""

_REFERENCE = re.compile(rb'"(?:ref|source_sha256|transcript_sha256)":"([0-9a-f]{64})"')
_decoder = msgspec.json.Decoder(RunRow)


@dataclass(frozen=True, slots=True)
class Beginning:
    """A run to be created."""

    row: RunRow
    entry: Entry
    owner: str
    idempotency: str | None
    now_ms: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows are asked for; None and empty mean any."""

    user: str | None
    session: str | None
    states: Sequence[RunState]
    before: RunId | None
    most: int


@dataclass(frozen=True, slots=True)
class SavedScript:
    """A script for somebody's library."""

    owner: str
    name: str
    script: str
    now_ms: int

    @property
    def sha256(self) -> str:
        return sha256(self.script.encode()).hexdigest()


def encode_row(row: RunRow) -> bytes:
    """What is kept of a row, beside the columns that it is found by."""
    return msgspec.json.encode(row)


def decode_row(text: bytes) -> RunRow:
    """A row as it was written."""
    return _decoder.decode(text)


def references(entry: Entry) -> list[str]:
    """Hashes of everything beside the journal that must be kept as long as this run.

    Also what lines refer to without bringing it: a result that was copied out of an earlier run's journal. A value that
    only looks like such a reference keeps at most something for longer than needed.
    """
    found = {sha256 for sha256, _ in entry.blobs}
    found.update(_named(entry.lines))
    return sorted(found)


def _named(lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        for match in _REFERENCE.finditer(line):
            yield match[1].decode()
