"""The ledger's book against one kept on paper: any order of calls, limits that change, clocks that jump, restarts."""

from collections import defaultdict
from zoneinfo import ZoneInfo

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.money.budgets import Exhausted, Hold, LimitView, Spend
from gateway.core.money.ledger import CORRECTABLE_MS, LedgerBook
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import Calendar
from tests.support.ledger import Needed, PaperLedger

BERLIN = ZoneInfo("Europe/Berlin")
NOW = 1_792_882_800_000  # 2026-10-24 23:00 UTC: an hour before the hour that Berlin has twice
MINUTE_MS = 60_000
MODELS = ("opus-5", "sonnet-5", "haiku-5")
BACKENDS = (("anthropic",), ("bedrock",), ("anthropic", "bedrock"))
ACCOUNTS = (
    ("org", "team:a", "user:bob"),
    ("org", "team:a", "tag:project=x", "user:bob", "session:s"),
    ("org", "team:b", "user:bob", "session:s", "agent:s/main"),
    ("org", "user:eve", "session:t", "agent:t/main"),
)
LASTING = (
    LimitRow("org", 3_000, strict=True),
    LimitRow("org", 900, "daily", strict=True),
    LimitRow("team:a", 5_000, "rolling 5h", strict=True, meter="total_tokens"),
    LimitRow("org", 700, "weekly", models=("opus-*",), backends=("bedrock",), strict=True),
)
"""Limits that no change touches: they must never be passed."""
CHANGING = (
    LimitRow("org", 400, "daily", per="user"),
    LimitRow("team:a", 300, "daily", per="user", strict=True),
    LimitRow("user:bob", 350, "daily", source="api"),
    LimitRow("user:bob", None, "daily", source="api"),
    LimitRow("org", 500, "rolling 1h", per="user"),
    LimitRow("org", 3, meter="active_requests", per="session"),
    LimitRow("org", 4, "rolling 5m", meter="requests", per="user"),
    LimitRow("org", 400, per="session", strict=True),
    LimitRow("org", 600, "hourly", per="agent"),
    LimitRow("tag:project=x", 500, "monthly", models=("sonnet-*", "opus-*")),
    LimitRow("tag:project=x", 450, "monthly", models=("sonnet-*", "opus-*"), strict=True, source="api"),
    LimitRow("user:bob", 1, "daily", on_reach="warn"),
)
ADDED = (
    LimitRow("org", 800, "daily", strict=True, id="policy", source="policy"),
    LimitRow("user:bob", 250, "rolling 2h", id="policy", source="policy"),
)


def amounts(cost_max: int, *, requests: int) -> st.SearchStrategy[Amounts]:
    """Of one request more, or of none more."""
    return st.builds(
        Amounts, st.integers(0, cost_max), st.just(requests), st.integers(0, 50), st.integers(0, 900), st.just(requests)
    )


