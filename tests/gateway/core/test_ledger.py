"""The book: a table of cases, and a machine that plays any order of calls against a naive model."""

from collections import defaultdict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.core.ledger import COST_NANOUSD_MAX, Exhausted, Hold, LedgerBook, LimitRow, Limits
from gateway.core.windows import DAY_MS, HOUR_MS, WINDOWS, Window, window_start_ms

NOW = 1_795_356_000_000  # 2026-11-22 14:00 UTC, a Sunday
TOMORROW = NOW + 10 * HOUR_MS
CENT = 10_000_000


def book(*rows: tuple[str, Window, int, bool]) -> LedgerBook:
    return LedgerBook(Limits(LimitRow(*row) for row in rows), NOW)


def hold(
    id: str, *accounts: str, strict: int = 30 * CENT, expected: int = 10 * CENT, now: int = NOW, deadline: int = 0
) -> Hold:
    return Hold(id, accounts or ("org",), strict, expected, now, deadline or now + 60_000)


def test_fifty_requests_of_thirty_cents_under_a_strict_dollar_let_three_through() -> None:
    ledger = book(("org", "daily", 100 * CENT, True))
    passed = 0
    for index in range(50):
        try:
            ledger.reserve(hold(f"h{index}"))
            passed += 1
        except Exhausted:
            continue
    assert passed == 3
    assert ledger.held_total() == 90 * CENT


def test_limit_that_is_not_strict_counts_expected_costs() -> None:
    ledger = book(("org", "daily", 100 * CENT, False))
    for index in range(10):
        ledger.reserve(hold(f"h{index}"))
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("one more"))
    assert (caught.value.held_nanousd, caught.value.needed_nanousd) == (100 * CENT, 10 * CENT)


def test_refused_hold_leaves_nothing_on_any_account() -> None:
    ledger = book(("user:bob", "daily", 0, True))
    with pytest.raises(Exhausted):
        ledger.reserve(hold("h", "org", "user:bob"))
    assert ledger.held_total() == 0
    assert ledger.views(["org"], NOW)[0].held_nanousd == 0


def test_settlement_replaces_the_hold_by_the_cost_on_every_account() -> None:
    ledger = book()
    ledger.reserve(hold("h", "org", "user:bob"))
    assert ledger.settle("h", 7 * CENT, NOW) == 7 * CENT
    assert (ledger.held_total(), ledger.spent("org"), ledger.spent("user:bob")) == (0, 7 * CENT, 7 * CENT)


def test_second_end_of_a_hold_changes_nothing() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    ledger.settle("h", 7 * CENT, NOW)
    assert ledger.settle("h", 9 * CENT, NOW) is None
    assert not ledger.release("h")
    assert ledger.expire(NOW + DAY_MS) == []
    assert ledger.spent("org") == 7 * CENT


def test_release_gives_everything_back() -> None:
    ledger = book(("org", "total", 30 * CENT, True))
    ledger.reserve(hold("h"))
    assert ledger.release("h")
    ledger.reserve(hold("again"))
    assert ledger.spent("org") == 0


def test_expired_hold_is_spend_at_its_worst_case_under_a_strict_limit() -> None:
    ledger = book(("org", "monthly", 100 * CENT, True))
    ledger.reserve(hold("h", "org", "user:bob"))
    assert ledger.expire(NOW + 59_999) == []
    assert [(each.id, each.cost_nanousd) for each in ledger.expire(NOW + 60_000)] == [("h", 30 * CENT)]
    assert ledger.spent("org") == ledger.spent("user:bob") == 30 * CENT


def test_expired_hold_without_a_strict_limit_is_spend_at_its_expected_cost() -> None:
    ledger = book(("org", "monthly", 100 * CENT, False))
    ledger.reserve(hold("h"))
    ledger.expire(NOW + 60_000)
    assert ledger.spent("org") == 10 * CENT


def test_settlement_after_expiry_changes_nothing() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    ledger.expire(NOW + 60_000)
    assert ledger.settle("h", CENT, NOW + 60_001) is None
    assert ledger.spent("org") == 10 * CENT


def test_new_window_starts_empty_and_total_goes_on() -> None:
    ledger = book(("org", "daily", 50 * CENT, True), ("org", "total", 90 * CENT, True))
    ledger.reserve(hold("a"))
    ledger.settle("a", 30 * CENT, NOW)
    with pytest.raises(Exhausted):
        ledger.reserve(hold("b"))
    ledger.reserve(hold("b", now=TOMORROW))
    daily, total = sorted(ledger.views(["org"], TOMORROW), key=lambda view: view.window)
    assert (daily.spent_nanousd, total.spent_nanousd) == (0, 30 * CENT)
    assert (daily.held_nanousd, total.held_nanousd) == (30 * CENT, 30 * CENT)


