"""Runs in the memory of this process, gone with it. For tests and rehearsals; nothing here is durable or shared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from runtime.core.model import OPEN_STATES, RunId, RunState
from runtime.ports import Entry, EventRow, Lease, LeaseLost, Letter, RunExists, RunRow
from runtime.stores.rows import FIRST_LEASE_MS, references


@dataclass(slots=True)
class _Kept:
    """A run with its journal."""

    row: RunRow
    owner: str | None
    until_ms: int
    fence: int = 1
    lines: list[bytes] = field(default_factory=list[bytes])
    events: dict[int, EventRow] = field(default_factory=dict[int, EventRow])
    references: set[str] = field(default_factory=set[str])
    idempotency: str | None = None

    @property
    def newness(self) -> tuple[int, str]:
        return self.row.created_ms, self.row.id

    def holds(self, lease: Lease) -> bool:
        return self.owner is not None and self.fence == lease.fence

    def free(self, now_ms: int) -> bool:
        return self.owner is None or self.until_ms <= now_ms


class MemoryRunStore:
    """Implements `ports.RunStore`."""

    def __init__(self) -> None:
        self._runs: dict[RunId, _Kept] = {}
        self._blobs: dict[str, bytes] = {}
        self._outcomes: dict[tuple[RunId, str], bytes] = {}
        self._letters: list[tuple[int, Letter]] = []
        """With the time at which each was posted."""
        self._posted = 0
        self._consents: dict[tuple[str, str, str], str] = {}
        self._scripts: dict[tuple[str, str], tuple[str, int]] = {}

    async def create(self, row: RunRow, entry: Entry, *, owner: str, idempotency: str | None, now_ms: int) -> Lease:
        """A new run; the same again by the same owner is answered alike. Raises `RunExists`."""
        known = self._runs.get(row.id)
        if known is not None:
            if (known.owner, known.fence) != (owner, 1):
                raise RunExists(row.id)
            return Lease(row.id, owner, 1)
        for run, kept in self._runs.items():
            if idempotency is not None and (kept.row.owner.user, kept.idempotency) == (row.owner.user, idempotency):
                raise RunExists(run)
        kept = self._runs[row.id] = _Kept(row, owner, now_ms + FIRST_LEASE_MS, idempotency=idempotency)
        self._write(kept, entry)
        return Lease(row.id, owner, kept.fence)

    async def append(self, lease: Lease, entry: Entry) -> None:
        """Raises `LeaseLost`."""
        kept = self._runs.get(lease.run)
        if kept is None or not kept.holds(lease):
            raise LeaseLost(lease.run)
        self._write(kept, entry)
        if entry.row is not None:
            kept.row = entry.row

    async def acquire(self, run: RunId, owner: str, now_ms: int, *, ttl_ms: int) -> Lease | None:
        """The lease, if it is free."""
        kept = self._runs.get(run)
        if kept is None or not kept.free(now_ms):
            return None
        kept.owner, kept.until_ms, kept.fence = owner, now_ms + ttl_ms, kept.fence + 1
        return Lease(run, owner, kept.fence)

    async def renew(self, leases: Sequence[Lease], now_ms: int, *, ttl_ms: int) -> Sequence[Lease]:
        """Those that are still held."""
        held = [lease for lease in leases if lease.run in self._runs and self._runs[lease.run].holds(lease)]
        for lease in held:
            self._runs[lease.run].until_ms = now_ms + ttl_ms
        return held

    async def release(self, lease: Lease) -> None:
        """Let others have it."""
        kept = self._runs.get(lease.run)
        if kept is not None and kept.holds(lease):
            kept.owner = None

    async def held_ms(self, runs: Sequence[RunId], now_ms: int) -> Mapping[RunId, int]:
        """0: nobody's."""
        found = ((run, self._runs[run]) for run in runs if run in self._runs)
        return {run: 0 if kept.free(now_ms) else kept.until_ms - now_ms for run, kept in found}

    async def abandoned(self, now_ms: int) -> Sequence[RunRow]:
        """Open runs that nobody drives, oldest first."""
        found = [kept for kept in self._runs.values() if kept.row.state in OPEN_STATES and kept.free(now_ms)]
        return [kept.row for kept in sorted(found, key=lambda kept: kept.newness)]

    async def find(self, run: RunId) -> RunRow | None:
        """A run's row."""
        kept = self._runs.get(run)
        return None if kept is None else kept.row

    async def rows(
        self, *, user: str | None, session: str | None, states: Sequence[RunState], before: RunId | None, most: int
    ) -> Sequence[RunRow]:
        """Newest first; none after a `before` that is unknown."""
        runs = sorted(self._runs.values(), key=lambda kept: kept.newness, reverse=True)
        if before is not None:
            last = self._runs.get(before)
            runs = [] if last is None else [kept for kept in runs if kept.newness < last.newness]
        rows = (kept.row for kept in runs)
        found = [
            row
            for row in rows
            if user in (None, row.owner.user) and session in (None, row.session) and (not states or row.state in states)
        ]
        return found[:most]

    async def completed(self, user: str, name: str, *, most: int) -> Sequence[RunRow]:
        """Newest first."""
        rows = await self.rows(user=user, session=None, states=("completed",), before=None, most=len(self._runs))
        return [row for row in rows if row.name == name][:most]

    async def open_runs(self, session: str, user: str) -> int:
        """How many."""
        rows = (kept.row for kept in self._runs.values())
        return sum((row.session, row.owner.user) == (session, user) and row.state in OPEN_STATES for row in rows)

    async def lines(self, run: RunId, *, after: int = 0, most: int | None = None) -> Sequence[tuple[int, bytes]]:
        """Numbered from 1, in order."""
        kept = self._runs.get(run)
        if kept is None:
            return []
        return list(enumerate(kept.lines[after : None if most is None else after + most], after + 1))

    async def events(self, run: RunId, *, after: int, types: Sequence[str], most: int) -> Sequence[EventRow]:
        """In order."""
        kept = self._runs.get(run)
        if kept is None:
            return []
        found = [kept.events[seq] for seq in sorted(kept.events) if seq > after]
        return [event for event in found if not types or event.type in types][:most]

    async def blob(self, sha256: str) -> bytes | None:
        """What stands beside the journals under this hash."""
        return self._blobs.get(sha256)

    async def started(self, user: str, idempotency: str) -> RunId | None:
        """The run of this key."""
        found = (kept.row for kept in self._runs.values() if kept.idempotency == idempotency)
        return next((row.id for row in found if row.owner.user == user), None)

    async def outcome(self, run: RunId, key: str) -> bytes | None:
        """What was kept."""
        return self._outcomes.get((run, key))

    async def remember_outcome(self, run: RunId, key: str, answer: bytes, now_ms: int) -> bytes:
        """The first one that was kept."""
        return self._outcomes.setdefault((run, key), answer)

    async def post(self, run: RunId, text: bytes, now_ms: int) -> int:
        """The number of the letter."""
        self._posted += 1
        self._letters.append((now_ms, Letter(self._posted, run, text)))
        return self._posted

    async def take(self, owner: str, now_ms: int, *, ttl_ms: int) -> Sequence[Letter]:
        """Letters to the runs of `owner`, each once."""
        mine = {run for run, kept in self._runs.items() if kept.owner == owner}
        taken = [(at_ms, letter) for at_ms, letter in self._letters if letter.run in mine]
        self._letters = [each for each in self._letters if each[1].run not in mine]
        return [letter for at_ms, letter in taken if now_ms - at_ms <= ttl_ms]

    async def consent(self, project: str, name: str, sha256: str) -> str | None:
        """Who gave it."""
        return self._consents.get((project, name, sha256))

    async def give_consent(self, project: str, name: str, sha256: str, *, by: str, now_ms: int) -> None:
        """The first one to give it is kept."""
        self._consents.setdefault((project, name, sha256), by)

    async def save_script(self, owner: str, name: str, script: str, *, replace: bool, now_ms: int) -> bool:
        """False: there is another one."""
        known = self._scripts.get((owner, name))
        if known is not None and (known[0] == script or not replace):
            return known[0] == script
        self._scripts[owner, name] = (script, now_ms)
        return True

    async def saved_script(self, owner: str, name: str) -> str | None:
        """Its source."""
        known = self._scripts.get((owner, name))
        return None if known is None else known[0]

    async def saved_scripts(self, owner: str) -> Sequence[tuple[str, str, int]]:
        """By name."""
        return [
            (name, sha256(script.encode()).hexdigest(), saved_ms)
            for (whose, name), (script, saved_ms) in sorted(self._scripts.items())
            if whose == owner
        ]

    async def purge(self, ended_before_ms: int) -> int:
        """Forget ended runs and what only they referred to."""
        ended = [
            run
            for run, kept in self._runs.items()
            if kept.row.state not in OPEN_STATES and kept.row.updated_ms < ended_before_ms
        ]
        for run in ended:
            del self._runs[run]
        self._outcomes = {key: answer for key, answer in self._outcomes.items() if key[0] not in ended}
        self._letters = [each for each in self._letters if each[1].run not in ended]
        wanted = {sha256 for kept in self._runs.values() for sha256 in kept.references}
        self._blobs = {sha256: content for sha256, content in self._blobs.items() if sha256 in wanted}
        return len(ended)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _write(self, kept: _Kept, entry: Entry) -> None:
        kept.lines += entry.lines
        for event in entry.events:
            kept.events.setdefault(event.seq, event)
        self._blobs.update(entry.blobs)
        kept.references.update(references(entry))
