"""Content whose size the body does not show."""

import json

import pytest

from gateway.core.estimates.content import Content, measure_content


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


def test_what_stands_in_a_document_is_looked_at() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/webp", "data": "AA=="}}
    linked = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}

    def document(*content: object) -> dict[str, object]:
        return {"type": "document", "source": {"type": "content", "content": list(content)}}

    assert measured(document(image, {"type": "text", "text": "x"}, image)) == Content(images=2)
    assert measured({"type": "tool_result", "content": [document(linked)]}).unbounded


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


def test_blocks_of_system_entries_are_counted() -> None:
    block = {"type": "text", "text": "x"}
    entries = [{"role": "system", "content": [block, block]}, {"role": "system", "content": "y"}]
    assert measure_content(json.dumps([*entries, {"role": "user", "content": [block]}]).encode()).system_blocks == 3
    assert measured(block).system_blocks == 0
