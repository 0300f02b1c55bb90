"""Fuses of a running gateway, and of several on one store."""

import json
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.agents.lineage import AgentNode, SessionNode
from gateway.core.fuses.fuse import METERS, USED_METERS, FuseLimits, FuseUnknown, OnBlow, Rating, Scope
from gateway.core.fuses.loops import Streaks
from gateway.errors import Reason, Refused
from gateway.ports import SharedRecord
from tests.gateway.core.fuses.histories import said, seen, turn
from tests.gateway.fusebench import QUIET, Gateway, Shelf
from tests.support.clock import FakeClock

EVERY_FUSE: list[tuple[Scope, str]] = [(scope, meter) for scope in get_args(Scope) for meter in METERS[scope]]
LIMIT = 10


def gateway(scope: Scope, meter: str, rating: Rating | int = LIMIT, shelf: Shelf | None = None) -> Gateway:
    return Gateway(FuseLimits(**{scope: {meter: rating}}), shelf)


def requests(on_blow: OnBlow, scope: Scope = "session") -> Gateway:
    """A gateway whose session has made one request more than it may."""
    found = gateway(scope, "requests", Rating(LIMIT, on_blow=on_blow))
    found.count(scope, "requests", LIMIT + 1)
    return found


def passing(meter: str) -> int:
    """The first value that blows the fuse."""
    return LIMIT if meter in USED_METERS else LIMIT + 1


@pytest.mark.parametrize(("scope", "meter"), EVERY_FUSE)
def test_every_fuse_blows_past_its_limit_and_not_before(scope: Scope, meter: str) -> None:
    bench = gateway(scope, meter)
    assert bench.board.stand(bench.agent, bench.count(scope, meter, passing(meter) - 1)) is None
    blown = bench.board.stand(bench.agent, bench.count(scope, meter, passing(meter)))
    assert blown is not None and (blown.record.scope, blown.record.meter) == (scope, meter)
    assert (blown.on_blow, blown.last_chance, bench.heard.blown) == ("refuse", False, [(scope, meter)])
    assert blown.record.id in blown.message and bench.shelf.fuses()[-1] == blown.record == bench.heard.fuses[-1]


@pytest.mark.parametrize(("scope", "meter"), EVERY_FUSE)
def test_every_fuse_lets_pass_again_once_it_is_replaced_and_blows_again(scope: Scope, meter: str) -> None:
    bench = gateway(scope, meter)
    blown = bench.board.stand(bench.agent, bench.count(scope, meter, passing(meter)))
    assert blown is not None
    assert bench.board.stand(bench.agent, QUIET) is not None, "it stays blown"
    bench.board.replace(blown.record.id, by="olga", reason="reviewed")
    assert bench.board.stand(bench.agent, bench.count(scope, meter, passing(meter))) is None
    assert bench.heard.fuses[-1].replaced_by == "olga" == bench.shelf.fuses()[-1].replaced_by
    again = bench.board.stand(bench.agent, bench.count(scope, meter, 3 * LIMIT))
    assert again is not None and again.record.replacements == 1


@pytest.mark.parametrize(("scope", "meter"), EVERY_FUSE)
def test_every_fuse_is_blown_on_another_gateway_and_after_a_restart(scope: Scope, meter: str) -> None:
    bench = gateway(scope, meter)
    bench.board.stand(bench.agent, bench.count(scope, meter, passing(meter)))
    other, restarted = gateway(scope, meter, shelf=bench.shelf), gateway(scope, meter)
    other.learn()
    restarted.board.restore(bench.shelf.rows)
    for each in (other, restarted):
        assert each.board.stand(each.agent, QUIET) is not None
        assert each.heard.blown == [], "it blew once"


def test_only_the_holders_agents_are_stopped() -> None:
    bench = gateway("run", "requests")
    bench.count("run", "requests", LIMIT + 1)
    assert bench.board.stand(bench.agent, QUIET) is not None
    assert bench.board.stand(bench.main, QUIET) is None


def test_user_fuse_stops_every_session_of_the_user() -> None:
    bench = gateway("user", "sessions_per_hour", 1)
    second = bench.add("main", SessionNode("s2", "laptop", "alice", "", inferred=False))
    blown = bench.board.stand(second, QUIET)
    assert blown is not None and (blown.record.holder, blown.record.value) == ("alice", 2)
    assert bench.board.stand(bench.main, QUIET) is not None


