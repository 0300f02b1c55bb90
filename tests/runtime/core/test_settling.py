import pytest

from runtime.core import happenings as on
from runtime.core.journal import ErrorLine, ResultLine
from runtime.core.model import CallIndex, NullReason
from tests.runtime.core.play import Play, agent, null, thrown, used, value


@pytest.mark.parametrize("reason", ["api_error", "empty", "limit", "agent_type", "permission", "stalled"])
def test_w54_every_null_has_its_reason_in_the_journal_and_for_the_script(reason: NullReason) -> None:
    play = Play().launched(agent(1))
    play.ends(0, null(reason))
    if reason == "stalled":
        play.ends(0, null(reason))
    assert [line.null for line in play.all(ErrorLine)][-1] == reason
    assert play.all(on.Deliver)[0].deliveries[0].reason == reason


def test_w55_what_throws_is_delivered_as_an_error() -> None:
    play = Play().launched(agent(1))
    play.ends(0, thrown("five times"))
    delivery = play.all(on.Deliver)[0].deliveries[0]
    assert delivery.thrown is not None and delivery.thrown.message == "five times"


@pytest.mark.parametrize(("retries", "attempts"), [(None, 1), (2, 3)], ids=["none", "two"])
def test_w48_recoverable_failures_are_tried_again_as_often_as_the_call_says(retries: int | None, attempts: int) -> None:
    play = Play().launched(agent(1, retries=retries))
    while play.states() == ["running"]:
        play.ends(0, null("api_error"))
    assert len(play.all(ErrorLine)) == attempts
    assert [line.seq for line in play.all(ErrorLine)] == [None] * (attempts - 1) + [0]


def test_w93_totals_include_attempts_that_failed() -> None:
    play = Play().launched(agent(1, retries=1))
    play.ends(0, null("api_error", usage=used(3)))
    play.ends(0, value(output=4))
    assert play.machine.run.spend.output_tokens == 7
    assert play.all(ResultLine)[0].usage.tokens.output == 4


def test_w117_the_script_sees_what_was_spent_at_each_settlement() -> None:
    play = Play(budget_tokens=100).launched(agent(1), agent(2))
    play.ends(0, value(output=10))
    play.drains()
    play.ends(1, value(output=5))
    assert [each.spent for command in play.all(on.Deliver) for each in command.deliveries] == [10, 15]


def test_end_of_an_attempt_that_was_replaced_changes_nothing() -> None:
    play = Play().launched(agent(1))
    play.tell(on.AgentRestartAsked(CallIndex(0), "alice"))
    written = len(play.lines)
    play.tell(on.AttemptEnded(CallIndex(0), 1, value(output=9)))
    assert (len(play.lines), play.states()) == (written, ["running"])
