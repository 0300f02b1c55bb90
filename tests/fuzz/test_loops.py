"""Whatever a client sends as a history, counting its streaks ends, and raises nothing."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.fuses.evidence import read_evidence
from gateway.core.fuses.history import CALLS_MAX
from gateway.core.fuses.loops import STREAK_METERS, Streaks
from tests.gateway.core.fuses.histories import seen

scalars = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=8) | st.just("[Request interrupted by user]")
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
kinds = st.sampled_from(["tool_use", "tool_result", "text", "thinking", "x"])
blocks = st.fixed_dictionaries(
    {"type": kinds},
    optional={
        "id": st.sampled_from(["t0", "t1"]) | values,
        "tool_use_id": st.sampled_from(["t0", "t1"]) | values,
        "name": st.sampled_from(["Bash", "Edit", "ringfence_denied"]) | values,
        "input": values | st.fixed_dictionaries({"tool": st.just("Bash"), "input": values}),
        "content": values,
        "is_error": st.booleans() | values,
        "text": values,
    },
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.lists(blocks, max_size=4) | values}
)


def shown(streaks: Streaks) -> int:
    """Reads all that can be read of the streaks; how much it is."""
    counts = streaks.meters()
    assert set(counts) == set(STREAK_METERS) and all(0 <= count <= CALLS_MAX for count in counts.values())
    return sum(len(json.dumps(repr(read_evidence(streaks, meter)))) for meter in STREAK_METERS)


@settings(max_examples=300, deadline=None)
@given(st.lists(messages, max_size=10), values)
def test_any_history_is_counted_and_shown(history: list[dict[str, Any]], tool_input: Any) -> None:
    found = seen(history)
    assert shown(found) < 20_000
    assert shown(found.extended("Bash", tool_input).extended("Bash", tool_input)) < 20_000


def test_history_nested_as_deep_as_can_be_is_counted() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    call = {"type": "tool_use", "id": "t0", "name": "Bash", "input": {"a": deep}}
    other = {**call, "input": {"a": [deep]}}
    found = seen([{"role": "assistant", "content": [each]} for each in (other, call, call)])
    assert found.identical_tool_calls == 2 and shown(found)


def test_halves_of_surrogate_pairs_are_counted() -> None:
    found = seen([]).extended("Bash", {"command": "\ud800"}).extended("Bash", {"command": "\ud800"})
    assert found.identical_tool_calls == 2 and shown(found)
