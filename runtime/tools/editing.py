"""What Edit makes of a file. Pure: bytes in, bytes out; every byte that is not replaced stays, line ends too."""

from runtime.tools.files import FILE_BYTES_MAX
from runtime.tools.inputs import EditInput
from runtime.tools.refusal import Refused


def edit(content: bytes, asked: EditInput) -> tuple[bytes, int]:
    """The new content, and how many places were changed. Raises `Refused`."""
    if not asked.old_string:
        raise Refused("old_string is empty: use Write for a whole file.")
    if asked.old_string == asked.new_string:
        raise Refused("old_string and new_string are the same: nothing would change.")
    _refuse_not_text(content, asked.file_path)
    old, new = _in_the_files_line_ends(content, asked)
    count = content.count(old)
    if count == 0:
        raise Refused(f"old_string does not occur in {asked.file_path}: it has to match exactly, blanks included.")
    if count > 1 and not asked.replace_all:
        raise Refused(
            f"old_string occurs {count} times in {asked.file_path}: add lines around it until it is unique, or set "
            "replace_all."
        )
    if len(content) + count * (len(new) - len(old)) > FILE_BYTES_MAX:
        raise Refused(f"{asked.file_path} would become larger than {FILE_BYTES_MAX} bytes.")
    return content.replace(old, new), count


def encode(text: str) -> bytes:
    """Raises `Refused` for text that is none."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Refused("The text holds half of a surrogate pair: it cannot be written as UTF-8.") from None


def _in_the_files_line_ends(content: bytes, asked: EditInput) -> tuple[bytes, bytes]:
    """Old and new text with the line ends of the place they belong to."""
    old, new = encode(asked.old_string), encode(asked.new_string)
    only_crlf = b"\r\n" in content and content.count(b"\n") == content.count(b"\r\n")
    if only_crlf or (old not in content and _with_crlf(old) in content):
        return _with_crlf(old), _with_crlf(new)
    return old, new


def _with_crlf(text: bytes) -> bytes:
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _refuse_not_text(content: bytes, shown: str) -> None:
    try:
        content.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{shown} is not UTF-8 text (byte {error.start}): Edit would damage it.") from None
