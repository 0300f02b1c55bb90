"""Obligations of a decision as one set of changes, and those that cannot be met."""

import pytest

from gateway.core.decisions.decision import Obligation
from gateway.core.decisions.obligations import duties_of, model_of
from gateway.core.gate.notices import NOTICE_CHARS_MAX
from gateway.errors import Reason, Refused


def test_several_obligations_of_one_kind_are_met_together():
    duties = duties_of(
        [
            Obligation("strip_tools", ["Bash"]),
            Obligation("strip_tools", ["Write"]),
            Obligation("clamp_max_tokens", 900),
            Obligation("clamp_max_tokens", 400),
            Obligation("clamp_max_tokens", 700),
            Obligation("notice", "One."),
            Obligation("notice", "Two."),
            Obligation("log_full"),
        ]
    )
    assert duties.strip_tools == {"Bash", "Write"}
    assert (duties.max_tokens, duties.notices, duties.model) == (400, ("One.", "Two."), None)


@pytest.mark.parametrize(
    "obligation",
    [
        Obligation("strip_tools", "Bash"),
        Obligation("strip_tools", [1]),
        Obligation("set_model", ""),
        Obligation("set_model", 3),
        Obligation("clamp_max_tokens", 0),
        Obligation("clamp_max_tokens", True),
        Obligation("notice", ""),
        Obligation("notice", "x" * (NOTICE_CHARS_MAX + 1)),
        Obligation("require_approval", {"reason": "no"}),
        Obligation("something_else", 1),
    ],
)
def test_a_value_that_cannot_be_met_refuses_the_request(obligation: Obligation):
    with pytest.raises(Refused) as refused:
        duties_of([obligation])
    assert refused.value.reason is Reason.POLICY_FAILED
    assert obligation.kind in refused.value.message


def test_a_spawn_is_routed_to_the_model_that_its_decision_names():
    assert model_of([Obligation("log_full"), Obligation("set_model", "claude-haiku-4-5")]) == "claude-haiku-4-5"
    assert model_of([]) is None