def test_strictest_of_several_blown_fuses_counts() -> None:
    limits = FuseLimits(
        agent={"requests": Rating(1, on_blow="wrap_up")},
        session={"requests": Rating(1, on_blow="end_turn")},
        user={"active_agents": Rating(1, on_blow="refuse")},
    )
    bench = Gateway(limits)
    bench.count("agent", "requests", 2)
    first = bench.board.stand(bench.agent, QUIET)
    assert first is not None and (first.on_blow, first.last_chance) == ("wrap_up", True)
    bench.count("session", "requests", 2)
    second = bench.board.stand(bench.agent, QUIET)
    assert second is not None and (second.on_blow, second.last_chance) == ("end_turn", False)
    bench.count("user", "active_agents", 2)
    third = bench.board.stand(bench.agent, QUIET)
    assert third is not None and third.on_blow == "refuse"


def test_last_chance_is_given_once_to_each_agent_that_was_at_work() -> None:
    bench = requests("wrap_up")
    chances = [bench.board.stand(node, QUIET) for node in (bench.agent, bench.agent, bench.main, bench.main)]
    assert [each.last_chance for each in chances if each is not None] == [True, False, True, False]


def test_tool_call_takes_no_last_chance() -> None:
    bench = requests("wrap_up")
    assert bench.board.check(bench.agent, QUIET) is not None
    chance = bench.board.stand(bench.agent, QUIET)
    assert chance is not None and chance.last_chance


def test_side_request_takes_no_last_chance() -> None:
    bench = requests("wrap_up")
    side, own = bench.board.stand(bench.agent, None), bench.board.stand(bench.agent, QUIET)
    assert side is not None and own is not None and (side.last_chance, own.last_chance) == (False, True)


def test_agent_that_had_no_token_or_came_later_gets_no_last_chance() -> None:
    bench = requests("wrap_up")
    bench.agent.first_token = False
    bench.board.check(bench.main, QUIET)
    bench.clock.advance(1)
    late = bench.add("a2", bench.main.session)
    for node in (bench.agent, late):
        blown = bench.board.stand(node, QUIET)
        assert blown is not None and not blown.last_chance


def test_last_chance_that_was_taken_is_taken_on_every_gateway_and_after_a_restart() -> None:
    bench = requests("wrap_up")
    bench.board.stand(bench.agent, QUIET)
    rows = bench.shelf.rows[-1:]
    for other in (gateway("session", "requests"), gateway("session", "requests")):
        other.board.learn(rows)
        other.board.restore(rows)
        blown = other.board.stand(other.agent, QUIET)
        assert blown is not None and not blown.last_chance
        chance = other.board.stand(other.main, QUIET)
        assert chance is not None and chance.last_chance


def test_replacement_gives_a_new_last_chance() -> None:
    bench = requests("wrap_up")
    blown = bench.board.stand(bench.agent, QUIET)
    assert blown is not None
    bench.board.replace(blown.record.id, by="olga", reason="go on")
    bench.count("session", "requests", 3 * LIMIT)
    again = bench.board.stand(bench.agent, QUIET)
    assert again is not None and again.last_chance


@pytest.mark.parametrize("on_blow", get_args(OnBlow))
@pytest.mark.parametrize("scope", ["agent", "session", "run"])
def test_no_agent_gets_its_first_token_once_a_fuse_is_blown(scope: Scope, on_blow: OnBlow) -> None:
    bench = requests(on_blow, scope)
    bench.agent.first_token = False
    with pytest.raises(Refused, match="fuses replace") as refused:
        bench.board.require_first_token(bench.agent)
    assert refused.value.reason is Reason.FUSE_BLOWN
    bench.agent.first_token = True
    bench.board.require_first_token(bench.agent)


def test_agents_in_flight_get_no_first_token_when_the_next_one_blows_the_fuse() -> None:
    bench = gateway("session", "agents", 5)
    flying = [bench.agent, *(bench.add(f"b{number}", bench.main.session) for number in range(4))]
    for node in flying:
        node.first_token = False
        assert bench.board.stand(node, QUIET) is None
    assert bench.board.stand(bench.add("c", bench.main.session), QUIET) is not None
    for node in flying:
        with pytest.raises(Refused):
            bench.board.require_first_token(node)


