"""What a resume takes over: when it may begin, what makes a call run again, the examples of the specification."""

from collections.abc import Container
from typing import Any

import msgspec
import pytest

from runtime.core.journal import ErrorLine, Line, RefusedLine, RunLine, StateLine, StoppedLine
from runtime.core.model import CallIndex, ResumeMode, RunState, Thrown, Worktree
from runtime.core.recorded import fold_journal
from runtime.core.replay import Hit, NothingToResume, Replay, check_resumable
from tests.runtime.core.resuming import (
    MODES,
    VALUE,
    all_but,
    ask,
    chain,
    fan,
    issued,
    journal,
    reason,
    result,
    resume,
    stages,
    started,
)
from tests.support.workflows import PENDING, USAGE, Script, build_spec, play

# What can be resumed at all (W154).


@pytest.mark.parametrize("state", ["running", "queued", "pending_approval", "paused"])
def test_w154_run_that_is_open_cannot_be_resumed_from(state: RunState) -> None:
    with pytest.raises(NothingToResume, match="in place, or stop it first"):
        check_resumable(journal(issued(0, "a"), result(issued(0, "a")), state=state))


def test_w154_run_without_a_completed_call_has_nothing_to_resume() -> None:
    """Example 8."""
    with pytest.raises(NothingToResume, match="nothing to resume"):
        check_resumable(journal(issued(0, "a"), started(0)))


def test_w154_run_whose_host_died_can_be_resumed_from() -> None:
    a = issued(0, "a")
    line = StateLine(at_ms=0, before="running", after="paused", reason="host_restart")
    recorded = fold_journal([RunLine(at_ms=0, spec=build_spec()), a, result(a), line])
    check_resumable(recorded)
    assert recorded.paused_for == "host_restart"


# What makes a single call run again (W156, W159 to W161, W136).


def test_w152_same_call_is_taken_over_with_its_place_and_what_it_took() -> None:
    a = issued(0, "a")
    stalled = ErrorLine(at_ms=0, index=a.index, key=a.key, null="stalled", usage=USAGE)
    answer = ask(journal(a, started(0), stalled, started(0, 2), result(a, seq=7)), a)
    assert isinstance(answer, Hit)
    assert (answer.seq, answer.value, answer.usage) == (7, VALUE, USAGE + USAGE)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [b"{}", b"[]", b'""', b"0", b"false"], ids=["object", "array", "text", "zero", "no"])
def test_w160_empty_value_is_replayed(mode: ResumeMode, value: bytes) -> None:
    a = issued(0, "a")
    answer = ask(journal(a, result(a, value=msgspec.Raw(value))), a, mode)
    assert isinstance(answer, Hit) and answer.value is not None and bytes(answer.value) == value


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("end", "why"),
    [
        pytest.param({"kind": "null"}, "failed", id="null"),
        pytest.param({"kind": "thrown"}, "failed", id="thrown"),
        pytest.param({"kind": "refused"}, "failed", id="refused"),
        pytest.param({"kind": "stopped"}, "failed", id="stopped"),
        pytest.param({"kind": "interrupted"}, "unfinished", id="interrupted"),
        pytest.param({"kind": "none"}, "unfinished", id="no_end"),
    ],
)
def test_w160_call_without_a_value_is_never_replayed(mode: ResumeMode, end: dict[str, str], why: str) -> None:
    a, b = issued(0, "a"), issued(1, "b")
    thrown = Thrown(code="limit", message="m")
    ends: dict[str, list[Line]] = {
        "null": [ErrorLine(at_ms=0, index=a.index, key=a.key, seq=1, null="api_error")],
        "thrown": [ErrorLine(at_ms=0, index=a.index, key=a.key, seq=1, thrown=thrown)],
        "refused": [RefusedLine(at_ms=0, index=a.index, key=a.key, seq=1, spent=0, thrown=thrown)],
        "stopped": [StoppedLine(at_ms=0, index=a.index, key=a.key, reason="stopped", seq=1)],
        "interrupted": [StoppedLine(at_ms=0, index=a.index, key=a.key, reason="interrupted")],
        "none": [],
    }
    recorded = journal(a, started(0), *ends[end["kind"]], b, result(b))
    assert reason(ask(recorded, a, mode)) == why


