"""What Read shows: numbered lines as the recorded client has them, images, and plain words for the rest."""

import base64
from typing import Any

import pytest

from runtime.tools.reading import IMAGE_BYTES_MAX, LINE_CHARS_MAX, LINES_DEFAULT, READ_CHARS_MAX, show_file
from runtime.tools.refusal import Refused


def show(content: bytes, offset: int | None = None, limit: int | None = None) -> Any:
    return show_file(content, "file", offset=offset, limit=limit)


def test_lines_are_numbered_as_in_the_recorded_exchange() -> None:
    assert show(b"hello fixture\n") == "1\thello fixture\n2\t"


def test_line_ends_and_byte_order_mark_are_not_shown() -> None:
    assert show("\ufeffone\r\ntwo".encode()) == "1\tone\n2\ttwo"


def test_part_begins_at_the_offset_and_tells_how_to_go_on() -> None:
    shown = show(b"\n".join(b"%d" % number for number in range(1, 11)), 3, 2)
    assert shown == "3\t3\n4\t4\n\n(lines 3 to 4 of 10; go on with offset 5)"


def test_last_part_has_no_hint() -> None:
    assert show(b"a\nb\nc", 2) == "2\tb\n3\tc"


def test_long_file_is_cut_at_the_usual_number_of_lines() -> None:
    shown = show(b"x\n" * (LINES_DEFAULT + 10))
    assert shown.endswith(f"go on with offset {LINES_DEFAULT + 1})")


def test_much_text_is_cut_at_a_line() -> None:
    shown = show(b"\n".join([b"x" * 1_000] * 500))
    assert len(shown) < READ_CHARS_MAX + 100
    assert "go on with offset" in shown


def test_long_line_is_cut_and_says_so() -> None:
    shown = show(b"x" * (LINE_CHARS_MAX + 5))
    assert shown == f"1\t{'x' * LINE_CHARS_MAX}... (5 more characters in this line)"


def test_offset_after_the_end_is_refused_with_the_number_of_lines() -> None:
    with pytest.raises(Refused, match="no line 5: the file has 2"):
        show(b"a\nb", 5)


def test_empty_file_is_said_to_be_empty() -> None:
    assert show(b"") == "(file is empty)"


def test_binary_file_is_refused_with_its_size() -> None:
    with pytest.raises(Refused, match=r"binary file \(7 bytes\)"):
        show(b"\x7fELF\0\1\2")


def test_text_in_another_encoding_is_shown_as_far_as_it_goes() -> None:
    assert show(b"caf\xe9") == "1\tcaf\ufffd"


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0", "image/png"),
        (b"\xff\xd8\xff\xe0\0", "image/jpeg"),
        (b"GIF89a\0", "image/gif"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
    ],
    ids=["png", "jpeg", "gif", "webp"],
)
def test_image_is_an_image_block(content: bytes, media_type: str) -> None:
    (block,) = show(content)
    assert (block["type"], block["source"]["media_type"]) == ("image", media_type)
    assert base64.b64decode(block["source"]["data"]) == content


def test_image_over_the_limit_is_refused() -> None:
    with pytest.raises(Refused, match="at most"):
        show(b"\x89PNG\r\n\x1a\n" + b"\0" * IMAGE_BYTES_MAX)
