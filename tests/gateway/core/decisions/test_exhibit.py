"""What an approver is shown: everything, but for secrets and what is past the bound, and that is said."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.decisions import exhibit as module
from gateway.core.decisions.exhibit import canonical, exhibit
from gateway.core.decisions.masking import MASK
from tests.gateway.core.oversight.approvalcases import call, run, spawn

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
LONG = "the quick brown fox jumps over the lazy dog; " * 40


def shown(value: Any) -> Any:
    return exhibit(call(input=value)).what["input"]


def test_call_is_shown_with_its_facts_and_the_hash_of_all_of_it() -> None:
    found = exhibit(call("make deploy"))
    assert found.title == "Bash: make deploy" and found.what["input"] == {"command": "make deploy"}
    assert found.what["facts"]["commands"][0]["program"] == "make"
    assert (found.what["input_bytes"], found.what["cut"]) == (len(canonical({"command": "make deploy"})), False)


def test_long_text_is_shown_whole() -> None:
    text = LONG + "\n" + LONG + "; rm -rf /"
    assert shown({"command": text}) == {"command": text}


@pytest.mark.parametrize(
    "text",
    [
        "curl -H 'Authorization: Bearer abcdefghijklmnop123456' https://example.com",
        "export TOKEN=abcdefghijklmnop123456",
        f"{LONG}; export TOKEN=abcdefghijklmnop123456; {LONG}",
        f"{LONG} PASSWORD: abcdefghijklmnop123456 {LONG}",
        "echo sk-ant-abcdefghijklmnop123456",
        "x\n-----BEGIN PRIVATE KEY-----\nabc+\nabcdefghijklmnop123456/x\n-----END PRIVATE KEY-----\ny",
    ],
)
def test_secrets_are_masked_wherever_they_stand(text: str) -> None:
    found = shown({"command": text})["command"]
    assert "abcdefghijklmnop123456" not in found and MASK in found


@pytest.mark.parametrize("name", ["password", "api_key", "accessToken"])
def test_member_that_is_named_like_a_secret_is_masked(name: str) -> None:
    assert shown({name: "hunter2", "path": "/a"}) == {name: MASK, "path": "/a"}


def test_word_after_a_password_option_is_masked_in_the_facts() -> None:
    facts = exhibit(call("mysql --password hunter2")).what["facts"]
    assert facts["commands"][0]["argv"] == ["mysql", "--password", MASK]


@pytest.mark.parametrize(
    "value",
    [
        {"command": "x " * module.WHOLE_CHARS_MAX},
        {"list": ["x"] * (module.ENTRIES_MAX + 1)},
        {str(number): 1 for number in range(module.ENTRIES_MAX + 1)},
        {"numbers": [[[1] * 200] * 200] * 200},
        json.loads('{"a":' * (module.DEPTH_MAX + 1) + "1" + "}" * (module.DEPTH_MAX + 1)),
    ],
)
def test_what_is_past_a_bound_is_left_out_and_that_is_said(value: Any) -> None:
    found = exhibit(call(input=value))
    assert found.what["cut"] and len(json.dumps(found.what["input"])) < 3 * module.WHOLE_CHARS_MAX
    assert found.what["input_bytes"] == len(canonical(value))


@given(VALUES)
@settings(max_examples=100)
def test_any_input_is_shown_as_json_of_the_same_form(value: Any) -> None:
    found = exhibit(call(input=value))
    assert len(found.title) <= module.TITLE_CHARS_MAX and "\n" not in found.title
    assert type(json.loads(json.dumps(found.what["input"]))) in (type(value), float, int)


def test_half_a_character_can_be_shown() -> None:
    assert shown({"command": "a\ud800"}) == {"command": "a?"}


def test_run_is_shown_by_its_profile_and_says_when_no_script_was_seen() -> None:
    found = exhibit(run())
    assert found.title == "workflow sweep: no visible bound of agents" and found.what["profile"]["valid"]
    assert "not in the call" in exhibit(run(None)).title


def test_spawn_is_shown_with_the_first_words_of_its_prompt() -> None:
    found = exhibit(spawn(), LONG)
    assert found.title == "agent Explore on opus (look around)" and found.what["cut"]
    assert found.what["prompt"].startswith("the quick") and "prompt" not in exhibit(spawn()).what