def told(bench: Gateway, node: AgentNode, streaks: Streaks | None = QUIET) -> list[str]:
    bench.board.stand(node, streaks)
    return bench.board.notices(node, streaks)


def test_agents_are_told_the_same_words_as_long_as_a_fuse_is_near_its_limit() -> None:
    bench = gateway("session", "cost", 100_000_000_000)
    bench.count("session", "cost", 79_000_000_000)
    assert told(bench, bench.agent) == []
    bench.count("session", "cost", 81_000_000_000)
    words = told(bench, bench.agent)
    assert len(words) == 1 and "80 % of the $100.00" in words[0] and "finish up" in words[0]
    bench.count("session", "cost", 95_000_000_000)
    assert told(bench, bench.agent) == told(bench, bench.main) == words


def test_loop_is_told_of_only_while_it_lasts() -> None:
    bench = gateway("agent", "identical_tool_calls")
    assert len(told(bench, bench.agent, Streaks(8, 0))) == 1
    assert told(bench, bench.agent, Streaks(1, 0)) == told(bench, bench.agent, None) == []


def test_blown_fuse_is_no_notice() -> None:
    bench = requests("refuse")
    assert told(bench, bench.agent) == []


def test_loop_is_recorded_and_refused_with_its_evidence() -> None:
    bench = gateway("agent", "identical_tool_calls", 2)
    history = [said("go"), *turn("Bash", {"command": "ls"}, "a") * 3]
    blown = bench.board.stand(bench.agent, seen(history))
    assert blown is not None and blown.record.evidence is not None
    assert 'Bash {"command":"ls"}' in blown.message and 'Bash {"command":"ls"}' in blown.why
    assert bench.heard.fuses[-1].evidence == blown.record.evidence == bench.shelf.fuses()[-1].evidence
    assert (blown.record.evidence.times, blown.record.evidence.messages) == (3, (6, 2))


def test_texts_for_the_model_and_for_people_name_the_fuse_each_in_its_way() -> None:
    bench = requests("end_turn")
    blown = bench.board.stand(bench.agent, QUIET)
    assert blown is not None and "ringfence" not in blown.why and blown.why in blown.closing
    assert f"fuses replace {blown.record.id}" in blown.message and blown.record.id in blown.closing


def test_fuse_nobody_knows_cannot_be_replaced() -> None:
    bench = gateway("agent", "requests")
    with pytest.raises(FuseUnknown, match="fuses list"):
        bench.board.replace("fuse_none", by="olga", reason="why")


def test_records_of_other_kinds_and_removed_ones_are_left_alone() -> None:
    bench = gateway("agent", "requests")
    bench.board.learn([SharedRecord("script", "x", b"{}"), SharedRecord("fuse", "y", None)])
    assert bench.board.box.records() == []


def test_record_of_an_earlier_version_is_read() -> None:
    bench = gateway("session", "requests")
    old = {"id": "fuse_1", "scope": "session", "holder": "s", "meter": "requests", "state": "blown"}
    row = json.dumps({**old, "limit": 10, "value": 11, "at_ms": 1, "baseline": 0}).encode()
    bench.board.restore([SharedRecord("fuse", "fuse_1", row)])
    blown = bench.board.stand(bench.agent, QUIET)
    assert blown is not None and (blown.on_blow, blown.record.replacements) == ("refuse", 0)


def test_replaced_on_one_gateway_is_replaced_on_all_and_nobody_blows_from_old_counts() -> None:
    here = gateway("session", "requests")
    there = gateway("session", "requests", shelf=here.shelf)
    here.count("session", "requests", LIMIT + 1)
    blown = here.board.stand(here.agent, QUIET)
    there.learn()
    there.count("session", "requests", LIMIT + 50)
    assert blown is not None and there.board.stand(there.agent, QUIET) is not None
    here.board.replace(blown.record.id, by="olga", reason="reviewed")
    there.learn()
    assert there.board.stand(there.agent, QUIET) is None, "what it refused meanwhile does not count"
    here.learn()
    here.count("session", "requests", LIMIT + 51)
    assert here.board.stand(here.agent, QUIET) is None, "nor does it where the fuse was replaced"


