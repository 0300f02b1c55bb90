"""Branches of a resume, nested workflows among them, and what holds of any script."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.core.journal import call_key
from runtime.core.model import CallOptions, ResumeMode, Scope
from runtime.core.program import WorkflowOp
from runtime.core.replay import Hit, Miss, Replay
from tests.runtime.core.resuming import MODES, all_but, chain, fan, issued, journal, reason, result, resume
from tests.support.workflows import Body, Script, play

# Branches (W157, W158).


def test_w157_branch_that_lost_a_call_makes_what_follows_the_group_live() -> None:
    after = resume(play(fan("A", "B", "C")), fan("A", "B"), "lineage")
    assert (after.hits, after.misses) == (["A", "B"], {"summary": "after_miss"})


def test_w157_groups_begun_in_one_drain_are_independent() -> None:
    async def body(script: Script) -> Any:
        async def one(_: Any, item: str, index: int) -> Any:
            return await script.agent(item)

        first = script.pipeline(["a", "b"], one)
        second = script.pipeline(["c", "d"], one)
        await script.together([first, second])
        return await script.agent("end")

    after = resume(play(body, all_but("a")), body, "lineage")
    assert (after.hits, after.misses) == (["b", "c", "d"], {"a": "failed", "end": "after_miss"})


def test_w157_group_begun_after_a_miss_is_live_in_all_its_branches() -> None:
    async def body(script: Script) -> Any:
        await script.agent("first")
        await script.parallel([lambda: script.agent("a"), lambda: script.agent("b")])

    after = resume(play(body, all_but("first")), body, "lineage")
    assert after.misses == {"first": "failed", "a": "after_miss", "b": "after_miss"}


def test_w157_miss_in_an_inner_group_spares_the_branches_beside_it() -> None:
    async def body(script: Script) -> Any:
        async def item(_: Any, name: str, index: int) -> Any:
            await script.parallel([lambda: script.agent(f"{name}1"), lambda: script.agent(f"{name}2")])
            return await script.agent(f"{name} sum")

        return await script.pipeline(["x", "y"], item)

    after = resume(play(body, all_but("x2")), body, "lineage")
    assert (sorted(after.hits), after.misses) == (["x1", "y sum", "y1", "y2"], {"x2": "failed", "x sum": "after_miss"})


def test_w157_calls_issued_side_by_side_are_branches() -> None:
    async def body(script: Script) -> Any:
        await script.together([script.agent(prompt) for prompt in "abc"])
        return await script.agent("end")

    before = play(body, all_but("b"))
    after = resume(before, body, "lineage")
    assert [line.scope for line in before.issued][:3] == ["/b0.0", "/b0.1", "/b0.2"]
    assert (after.hits, after.misses) == (["a", "c"], {"b": "failed", "end": "after_miss"})


def test_w158_call_after_a_group_belongs_to_the_branch_that_made_it() -> None:
    scopes = [line.scope for line in play(fan("A", "B")).issued]
    assert scopes == ["/0.0", "/0.1", ""]


def test_w98_refused_call_makes_what_follows_it_live() -> None:
    recorded = play(chain("a", "a", "a")).recorded
    replay = Replay(recorded, "lineage")
    replay.next_drain()
    replay.refused(Scope(""))
    replay.next_drain()
    assert reason(replay.issued(call_key("a", CallOptions()), Scope(""), CallOptions())) == "after_miss"


def test_w157_without_drains_told_a_miss_counts_at_once() -> None:
    lines = [issued(0, "a", "/0.0"), issued(1, "b")]
    recorded = journal(*lines, result(lines[1]))
    replay = Replay(recorded, "lineage")
    answers = [replay.issued(line.key, line.scope, line.options) for line in lines]
    assert [reason(answer) for answer in answers] == ["unfinished", "after_miss"]


def test_w157_folded_scope_that_misses_makes_branches_that_may_be_above_it_live() -> None:
    lines = [issued(0, "a", "/0.0"), issued(1, "b", "/~" + "0" * 32), issued(2, "c", "/0.0")]
    replay = Replay(journal(*lines, result(lines[0]), result(lines[2])), "lineage")
    answers: list[Hit | Miss] = []
    for line in lines:
        replay.next_drain()
        answers.append(replay.issued(line.key, line.scope, line.options))
    assert [reason(answer) for answer in answers] == [None, "unfinished", "after_miss"]


# Nested workflows (W111).


async def child(script: Script) -> Any:
    await script.agent("in child")
    return "done"


async def parent(script: Script) -> Any:
    await script.agent("first")
    await script.workflow("child")
    return await script.agent("last")


@pytest.mark.parametrize("mode", MODES)
def test_w111_unchanged_child_is_replayed(mode: ResumeMode) -> None:
    before = play(parent, nested={"child": (child, "1")})
    after = resume(before, parent, mode, nested={"child": (child, "1")})
    assert [line.scope for line in before.issued] == ["", "/w0", ""]
    assert (after.hits, after.misses) == (["first", "in child", "last"], {})


def test_w111_changed_child_and_what_follows_it_run() -> None:
    before = play(parent, nested={"child": (child, "1")})
    after = resume(before, parent, "lineage", nested={"child": (child, "2")})
    assert (after.hits, after.misses) == (["first"], {"in child": "child_changed", "last": "after_miss"})


def test_w111_changed_child_breaks_the_prefix() -> None:
    before = play(parent, nested={"child": (child, "1")})
    after = resume(before, parent, "prefix", nested={"child": (child, "2")})
    assert (after.hits, after.misses) == (["first"], {"in child": "after_miss", "last": "after_miss"})


@pytest.mark.parametrize("mode", MODES)
def test_w111_child_that_is_still_missing_changes_nothing(mode: ResumeMode) -> None:
    a = issued(0, "a")
    op = WorkflowOp(id=5, scope=Scope(""), name="gone")
    replay = Replay(journal(a, result(a)), mode)
    replay.next_drain()
    replay.nested_asked(op)
    assert not replay.nested_found(op, None)


# Any script.


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    """Trees of chains, `parallel`, `pipeline` and `Promise.all`; prompts name their place."""
    shape = draw(st.recursive(st.just("agent"), _grow, max_leaves=12))

    def build(shape: Any, name: str) -> Body:
        async def body(script: Script) -> Any:
            if shape == "agent":
                return await script.agent(name)
            kind, parts = shape
            each = [build(part, f"{name}.{index}") for index, part in enumerate(parts)]
            if kind == "chain":
                return [await part(script) for part in each]
            if kind == "all":
                return await script.together([script.agent(f"{name}.{index}") for index in range(len(parts))])
            return await script.parallel([lambda part=part: part(script) for part in each])

        return body

    return build(shape, "r")


def _grow(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.sampled_from(["chain", "parallel", "all"]), st.lists(part, min_size=1, max_size=4))


@settings(max_examples=150, deadline=None)
@given(bodies(), st.randoms(use_true_random=False), st.sampled_from(MODES))
def test_w163_any_complete_run_is_replayed_whole(body: Body, dice: Any, mode: ResumeMode) -> None:
    before = play(body, pick=dice.randrange)
    after = resume(before, body, mode)
    assert (after.misses, after.result) == ({}, before.result)


@settings(max_examples=150, deadline=None)
@given(bodies(), st.randoms(use_true_random=False), st.sets(st.integers(0, 20)))
def test_w157_nothing_that_follows_a_live_answer_is_taken_over(body: Body, dice: Any, failing: set[int]) -> None:
    prompts = [line.prompt for line in play(body).issued]
    failed = {prompts[index] for index in failing if index < len(prompts)}
    before = play(body, all_but(*failed), pick=dice.randrange)
    after = resume(before, body, "lineage", pick=dice.randrange)
    reused = [index for index, answer in enumerate(after.answers) if isinstance(answer, Hit)]
    first_live = after.live_deliveries[0] if after.live_deliveries else len(after.issued)
    assert all(index < first_live for index in reused)
    assert after.result == play(body).result


@settings(max_examples=100, deadline=None)
@given(bodies(), st.randoms(use_true_random=False), st.integers(0, 20))
def test_w157_lineage_pays_for_no_more_than_prefix(body: Body, dice: Any, failing: int) -> None:
    prompts = [line.prompt for line in play(body).issued]
    before = play(body, all_but(prompts[failing % len(prompts)]), pick=dice.randrange)
    lineage, prefix = (resume(before, body, mode) for mode in MODES)
    assert len(lineage.hits) >= len(prefix.hits)
