"""A journal folded into its calls."""

import pytest

from runtime.core.journal import EndedLine, IssuedLine, Line, NestedLine, ResultLine, RunLine, StateLine
from runtime.core.model import CallIndex, CallOptions, Outcome, Scope, Usage
from runtime.core.recorded import fold_journal
from tests.support.workflows import PENDING, USAGE, Script, build_spec, echo, play

HEADER = RunLine(at_ms=0, spec=build_spec())


async def two(script: Script) -> None:
    await script.agent("a")
    await script.agent("b")


def test_w149_every_call_is_there_with_its_end() -> None:
    recorded = play(two, lambda prompt: PENDING if prompt == "b" else echo(prompt)).recorded
    a, b = recorded.calls[CallIndex(0)], recorded.calls[CallIndex(1)]
    assert (a.result is not None, a.usage, a.failed) == (True, USAGE, False)
    assert (b.result, b.usage, b.failed) == (None, Usage(), False)
    assert (recorded.completed, recorded.state) == (1, "stopped")


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="empty"),
        pytest.param([EndedLine(at_ms=0, state="failed", outcome=Outcome(), usage=USAGE)], id="other"),
    ],
)
def test_journal_without_its_header_is_refused(lines: list[Line]) -> None:
    with pytest.raises(ValueError, match="journal"):
        fold_journal(lines)


def test_end_of_a_call_that_was_never_issued_is_passed_over() -> None:
    stray = ResultLine(at_ms=0, index=CallIndex(7), key="k", scope=Scope(""), seq=0, spent=0)
    assert fold_journal([HEADER, stray]).calls == {}


def test_w127_pause_of_a_dead_host_is_told_until_the_run_goes_on() -> None:
    paused = StateLine(at_ms=0, before="running", after="paused", reason="host_restart")
    resumed = StateLine(at_ms=0, before="paused", after="running", reason="resumed")
    assert fold_journal([HEADER, paused]).paused_for == "host_restart"
    assert fold_journal([HEADER, paused, resumed]).paused_for is None


def test_w111_nested_workflows_stand_in_the_order_in_which_they_were_asked_for() -> None:
    lines = [NestedLine(at_ms=0, id=id, scope=Scope(""), seq=seq, spent=0, wanted="w") for id, seq in ((4, 0), (2, 1))]
    assert [line.id for line in fold_journal([HEADER, *lines]).nested] == [2, 4]


def test_call_that_never_started_stands_by_its_index() -> None:
    lines: list[Line] = [
        IssuedLine(at_ms=0, id=i, index=CallIndex(i), key=str(i), scope=Scope(""), prompt="p", options=CallOptions())
        for i in range(3)
    ]
    order = [past.index for past in fold_journal([HEADER, *reversed(lines)]).in_start_order()]
    assert order == [0, 1, 2]
