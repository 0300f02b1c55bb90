"""Fuses: where each meter blows, what a replacement does, and a machine with the rules as sentences."""

from itertools import product
from typing import get_args

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.fuses import fuse
from gateway.core.fuses.evidence import Evidence
from gateway.core.fuses.fuse import (
    LEVEL_METERS,
    METERS,
    STREAK_METERS,
    TRANSITIONS,
    USED_METERS,
    Event,
    FuseBox,
    FuseLimits,
    FuseNotBlown,
    FuseRecord,
    FuseUnknown,
    Rating,
    State,
    message,
)

NOW = 1_795_356_000_000
USD = 1_000_000_000


def box(**agent: int) -> FuseBox:
    return FuseBox(FuseLimits(agent=agent, session={"agents": 3, "depth": 4}))


def state_of(fuses: FuseBox, meter: str) -> str:
    return next((record.state for record in fuses.records() if record.meter == meter), "intact")


def blown(fuses: FuseBox) -> FuseRecord:
    record = fuses.blown("agent", "s/a")
    assert record is not None
    return record


def test_table_holds_only_the_legal_transitions() -> None:
    illegal = set(product(get_args(State), get_args(Event))) - TRANSITIONS.keys()
    assert illegal == {("blown", "neared"), ("blown", "passed"), ("intact", "replaced"), ("warned", "replaced")}
    assert "blown" not in {TRANSITIONS[key] for key in TRANSITIONS if key[1] != "passed"}


@pytest.mark.parametrize("meter", ["requests", "tool_calls", "identical_tool_calls", "consecutive_errors", "depth"])
def test_count_at_the_limit_passes_and_one_more_blows(meter: str) -> None:
    fuses = box(**{meter: 300})
    fuses.check("agent", "s/a", {meter: 300}, NOW)
    assert fuses.blown("agent", "s/a") is None
    changed = fuses.check("agent", "s/a", {meter: 301}, NOW + 1)
    assert [(record.meter, record.state, record.value, record.at_ms) for record in changed] == [
        (meter, "blown", 301, NOW + 1)
    ]


@pytest.mark.parametrize("meter", sorted(USED_METERS))
def test_amount_used_blows_at_the_limit(meter: str) -> None:
    fuses = box(**{meter: 5 * USD})
    fuses.check("agent", "s/a", {meter: 5 * USD - 1}, NOW)
    assert fuses.blown("agent", "s/a") is None
    fuses.check("agent", "s/a", {meter: 5 * USD}, NOW)
    assert blown(fuses).meter == meter


def test_fuse_warns_once_at_four_fifths() -> None:
    fuses = box(requests=10)
    assert fuses.check("agent", "s/a", {"requests": 7}, NOW) == []
    assert [record.state for record in fuses.check("agent", "s/a", {"requests": 8}, NOW)] == ["warned"]
    assert fuses.check("agent", "s/a", {"requests": 9}, NOW) == []


def test_blown_fuse_stays_blown_whatever_the_meter_says() -> None:
    fuses = box(requests=10)
    fuses.check("agent", "s/a", {"requests": 11}, NOW)
    assert fuses.check("agent", "s/a", {"requests": 0}, NOW + 1) == []
    assert blown(fuses).at_ms == NOW


def test_fuse_of_one_holder_leaves_the_others_alone() -> None:
    fuses = box(requests=10)
    fuses.check("agent", "s/a", {"requests": 11}, NOW)
    assert fuses.blown("agent", "s/b") is None
    assert fuses.blown("session", "s/a") is None


def test_meters_without_a_limit_and_limits_without_a_meter_do_nothing() -> None:
    fuses = box(requests=10)
    assert fuses.check("agent", "s/a", {"output_tokens": 10**12}, NOW) == []
    assert fuses.check("run", "r", {"requests": 10**12}, NOW) == []


def test_limit_of_zero_lets_nothing_pass() -> None:
    fuses = box(requests=0, cost=0)
    assert {record.meter for record in fuses.check("agent", "s/a", {"requests": 1, "cost": 0}, NOW)} == {
        "requests",
        "cost",
    }