def test_hold_taken_before_midnight_is_spend_of_the_day_it_ends_in() -> None:
    ledger = book(("org", "daily", 50 * CENT, True))
    ledger.reserve(hold("h"))
    ledger.settle("h", 30 * CENT, TOMORROW)
    assert ledger.views(["org"], TOMORROW)[0].spent_nanousd == 30 * CENT


def test_clock_that_goes_back_does_not_empty_a_window() -> None:
    ledger = book(("org", "daily", 30 * CENT, True))
    ledger.reserve(hold("h"))
    ledger.settle("h", 30 * CENT, NOW)
    with pytest.raises(Exhausted):
        ledger.reserve(hold("earlier", now=NOW - DAY_MS))


def test_limit_that_resets_last_is_named_when_several_would_be_passed() -> None:
    ledger = book(("user", "hourly", 0, True), ("user", "monthly", 0, True), ("org", "daily", 0, True))
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("h", "org", "user:bob"))
    assert (caught.value.account, caught.value.window) == ("user:bob", "monthly")


def test_restored_spend_falls_into_the_windows_it_belongs_to() -> None:
    ledger = LedgerBook(Limits(LimitRow("org", window, 100 * CENT, False) for window in WINDOWS), NOW)
    hour = NOW // HOUR_MS
    ledger.restore(
        "org", [(hour, 1), (hour - 1, 10), (hour - 24, 100), (hour - 24 * 8, 1_000), (hour - 24 * 60, 10_000)], NOW
    )
    spent = {view.window: view.spent_nanousd for view in ledger.views(["org"], NOW)}
    assert spent == {"hourly": 1, "daily": 11, "weekly": 111, "monthly": 1_111, "total": 11_111}


def test_idle_sessions_leave_memory_and_others_stay() -> None:
    ledger = book(("session", "total", 100 * CENT, False))
    for index, account in enumerate(("org", "session:idle", "agent:idle/main", "session:held", "session:lately")):
        ledger.reserve(hold(f"h{index}", account, now=NOW if account != "session:lately" else NOW + 10))
        if account != "session:held":
            ledger.release(f"h{index}")
    assert ledger.drop_idle(NOW + 5) == 2
    assert [name in ledger for name in ("org", "session:idle", "session:held", "session:lately")] == [
        True,
        False,
        True,
        True,
    ]


def test_views_of_everyone_show_named_and_seen_accounts_with_limits() -> None:
    ledger = book(("org", "daily", 5, True), ("user", "daily", 9, False))
    ledger.reserve(hold("h", "user:bob", "team:x", strict=2, expected=1))
    views = {view.account: view for view in ledger.views(None, NOW)}
    assert views.keys() == {"org", "user:bob"}
    assert (views["user:bob"].limit_nanousd, views["user:bob"].held_nanousd) == (9, 1)


def test_account_without_a_limit_is_counted_and_shown_when_asked_for() -> None:
    ledger = book()
    ledger.reserve(hold("h", "team:x"))
    ledger.settle("h", 5, NOW)
    (view,) = ledger.views(["team:x"], NOW)
    assert (view.limit_nanousd, view.spent_nanousd) == (None, 5)


def test_strictness_is_known_before_an_account_is_seen() -> None:
    ledger = book(("user", "daily", 5, True), ("org", "daily", 5, False))
    assert ledger.is_strict(["org", "user:new"])
    assert not ledger.is_strict(["org", "team:x"])


@pytest.mark.parametrize(
    "bad", [hold("open"), hold("h", "org", "org"), hold("h", strict=-1), hold("h", expected=COST_NANOUSD_MAX + 1)]
)
def test_hold_that_makes_no_sense_is_refused(bad: Hold) -> None:
    ledger = book()
    ledger.reserve(hold("open"))
    with pytest.raises(ValueError):
        ledger.reserve(bad)
    assert ledger.held_total() == 10 * CENT


def test_absurd_cost_is_counted_at_the_most_a_response_can_cost() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    assert ledger.settle("h", 10**30, NOW) == COST_NANOUSD_MAX
    with pytest.raises(ValueError):
        ledger.settle("h", -1, NOW)


