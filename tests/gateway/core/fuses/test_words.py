"""What models are told of fuses."""

from typing import get_args

import pytest

from gateway.core.fuses.evidence import Evidence
from gateway.core.fuses.fuse import METERS, FuseRecord, Scope
from gateway.core.fuses.words import closing_words, warning, why

USD = 1_000_000_000


def record(scope: Scope, meter: str, limit: int = 100, value: int = 85) -> FuseRecord:
    return FuseRecord("fuse_1", scope, "s/a", meter, "warned", limit, value, 0)


@pytest.mark.parametrize(("scope", "meter"), [(scope, meter) for scope in get_args(Scope) for meter in METERS[scope]])
def test_every_warning_is_a_sentence_that_can_be_acted_on(scope: Scope, meter: str) -> None:
    text = warning(record(scope, meter), 85)
    if meter == "sessions_per_hour":
        assert text is None
        return
    assert text is not None and text.endswith(".") and "{" not in text
    assert "85 %" in text or "100" in text


def test_warning_is_the_same_however_the_meter_goes_on() -> None:
    assert warning(record("run", "cost", 100 * USD, 81 * USD), 80) == warning(
        record("run", "cost", 100 * USD, 95 * USD), 80
    )
    assert "80 % of the $100.00 that this run's agents together may spend" in str(
        warning(record("run", "cost", 100 * USD), 80)
    )


def test_reason_for_a_model_holds_no_command_that_only_an_operator_can_give() -> None:
    evidence = Evidence(('Bash {"command":"ls"}',), ("",), 11, (2, 2))
    blown = FuseRecord("fuse_1", "agent", "s/a", "identical_tool_calls", "blown", 10, 11, 0, evidence=evidence)
    assert 'identical tool calls of this agent is reached: 11 (Bash {"command":"ls"}), of 10' in why(blown)
    assert "ringfence" not in why(blown) and "ringfence fuses replace fuse_1" in closing_words(blown)
