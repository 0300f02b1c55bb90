"""The simulated prompt cache accounts as the real one does."""

from typing import Any

from gateway.upstreams.simulation.prefixes import CACHED_TOKENS_MIN, ENTRIES_MAX, PrefixCache, count_tokens
from tests.support.clock import FakeClock

LONG = "x" * CACHED_TOKENS_MIN * 5
MARK = {"cache_control": {"type": "ephemeral"}}
HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


def document(*turns: dict[str, Any], system: str = LONG, mark: dict[str, Any] = MARK) -> dict[str, Any]:
    return {"model": "m", "system": [{"type": "text", "text": system, **mark}], "messages": list(turns)}


def user(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text, **fields}]}


def test_first_request_writes_and_the_second_reads() -> None:
    cache = PrefixCache(FakeClock().monotonic)
    first, second = cache.read(document(user("a"))), cache.read(document(user("a")))
    assert (first.cache_read, first.cache_write_5m > CACHED_TOKENS_MIN) == (0, True)
    assert (second.cache_read, second.cache_write_5m) == (first.cache_write_5m, 0)
    assert first.prompt == second.prompt == count_tokens(document(user("a")))


def test_breakpoint_that_moved_on_reads_what_the_last_turn_wrote() -> None:
    cache = PrefixCache(FakeClock().monotonic)
    cache.read(document(user("a", **MARK)))
    answered = {"role": "assistant", "content": "b"}
    grown = cache.read(document({"role": "user", "content": "a"}, answered, user("c", **MARK)))
    assert grown.cache_read == count_tokens(document(user("a")))
    assert 0 < grown.cache_write_5m < 50
    assert grown.input == 0


def test_changed_prefix_reads_nothing_behind_the_change() -> None:
    cache = PrefixCache(FakeClock().monotonic)
    cache.read(document(user("a")))
    changed = cache.read(document(user("a"), system=LONG + "y"))
    assert changed.cache_read == 0
    assert changed.cache_write_5m > CACHED_TOKENS_MIN


def test_short_prefix_is_not_cached() -> None:
    cache = PrefixCache(FakeClock().monotonic)
    short = [cache.read(document(user("a"), system="short")) for _ in range(2)]
    assert all((tokens.cache_read, tokens.cache_write_5m) == (0, 0) for tokens in short)
    assert all(tokens.input > 0 for tokens in short)


def test_entry_expires_with_its_lifetime() -> None:
    clock = FakeClock()
    cache = PrefixCache(clock.monotonic)
    cache.read(document(user("a")))
    written = cache.read(document(user("a"), system=LONG + "h", mark=HOUR))
    clock.advance(301)
    assert cache.read(document(user("a"))).cache_read == 0
    assert cache.read(document(user("a"), system=LONG + "h", mark=HOUR)).cache_read == written.cache_write_1h


def test_lifetimes_of_two_breakpoints_are_told_apart() -> None:
    tokens = PrefixCache(FakeClock().monotonic).read(document(user(LONG, **MARK), mark=HOUR))
    assert tokens.cache_write_1h > CACHED_TOKENS_MIN
    assert tokens.cache_write_5m > CACHED_TOKENS_MIN


def test_request_wide_cache_control_marks_the_last_block() -> None:
    cache = PrefixCache(FakeClock().monotonic)
    tokens = cache.read({**document(user("a"), mark={}), **MARK})
    assert tokens.input == 0
    assert tokens.cache_write_5m == count_tokens(document(user("a")))


def test_oldest_entry_goes_when_the_cache_is_full() -> None:
    cache = PrefixCache(FakeClock().monotonic)
    for number in range(ENTRIES_MAX + 1):
        cache.read(document(user("a"), system=f"{number:06}" + LONG[:4096]))
    assert cache.read(document(user("a"), system="000000" + LONG[:4096])).cache_read == 0
    assert cache.read(document(user("a"), system=f"{ENTRIES_MAX:06}" + LONG[:4096])).cache_read > 0
