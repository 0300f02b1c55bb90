"""Content whose size the body does not show."""

import json

import pytest

from gateway.core.content import Content, measure_content


def measured(*blocks: object) -> Content:
    """Of one user message with these blocks."""
    return measure_content(json.dumps([{"role": "user", "content": list(blocks)}]).encode())


def test_text_and_calls_are_bounded_by_their_bytes() -> None:
    plain = [{"type": "text", "text": "a url or file"}, {"type": "tool_use", "input": {"type": "url"}}]
    assert measured(*plain) == Content()
    assert measure_content(b'[{"role":"user","content":"hi"}]') == Content()


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": ""}},
        {"type": "document", "source": {"type": "url"}},
        {"type": "container_upload", "file_id": "f"},
        {"type": "brand_new"},
        {"no_type": True},
        {"type": "image"},
        {"type": "tool_result", "content": [{"type": "image", "source": {"type": "url"}}]},
    ],
)
def test_content_that_is_only_named_is_unbounded(block: dict[str, object]) -> None:
    assert measured({"type": "text", "text": "x"}, block).unbounded


def test_escapes_do_not_hide_a_source() -> None:
    raw = b'[{"content":[{"type":"\\u0069mage","\\u0073ource":{"type":"\\u0075rl"}}]}]'
    assert measure_content(raw).unbounded


def test_images_of_the_body_are_counted_also_in_results() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    assert measured(image, {"type": "tool_result", "content": [image]}) == Content(images=2)


def test_document_of_text_is_bounded() -> None:
    assert measured({"type": "document", "source": {"type": "text", "data": "x"}}) == Content()


@pytest.mark.parametrize("raw", [b"null", b"{}", b'[{"content":5}]', b"[" * 5000, b'[{"content":"\xff"}]'])
def test_unreadable_messages_are_unbounded(raw: bytes) -> None:
    assert measure_content(raw).unbounded


@pytest.mark.parametrize("kind", ["thinking", "redacted_thinking", "th\\u0069nking"])
def test_thinking_is_found_however_it_is_spelt(kind: str) -> None:
    assert measure_content(f'[{{"role":"assistant","content":[{{"type":"{kind}"}}]}}]'.encode()).thinking
    assert not measured({"type": "text", "text": "thinking"}).thinking


def test_tool_references_and_entries_for_one_turn_are_found() -> None:
    found = {"type": "tool_result", "content": [{"type": "tool_reference", "tool_name": "Read"}]}
    assert measured(found).tool_references
    assert measure_content(b'[{"role":"system","content":"x","clear_at":"y"}]').short_lived
    assert measured({"type": "tool_use", "input": {"clear_at": "y"}}) == Content()
