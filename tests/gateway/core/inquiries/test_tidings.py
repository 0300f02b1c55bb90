"""What users are shown, and that they are shown it once."""

from gateway.core.fuses.fuse import FuseRecord
from gateway.core.inquiries.tidings import SESSIONS_MAX, Told, fuse_texts, limit_texts
from gateway.core.money.budgets import LimitView
from gateway.core.money.limits import LimitRow, Series

USD = 1_000_000_000


def view(used: int, most: int | None = 10 * USD) -> LimitView:
    row = LimitRow(account="user", max=most, window="daily", warn_at=(75, 95))
    return LimitView(Series("user:alice"), row, used, 0, None)


def record(state: str) -> FuseRecord:
    return FuseRecord("fuse_1", "session", "s", "agents", state, 200, 160, 0)  # pyright: ignore[reportArgumentType]


def test_limit_is_told_from_its_first_mark_on_and_by_the_highest_reached() -> None:
    assert limit_texts([view(7 * USD), view(0, None)]) == []
    assert limit_texts([view(8 * USD)]) == ["75 % of the daily limit of $10.00 of user:alice is used"]
    assert limit_texts([view(9 * USD)]) == limit_texts([view(8 * USD)])
    assert limit_texts([view(10 * USD)])[0].startswith("95 %")


def test_fuse_is_told_with_how_it_is_replaced_once_it_has_warned_or_blown() -> None:
    assert fuse_texts([record("intact")]) == []
    warned, blown = fuse_texts([record("warned"), record("blown")])
    assert "is near its limit of 200 agents" in warned and "has blown" in blown
    assert all("ringfence fuses replace fuse_1 --reason" in text for text in (warned, blown))


def test_text_is_news_once_in_a_session_and_again_after_its_end() -> None:
    told = Told()
    assert told.news("s", ["a", "b", "a"]) == ["a", "b"]
    assert told.news("s", ["b", "c"]) == ["c"] and told.news("other", ["a"]) == ["a"]
    told.forget("s")
    assert told.news("s", ["a"]) == ["a"]


def test_sessions_that_were_told_nothing_for_longest_are_forgotten() -> None:
    told = Told()
    told.news("first", ["a"])
    for number in range(SESSIONS_MAX):
        told.news(str(number), ["a"])
    assert told.news("first", ["a"]) == ["a"] and told.news(str(SESSIONS_MAX - 1), ["a"]) == []
