"""The line of one agent: what is kept of its prompt, its value and its attempts."""

from runtime.core.limits import INLINE_BYTES_MAX
from runtime.core.views.rows import ATTEMPTS_KEPT, PREVIEW_CHARS_MAX
from tests.runtime.core.play import NOW
from tests.runtime.core.story import Story


def preview(value: str) -> str | None:
    return Story().runs().issues().starts(0).gives(0, value).view().preview(0)


def test_w91_text_is_shown_without_quotes_and_the_rest_as_json() -> None:
    assert preview('"a\\nb"') == "a b"
    assert preview('{"a":[1]}') == '{"a":[1]}'


def test_w91_long_value_is_cut() -> None:
    shown = preview('"' + "x" * 5_000 + '"')
    assert shown is not None and len(shown) == PREVIEW_CHARS_MAX


def test_w149_value_beside_the_journal_is_named_not_shown() -> None:
    shown = preview('"' + "x" * INLINE_BYTES_MAX + '"')
    assert shown is not None and shown.startswith("(stored apart: ")


def test_w58_past_attempts_are_kept_up_to_a_limit() -> None:
    story = Story().runs().issues().starts(0)
    for _ in range(ATTEMPTS_KEPT + 5):
        story.tries_again(0)
    detail = story.view().agent(0, NOW)
    assert detail is not None and len(detail["past_attempts"]) == ATTEMPTS_KEPT
    assert detail["attempts"] == ATTEMPTS_KEPT + 6


def test_w54_reason_and_detail_tell_why_there_is_no_value() -> None:
    story = Story().runs().issues().starts(0).gives_null(0, "api_error", detail="429 for \u202eyou")
    detail = story.view().agent(0, NOW)
    assert detail is not None and (detail["reason"], detail["detail"]) == ("api_error", "429 for \\u{202E}you")


def test_w67_thrown_error_keeps_its_code_and_message() -> None:
    detail = Story().runs().issues().starts(0).throws(0).view().agent(0, NOW)
    assert detail is not None and detail["reason"] == "schema_retries_exhausted"
    assert detail["detail"] == "schema_retries_exhausted of 0"
