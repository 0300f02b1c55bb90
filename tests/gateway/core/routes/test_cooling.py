"""What asked to be left alone for a while."""

import pytest

from gateway.core.routes.cooling import COOLING_MAX, COOLING_MS_MAX, MODEL_CHARS_MAX, Cooling

NOW = 1_000_000
OPUS = "claude-opus-5-5"


def cooling(seconds: float = 30.0) -> Cooling:
    pairs = Cooling()
    pairs.start("main", OPUS, seconds=seconds, now_ms=NOW)
    return pairs


def test_pair_cools_until_its_time_and_leaves_the_others_alone() -> None:
    pairs = cooling()
    assert pairs.cools("main", OPUS, NOW + 29_999) and not pairs.cools("main", OPUS, NOW + 30_000)
    assert not pairs.cools("spare", OPUS, NOW) and not pairs.cools("main", "claude-haiku-5-5", NOW)


def test_upstream_lists_only_what_still_cools() -> None:
    pairs = cooling()
    pairs.start("main", "claude-haiku-5-5", seconds=5, now_ms=NOW)
    pairs.start("spare", OPUS, seconds=90, now_ms=NOW)
    assert pairs.of("main", NOW + 6_000) == {OPUS: NOW + 30_000}


@pytest.mark.parametrize("seconds", [7200.0, 1e300, float("inf")])
def test_longer_wish_than_the_longest_is_cut(seconds: float) -> None:
    assert cooling(seconds).of("main", NOW) == {OPUS: NOW + COOLING_MS_MAX}


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("-inf")])
def test_wish_that_is_nonsense_is_none(seconds: float) -> None:
    assert cooling(seconds).of("main", NOW) == {}


def test_shorter_wish_does_not_end_a_longer_one() -> None:
    pairs = cooling(30)
    pairs.start("main", OPUS, seconds=1, now_ms=NOW)
    assert pairs.cools("main", OPUS, NOW + 29_000)


def test_memory_is_bounded_and_forgets_first_what_ends_first() -> None:
    pairs = Cooling()
    for number in range(COOLING_MAX + 5):
        pairs.start("main", f"model-{number}", seconds=10 + number, now_ms=NOW)
    assert len(pairs.of("main", NOW)) == COOLING_MAX
    assert not pairs.cools("main", "model-4", NOW) and pairs.cools("main", "model-5", NOW)


def test_what_has_cooled_is_forgotten_before_what_cools() -> None:
    pairs = cooling(3600)
    for number in range(COOLING_MAX):
        pairs.start("main", f"model-{number}", seconds=1, now_ms=NOW)
    pairs.start("main", "the-last", seconds=1, now_ms=NOW + 2_000)
    assert set(pairs.of("main", NOW + 2_000)) == {OPUS, "the-last"}


def test_model_without_end_is_not_remembered() -> None:
    pairs = Cooling()
    pairs.start("main", "m" * (MODEL_CHARS_MAX + 1), seconds=30, now_ms=NOW)
    assert pairs.of("main", NOW) == {}
