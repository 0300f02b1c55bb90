"""What could not be said to the database yet, in a file of this process, so that its death loses nothing. No queue.

One JSON object a line, synced before `add` returns to whoever waits for it. The file is locked while its process lives;
the next one that opens the folder takes over what dead ones left. All writing happens in one thread, in order.
"""

import asyncio
import fcntl
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from gateway.core.money.budgets import Hold
from gateway.core.money.limits import NOTHING, Amounts
from gateway.stores.postgres.batch import End, EndKind

SUFFIX = ".journal"


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A hold that was taken while the database was away (`hold`), or the end of a hold (`end`)."""

    id: str
    accounts: tuple[str, ...]
    model: str
    backends: tuple[str, ...]
    hold: Hold | None = None
    strict: bool = False
    end: EndKind | None = None
    at_ms: int = 0
    spent: Amounts = NOTHING
    backend: str = ""


def hold_entry(hold: Hold, *, strict: bool) -> Entry:
    """A hold as it is written down."""
    return Entry(hold.id, hold.accounts, hold.model, hold.backends, hold=hold, strict=strict)


def end_entry(end: End) -> Entry:
    """An end as it is written down."""
    return Entry(
        end.id,
        end.accounts,
        end.model,
        end.backends,
        end=end.kind,
        at_ms=end.at_ms,
        spent=end.spent,
        backend=end.backend,
    )


def end_of(entry: Entry) -> End:
    """What `end_entry` wrote down."""
    assert entry.end is not None
    return End(
        entry.end, entry.id, entry.accounts, entry.model, entry.backends, entry.at_ms, entry.spent, entry.backend
    )


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Entry)


class Journal:
    """The file `<name>.journal` in a folder. Use it from one event loop; `close` it."""

    def __init__(self, folder: Path, name: str) -> None:
        """Raises OSError: the folder cannot be written."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / f"{name}{SUFFIX}"
        file = _locked(self.path)
        assert file is not None, "names of journals are unique"
        self._file = file
        self._thread = ThreadPoolExecutor(1, "ledger-journal")
        self.entries = 0
        """Written down, or about to be, and not taken back by `clear`."""
        self.problem: str | None = None
        """Why something could not be written down at the last try."""

    async def add(self, entries: Sequence[Entry]) -> None:
        """Write down and sync. Raises OSError: it is not written down."""
        lines = b"".join(_encoder.encode(entry) + b"\n" for entry in entries)
        self.entries += len(entries)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._append, lines)
        except OSError as error:
            self.problem = f"journal {self.path} cannot be written ({error.strerror or error}): free some space"
            raise
        self.problem = None

    async def clear(self) -> None:
        """Everything that was written down has been said."""
        self.entries = 0
        await asyncio.get_running_loop().run_in_executor(self._thread, os.ftruncate, self._file, 0)

    def close(self) -> None:
        """Let go of the file; remove it when it holds nothing. Blocks."""
        self._thread.shutdown()
        if os.fstat(self._file).st_size == 0:
            self.path.unlink(missing_ok=True)
        os.close(self._file)

    def _append(self, lines: bytes) -> None:
        end = os.fstat(self._file).st_size
        try:
            os.pwrite(self._file, lines, end)
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, end)
            raise


class Left:
    """A journal whose process is dead, locked by us until it is removed or given back."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self._file = file
        self.entries = tuple(_read(path))

    def remove(self) -> None:
        """What it holds has been said."""
        self.path.unlink(missing_ok=True)
        os.close(self._file)

    def give_back(self) -> None:
        """Leave it to the next one."""
        os.close(self._file)


def left_behind(folder: Path) -> list[Left]:
    """The journals of dead processes. Raises OSError."""
    found: list[Left] = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        file = _locked(path)
        if file is not None:
            found.append(Left(path, file))
    return found


def _locked(path: Path) -> int | None:
    """The open file; None: its process lives."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def _read(path: Path) -> Iterable[Entry]:
    """Every whole line: one that a crash cut short was not waited for by anybody."""
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):
            yield _decoder.decode(line)
