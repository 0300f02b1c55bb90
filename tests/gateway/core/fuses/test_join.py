"""What several gateways know of one fuse comes together, whatever they hear first."""

from itertools import permutations, product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.fuses.fuse import FuseRecord, State
from gateway.core.fuses.join import WRAP_UPS_MAX, is_news, join

NOW = 1_795_356_000_000


def fuse(state: State, *, meter: str = "requests", value: int = 11, **more: object) -> FuseRecord:
    record = FuseRecord("fuse_1", "agent", "s/a", meter, state, 10, value, NOW)
    return msgspec.structs.replace(record, **more)


BLOWN = fuse("blown")
REPLACED = fuse("intact", replacements=1, baseline=10, at_ms=NOW + 5, replaced_by="alice", replaced_reason="go on")


def test_warning_heard_late_mends_no_blown_fuse() -> None:
    late = fuse("warned", value=8, at_ms=NOW + 9)
    assert join(BLOWN, late) == join(late, BLOWN) == BLOWN
    assert is_news(late, BLOWN) and not is_news(BLOWN, join(BLOWN, late))


def test_replacement_outlasts_what_was_known_before_it() -> None:
    for before in (BLOWN, fuse("warned", value=99), fuse("blown", value=500, at_ms=NOW + 99)):
        assert join(REPLACED, before) == join(before, REPLACED) == REPLACED


def test_fuse_that_blew_again_after_its_replacement_is_blown() -> None:
    again = msgspec.structs.replace(REPLACED, state="blown", value=21, at_ms=NOW + 7)
    assert join(REPLACED, again) == join(again, REPLACED) == again


def test_blow_that_counted_what_the_replacement_took_off_is_taken_back() -> None:
    elsewhere = msgspec.structs.replace(REPLACED, baseline=55, value=56)
    early = msgspec.structs.replace(REPLACED, state="blown", value=56)
    for joined in (join(elsewhere, early), join(early, elsewhere)):
        assert (joined.state, joined.baseline) == ("intact", 55)
    enough = msgspec.structs.replace(early, value=66)
    assert join(elsewhere, enough).state == join(enough, elsewhere).state == "blown"


@pytest.mark.parametrize("meter", ["active_agents", "identical_tool_calls"])
def test_level_or_streak_that_blew_stays_blown_whatever_the_other_counts_from(meter: str) -> None:
    mine, theirs = fuse("blown", meter=meter, baseline=0), fuse("intact", meter=meter, baseline=9, value=9)
    assert (join(mine, theirs).state, join(mine, theirs).baseline) == ("blown", 0)
    assert (join(theirs, mine).state, join(theirs, mine).baseline) == ("blown", 9)


def test_of_two_that_blew_the_first_tells_when_and_why() -> None:
    first, second = fuse("blown", value=11), fuse("blown", value=14, at_ms=NOW + 30, on_blow="wrap_up")
    joined = join(second, first)
    assert joined == join(first, second) and (joined.at_ms, joined.value, joined.on_blow) == (NOW, 14, "refuse")


def test_last_requests_of_both_are_remembered_up_to_a_bound() -> None:
    mine, theirs = fuse("blown", wrapped_up=("a", "b")), fuse("blown", wrapped_up=("b", "c"))
    assert join(mine, theirs).wrapped_up == join(theirs, mine).wrapped_up == ("a", "b", "c")
    many = fuse("blown", wrapped_up=tuple(f"{number:05}" for number in range(WRAP_UPS_MAX)))
    assert len(join(many, theirs).wrapped_up) == WRAP_UPS_MAX


def test_two_replacements_at_once_come_to_the_later() -> None:
    later = msgspec.structs.replace(REPLACED, at_ms=NOW + 6, replaced_by="bob")
    assert join(REPLACED, later) == join(later, REPLACED)
    assert join(REPLACED, later).replaced_by == "bob" and is_news(REPLACED, later)


def records() -> st.SearchStrategy[FuseRecord]:
    """Anything that a gateway may hold: a blown fuse has passed its limit, any other has not."""
    blown = st.builds(
        lambda over, base, at, generation: fuse(
            "blown", value=base + 10 + over, baseline=base, at_ms=NOW + at, replacements=generation
        ),
        st.integers(1, 20),
        st.integers(0, 30),
        st.integers(0, 5),
        st.integers(0, 2),
    )
    whole = st.builds(
        lambda state, under, base, at, generation: fuse(
            state, value=base + under, baseline=base, at_ms=NOW + at, replacements=generation
        ),
        st.sampled_from(["intact", "warned"]),
        st.integers(0, 10),
        st.integers(0, 30),
        st.integers(0, 5),
        st.integers(0, 2),
    )
    return st.one_of(blown, whole)


@settings(max_examples=300, deadline=None)
@given(st.lists(records(), min_size=2, max_size=4))
def test_gateways_agree_whatever_they_hear_first_and_however_often(heard: list[FuseRecord]) -> None:
    settled: set[tuple[int, int, bool]] = set()
    for order in permutations(heard):
        known = order[0]
        for record in (*order[1:], *order, *order):
            joined = join(known, record)
            assert joined.replacements >= max(known.replacements, record.replacements)
            known = joined
        settled.add((known.replacements, known.baseline, known.state == "blown"))
    assert len(settled) == 1


@settings(max_examples=200, deadline=None)
@given(records(), records())
def test_what_both_know_is_no_news_to_who_knows_it(one: FuseRecord, other: FuseRecord) -> None:
    joined = join(one, other)
    for known in (one, other):
        assert not is_news(joined, join(joined, known))


@pytest.mark.parametrize(("one", "other"), list(product(["intact", "warned", "blown"], repeat=2)))
def test_fuse_is_blown_for_all_once_it_is_for_one(one: State, other: State) -> None:
    values = {"intact": 2, "warned": 9, "blown": 11}
    joined = join(fuse(one, value=values[one]), fuse(other, value=values[other]))
    assert (joined.state == "blown") == ("blown" in (one, other))
