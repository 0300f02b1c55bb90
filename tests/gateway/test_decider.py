"""Questions to the policy engine."""

from dataclasses import dataclass, field, replace

from gateway.core.decisions.decision import Decision, Obligation, Query, Spawn
from gateway.decider import utc_time
from tests.gateway.test_toolcalls import Bench, FakeEngine, held


@dataclass
class Watching:
    """An engine that keeps whole queries."""

    asked: list[Query] = field(default_factory=list[Query])
    revision: str = "watching"

    async def decide(self, query: Query) -> Decision:
        self.asked.append(query)
        return Decision(True)


async def test_looking_leaves_no_record() -> None:
    bench = Bench()
    assert (await bench.calls.decider.look(bench.ctx, Spawn("runtime"))).allow
    assert bench.records.decisions == []


async def test_query_tells_meters_of_agent_session_and_people_and_the_time() -> None:
    bench, engine = Bench(), Watching()
    await replace(bench.calls.decider, engine=engine).decide(bench.ctx, Spawn("runtime"), decision_id="dec_1")
    (query,) = engine.asked
    assert set(query.meters) == {"agent", "session", "user", "team", "org"}
    assert (query.time, query.principal, query.lineage) == (
        utc_time(1_767_225_600_000),
        bench.ctx.principal,
        bench.ctx.lineage,
    )


async def test_obligations_of_a_denial_do_not_hide_its_reason() -> None:
    bench = Bench(FakeEngine(frozenset({"ToolCall"}), (Obligation("notice"),)))
    denial = await bench.calls.decide(bench.ctx, held("Bash", {}))
    assert denial is not None and denial.reason == "test/deny: no"


def test_time_of_day_is_utc() -> None:
    time = utc_time(1_767_225_600_000 + 3_600_000)
    assert (time.weekday, time.hour) == ("thursday", 1)
