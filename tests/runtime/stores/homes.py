"""Where stores of runs live in tests: a place of each kind, on which any number of stores can be opened. No tests."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from gateway.tasks import Tasks
from runtime.core.model import Owner, RunId, RunState
from runtime.ports import Entry, EventRow, Lease, RunRow, RunStore
from runtime.stores import MemoryRunStore, SqliteRunStore
from runtime.stores.postgres import open_postgres
from tests.support.postgres import postgres_server, until

NOW = 1_795_356_000_000
TTL_MS = 10_000
RUN = RunId("wf_aaaaaa")
NOTHING = Entry()


class Home:
    """A place, and the time there. `close` it, with every store that was opened."""

    def __init__(self) -> None:
        self.now_ms = NOW
        self._opened: list[RunStore] = []

    async def open(self) -> RunStore:
        """One more store, as another process would have it."""
        store = await self._open()
        self._opened.append(store)
        return store

    def pass_ms(self, ms: int) -> None:
        """Let time go by."""
        self.now_ms += ms

    async def close(self) -> None:
        while self._opened:
            await self._opened.pop().close()

    async def _open(self) -> RunStore:
        raise NotImplementedError


class MemoryHome(Home):
    """Two stores are one: nobody else can have it open."""

    def __init__(self) -> None:
        super().__init__()
        self._store = MemoryRunStore()

    async def _open(self) -> RunStore:
        return self._store


class SqliteHome(Home):
    """A file."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / "ledger-runs.db"

    async def _open(self) -> RunStore:
        return SqliteRunStore(self.path)


class PostgresHome(Home):
    """A database. Its own clock goes on, so time passes by moving what leases say."""

    def __init__(self) -> None:
        super().__init__()
        self.database = postgres_server().fresh()
        self.port: int | None = None
        """By way of somebody else."""
        self.tasks = Tasks()

    def pass_ms(self, ms: int) -> None:
        super().pass_ms(ms)
        self.psql(f"UPDATE ringfence_run.leases SET until = until - {ms} * interval '1 millisecond'")

    def url(self) -> str:
        return postgres_server().url(self.database, port=self.port)

    async def finished(self) -> None:
        """Return when the server has done what writers asked for that have left."""
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        await until(lambda: self.psql(f"{asked} AND application_name = 'ringfence journals'") == "0")

    def psql(self, statement: str) -> str:
        return postgres_server().psql(self.database, statement)

    async def close(self) -> None:
        await super().close()
        await self.tasks.close(1.0)

    async def _open(self) -> RunStore:
        return await open_postgres(self.url(), spawn=self.tasks.spawn)


def build_home(kind: str, folder: Path) -> Home:
    """`memory`, `sqlite` or `postgres`."""
    if kind == "memory":
        return MemoryHome()
    return SqliteHome(folder) if kind == "sqlite" else PostgresHome()


def run_row(
    run: str = RUN,
    *,
    user: str = "alice",
    session: str = "s1",
    state: RunState = "running",
    at_ms: int = NOW,
) -> RunRow:
    """A row as of `at_ms`."""
    return RunRow(
        id=RunId(run),
        owner=Owner(user=user, credential=f"{user}-laptop"),
        session=session,
        name="check",
        state=state,
        created_ms=at_ms,
        updated_ms=at_ms,
        script_sha256="0" * 64,
        record=msgspec.Raw(b'{"state": "%s"}' % state.encode()),
    )


def event(seq: int, type: str = "log") -> EventRow:
    return EventRow(seq=seq, type=type, at_ms=NOW + seq, text=msgspec.Raw(b'{"seq": %d}' % seq))


def entry_of(*lines: str) -> Entry:
    return Entry(lines=tuple(line.encode() for line in lines))


async def begin(store: RunStore, row: RunRow | None = None, *lines: str, owner: str = "p1") -> Lease:
    """A run with these first lines."""
    row = row or run_row()
    return await store.create(row, entry_of(*lines), owner=owner, idempotency=None, now_ms=row.created_ms)


async def texts(store: RunStore, run: RunId = RUN) -> Sequence[str]:
    """The journal."""
    numbered = await store.lines(run)
    assert [number for number, _ in numbered] == list(range(1, len(numbered) + 1))
    return [line.decode() for _, line in numbered]
