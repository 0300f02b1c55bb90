"""Which calls start, in what order, and who waits for a sibling's first answer."""

import pytest

from runtime.core.calls import Call, Workforce, agent_id_of, prefix_of
from runtime.core.limits import Limits
from runtime.core.model import CallIndex, CallOptions, RunId, Scope

NOW = 1_000_000


def call(index: int, **options: object) -> Call:
    given = CallOptions(**options)  # type: ignore[arg-type]
    return Call(index=CallIndex(index), id=index + 1, key="k", scope=Scope(""), prompt="p", options=given)


def force(concurrency: int = 4, stagger_ms: int = 5_000) -> Workforce:
    return Workforce(Limits(concurrency=concurrency, stagger_ms=stagger_ms))


def placed(workforce: Workforce, *calls: Call) -> list[bool]:
    for each in calls:
        workforce.add(each)
    results: list[bool] = []
    while (ready := workforce.next_queued()) is not None:
        results.append(workforce.place(ready, NOW))
    return results


def test_w40_calls_leave_the_queue_by_their_index_whenever_they_were_added() -> None:
    workforce = force(stagger_ms=0)
    for index in (2, 0, 1):
        workforce.add(call(index))
    assert [each.index for _ in range(3) if (each := workforce.next_queued())] == [0, 1, 2]


def test_w95_nobody_starts_past_the_places() -> None:
    workforce, calls = force(2, stagger_ms=0), [call(index) for index in range(3)]
    assert placed(workforce, *calls) == [True, True]
    assert (workforce.working, calls[2].state) == (2, "queued")


def test_call_that_was_stopped_in_the_queue_is_passed_over() -> None:
    workforce, first, second = force(), call(0), call(1)
    workforce.add(first)
    workforce.add(second)
    first.state = "stopped"
    assert workforce.next_queued() is second


def test_w97_followers_hold_their_places_until_the_leader_is_answered() -> None:
    workforce, calls = force(), [call(index) for index in range(3)]
    assert placed(workforce, *calls) == [True, False, False]
    assert workforce.working == 3
    assert workforce.warmed(calls[0], NOW) == calls[1:]
    assert [each.state for each in calls] == ["running"] * 3


def test_w97_hold_is_capped() -> None:
    workforce, calls = force(stagger_ms=5_000), [call(0), call(1)]
    placed(workforce, *calls)
    assert workforce.next_due_ms() == NOW + 5_000
    assert workforce.overdue(NOW + 4_999) == []
    assert workforce.overdue(NOW + 5_000) == [calls[1]]
    assert workforce.next_due_ms() is None


def test_w97_prefix_is_cold_again_after_the_cache_lifetime() -> None:
    workforce, first, second, third = force(), call(0), call(1), call(2)
    placed(workforce, first)
    workforce.warmed(first, NOW)
    late = NOW + 300_000
    for each in (second, third):
        workforce.add(each)
        workforce.next_queued()
    assert [workforce.place(second, late), workforce.place(third, late)] == [True, False]


@pytest.mark.parametrize(
    "other",
    [{"model": "haiku"}, {"effort": "low"}, {"tools": ("Read",)}, {"schema": {"type": "object"}}, {"agent_type": "x"}],
    ids=["model", "effort", "tools", "schema", "agent_type"],
)
def test_w97_what_changes_the_prompt_makes_another_prefix(other: dict[str, object]) -> None:
    assert prefix_of(call(0, **other)) != prefix_of(call(0))
    assert prefix_of(call(0, **other, label="a")) == prefix_of(call(1, **other, phase="b"))


def test_w97_a_worktree_of_its_own_shares_no_prefix() -> None:
    assert placed(force(), call(0, isolation="worktree"), call(1, isolation="worktree")) == [True, True]


def test_held_call_that_leaves_gives_its_place_back_and_frees_nobody() -> None:
    workforce, calls = force(), [call(0), call(1), call(2)]
    placed(workforce, *calls)
    assert workforce.leave(calls[1]) == []
    calls[1].state = "stopped"
    assert workforce.working == 2
    assert workforce.warmed(calls[0], NOW) == [calls[2]]


def test_agent_ids_differ_by_run_call_and_attempt_and_are_the_same_again() -> None:
    ids = [
        agent_id_of(RunId(run), CallIndex(index), attempt)
        for run in ("wf_aaaaaa", "wf_bbbbbb")
        for index in (0, 1)
        for attempt in (1, 2)
    ]
    assert len(set(ids)) == 8
    assert agent_id_of(RunId("wf_aaaaaa"), CallIndex(0), 1) == ids[0]