def test_replaced_fuse_counts_again_from_where_it_stood() -> None:
    fuses = box(requests=10)
    fuses.check("agent", "s/a", {"requests": 11}, NOW)
    replaced = fuses.replace(blown(fuses).id, "alice", "checked the loop", NOW + 5)
    assert (replaced.state, replaced.replaced_by, replaced.at_ms) == ("intact", "alice", NOW + 5)
    fuses.check("agent", "s/a", {"requests": 20}, NOW + 6)
    assert fuses.blown("agent", "s/a") is None
    fuses.check("agent", "s/a", {"requests": 21}, NOW + 7)
    assert blown(fuses).value == 21


def test_replaced_cost_fuse_counts_what_was_spent_while_it_was_blown() -> None:
    fuses = box(cost=5 * USD)
    fuses.check("agent", "s/a", {"cost": 5 * USD}, NOW)
    fuses.check("agent", "s/a", {"cost": 6 * USD}, NOW)
    assert fuses.replace(blown(fuses).id, "alice", "go on", NOW).baseline == 6 * USD
    fuses.check("agent", "s/a", {"cost": 11 * USD - 1}, NOW)
    assert fuses.blown("agent", "s/a") is None
    fuses.check("agent", "s/a", {"cost": 11 * USD}, NOW)
    assert fuses.blown("agent", "s/a") is not None


@pytest.mark.parametrize("meter", sorted(STREAK_METERS))
def test_new_streak_after_a_replacement_counts_from_zero(meter: str) -> None:
    fuses = box(**{meter: 10})
    fuses.check("agent", "s/a", {meter: 11}, NOW)
    fuses.replace(blown(fuses).id, "alice", "go on", NOW)
    fuses.check("agent", "s/a", {meter: 1}, NOW)
    fuses.check("agent", "s/a", {meter: 11}, NOW)
    assert fuses.blown("agent", "s/a") is not None


@pytest.mark.parametrize(
    ("by", "reason"), [("", "why"), ("  ", "why"), ("alice", ""), ("alice", " "), ("alice", "x" * 501)]
)
def test_replacement_needs_a_name_and_a_reason(by: str, reason: str) -> None:
    fuses = box(requests=0)
    fuses.check("agent", "s/a", {"requests": 1}, NOW)
    with pytest.raises(ValueError):
        fuses.replace(blown(fuses).id, by, reason, NOW)
    assert fuses.blown("agent", "s/a") is not None


def test_only_a_known_and_blown_fuse_can_be_replaced() -> None:
    fuses = box(requests=10)
    fuses.check("agent", "s/a", {"requests": 9}, NOW)
    with pytest.raises(FuseUnknown):
        fuses.replace("fuse_none", "alice", "why", NOW)
    with pytest.raises(FuseNotBlown, match="warned"):
        fuses.replace(fuses.records()[0].id, "alice", "why", NOW)