class Ledger(RuleBasedStateMachine):
    """`clock_ms` is what the machine's clock shows, which may go back; the paper's time never does."""

    def __init__(self) -> None:
        super().__init__()
        self.clock_ms = NOW
        self.rows = [*LASTING, *CHANGING]
        self.paper = PaperLedger(self.rows, NOW, BERLIN)
        self.book = LedgerBook(Limits(tuple(self.rows)), NOW, Calendar(BERLIN))
        self.stored: defaultdict[str, list[Spend]] = defaultdict(list)
        self.charges: dict[str, Amounts] = {}
        self.ended: list[str] = []
        self.count = 0
        self.remembers_exactly = True
        self.settled_within_worst = True

    # ------------------------------------------------------------------------------------------------ what stores do

    def store(self, accounts: tuple[str, ...], spends: tuple[Spend, ...]) -> None:
        for account in accounts:
            self.stored[account] += spends

    def recall(self, missing: tuple[Series, ...]) -> None:
        for series in missing:
            self.book.restore(series, self.stored[series.account], self.clock_ms)

    def check_room(self, needed: list[Needed]) -> None:
        """What paces over minutes begins anew after a restart."""
        kept = [each for each in needed if self.remembers_exactly or each.series.window != "rolling 5m"]
        assert self.paper.fits(kept), "a limit was passed"

    def check_refusal(self, needed: list[Needed]) -> None:
        assert not self.paper.fits(needed, coarse=not self.remembers_exactly), "what fits was refused"

    def pick(self, data: st.DataObject, ids: object) -> str:
        return data.draw(st.sampled_from(sorted(ids)))  # pyright: ignore[reportArgumentType, reportUnknownVariableType]

    # --------------------------------------------------------------------------------------------------------- rules

    @rule(
        accounts=st.sampled_from(ACCOUNTS),
        model=st.sampled_from(MODELS),
        backends=st.sampled_from(BACKENDS),
        worst=amounts(300, requests=1),
        likely=st.integers(0, 100),
        seconds=st.integers(1, 5_000),
        added=st.sets(st.sampled_from(ADDED), max_size=1),
    )
    def reserve(self, accounts, model, backends, worst, likely, seconds, added) -> None:  # noqa: PLR0913
        self.count += 1
        expected = share(worst, likely)
        added = tuple(row for row in added if row.account in accounts)
        deadline_ms = self.clock_ms + seconds * 1_000
        id = f"h{self.count}"
        wanted = Hold(id, accounts, model, backends, worst, expected, self.clock_ms, deadline_ms, added)
        self.paper.at(self.clock_ms)
        self.recall(self.book.missing(accounts, model, backends, added))
        needed = self.paper.needed(wanted)
        try:
            views = self.book.reserve(wanted)
        except Exhausted:
            self.check_refusal(needed)
        else:
            self.check_room(needed)
            self.check_views(views)
            self.paper.reserve(wanted)
            self.charges[id] = self.book.charge(id)

    @precondition(lambda self: self.paper.open)
    @rule(data=st.data(), more=amounts(100, requests=0))
    def extend(self, data: st.DataObject, more: Amounts) -> None:
        id = self.pick(data, self.paper.open)
        hold = self.paper.open[id]
        worst, expected = (held.plus(more) for held in (hold.worst, hold.expected))
        self.paper.at(self.clock_ms)
        needed = [
            each._replace(amount=each.amount - before.amount)
            for each, before in zip(
                self.paper.needed(larger(hold, worst, expected)), self.paper.needed(hold), strict=True
            )
        ]
        needed = [each for each in needed if each.amount > 0 and not self.book.unknown([each.series])]
        try:
            assert self.book.extend(id, worst, expected, self.clock_ms)
        except Exhausted:
            self.check_refusal(needed)
        else:
            self.check_room(needed)
            self.paper.open[id] = larger(hold, worst, expected)
            self.charges[id] = self.book.charge(id)

    @precondition(lambda self: self.paper.open)
    @rule(data=st.data(), percent=st.integers(0, 100))
    def settle(self, data: st.DataObject, percent: int) -> None:
        id = self.pick(data, self.paper.open)
        self.settle_at(id, share(self.paper.open[id].worst, percent), data)

    @precondition(lambda self: self.paper.open)
    @rule(data=st.data())
    def settle_dearer_than_the_worst_case(self, data: st.DataObject) -> None:
        id = self.pick(data, self.paper.open)
        self.settled_within_worst = False
        self.settle_at(id, self.paper.open[id].worst.plus(Amounts(70, 0, 7, 7)), data)

    def settle_at(self, id: str, spent: Amounts, data: st.DataObject) -> None:
        hold, backend = self.paper.open[id], data.draw(st.sampled_from(self.paper.open[id].backends))
        settled = self.book.settle(id, spent, backend, self.clock_ms)
        assert settled is not None and not settled.corrects
        self.store(hold.accounts, settled.spends)
        self.paper.at(self.clock_ms)
        self.paper.end(id, spent, backend)
        self.ended.append(id)

    @precondition(lambda self: self.paper.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        id = self.pick(data, self.paper.open)
        assert self.book.release(id)
        del self.paper.open[id]
        self.ended.append(id)

    @rule()
    def expire(self) -> None:
        due = {id for id, each in self.paper.open.items() if each.deadline_ms <= self.clock_ms}
        expired = self.book.expire(self.clock_ms)
        assert {each.id for each in expired} == due
        self.paper.at(self.clock_ms)
        for each in expired:
            assert each.charge == self.paper.charge(each.id) == self.charges[each.id]
            self.store(each.accounts, each.spends)
            self.paper.expire(each.id)

    @precondition(lambda self: self.paper.expired)
    @rule(data=st.data(), percent=st.integers(0, 100))
    def settle_what_expired(self, data: st.DataObject, percent: int) -> None:
        id = self.pick(data, self.paper.expired)
        usage = self.paper.expired[id]
        spent, backend = share(usage.amounts, percent), data.draw(st.sampled_from(usage.backend.split(",")))
        settled = self.book.settle(id, spent, backend, self.clock_ms)
        if settled is None:
            assert self.paper.now_ms - usage.at_ms >= CORRECTABLE_MS, "too early to forget"
            del self.paper.expired[id]
        else:
            assert settled.corrects and settled.counted == spent.minus(usage.amounts)._replace(active_requests=0)
            self.store(usage.accounts, settled.spends)
            self.paper.at(self.clock_ms)
            self.paper.correct(id, spent, backend)
        self.ended.append(id)

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), spent=amounts(200, requests=1))
    def end_again(self, data: st.DataObject, spent: Amounts) -> None:
        id = self.pick(data, self.ended)
        assert self.book.settle(id, spent, "anthropic", self.clock_ms) is None
        assert not self.book.release(id) and not self.book.extend(id, spent, spent, self.clock_ms)

    @rule(minutes=st.sampled_from([1, 7, 31, 59, 61, 300, 1_440, 10_000, 45_000]))
    def wait(self, minutes: int) -> None:
        self.clock_ms += minutes * MINUTE_MS

    @rule(minutes=st.sampled_from([1, 61, 1_500]))
    def set_the_clock_back(self, minutes: int) -> None:
        self.clock_ms -= minutes * MINUTE_MS

    @rule(changing=st.lists(st.sampled_from(CHANGING), unique=True))
    def change_limits(self, changing: list[LimitRow]) -> None:
        self.rows = [*LASTING, *changing]
        self.paper.rows = self.rows
        self.paper.mark_strict()
        for id in self.book.change_limits(Limits(tuple(self.rows))):
            self.charges[id] = self.book.charge(id)

    @rule()
    def drop_what_is_idle(self) -> None:
        if self.book.drop_idle(self.clock_ms - 30 * MINUTE_MS):
            self.remembers_exactly = False

    @rule()
    def restart(self) -> None:
        """What was open is spend at what the store has for it; late usage of before the restart is nobody's."""
        self.clock_ms = max(self.clock_ms, self.paper.now_ms)
        self.paper.at(self.clock_ms)
        for id in list(self.paper.open):
            hold, charge = self.paper.open[id], self.charges[id]
            assert charge == self.paper.charge(id), "the store was not told of a charge"
            spend = Spend(self.clock_ms - self.clock_ms % 900_000, hold.model, hold.backend, charge)
            self.store(hold.accounts, (spend,))
            self.paper.expire(id)
        self.ended += self.paper.expired
        self.paper.expired.clear()
        self.book = LedgerBook(Limits(tuple(self.rows)), self.clock_ms, Calendar(BERLIN))
        self.remembers_exactly = False

    # ---------------------------------------------------------------------------------------------------- invariants

    def check_views(self, views: list[LimitView] | tuple[LimitView, ...]) -> None:
        for view in views:
            assert view.row is not None
            assert view.held == self.paper.held(view.series, strict=view.row.strict)
            self.check_used(view.series, view.used)

    def check_used(self, series: Series, used: int) -> None:
        least, most = self.paper.used(series), self.paper.used(series)
        if series.window.startswith("rolling") and not self.remembers_exactly:
            most = self.paper.used(series, coarse=True)
            least = 0 if series.window == "rolling 5m" else least
        assert least <= used <= most, series

    @invariant()
    def every_view_shows_what_the_paper_says(self) -> None:
        self.paper.at(self.clock_ms)
        for accounts in ACCOUNTS:
            self.recall(self.book.missing(accounts, None, ()))
            self.check_views(self.book.standing(accounts, self.clock_ms))
        self.recall(self.book.unknown(each.series for each in self.book.limits.pools()))
        self.check_views(self.book.views(self.clock_ms))

    @invariant()
    def every_account_has_spent_the_sum_of_its_usage(self) -> None:
        for account in {account for accounts in ACCOUNTS for account in accounts}:
            self.recall(self.book.unknown([Series(account)]))
            assert self.book.used(Series(account), self.clock_ms) == self.paper.used(Series(account))
            assert sum(spend.amounts.cost for spend in self.stored[account]) == self.paper.used(Series(account))

    @invariant()
    def strict_limits_are_never_passed(self) -> None:
        for row in LASTING:
            series = row.series(row.account)
            if self.settled_within_worst:
                assert self.paper.used(series) + self.paper.held(series, strict=True) <= (row.max or 0)

    @invariant()
    def what_is_held_is_what_the_open_holds_would_cost(self) -> None:
        assert self.book.open_holds()[0] == len(self.paper.open)
        assert self.book.held_total() == sum(self.paper.charge(id).cost for id in self.paper.open)


def share(whole: Amounts, percent: int) -> Amounts:
    """A part of it, with as many requests."""
    parts = (amount * percent // 100 for amount in whole)
    return Amounts(*parts)._replace(requests=whole.requests, active_requests=whole.active_requests)


def larger(hold: Hold, worst: Amounts, expected: Amounts) -> Hold:
    """The hold with other amounts."""
    return Hold(
        hold.id,
        hold.accounts,
        hold.model,
        hold.backends,
        worst,
        expected,
        hold.created_ms,
        hold.deadline_ms,
        hold.added,
    )


TestLedgerMachine = Ledger.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
