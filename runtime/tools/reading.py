"""What Read shows of a file: numbered lines, or an image. Pure: bytes in, content of a `tool_result` out."""

import base64
from typing import Any

from runtime.tools.refusal import Refused

LINES_DEFAULT = 2_000
LINE_CHARS_MAX = 2_000
READ_CHARS_MAX = 80_000
IMAGE_BYTES_MAX = 3_750_000
"""5 MB in base64, which is what the Messages API takes."""
PROBED_BYTES = 8_192
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def show_file(content: bytes, shown: str, *, offset: int | None, limit: int | None) -> str | list[dict[str, Any]]:
    """`offset` counts lines from 1. Raises `Refused` for what cannot be shown."""
    media_type = _image_type(content)
    if media_type is not None:
        return [_image(content, media_type, shown)]
    if b"\0" in content[:PROBED_BYTES]:
        raise Refused(f"{shown} is a binary file ({len(content)} bytes): it cannot be shown as text.")
    if not content:
        return f"({shown} is empty)"
    return _number_lines(content.decode("utf-8", "replace"), max(offset or 1, 1), limit or LINES_DEFAULT)


def _number_lines(text: str, first: int, limit: int) -> str:
    lines = text.removeprefix("\ufeff").split("\n")
    if first > len(lines):
        raise Refused(f"There is no line {first}: the file has {len(lines)}.")
    numbered: list[str] = []
    chars = 0
    for number, line in enumerate(lines[first - 1 : first - 1 + limit], first):
        row = f"{number}\t{_cut(line.removesuffix(chr(13)))}"
        chars += len(row) + 1
        if chars > READ_CHARS_MAX:
            break
        numbered.append(row)
    after = first + len(numbered)
    if after <= len(lines):
        numbered.append(f"\n(lines {first} to {after - 1} of {len(lines)}; go on with offset {after})")
    return "\n".join(numbered)


def _cut(line: str) -> str:
    if len(line) <= LINE_CHARS_MAX:
        return line
    return f"{line[:LINE_CHARS_MAX]}... ({len(line) - LINE_CHARS_MAX} more characters in this line)"


def _image_type(content: bytes) -> str | None:
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for magic, media_type in _IMAGES if content.startswith(magic)), None)


def _image(content: bytes, media_type: str, shown: str) -> dict[str, Any]:
    if len(content) > IMAGE_BYTES_MAX:
        raise Refused(f"{shown} is an image of {len(content)} bytes: at most {IMAGE_BYTES_MAX} can be shown.")
    source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(content).decode()}
    return {"type": "image", "source": source}