def test_message_names_the_fuse_its_limit_and_how_to_replace_it() -> None:
    fuses = box(cost=5 * USD)
    fuses.check("agent", "s/a", {"cost": 5 * USD + USD // 4}, NOW)
    text = message(blown(fuses))
    for part in (blown(fuses).id, "agent s/a", "cost", "$5.25", "$5.00", "ringfence fuses replace"):
        assert part in text
    assert "\n" not in text


def test_restored_fuses_are_as_they_were() -> None:
    before, after = box(requests=10), box(requests=10)
    before.check("agent", "s/a", {"requests": 11}, NOW)
    before.check("agent", "s/b", {"requests": 9}, NOW)
    after.restore(before.records())
    assert after.records() == before.records()
    assert blown(after).id == blown(before).id


def test_ids_are_stable_and_differ_by_scope_holder_and_meter() -> None:
    ids = {fuse.fuse_id(scope, holder, meter) for scope in ("agent", "run") for holder in "ab" for meter in "xy"}
    assert len(ids) == 8
    assert fuse.fuse_id("agent", "a", "x") in ids


def test_memory_is_bounded_and_blown_fuses_are_never_forgotten() -> None:
    fuses = box(requests=10)
    fuses.check("agent", "s/blown", {"requests": 11}, NOW)
    for index in range(fuse.RECORDS_MAX + 5):
        fuses.check("agent", f"s/{index}", {"requests": 9}, NOW)
    assert len(fuses.records()) == fuse.RECORDS_MAX
    assert fuses.blown("agent", "s/blown") is not None


def test_fuse_warns_where_its_rating_says() -> None:
    fuses = FuseBox(FuseLimits(agent={"requests": Rating(10, warn_percent=50)}))
    assert fuses.check("agent", "s/a", {"requests": 4}, NOW) == []
    (warned,) = fuses.check("agent", "s/a", {"requests": 5}, NOW)
    assert warned.state == "warned"
    assert list(fuses.near("agent", "s/a", {"requests": 9})) == [(warned, 50)]
    assert list(fuses.near("session", "s/a", {"requests": 9})) == []


def test_loop_that_has_ended_is_near_no_limit_any_more() -> None:
    fuses = box(identical_tool_calls=10)
    (warned,) = fuses.check("agent", "s/a", {"identical_tool_calls": 8}, NOW)
    assert list(fuses.near("agent", "s/a", {"identical_tool_calls": 9})) == [(warned, 80)]
    assert list(fuses.near("agent", "s/a", {"identical_tool_calls": 1})) == []
    assert list(fuses.near("agent", "s/a", {})) == []


def test_blown_fuse_carries_what_it_does_and_the_strictest_counts() -> None:
    ratings = {
        "requests": Rating(1, on_blow="wrap_up"),
        "tool_calls": Rating(1, on_blow="end_turn"),
        "denials": Rating(1),
    }
    fuses = FuseBox(FuseLimits(agent=ratings))
    for meter, on_blow in (("requests", "wrap_up"), ("tool_calls", "end_turn"), ("denials", "refuse")):
        fuses.check("agent", "s/a", {meter: 2}, NOW)
        assert blown(fuses).on_blow == on_blow


def test_holder_without_a_fuse_needs_no_meters() -> None:
    fuses = box()
    assert fuses.guards("session", "s") and not fuses.guards("agent", "s/a") and not fuses.guards("user", "alice")
    fuses.restore([FuseRecord("fuse_1", "user", "alice", "active_agents", "blown", 1, 2, NOW)])
    assert fuses.guards("user", "alice") and not fuses.guards("user", "bob")


@pytest.mark.parametrize("meter", sorted(LEVEL_METERS))
def test_level_that_falls_after_a_replacement_counts_from_where_it_fell_to(meter: str) -> None:
    fuses = box(**{meter: 10})
    fuses.check("agent", "s/a", {meter: 31}, NOW)
    fuses.replace(blown(fuses).id, "alice", "go on", NOW)
    fuses.check("agent", "s/a", {meter: 40}, NOW)
    assert fuses.blown("agent", "s/a") is None
    fuses.check("agent", "s/a", {meter: 2}, NOW)
    fuses.check("agent", "s/a", {meter: 13}, NOW)
    assert blown(fuses).value == 13


def test_sum_never_counts_from_lower_than_it_stood() -> None:
    fuses = box(requests=10)
    fuses.check("agent", "s/a", {"requests": 31}, NOW)
    fuses.replace(blown(fuses).id, "alice", "go on", NOW)
    fuses.check("agent", "s/a", {"requests": 2}, NOW)
    fuses.check("agent", "s/a", {"requests": 40}, NOW)
    assert fuses.blown("agent", "s/a") is None


def test_replacement_counts_from_what_the_meter_stands_at_and_gives_new_last_chances() -> None:
    fuses = box(requests=10)
    (record,) = fuses.check("agent", "s/a", {"requests": 11}, NOW)
    fuses.keep(msgspec.structs.replace(record, wrapped_up=("x",)))
    replaced = fuses.replace(record.id, "alice", "go on", NOW, value=50)
    assert (replaced.baseline, replaced.replacements, replaced.wrapped_up) == (49, 1, ())


def test_record_is_found_by_its_id_only_once_it_has_left_its_first_state() -> None:
    fuses = box(requests=10)
    id = fuse.fuse_id("agent", "s/a", "requests")
    with pytest.raises(FuseUnknown, match="fuses list"):
        fuses.record(id)
    fuses.check("agent", "s/a", {"requests": 9}, NOW)
    assert fuses.record(id).state == "warned"


def test_message_says_what_repeats() -> None:
    evidence = Evidence(('Bash {"command":"ls"}',), ('"a"',), 11, (22, 2))
    record = FuseRecord("fuse_1", "agent", "s/a", "identical_tool_calls", "blown", 10, 11, NOW, evidence=evidence)
    assert 'came to 11 (Bash {"command":"ls"}), its limit is 10' in message(record)


def test_loops_only_an_agent_has_and_a_user_has_no_sums() -> None:
    assert set(METERS) == set(get_args(fuse.Scope))
    assert not {*STREAK_METERS, "context_growth"} & {*METERS["session"], *METERS["run"], *METERS["user"]}
    assert USED_METERS | LEVEL_METERS | set(STREAK_METERS) <= {meter for each in METERS.values() for meter in each}


LIMIT = 6
COUNTED: tuple[str, ...] = ("requests", "cost", "consecutive_errors")


def test_reading_shows_every_fuse_of_a_holder_and_steps_none() -> None:
    fuses = box(requests=10, cost=5 * USD, identical_tool_calls=4)
    readings = fuses.readings("agent", "s/a", {"requests": 12, "depth": 3})
    shown = {each.meter: (each.state, each.value, each.limit) for each in readings}
    assert shown == {
        "requests": ("intact", 12, 10),
        "cost": ("intact", 0, 5 * USD),
        "identical_tool_calls": ("intact", None, 4),
    }
    assert fuses.records() == [] and fuses.readings("run", "r", {"requests": 1}) == []


def test_reading_counts_from_the_replacement_and_keeps_what_a_blown_one_came_to() -> None:
    fuses = box(active_agents=2)
    (blown,) = fuses.check("agent", "s/a", {"active_agents": 5}, NOW)
    (reading,) = fuses.readings("agent", "s/a", {"active_agents": 1})
    assert (reading.id, reading.state, reading.value) == (blown.id, "blown", 5)
    fuses.replace(blown.id, "alice", "meant", NOW)
    (reading,) = fuses.readings("agent", "s/a", {"active_agents": 6})
    assert (reading.state, reading.value) == ("intact", 2)


def test_reading_shows_a_blown_fuse_whose_limit_is_gone() -> None:
    before, after = box(requests=1), box(cost=USD)
    before.check("agent", "s/a", {"requests": 2}, NOW)
    after.restore(before.records())
    assert [(each.meter, each.state) for each in after.readings("agent", "s/a", {})] == [
        ("cost", "intact"),
        ("requests", "blown"),
    ]


class Fuses(RuleBasedStateMachine):
    """Meters that rise, streaks that break, replacements and restarts, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.limits = FuseLimits(agent=dict.fromkeys(COUNTED, LIMIT))
        self.fuses = FuseBox(self.limits)
        self.meters: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self.now = NOW
        self.since_replaced: dict[str, int] = dict.fromkeys(COUNTED, 0)
        self.blown: set[str] = set()

    def check(self) -> None:
        self.now += 1
        for changed in self.fuses.check("agent", "s/a", self.meters, self.now):
            assert changed.meter not in self.blown, "a blown fuse changed without being replaced"
            if changed.state == "blown":
                self.blown.add(changed.meter)

    @rule(meter=st.sampled_from(COUNTED), amount=st.integers(1, 9))
    def use(self, meter: str, amount: int) -> None:
        self.meters[meter] += amount
        self.since_replaced[meter] += amount
        self.check()

    @rule()
    def break_streak(self) -> None:
        self.meters["consecutive_errors"] = self.since_replaced["consecutive_errors"] = 0
        self.check()

    @precondition(lambda self: self.blown)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        meter = data.draw(st.sampled_from(sorted(self.blown)))
        record = next(each for each in self.fuses.records() if each.meter == meter)
        baseline = self.fuses.replace(record.id, "alice", "go on", self.now).baseline
        self.blown.discard(meter)
        self.since_replaced[meter] = max(0, self.meters[meter] - baseline)

    @rule()
    def restart(self) -> None:
        records = self.fuses.records()
        self.fuses = FuseBox(self.limits)
        self.fuses.restore(records)

    @invariant()
    def a_fuse_is_blown_until_it_is_replaced(self) -> None:
        assert {meter for meter in COUNTED if state_of(self.fuses, meter) == "blown"} == self.blown
        assert (self.fuses.blown("agent", "s/a") is not None) == bool(self.blown)

    @invariant()
    def an_intact_fuse_has_not_passed_its_limit(self) -> None:
        for meter in COUNTED:
            if meter not in self.blown and meter not in STREAK_METERS:
                used = self.since_replaced[meter]
                assert used < LIMIT if meter in USED_METERS else used <= LIMIT


TestFuseMachine = Fuses.TestCase
TestFuseMachine.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
