"""The dialogue about an output: tries, reminders, and the two errors it may end with."""

import pytest

from runtime.agents.prompts import NUDGE
from runtime.agents.structured import ERRORS_MAX, RAW_TEXT_BYTES_MAX, Mismatch, OutputDialogue, clip
from runtime.core.model import Thrown

WRONG = (Mismatch("", "'n' is missing"), Mismatch("/finding", "is not a string"))


def dialogue(tries: int = 5, nudges: int = 2) -> OutputDialogue:
    return OutputDialogue(tries_max=tries, nudges_max=nudges)


def test_w65_failed_try_names_every_failing_path() -> None:
    told = dialogue().tried("{}", WRONG)
    assert told is not None and "root: 'n' is missing" in told and "/finding: is not a string" in told


def test_w65_many_failing_paths_are_counted() -> None:
    told = dialogue().tried("{}", [Mismatch(f"/{n}", "no") for n in range(ERRORS_MAX + 3)])
    assert told is not None and "and 3 more" in told


def test_w65_the_call_throws_after_the_last_try() -> None:
    talk = dialogue(tries=5)
    thrown = [(talk.tried("{}", WRONG), talk.exhausted())[1] for _ in range(5)]
    assert thrown[:4] == [None] * 4
    assert thrown[4] is not None and "'n' is missing" in thrown[4].message and "5 tries" in thrown[4].message


def test_w65_a_value_that_fits_is_no_failure() -> None:
    talk = dialogue(tries=1)
    assert talk.tried("{}", ()) is None and talk.exhausted() is None


def test_w66_agent_is_reminded_twice_and_then_the_call_throws() -> None:
    talk = dialogue()
    assert [talk.ended_without("text"), talk.ended_without("text")] == [NUDGE, NUDGE]
    thrown = talk.ended_without("the last text")
    assert isinstance(thrown, Thrown) and thrown.code == "schema_missing_output"
    assert "without calling StructuredOutput" in thrown.message and thrown.fields["rawText"] == "the last text"


def test_w66_a_denied_output_call_is_named_as_the_cause() -> None:
    talk = dialogue(nudges=0)
    talk.denial = "no such tools here"
    thrown = talk.ended_without("")
    assert isinstance(thrown, Thrown) and "no such tools here" in thrown.message


def test_w67_error_carries_what_can_be_salvaged() -> None:
    talk = dialogue(tries=1)
    talk.tried('{"finding":5}', WRONG)
    thrown = talk.exhausted()
    assert thrown is not None and thrown.code == "schema_retries_exhausted"
    assert thrown.fields["validationErrors"] == [
        {"path": "", "message": "'n' is missing"},
        {"path": "/finding", "message": "is not a string"},
    ]
    assert thrown.fields["rawText"] == '{"finding":5}'


@pytest.mark.parametrize("text", ["x" * 70_000, "é" * 70_000], ids=["ascii", "accents"])
def test_w67_raw_text_is_cut_at_a_whole_character(text: str) -> None:
    cut = clip(text)
    assert (
        len(cut.encode()) <= RAW_TEXT_BYTES_MAX and text.startswith(cut) and len(cut.encode()) > RAW_TEXT_BYTES_MAX - 2
    )


def test_w68_every_output_call_is_counted() -> None:
    talk = dialogue()
    talk.tried("{}", WRONG)
    talk.tried("{}", ())
    assert talk.tries == 2
