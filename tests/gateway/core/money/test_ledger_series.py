"""The book, case by case: limits that change, and series that come, go and come back."""

import pytest

from gateway.core.money.budgets import Exhausted, Spend
from gateway.core.money.ledger import PLANS_MAX, LedgerBook
from gateway.core.money.limits import Amounts, LimitRow, Limits, Series
from gateway.core.money.windows import CALENDAR_WINDOWS, DAY_MS, HOUR_MS, MINUTE_MS, QUARTER_MS
from tests.gateway.core.money.ledgercases import CENT, EXPECTED, NOW, ORG, TOMORROW, book, cents, hold, shown


def test_limit_set_while_requests_run_finds_what_they_hold() -> None:
    ledger = book()
    ledger.reserve(hold("a", "org", "user:bob"))
    ledger.change_limits(Limits((LimitRow("user:bob", 50 * CENT, "daily", strict=True),)))
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("b", "org", "user:bob"))
    assert caught.value.view.held == 30 * CENT
    ledger.settle("a", cents(10), "anthropic", NOW)
    ledger.reserve(hold("b", "org", "user:bob"))


def test_strict_limit_set_while_requests_run_is_charged_their_worst_case() -> None:
    ledger = book(LimitRow("org", 10**12))
    ledger.reserve(hold("a", "org"))
    ledger.reserve(hold("b", "org", "user:bob"))
    assert ledger.change_limits(Limits((LimitRow("user:bob", 10**12, strict=True),))) == ["b"]
    assert ledger.held_total() == 40 * CENT == sum(ledger.charge(id).cost for id in ("a", "b"))
    assert ledger.change_limits(Limits()) == []
    ledger.expire(NOW + MINUTE_MS)
    assert (ledger.held_total(), ledger.used(ORG, NOW)) == (0, 40 * CENT)


def test_extension_meets_a_limit_that_was_set_after_the_reservation() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    ledger.change_limits(Limits((LimitRow("org", 50 * CENT, strict=True),)))
    with pytest.raises(Exhausted):
        ledger.extend("h", cents(51), EXPECTED, NOW)
    ledger.change_limits(Limits())
    assert ledger.extend("h", cents(51), EXPECTED, NOW)


def test_extension_meets_a_limit_whose_series_came_after_the_reservation() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    ledger.change_limits(Limits((LimitRow("org", 60 * CENT, "daily", strict=True),)))
    ledger.reserve(hold("makes it known"))
    with pytest.raises(Exhausted):
        ledger.extend("h", cents(31), EXPECTED, NOW)
    assert ledger.release("makes it known") and ledger.extend("h", cents(31), EXPECTED, NOW)


def test_limit_that_was_away_for_a_while_finds_the_whole_sum() -> None:
    rows = Limits((LimitRow("org", 50 * CENT, "daily", strict=True),))
    ledger = LedgerBook(rows, NOW)
    ledger.reserve(hold("a"))
    ledger.settle("a", cents(10), "anthropic", NOW)
    ledger.change_limits(Limits())
    ledger.reserve(hold("b"))
    ledger.settle("b", cents(25), "anthropic", NOW)
    ledger.change_limits(rows)
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("c"))
    assert caught.value.view.used == 35 * CENT


def test_seat_default_of_a_team_counts_what_the_user_spends_outside_of_it() -> None:
    ledger = book(LimitRow("team:a", 70 * CENT, "daily", per="user", strict=True))
    ledger.reserve(hold("before", "org", "user:bob"))
    ledger.release("before")
    ledger.reserve(hold("in the team", "org", "team:a", "user:bob"))
    ledger.reserve(hold("outside", "org", "user:bob"))
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("again in it", "org", "team:a", "user:bob"))
    assert caught.value.view.held == 60 * CENT


def test_policys_limit_holds_for_its_request_and_is_not_remembered() -> None:
    ledger = book()
    added = (LimitRow("org", 25 * CENT, strict=True, source="policy"),)
    with pytest.raises(Exhausted):
        ledger.reserve(hold("h", added=added))
    ledger.reserve(hold("h"))
    assert ledger.views(NOW) == []
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("i", worst=cents(20), added=added))
    assert caught.value.view.held == 30 * CENT