def test_replacement_counts_from_what_the_session_stands_at_though_nothing_was_checked_since() -> None:
    bench = gateway("session", "requests")
    bench.count("session", "requests", LIMIT + 1)
    blown = bench.board.stand(bench.agent, QUIET)
    assert blown is not None
    bench.count("session", "requests", 5 * LIMIT)
    bench.board.replace(blown.record.id, by="olga", reason="reviewed")
    bench.count("session", "requests", 5 * LIMIT + 9)
    assert bench.board.stand(bench.agent, QUIET) is None


def test_late_word_of_a_warning_neither_mends_the_fuse_nor_is_left_in_the_store() -> None:
    here = gateway("session", "requests")
    there = gateway("session", "requests", shelf=here.shelf)
    here.count("session", "requests", LIMIT + 1)
    here.board.stand(here.agent, QUIET)
    there.count("session", "requests", LIMIT - 1)
    there.board.stand(there.agent, QUIET)
    here.learn()
    assert here.board.stand(here.agent, QUIET) is not None
    assert here.shelf.fuses()[-1].state == "blown"


class Replicas(RuleBasedStateMachine):
    """Two gateways count one session, hear late of what the other counted and wrote, and a person replaces its fuse."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf, self.clock = Shelf(), FakeClock()
        self.gateways = [self.opened(), self.opened()]
        self.counted = [0, 0]
        self.fresh = 0
        self.replacements = 0

    def opened(self) -> Gateway:
        return Gateway(FuseLimits(session={"requests": LIMIT}), self.shelf, self.clock)

    def record_on(self, index: int) -> tuple[int, int, bool]:
        records = self.gateways[index].board.box.records()
        return (records[0].replacements, records[0].baseline, records[0].state == "blown") if records else (0, 0, False)

    @rule(index=st.integers(0, 1), times=st.integers(1, 5))
    def ask(self, index: int, times: int) -> None:
        bench = self.gateways[index]
        self.clock.advance(1)
        for _ in range(times):
            self.counted[index] += 1
            bench.main.session.used.requests += 1
            self.fresh += self.record_on(index)[0] == self.replacements
            bench.board.stand(bench.main, QUIET)

    @rule(index=st.integers(0, 1))
    def hear_counts(self, index: int) -> None:
        self.gateways[index].main.session.elsewhere.requests = self.counted[1 - index]

    @rule(index=st.integers(0, 1))
    def hear_records(self, index: int) -> None:
        self.gateways[index].learn()

    @precondition(lambda self: any(self.record_on(index)[2] for index in (0, 1)))
    @rule()
    def replace(self) -> None:
        """A person takes longer than the second in which gateways hear of each other."""
        self.settle()
        blown = [index for index in (0, 1) if self.record_on(index)[2]]
        if blown:
            board = self.gateways[blown[-1]].board
            board.replace(board.box.records()[0].id, by="olga", reason="go on")
            self.replacements += 1
            self.fresh = 0

    @rule(index=st.integers(0, 1))
    def restart(self, index: int) -> None:
        self.settle()
        rows = list({row.id: row for row in self.shelf.rows}.values())
        fresh = self.opened()
        fresh.board.restore(rows)
        fresh.read = len(self.shelf.rows)
        fresh.main.session.used.requests = self.counted[index]
        self.gateways[index] = fresh
        self.hear_counts(index)

    @rule()
    def settle(self) -> None:
        while any(bench.learn() for bench in self.gateways):
            pass
        for index in (0, 1):
            self.hear_counts(index)
        assert self.record_on(0) == self.record_on(1), "they agree"
        assert self.record_on(0)[0] == self.replacements, "no replacement is lost"
        assert not self.record_on(0)[2] or self.fresh >= LIMIT, "nothing blows from old counts"
        if not self.replacements and sum(self.counted) > LIMIT and any(self.counted):
            assert any(bench.board.stand(bench.main, QUIET) for bench in self.gateways), "what is over is blown"

    @invariant()
    def nothing_is_mended_without_a_person(self) -> None:
        for index in (0, 1):
            replaced, _, blown = self.record_on(index)
            assert replaced <= self.replacements
            own = self.counted[index] > LIMIT and replaced == 0
            assert blown or not own or self.replacements


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