ACCOUNTS = ("org", "user:a", "user:b", "session:s")
LIMITS = (
    LimitRow("org", "daily", 500, True),
    LimitRow("org", "total", 2_000, False),
    LimitRow("user", "hourly", 200, False),
    LimitRow("user:b", "weekly", 300, True),
    LimitRow("session", "total", 400, True),
)


class Ledger(RuleBasedStateMachine):
    """Any order of reserve, settle, release, expire and waiting, against sums over plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = Limits(LIMITS)
        self.ledger = LedgerBook(self.limits)
        self.now = NOW
        self.count = 0
        self.open: dict[str, Hold] = {}
        self.ended: list[str] = []
        self.spend: dict[str, list[tuple[int, int]]] = defaultdict(list)

    @initialize()
    def start(self) -> None:
        self.ledger = LedgerBook(self.limits, self.now)

    def spent_in(self, account: str, window: Window) -> int:
        start = window_start_ms(window, self.now)
        return sum(cost for at, cost in self.spend[account] if at >= start)

    def held(self, account: str, *, strict: bool) -> int:
        holds = [each for each in self.open.values() if account in each.accounts]
        return sum(each.strict_nanousd if strict else each.expected_nanousd for each in holds)

    def fits(self, wanted: Hold) -> bool:
        return all(
            self.spent_in(account, row.window)
            + self.held(account, strict=row.strict)
            + (wanted.strict_nanousd if row.strict else wanted.expected_nanousd)
            <= row.limit_nanousd
            for account in wanted.accounts
            for row in self.limits.for_account(account)
        )

    def charge(self, ended: Hold) -> int:
        strict = any(row.strict for account in ended.accounts for row in self.limits.for_account(account))
        return ended.strict_nanousd if strict else ended.expected_nanousd

    def end(self, id: str, cost: int) -> None:
        for account in self.open.pop(id).accounts:
            self.spend[account].append((self.now, cost))
        self.ended.append(id)

    @rule(
        accounts=st.sets(st.sampled_from(ACCOUNTS), min_size=1),
        strict=st.integers(0, 150),
        expected=st.integers(0, 60),
        seconds=st.integers(1, 5_000),
    )
    def reserve(self, accounts: set[str], strict: int, expected: int, seconds: int) -> None:
        self.count += 1
        deadline = self.now + seconds * 1_000
        wanted = Hold(f"h{self.count}", tuple(sorted(accounts)), strict, min(strict, expected), self.now, deadline)
        fits = self.fits(wanted)
        try:
            self.ledger.reserve(wanted)
            assert fits, "a hold passed a limit"
            self.open[wanted.id] = wanted
        except Exhausted:
            assert not fits, "a hold that fits was refused"

    @precondition(lambda self: self.open)
    @rule(data=st.data(), cost=st.integers(0, 200))
    def settle(self, data: st.DataObject, cost: int) -> None:
        id = data.draw(st.sampled_from(sorted(self.open)))
        assert self.ledger.settle(id, cost, self.now) == cost
        self.end(id, cost)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.open)))
        assert self.ledger.release(id)
        del self.open[id]
        self.ended.append(id)

    @precondition(lambda self: self.ended)
    @rule(data=st.data(), cost=st.integers(0, 200))
    def end_again(self, data: st.DataObject, cost: int) -> None:
        id = data.draw(st.sampled_from(self.ended))
        assert self.ledger.settle(id, cost, self.now) is None
        assert not self.ledger.release(id)

    @rule()
    def expire(self) -> None:
        due = {id for id, each in self.open.items() if each.deadline_ms <= self.now}
        assert {each.id for each in self.ledger.expire(self.now)} == due
        for id in due:
            self.end(id, self.charge(self.open[id]))

    @rule(seconds=st.sampled_from([1, 600, 3_600, 86_400, 700_000, 3_000_000]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 1_000

    @invariant()
    def spend_is_the_sum_of_what_ended_and_held_the_sum_of_what_is_open(self) -> None:
        for account in ACCOUNTS:
            assert self.ledger.spent(account) == self.spent_in(account, "total")
            for view in self.ledger.views([account], self.now):
                assert view.spent_nanousd == self.spent_in(account, view.window)
                assert view.held_nanousd == self.held(account, strict=view.strict)

    @invariant()
    def nothing_is_held_when_nothing_is_open(self) -> None:
        assert self.ledger.held_total() == sum(self.charge(each) for each in self.open.values())


TestLedgerMachine = Ledger.TestCase
TestLedgerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
