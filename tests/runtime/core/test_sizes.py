"""Guidelines for the size of a workflow, and what counts as large."""

import pytest

from runtime.core.limits import Limits
from runtime.core.sizes import GUIDELINES, Guideline, advise, confirm_text, large_warning, warn_past
from tests.runtime.core.play import spec


def test_w191_guidelines_have_their_bounds_and_are_told() -> None:
    assert dict(GUIDELINES) == {"small": 5, "medium": 10, "large": 50, "unrestricted": None}
    assert "fewer than 10 agents" in advise() and "fewer" not in advise("unrestricted")


@pytest.mark.parametrize(
    ("agents", "tokens", "guideline", "is_large"),
    [
        pytest.param(25, 1_500_000, None, False, id="at_the_limits"),
        pytest.param(26, 0, None, True, id="agents"),
        pytest.param(1, 1_500_001, None, True, id="tokens"),
        pytest.param(5, 0, "small", True, id="chosen_lower"),
        pytest.param(49, 0, "large", False, id="chosen_higher"),
        pytest.param(999, 0, "unrestricted", False, id="unrestricted"),
        pytest.param(1, 2_000_000, "unrestricted", True, id="unrestricted_tokens"),
    ],
)
def test_w192_large_is_past_the_limit_or_the_guideline(
    agents: int, tokens: int, guideline: Guideline | None, is_large: bool
) -> None:
    limits = Limits(warn_agents=warn_past(guideline, Limits().warn_agents))
    assert (large_warning(agents, tokens, limits) is not None) == is_large


@pytest.mark.parametrize(
    ("agents", "tokens", "told"),
    [
        pytest.param(25, 1_000, None, id="at_the_limits"),
        pytest.param(26, 0, "26 agents: past 25 (runs.confirm_agents)", id="agents"),
        pytest.param(1, 1_001, "1001 tokens are to be expected: past 1000 (runs.confirm_tokens)", id="tokens"),
    ],
)
def test_w145_pause_names_the_limit_that_was_passed_and_by_what(agents: int, tokens: int, told: str | None) -> None:
    text = confirm_text(agents, tokens, spec(confirm_agents=25, confirm_tokens=1_000))
    assert text == (told and f"{told} a person is asked once more")
    assert confirm_text(agents, tokens, spec()) is None
