"""What is kept of a command's output: its beginning and its end, however much there is. Pure."""

import codecs

OUTPUT_CHARS_MAX = 30_000
_HALF = OUTPUT_CHARS_MAX // 2


class Output:
    """`feed` bytes as they come, then ask for `text` once."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._head = ""
        self._tail = ""
        self._left_out = 0

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        """Keep at most the limit."""
        text = self._decoder.decode(chunk, final)
        room = _HALF - len(self._head)
        self._head += text[:room]
        tail = self._tail + text[room:]
        self._left_out += max(len(tail) - _HALF, 0)
        self._tail = tail[-_HALF:]

    def text(self) -> str:
        """Without blank lines at the end."""
        self.feed(b"", final=True)
        middle = f"\n\n... {self._left_out} characters left out ...\n\n" if self._left_out else ""
        return f"{self._head}{middle}{self._tail}".rstrip()
