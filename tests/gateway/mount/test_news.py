"""What happens to runs reaches metrics, audit trail and webhook, as the gateway's words have it."""

from typing import Any

from gateway.mount.news import NewsListener, sums_of, told_of
from runtime.check import prepare
from runtime.core.journal import StateLine
from runtime.core.model import Finished, RunSpec
from runtime.launch import Settings, build_spec
from tests.gateway.runs.test_told import Told
from tests.runtime.driving import USAGE, driving, launch


def spec_of(**fields: Any) -> RunSpec:
    asked = launch("return 1", session="s-1", **fields)
    return build_spec(asked, prepare(asked.script or ""), Settings(), now_ms=7, script_path=None)


def test_run_is_told_by_id_owner_script_and_origin() -> None:
    spec = spec_of(source="cli")
    told = told_of(spec)
    assert (told.run, told.name, told.session, told.user) == (spec.id, "sweep", "s-1", "alice")
    assert (told.script_sha256, told.source, told.created_ms, told.resume_of) == (spec.script_sha256, "cli", 7, None)


async def test_w190_sums_of_a_run_are_those_of_its_record() -> None:
    body = "phase('scan'); return await parallel(['a', 'null'].map(p => () => agent(p)))"
    async with driving(lambda task: Finished(null="empty", usage=USAGE) if task.prompt == "null" else "x") as site:
        record = await site.ended(await site.start(body))
        sums = sums_of(record)
        assert (sums.degraded, sums.failure, sums.agents, sums.phases) == (True, None, 2, 1)
        assert (sums.tokens, sums.cost_nanousd) == (2 * USAGE.tokens.total, 2 * (USAGE.cost_nanousd or 0))


async def test_cost_that_is_not_known_whole_is_none() -> None:
    def say(task: Any) -> Finished:
        return Finished(null="empty", usage=type(USAGE)(tokens=USAGE.tokens, cost_nanousd=None))

    async with driving(say) as site:
        assert sums_of(await site.ended(await site.start("return await agent('look')"))).cost_nanousd is None


async def test_failed_run_names_its_failure() -> None:
    async with driving() as site:
        record = await site.ended(await site.start("throw new Error('no')"))
        assert sums_of(record).failure == "script_threw"


async def test_w174_every_change_is_told_with_census_and_sums_also_a_pause() -> None:
    told, spec = Told(), spec_of()
    listener = NewsListener(told.news)
    async with driving() as site:
        site.cast.hold("b")
        run = await site.start("return await parallel(['a', 'b'].map(p => () => agent(p)))")
        record = await site.until(run, lambda record: record["agents"].get("done") == 1)
    listener.run_changed(spec, StateLine(at_ms=1, before="running", after="paused", reason="budget"), record)
    sent = told.sent[-1][1]["run"]
    assert sent["outcome"] == dict(planned=2, done=1, null=0, threw=0, refused=0, stopped=0, cached=0)
    assert (sent["sums"]["tokens"], sent["sums"]["cost_nanousd"]) == (USAGE.tokens.total, USAGE.cost_nanousd)
    assert told.records[-1][1]["outcome"] == sent["outcome"] and told.news.by_state() == {"paused": 1}


def test_calls_sandboxes_and_upstreams_are_counted() -> None:
    told = Told()
    listener = NewsListener(told.news)
    listener.call_settled("done", USAGE)
    listener.sandbox_failed("script_timeout")
    listener.governed("claude-sonnet-5-5", 8)
    listener.appended(0.001)
    page = told.page()
    assert 'code="script_timeout"' in page and 'outcome="done"' in page


def test_run_that_is_taken_over_is_counted_until_it_is_let_go() -> None:
    told, spec = Told(), spec_of()
    listener = NewsListener(told.news)
    listener.taken_over(spec, "paused", told.clock.now_ms)
    assert told.news.by_state() == {"paused": 1}
    listener.let_go(spec)
    assert told.news.by_state() == {}
