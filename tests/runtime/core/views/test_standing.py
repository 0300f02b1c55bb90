"""The words for how a run stands."""

import pytest

from runtime.core.model import Outcome, RunState
from runtime.core.views.standing import MANAGED_STATUS, TASK_STATUS, headline, notified_status, resume_hint


def test_w124_every_state_has_its_words() -> None:
    assert set(TASK_STATUS) == set(MANAGED_STATUS) and len(TASK_STATUS) == 8


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome(), "completed"),
        (Outcome(planned=2, done=1, cached=1), "completed"),
        (Outcome(planned=3, done=1, null=2), "completed, 2 of 3 agents gave no result"),
        (Outcome(planned=2, null=1, refused=1), "completed with no usable results"),
        (Outcome(planned=1, cached=1), "completed"),
    ],
    ids=["no calls", "all", "some", "none", "replayed"],
)
def test_w123_headline_does_not_call_a_degraded_run_completed(outcome: Outcome, text: str) -> None:
    assert headline("completed", outcome) == text


@pytest.mark.parametrize(
    ("state", "word"),
    [("completed", "completed"), ("failed", "failed"), ("stopped", "stopped"), ("denied", "stopped")],
)
def test_w124_notification_says_stopped_for_killed(state: RunState, word: str) -> None:
    assert notified_status(state) == word


@pytest.mark.parametrize("state", ["running", "paused", "denied"])
def test_w175_no_hint_where_there_is_nothing_to_resume(state: RunState) -> None:
    assert resume_hint("wf_1", state, Outcome(planned=1, done=1)) is None