def test_series_of_policys_limits_are_missing_until_they_are_restored() -> None:
    ledger = book()
    ledger.reserve(hold("h", "org"))
    added = (LimitRow("org", 25 * CENT, "daily", source="policy"),)
    (missing,) = ledger.missing(("org",), "opus-5", ("anthropic",), added)
    ledger.restore(missing, [Spend(NOW, "opus-5", "anthropic", cents(20))], NOW)
    with pytest.raises(Exhausted) as caught:
        ledger.reserve(hold("i", added=added))
    assert (caught.value.view.used, caught.value.view.held) == (20 * CENT, 10 * CENT)


def test_missing_series_are_those_of_new_accounts_and_new_limits() -> None:
    ledger = book(LimitRow("org", 5, "daily", per="user"))
    names = ("org", "user:bob")
    everything = (ORG, Series("user:bob"), Series("user:bob", "cost", "daily"))
    assert ledger.missing(names, "opus-5", ("anthropic",)) == everything
    for each in everything:
        ledger.restore(each, [], NOW)
    assert ledger.missing(names, "opus-5", ("anthropic",)) == () and ledger.is_counted("user:bob")
    ledger.change_limits(Limits((LimitRow("user:bob", 5, "weekly"),)))
    assert ledger.missing(names, "opus-5", ("anthropic",)) == (Series("user:bob", "cost", "weekly"),)
    assert ledger.unknown([ORG, Series("team:a")]) == (Series("team:a"),)


def test_restored_spend_falls_into_the_windows_it_belongs_to() -> None:
    ledger = book(*(LimitRow("org", 10**12, window) for window in CALENDAR_WINDOWS))
    ages = {1: 0, 10: HOUR_MS, 100: DAY_MS, 1_000: 8 * DAY_MS, 10_000: 60 * DAY_MS}
    history = [Spend(NOW - age, "m", "b", Amounts(amount)) for amount, age in ages.items()]
    for window in CALENDAR_WINDOWS:
        ledger.restore(Series("org", "cost", window), history, NOW)
    used = {view.series.window: view.used for view in ledger.views(NOW)}
    assert used == {"hourly": 1, "daily": 11, "weekly": 111, "monthly": 1_111, "total": 11_111}


def test_restored_rolling_window_frees_up_no_sooner_than_it_should() -> None:
    series, ledger = Series("org", "cost", "rolling 5h"), book()
    spent_ms = NOW - 4 * HOUR_MS
    ledger.restore(series, [Spend(spent_ms, "m", "b", Amounts(7)), Spend(NOW - 6 * HOUR_MS, "m", "b", Amounts(1))], NOW)
    assert ledger.used(series, NOW) == ledger.used(series, spent_ms + QUARTER_MS + 5 * HOUR_MS - 1) == 7
    assert ledger.used(series, spent_ms + QUARTER_MS + 5 * HOUR_MS + 5 * MINUTE_MS) == 0


def test_restored_correction_is_summed_with_what_it_corrects() -> None:
    series, ledger = Series("org", "cost", "rolling 5h"), book()
    charge, truth = Spend(NOW, "m", "a,b", Amounts(9)), Spend(NOW, "m", "b", Amounts(4))
    ledger.restore(series, [truth, charge._replace(amounts=Amounts(-9, -1)), charge], NOW)
    assert ledger.used(series, NOW) == 4


def test_restoring_counts_what_only_paces_from_nothing() -> None:
    history = [Spend(NOW, "m", "b", Amounts(7, 3))]
    ledger = book()
    series = [Series("org", "requests", "rolling 5m"), Series("org", "requests", "rolling 1h")]
    series += [Series("org", "cost", "rolling 5m"), Series("org", "active_requests")]
    for each in series:
        ledger.restore(each, history, NOW)
    assert [ledger.used(each, NOW) for each in series] == [0, 3, 7, 0]


def test_restoring_what_is_known_changes_nothing() -> None:
    ledger = book()
    ledger.reserve(hold("h"))
    ledger.settle("h", cents(5), "anthropic", NOW)
    ledger.restore(ORG, [Spend(NOW, "opus-5", "anthropic", cents(5))], NOW)
    assert ledger.used(ORG, NOW) == 5 * CENT


def test_restored_usage_of_a_quarter_that_has_not_come_yet_counts_now() -> None:
    ledger, daily = book(), Series("org", "cost", "daily")
    ledger.restore(daily, [Spend(TOMORROW, "m", "b", Amounts(7))], NOW)
    assert ledger.used(daily, NOW) == 7


