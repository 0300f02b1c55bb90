"""What several gateways counted of one agent, added up and told apart."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.agents.lineage import AgentRecord
from gateway.stores.agents import COUNTED, LEARNT, MARKS, NOTHING, SEEDED_SESSIONS_MAX, Seeds, counts_of, less, together
from tests.support.agents import NOW, agent_record

AS_SEEN_LAST = {
    *("session", "agent", "credential", "user", "client", "inferred", "depth", "last_seen_ms", "active"),
    *("parent_inferred", "unasked", "workflow", "run_inferred", "prompt_tokens", "prompt_tokens_base"),
}


def test_every_field_of_a_record_is_put_together_in_a_way_that_was_chosen() -> None:
    chosen = AS_SEEN_LAST | {"first_seen_ms", "resumes"} | {*COUNTED, *MARKS, *LEARNT}
    assert set(AgentRecord.__struct_fields__) == chosen


def test_records_of_one_agent_are_added_up_and_the_last_says_the_rest() -> None:
    early = agent_record(
        "a", requests=2, stream_ms=5, agent_type="Explore", model="haiku", first_token=True, active=True, resumes=3
    )
    late = agent_record(
        "a", requests=3, model="opus", first_token=False, first_seen_ms=NOW + 4, last_seen_ms=NOW + 9, resumes=1
    )
    for records in ([early, late], [late, early]):
        both = together(records)
        assert (both.requests, both.stream_ms, both.resumes) == (5, 5, 3)
        assert (both.first_seen_ms, both.last_seen_ms) == (NOW, NOW + 9)
        assert (both.agent_type, both.model, both.first_token, both.active) == ("Explore", "opus", True, False)


counts = st.lists(st.integers(0, 2**62), min_size=len(COUNTED), max_size=len(COUNTED))


@given(counts, counts)
def test_what_is_taken_off_is_what_was_added_and_nothing_falls_below_zero(one: list[int], other: list[int]) -> None:
    mine, theirs = (agent_record("a", **dict(zip(COUNTED, each, strict=True))) for each in (one, other))
    assert less(together([mine, theirs]), counts_of(theirs)) == mine
    assert all(
        count == max(0, a - b) for count, a, b in zip(counts_of(less(mine, tuple(other))), one, other, strict=True)
    )


def test_seeds_of_sessions_that_were_not_touched_for_longest_are_forgotten() -> None:
    seeds, some = Seeds(), (1,) * len(COUNTED)
    for number in range(SEEDED_SESSIONS_MAX):
        seeds.plant(f"s{number}", "a", some)
    assert seeds.of("s0", "a") == some
    seeds.plant("new", "a", some)
    assert (seeds.of("s0", "a"), seeds.of("s1", "a"), seeds.of("s0", "b")) == (some, NOTHING, NOTHING)
    seeds.plant("s0", "a", NOTHING)
    assert seeds.of("s0", "a") == NOTHING
