"""Settings over defaults: merged by mapping, replaced by list, every mistake named."""

from types import MappingProxyType

import pytest

from gateway.policy.bundle import DEFAULTS_FILE, Bundle
from gateway.policy.settings import merge_settings, parse_defaults, plain
from tests.support.policies import packaged_bundle


def messages(settings: dict[str, object]) -> list[str]:
    return [f"{one.message}; {one.suggestion}" for one in merge_settings(packaged_bundle(), settings)[1]]


def test_mapping_is_merged_and_list_replaced() -> None:
    merged, problems = merge_settings(packaged_bundle(), {"models": {"allow": ["a"], "users": {"bob": ["b"]}}})
    assert problems == [] and merged["models"]["allow"] == ["a"]
    assert merged["models"]["users"] == {"bob": ["b"]} and merged["models"]["aliases"]


def test_number_that_is_not_set_can_be_set_and_left_unset() -> None:
    merged, problems = merge_settings(packaged_bundle(), {"spawn": {"per_minute": 9, "user": {"width": None}}})
    assert problems == [] and merged["spawn"]["per_minute"] == 9
    assert merged["spawn"]["user"] == {"width": None, "per_minute": None}


def test_program_can_be_added_to_a_table() -> None:
    merged, problems = merge_settings(packaged_bundle(), {"cloud": {"commands": {"flyctl": ["auth token"]}}})
    assert problems == [] and "aws" in merged["cloud"]["commands"] and "flyctl" in merged["cloud"]["commands"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": {}}, "model: there is no such setting; did you mean models?"),
        ({"spawn": {"dept": 1}}, "spawn.dept: there is no such setting; did you mean depth?"),
        ({"spawn": {"depth": "3"}}, "spawn.depth: is a text; give a number"),
        ({"spawn": {"depth": None}}, "spawn.depth: is nothing; give a number"),
        ({"spawn": {"per_minute": "3"}}, "spawn.per_minute: is a text; give a number, or null"),
        ({"network": {"private": 1}}, "network.private: is a number; give true or false"),
        ({"models": ["a"]}, "models: is a list; give a mapping"),
        ({"models": {"allow": "a"}}, "models.allow: is a text; give a list"),
        (
            {"modes": {"models/alowlist": "off"}},
            "modes.models/alowlist: there is no such rule; did you mean models/allowlist?",
        ),
        (
            {"modes": {"models/allowlist": "loud"}},
            "modes.models/allowlist: is 'loud'; use one of: enforce, shadow, off",
        ),
        ({"mode": "off"}, "mode: is 'off'; use enforce or shadow"),
    ],
)
def test_mistake_is_named_with_its_place_and_a_suggestion(settings: dict[str, object], message: str) -> None:
    assert messages(settings) == [message]


def test_every_mistake_is_named_at_once() -> None:
    assert len(messages({"a": 1, "spawn": {"b": 1}, "modes": {"c/d": "off"}})) == 3


def test_off_that_yaml_reads_as_false_is_off() -> None:
    merged, problems = merge_settings(packaged_bundle(), {"modes": {"shell/unclear": False}})
    assert problems == [] and merged["modes"]["shell/unclear"] == "off"


def test_frozen_settings_become_plain() -> None:
    assert plain(MappingProxyType({"a": (1, MappingProxyType({"b": 2}))})) == {"a": [1, {"b": 2}]}


@pytest.mark.parametrize(("text", "line"), [("a: [", 1), ("- a", 1), ("a: 1\n b: 2", 2)])
def test_defaults_that_cannot_be_read_are_a_problem_with_a_line(text: str, line: int) -> None:
    _, problems = parse_defaults(Bundle({DEFAULTS_FILE: text}))
    assert [(one.file, one.line >= line) for one in problems] == [(DEFAULTS_FILE, True)]


def test_absent_defaults_are_a_problem() -> None:
    assert [one.file for one in parse_defaults(Bundle({}))[1]] == [DEFAULTS_FILE]


def test_what_is_done_to_merged_settings_does_not_reach_the_next_ones() -> None:
    merged, _ = merge_settings(packaged_bundle(), {"spawn": {"depth": 1}})
    merged["models"]["aliases"].clear()
    merged["spawn"]["depth"] = 99
    again, problems = merge_settings(packaged_bundle(), {})
    assert problems == [] and again["models"]["aliases"] and again["spawn"]["depth"] not in (1, 99)