def test_w156_changed_prompt_is_told_from_changed_arguments() -> None:
    a = issued(0, "a")
    recorded = journal(a, result(a))
    assert reason(ask(recorded, issued(0, "other"))) == "changed_prompt"
    assert reason(ask(recorded, issued(0, "other"), args_changed=True)) == "args_changed"


@pytest.mark.parametrize(
    "option",
    [
        {"model": "opus"},
        {"effort": "low"},
        {"agent_type": "Explore"},
        {"schema": {"type": "object"}},
        {"tools": ("Read",)},
        {"disallowed_tools": ("Bash",)},
    ],
    ids=lambda option: next(iter(option)),
)
def test_w152_option_of_the_key_makes_another_call(option: dict[str, Any]) -> None:
    a = issued(0, "a")
    assert reason(ask(journal(a, result(a)), issued(0, "a", **option))) == "changed_prompt"


@pytest.mark.parametrize(
    "option",
    [{"label": "l"}, {"phase": "p"}, {"timeout_ms": 5}, {"max_turns": 3}, {"retries": 2}],
    ids=lambda option: next(iter(option)),
)
def test_w152_option_beside_the_key_changes_nothing(option: dict[str, Any]) -> None:
    """Example 7."""
    a = issued(0, "a")
    for mode in MODES:
        assert isinstance(ask(journal(a, result(a)), issued(0, "a", **option), mode), Hit)


def test_w159_mode_none_runs_everything() -> None:
    a = issued(0, "a")
    assert reason(ask(journal(a, result(a)), a, "none")) == "never"


@pytest.mark.parametrize("mode", MODES)
def test_w159_call_without_cache_and_what_follows_it_run(mode: ResumeMode) -> None:
    async def body(script: Script) -> None:
        await script.agent("a")
        await script.agent("b", cache="never")
        await script.agent("c")

    after = resume(play(body), body, mode)
    assert (after.hits, after.misses) == (["a"], {"b": "never", "c": "after_miss"})


@pytest.mark.parametrize("mode", MODES)
def test_w136_steered_call_is_never_replayed(mode: ResumeMode) -> None:
    a = issued(0, "a")
    assert reason(ask(journal(a, result(a, steered=True)), a, mode)) == "steered"


@pytest.mark.parametrize(
    ("worktree", "gone", "why"),
    [
        pytest.param(Worktree(path="/w", branch="b", base="c", changed=True), (), None, id="kept"),
        pytest.param(Worktree(path=None, branch=None, base="c", changed=False), (), None, id="unchanged"),
        pytest.param(Worktree(path="/w", branch="b", base="c", changed=True), {0}, "worktree_gone", id="gone"),
        pytest.param(None, (), "worktree_gone", id="not_recorded"),
    ],
)
def test_w161_worktree_call_is_replayed_only_while_its_worktree_is_there(
    worktree: Worktree | None, gone: Container[CallIndex], why: str | None
) -> None:
    a = issued(0, "a", isolation="worktree")
    recorded = journal(a, result(a, worktree=worktree))
    assert reason(ask(recorded, a, gone=gone)) == why
    assert len(recorded.worktrees()) == (worktree is not None)


# The worked examples of section 15.3.


def test_w156_example_1_prefix_pays_for_all_that_started_after_the_stopped_one() -> None:
    before = play(fan("A", "B", "C", "D"), all_but("B", given=PENDING))
    after = resume(before, fan("A", "B", "C", "D"), "prefix")
    assert after.hits == ["A"]
    assert after.misses == {"B": "unfinished", "C": "after_miss", "D": "after_miss", "summary": "after_miss"}


def test_w157_example_1_lineage_pays_for_the_stopped_one_alone() -> None:
    before = play(fan("A", "B", "C", "D"), all_but("B", given=PENDING))
    after = resume(before, fan("A", "B", "C", "D"), "lineage")
    assert (after.hits, after.misses) == (["A", "C", "D"], {"B": "unfinished", "summary": "after_miss"})


