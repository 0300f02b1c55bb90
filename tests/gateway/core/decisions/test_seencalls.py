"""What is remembered of tool calls."""

from typing import Any

import pytest

from gateway.core.decisions.seencalls import CALLS_MAX, SeenCalls, call_digest, call_outline, seen_call

CALL = seen_call("Bash", {"command": "ls"}, allowed=True, message="", decision="dec_1.1")


def test_call_is_known_in_its_own_session_only() -> None:
    seen = SeenCalls()
    seen.remember("s", "toolu_1", CALL)
    assert seen.find("s", "toolu_1") is CALL
    assert seen.find("other", "toolu_1") is None and seen.find("s", "toolu_2") is None


def test_digest_tells_calls_apart_by_what_they_do_and_not_by_how_they_are_written() -> None:
    one = call_digest("Bash", {"command": "ls", "description": "d"})
    assert call_digest("Bash", {"description": "d", "command": "ls"}) == one
    others = [
        call_digest("Bash", {"command": "rm", "description": "d"}),
        call_digest("Sh", {}),
        call_digest("Sh", None),
    ]
    assert len({one, *others}) == 4


def test_oldest_calls_are_forgotten_first() -> None:
    seen = SeenCalls()
    for number in range(CALLS_MAX):
        seen.remember("s", str(number), CALL)
    seen.remember("s", "0", CALL)
    seen.remember("s", "one more", CALL)
    assert seen.find("s", "0") is CALL and seen.find("s", "1") is None


@pytest.mark.parametrize(
    ("written", "respelt"),
    [
        ({"query": "x"}, {"query": "x", "max_results": 5}),
        ({"command": "ls", "timeout": "5000", "background": "false"}, {"command": "ls", "timeout": 5000}),
        ({"args": {"a": [1.0, 1e3, "e"]}}, {"args": {"a": [1, 1000, "e"]}}),
        (None, {}),
    ],
)
def test_call_that_a_client_spelt_anew_keeps_its_outline(written: Any, respelt: Any) -> None:
    assert call_digest("T", written) != call_digest("T", respelt)
    assert call_outline("T", written) == call_outline("T", respelt)


@pytest.mark.parametrize(
    "changed",
    [{"command": "rm"}, {"command": "ls", "path": "/etc"}, {"command": ["ls"]}, {"command": "ls", "x": {}}, {}],
)
def test_call_with_another_text_or_part_has_another_outline(changed: dict[str, Any]) -> None:
    assert call_outline("T", changed) != call_outline("T", {"command": "ls"}) != call_outline("U", {"command": "ls"})
