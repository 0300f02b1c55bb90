"""The ledger on Postgres: holds and their ends go through the lane, everything else here is as last known.

While the database is away requests are refused (`closed`), or those that no strict limit guards go on, guarded by what
was known last (`open`). What was spent is never lost in either.
"""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec

from gateway.config import Store as StoreConfig
from gateway.core.money.budgets import Expired, Hold, LimitView, Spend
from gateway.core.money.ledger import AMOUNT_MAX
from gateway.core.money.limits import Amounts, Applied, Series
from gateway.core.money.windows import QUARTER_MS, Calendar
from gateway.stores.postgres import reads
from gateway.stores.postgres.batch import End, Ended, Op, Outcome
from gateway.stores.postgres.journal import Left, end_of, hold_entry
from gateway.stores.postgres.lane import Lane, StoreAway
from gateway.stores.postgres.lines import STATEMENT_SECONDS, Failed, Line, asking, refusal
from gateway.stores.postgres.series import Known, Missing, Plan

SILENCE_SECONDS = 30.0
"""An owner whose heart was silent for so long is dead: the others expire what it holds."""
EXPIRE_MAX = 400
"""Holds that are expired in one go; the rest follows a second later."""


class PostgresLedger:
    """Implements `ports.Ledger`."""

    def __init__(self, config: StoreConfig, lane: Lane, known: Known, calendar: Calendar) -> None:
        self._on_failure = config.on_failure
        self._lane = lane
        self._known = known
        self._calendar = calendar
        self._own = lane.own
        self._people = Line(config.url, "people")
        self._keeper = Line(config.url, "house")
        self._expired: list[Expired] = []
        """Not told yet."""
        self._expiring: set[str] = set()

    async def reserve(self, hold: Hold) -> tuple[LimitView, ...]:
        """Hold on every limit or on none; committed when it returns.

        Raises:
            Exhausted: a limit would be passed.
            Refused: STORE_UNAVAILABLE, it could not be recorded; nothing is held.
            ValueError: the id is open already, an account is named twice or an amount is out of range.
        """
        self._check(hold)
        op = Op("reserve", hold, strict=False)
        try:
            outcome = await self._submit(op, hold.created_ms)
        except StoreAway as away:
            return await self._reserve_alone(hold, away)
        if outcome.status == "passed":
            assert outcome.exhausted is not None
            raise outcome.exhausted
        if outcome.status == "gone":
            raise ValueError(f"hold {hold.id} exists already")
        self._own.opened(hold, strict=self._is_strict(hold))
        return outcome.views

    async def extend(self, hold_id: str, worst: Amounts, expected: Amounts, now_ms: int) -> bool:
        """Raise an open hold; committed when it returns. False: it has ended. Raises as `reserve`."""
        hold = self._own.open.get(hold_id)
        if hold is None:
            return False
        strict = self._is_strict(hold)
        larger = msgspec.structs.replace(hold, worst=worst, expected=expected)
        try:
            outcome = await self._submit(Op("extend", larger, strict), now_ms)
        except StoreAway:
            raise refusal() from None
        if outcome.status == "passed":
            assert outcome.exhausted is not None
            raise outcome.exhausted
        if outcome.status == "held" and hold_id in self._own:
            self._own.opened(larger, strict=strict)
        return outcome.status == "held"

    def settle(self, hold_id: str, spent: Amounts, backend: str, now_ms: int) -> None:
        """Turn the hold into spend; a second call changes nothing. Never waits."""
        if min(spent) < 0:
            raise ValueError(f"usage of {hold_id} is negative")
        hold = self._own.settled(hold_id)
        if hold is None:
            return
        spent = Amounts(*(min(amount, AMOUNT_MAX) for amount in spent))._replace(active_requests=0)
        self._end(hold, End("settle", *_place(hold), now_ms, spent, backend, rows=hold.added))

    def release(self, hold_id: str) -> None:
        """Give the hold back. Never waits."""
        hold = self._own.released(hold_id)
        if hold is not None:
            self._end(hold, End("release", *_place(hold), self._lane.now_ms, rows=hold.added))

    async def expire(self, now_ms: int) -> list[Expired]:
        """Settle overdue holds, and those of dead owners, at the held amount; returns what this replica settled so.

        Nothing while the database is away. Call it about once a second.
        """
        self._own.forget(now_ms)
        self._lane.now_ms = max(self._lane.now_ms, now_ms)
        if self._lane.problem is None:
            with contextlib.suppress(*Failed):
                async with self._keeper.use() as connection:
                    overdue = await reads.overdue(connection, now_ms, SILENCE_SECONDS, EXPIRE_MAX)
                    await self._lane.refresh_limits(connection)
                    self._known.refresh(await reads.pools(connection, self._known.limits))
                await self._expire(overdue, now_ms)
        told, self._expired = self._expired, []
        return told

    async def _expire(self, overdue: Sequence[Hold], now_ms: int) -> None:
        """What does not end in time is told by a later `expire`."""
        waits: list[asyncio.Future[Ended]] = []
        for hold in overdue:
            if hold.id not in self._expiring:
                end = self._expiry(hold, now_ms)
                self._lane.end(end)
                assert end.waits is not None
                waits.append(end.waits)
        if waits:
            await asyncio.wait(waits, timeout=STATEMENT_SECONDS)

    def views(self, now_ms: int) -> list[LimitView]:
        """Every limit that names its account, and the others that were met lately; as last known."""
        return [self._view(applied, now_ms) for applied in self._known.met()]

    async def standing(self, accounts: Sequence[str], now_ms: int) -> list[LimitView]:
        """Every limit that a request on these accounts can meet."""
        async with asking(self._people) as connection:
            applied = self._known.limits.applied(accounts, None, ())
            found = await reads.sums(connection, [each.series for each in applied], self._calendar, now_ms)
        return [sums.view(each) for each, sums in zip(applied, found, strict=True)]

    async def used(self, series: Sequence[Series], now_ms: int) -> list[int]:
        """What each series has used."""
        async with asking(self._people) as connection:
            found = await reads.sums(connection, series, self._calendar, now_ms)
        return [sums.used for sums in found]

    def is_strict(self, accounts: Sequence[str], model: str, backends: Sequence[str]) -> bool:
        """Does a strict limit apply?"""
        applied = self._known.applied(tuple(accounts), model, tuple(backends))
        return any(row.strict and row.guards for _, row in applied)

    def spent(self, account: str) -> int:
        """Nano-dollars spent by an account in all, as last known."""
        mirror = self._known.find(Series(account))
        return 0 if mirror is None else mirror.used

    def held_total(self) -> int:
        """Nano-dollars held by this process."""
        return self._own.held_total

    def open_holds(self) -> tuple[int, int | None]:
        """How many holds of this process have not ended, and when the oldest was made."""
        return len(self._own.open), min((hold.created_ms for hold in self._own.open.values()), default=None)

    async def _submit(self, op: Op, now_ms: int) -> Outcome:
        """Raises StoreAway."""
        if self._lane.problem is not None:
            raise StoreAway(self._lane.problem, sent=False)
        op.waits = asyncio.get_running_loop().create_future()
        self._lane.submit(op, now_ms)
        try:
            return await op.waits
        except asyncio.CancelledError:
            self._lane.abandon(op)
            raise

    async def _reserve_alone(self, hold: Hold, away: StoreAway) -> tuple[LimitView, ...]:
        """Without the database: by what was known last, if no strict limit applies and `open` allows it."""
        strict = self._is_strict(hold)
        journal = self._lane.journal
        if away.sent or strict or self._on_failure == "closed" or journal is None:
            raise refusal() from None
        plan = self._plan_alone(hold)
        for mirror in plan.mirrors:
            mirror.roll(self._calendar, hold.created_ms)
        if exhausted := plan.exhausted(hold.worst, hold.expected):
            raise exhausted from None
        views = plan.views()
        for mirror in plan.mirrors:
            mirror.change(hold.worst, hold.expected)
        self._own.opened(hold, strict=strict)
        self._lane.submit(Op("replay", hold, strict), hold.created_ms)
        try:
            await journal.add([hold_entry(hold, strict=strict)])
        except OSError:
            self.release(hold.id)
            raise refusal() from None
        except asyncio.CancelledError:
            self.release(hold.id)
            raise
        return views

    def _plan_alone(self, hold: Hold) -> Plan:
        try:
            return self._known.plan(hold.accounts, hold.model, hold.backends, added=hold.added)
        except Missing as missing:
            self._known.pretend(missing.series, self._calendar, hold.created_ms)
            return self._known.plan(hold.accounts, hold.model, hold.backends, added=hold.added)

    def _is_strict(self, hold: Hold) -> bool:
        if any(row.strict and row.guards for row in hold.added):
            return True
        return self.is_strict(hold.accounts, hold.model, hold.backends)

    def _check(self, hold: Hold) -> None:
        if hold.id in self._own:
            raise ValueError(f"hold {hold.id} is open already")
        if len(set(hold.accounts)) != len(hold.accounts):
            raise ValueError(f"hold {hold.id} names an account twice")
        amounts = (*hold.worst, *hold.expected)
        if min(amounts) < 0 or max(amounts) > AMOUNT_MAX:
            raise ValueError(f"amounts of hold {hold.id} are not from 0 to {AMOUNT_MAX}")

    def _end(self, hold: Hold, end: End) -> None:
        """Queue it, and count it in what is known here."""
        self._lane.end(end)
        try:
            plan = self._known.plan(hold.accounts, hold.model, hold.backends)
        except Missing:
            return
        for mirror in plan.mirrors:
            mirror.worst -= hold.worst[mirror.meter]
            mirror.expected -= hold.expected[mirror.meter]
            if mirror.series.covers(end.model, end.backend):
                mirror.used += end.spent[mirror.meter]

    def _view(self, applied: Applied, now_ms: int) -> LimitView:
        mirror = self._known.find(applied.series)
        if mirror is None:
            return LimitView(applied.series, applied.row, 0, 0, self._calendar.end_ms(applied.series.window, now_ms))
        mirror.roll(self._calendar, now_ms)
        return mirror.view(applied.row)

    def replay(self, left: Left) -> None:
        """Queue what a dead process had written down; what it held and did not settle is spend at the held amount."""
        open_holds: dict[str, tuple[Hold, int]] = {}
        for entry in left.entries:
            if entry.hold is not None:
                self._lane.submit(Op("replay", entry.hold, entry.strict), entry.hold.created_ms)
                open_holds[entry.id] = (entry.hold, entry.hold.created_ms)
            else:
                open_holds.pop(entry.id, None)
                self._lane.end(end_of(entry))
        for hold, at_ms in open_holds.values():
            self._lane.end(self._expiry(hold, at_ms))

    def _expiry(self, hold: Hold, now_ms: int) -> End:
        end = End("expire", *_place(hold), now_ms, backend=hold.backend)
        end.waits = asyncio.get_running_loop().create_future()
        end.waits.add_done_callback(lambda waits: self._note_expired(end, waits))
        self._expiring.add(hold.id)
        return end

    def _note_expired(self, end: End, waits: "asyncio.Future[Ended]") -> None:
        self._expiring.discard(end.id)
        if waits.cancelled() or waits.exception() is not None:
            return
        self._own.expired(end.id, self._lane.now_ms)
        result = waits.result()
        if result.outcome == "expire" or (result.outcome == "expired" and end.unsure):
            spend = Spend(end.at_ms - end.at_ms % QUARTER_MS, end.model, end.backend, result.charge)
            self._expired.append(Expired(end.id, end.accounts, end.model, end.backend, result.charge, (spend,)))


def _place(hold: Hold) -> tuple[str, tuple[str, ...], str, tuple[str, ...]]:
    return hold.id, hold.accounts, hold.model, hold.backends