@pytest.mark.parametrize(("mode", "hits"), [("prefix", 3), ("lineage", 100)])
def test_w157_example_2_two_failures_of_a_hundred_and_two(mode: ResumeMode, hits: int) -> None:
    body = fan(*(str(number) for number in range(102)))
    after = resume(play(body, all_but("3", "56")), body, mode)
    assert len(after.hits) == hits
    assert len(after.misses) == 103 - hits and after.misses["summary"] == "after_miss"


@pytest.mark.parametrize("mode", MODES)
def test_w157_example_3_edit_in_a_loop_leaves_nothing_after_it(mode: ResumeMode) -> None:
    before = play(chain("check", "fix 1", "check", "fix 2", "check"))
    after = resume(before, chain("check", "fix 1 better", "check", "fix 2", "check"), mode)
    assert after.hits == ["check"]
    assert after.misses["fix 1 better"] == "changed_prompt" and len(after.answers) == 5


@pytest.mark.parametrize("mode", MODES)
def test_w157_example_4_edited_second_stage_keeps_the_first(mode: ResumeMode) -> None:
    before = play(stages("s2"), all_but("s2 y", "s2 z", given=PENDING))
    after = resume(before, stages("other"), mode)
    assert sorted(after.hits) == ["s1 x", "s1 y", "s1 z"]
    assert set(after.misses.values()) <= {"changed_prompt", "new", "after_miss"} and len(after.misses) == 3


def test_w156_example_4_order_of_starts_decides_for_prefix() -> None:
    x1, y1, z1, x2 = issued(0, "x1", "/0.0"), issued(1, "y1", "/0.1"), issued(2, "z1", "/0.2"), issued(3, "x2", "/0.0")
    starts = [started(0), started(1), started(3), started(2)]
    recorded = journal(x1, y1, z1, x2, *starts, *(result(line) for line in (x1, y1, z1, x2)))
    replay = Replay(recorded, "prefix")
    answers = [replay.issued(line.key, line.scope, line.options) for line in (x1, y1, z1, x2)]
    assert [reason(answer) for answer in answers] == [None, None, "changed_prompt", "after_miss"]


@pytest.mark.parametrize("mode", MODES)
def test_w157_example_5_call_put_before_all_others_leaves_nothing(mode: ResumeMode) -> None:
    after = resume(play(chain("a", "b", "c")), chain("first", "a", "b", "c"), mode)
    assert (after.hits, after.misses["first"]) == ([], "changed_prompt")


def test_w150_example_6_restarted_call_is_replayed_under_its_own_key() -> None:
    a = issued(0, "a")
    restarted = StoppedLine(at_ms=0, index=a.index, key=a.key, reason="restarted", attempt=1, usage=USAGE, by="alice")
    answer = ask(journal(a, started(0), restarted, started(0, 2), result(a, attempt=2)), a)
    assert isinstance(answer, Hit) and answer.result.attempt == 2


@pytest.mark.parametrize("mode", MODES)
def test_w163_unchanged_run_is_replayed_whole(mode: ResumeMode) -> None:
    before = play(stages("s2"), pick=lambda waiting: waiting // 2)
    after = resume(before, stages("s2"), mode)
    assert (after.misses, after.live_deliveries) == ({}, [])
    assert (after.issued, after.result) == (before.issued, before.result)


def test_w155_run_that_was_resumed_can_be_resumed_from() -> None:
    first = play(fan("A", "B", "C"), all_but("A", "B", given=PENDING))
    second = resume(first, fan("A", "B", "C"), "lineage", answer=all_but("B", given=PENDING))
    third = resume(second, fan("A", "B", "C"), "lineage")
    assert (second.hits, third.hits) == (["C"], ["A", "C"])


@pytest.mark.parametrize("mode", MODES)
def test_w156_cached_calls_stand_among_started_ones_where_they_were_issued(mode: ResumeMode) -> None:
    body = fan("A", "B", "C", "D")
    second = resume(play(body, all_but("B", given=PENDING)), body, "lineage")
    third = resume(second, body, mode)
    assert (third.hits, third.misses) == (["A", "B", "C", "D", "summary"], {})