def test_idle_sessions_leave_memory_and_others_stay() -> None:
    ledger = book(LimitRow("org", 10**12, per="session"))
    for index, account in enumerate(("org", "session:idle", "agent:idle/main", "session:held", "session:lately")):
        ledger.reserve(hold(f"h{index}", account, now=NOW if account != "session:lately" else NOW + 10))
        if account != "session:held":
            ledger.release(f"h{index}")
    assert ledger.drop_idle(NOW + 5) == 2
    stays = [ledger.is_counted(name) for name in ("org", "session:idle", "session:held", "session:lately")]
    assert stays == [True, False, True, True]


def test_idle_session_that_comes_back_is_missing_and_counts_on() -> None:
    ledger = book(LimitRow("org", 35 * CENT, per="session", strict=True))
    ledger.reserve(hold("a", "org", "session:s"))
    settled = ledger.settle("a", cents(20), "anthropic", NOW)
    assert settled is not None
    ledger.drop_idle(NOW + HOUR_MS)
    missing = ledger.missing(("org", "session:s"), "opus-5", ("anthropic",))
    assert missing == (Series("session:s"),)
    for each in missing:
        ledger.restore(each, settled.spends, NOW + HOUR_MS)
    with pytest.raises(Exhausted):
        ledger.reserve(hold("b", "org", "session:s", now=NOW + HOUR_MS))


def test_views_show_pools_and_limits_that_were_met_since_they_were_set() -> None:
    ledger = book(LimitRow("org", 10**12, "daily", strict=True), LimitRow("org", 10**12, "daily", per="user"))
    assert shown(ledger) == {("org", "daily"): (0, 0)}
    ledger.reserve(hold("h", "org", "user:bob"))
    assert shown(ledger) == {("org", "daily"): (0, 30), ("user:bob", "daily"): (0, 10)}
    ledger.change_limits(ledger.limits)
    assert shown(ledger) == {("org", "daily"): (0, 30)}


def test_standing_shows_every_limit_of_an_account_before_anybody_spends() -> None:
    rows = (LimitRow("org", 5, "daily"), LimitRow("org", 7, per="session", models=("opus-*",)))
    views = book(*rows).standing(("org", "session"), NOW)
    assert [(view.series.account, view.row, view.used) for view in views] == [
        ("org", rows[0], 0),
        ("session", rows[1], 0),
    ]
    assert views[0].resets_at_ms == TOMORROW


def test_strictness_is_known_before_an_account_is_seen() -> None:
    ledger = book(LimitRow("org", 5, per="user", strict=True), LimitRow("org", 5, models=("opus-*",)))
    assert ledger.is_strict(("org", "user:new"), "opus-5", ("anthropic",))
    assert not ledger.is_strict(("org", "team:a"), "opus-5", ("anthropic",))


def test_more_sets_of_accounts_than_are_remembered_are_served_all_the_same() -> None:
    ledger = book(LimitRow("org", PLANS_MAX + 2, meter="requests", strict=True))
    for index in range(PLANS_MAX + 2):
        ledger.reserve(hold(f"h{index}", "org", f"session:{index}"))
        ledger.release(f"h{index}")
    ledger.reserve(hold("again", "org", "session:0"))
    assert ledger.open_holds() == (1, NOW)


def test_names_that_nothing_was_held_for_leave_memory_at_once() -> None:
    ledger = book(LimitRow("org", 30 * CENT, strict=True), LimitRow("tag:a=b", 10**12))
    ledger.reserve(hold("h", "org", "session:good"))
    for account in ("session:made-up", "run:made-up", "tag:a=b"):
        with pytest.raises(Exhausted):
            ledger.reserve(hold(account, "org", account))
    ledger.release("h")
    assert ledger.drop_idle(1) == 2
    stays = [ledger.is_counted(name) for name in ("org", "session:good", "session:made-up", "run:made-up")]
    assert stays == [True, True, False, False]
    assert ledger.missing(("org", "session:made-up"), "opus-5", ("anthropic",)) == (Series("session:made-up"),)


def test_series_that_is_new_on_an_account_with_open_holds_stays() -> None:
    ledger = book()
    ledger.reserve(hold("h", "org", "session:s"))
    daily = Series("session:s", "cost", "daily")
    ledger.restore(daily, [], NOW)
    ledger.settle("h", cents(5), "anthropic", NOW)
    assert ledger.drop_idle(NOW) == 0
    assert ledger.used(daily, NOW) == 5 * CENT
