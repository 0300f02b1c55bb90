"""The messages of a request without what its upstream lacks. What stands in a single block is `trimming.py`.

System entries become text of the user, in place: moving them to the top would change the beginning of every later
prompt, so that the upstream's prompt cache never matches again. All entries between two of the assistant become one of
the user, so that roles alternate; there, what stood before a tool result comes after it, since nothing may part a tool
call from its results. The same entries always give the same bytes, and entries added later leave the earlier ones as
they were. What is lost is the operator's authority: to the model it is the user who speaks, hence the mark around it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gateway.core.bridging.features import Feature
from gateway.core.bridging.trimming import Trimmer
from gateway.core.wire.parts import cut_elements, cut_members, elements_at, members_at, string_at
from gateway.core.wire.spans import Edit, Span, splice

NOTE_OPENS = b"<operator-note>\\n"
NOTE_ENDS = b"\\n</operator-note>"
"""As they stand inside a JSON string."""
_EMPTY_STRING = b'""'


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of `messages`."""

    span: Span
    members: dict[str, Span]
    role: str
    place: str


def fit_messages(trimmer: Trimmer, span: Span) -> list[Edit]:
    """Edits of the `messages` array."""
    body, lacks = trimmer.body, trimmer.lacks
    marks = [mark for mark in lacks.message_marks if body.find(mark, *span) >= 0]
    if not marks:
        return []
    spans = elements_at(body, span, "messages")
    marked = _marked(body, spans, marks)
    edits: list[Edit] = []
    gone: set[int] = set()
    for _, feature in lacks.at("role"):
        entries = [_read(body, one, index) for index, one in enumerate(spans)]
        for first, last in _runs(entries):
            run = entries[first:last]
            if any(entry.role == "system" for entry in run):
                marked.difference_update(range(first, last))
                merged = _merged(trimmer, run, feature)
                if merged is None:
                    gone.update(range(first, last))
                else:
                    edits.append((run[0].span[0], run[-1].span[1], merged))
    for index in sorted(marked):
        inner = _entry_edits(trimmer, _read(body, spans[index], index))
        if inner is None:
            gone.add(index)
        else:
            edits += inner
    return edits + cut_elements(body, span[0] + 1, spans, gone)


def _marked(body: bytes, spans: Sequence[Span], marks: Sequence[bytes]) -> set[int]:
    """Entries in which one of the marks stands, by index."""
    ends = [end for _, end in spans]
    found: set[int] = set()
    for mark in marks:
        at = body.find(mark, spans[0][0], ends[-1]) if spans else -1
        while at >= 0:
            index = bisect_left(ends, at)
            found.add(index)
            at = body.find(mark, ends[index], ends[-1])
    return found


def _read(body: bytes, span: Span, index: int) -> _Entry:
    place = f"messages[{index}]"
    found = members_at(body, span, place)
    return _Entry(span, found, string_at(body, found.get("role")), place)


def _runs(entries: Sequence[_Entry]) -> Iterator[tuple[int, int]]:
    """Ranges of entries that are all the assistant's, or all not."""
    first = 0
    for index in range(1, len(entries) + 1):
        if index == len(entries) or (entries[index].role == "assistant") != (entries[first].role == "assistant"):
            yield first, index
            first = index


def _entry_edits(trimmer: Trimmer, entry: _Entry) -> list[Edit] | None:
    """Edits inside one entry that stays in its role; None: nothing of it is left."""
    gone = _lost_members(trimmer, entry)
    if gone and "content" not in entry.members:
        return None
    edits = cut_members(trimmer.body, entry.span[0] + 1, entry.members, gone)
    if "content" not in entry.members:
        return edits
    inner = trimmer.content(entry.members["content"], f"{entry.place}.content")
    return None if inner is None else edits + inner


def _lost_members(trimmer: Trimmer, entry: _Entry) -> set[str]:
    gone: set[str] = set()
    if entry.role == "system":
        for place, feature in trimmer.lacks.at("entry"):
            if place.name in entry.members:
                trimmer.losses.note(feature)
                gone.add(place.name)
    return gone


def _merged(trimmer: Trimmer, run: Sequence[_Entry], role: Feature) -> bytes | None:
    """The entries of a run as one of the user; None when they say nothing."""
    said: list[tuple[bytes, bool]] = []
    for entry in run:
        system = entry.role == "system"
        if system:
            trimmer.losses.note(role)
            _lost_members(trimmer, entry)
        said += [(_noted(block) if system else block, system) for block in _blocks(trimmer, entry)]
    if not said:
        return None
    content = b"[" + b",".join(_after_results(said)) + b"]"
    user = next((entry for entry in run if entry.role == "user" and "content" in entry.members), None)
    if user is None:
        return b'{"role":"user","content":' + content + b"}"
    (start, end), (first, last) = user.span, user.members["content"]
    return trimmer.body[start:first] + content + trimmer.body[last:end]


def _blocks(trimmer: Trimmer, entry: _Entry) -> Iterator[bytes]:
    """The blocks of an entry as the upstream takes them. A string is one of text; an empty one is none."""
    body = trimmer.body
    span = entry.members.get("content")
    if span is None:
        return
    if body[span[0] : span[0] + 1] == b'"':
        if body[slice(*span)] != _EMPTY_STRING:
            yield b'{"type":"text","text":' + body[slice(*span)] + b"}"
        return
    for index, (start, end) in enumerate(elements_at(body, span, f"{entry.place}.content")):
        edits = trimmer.block((start, end), f"{entry.place}.content[{index}]")
        if edits is not None:
            yield splice(body[start:end], [(first - start, last - start, new) for first, last, new in edits])


def _noted(block: bytes) -> bytes:
    """A block of a system entry with its text marked as the operator's."""
    found = members_at(block, (0, len(block)), "")
    text = found.get("text")
    if text is None or string_at(block, found.get("type")) != "text" or block[text[0] : text[0] + 1] != b'"':
        return block
    first, last = text
    return block[: first + 1] + NOTE_OPENS + block[first + 1 : last - 1] + NOTE_ENDS + block[last - 1 :]


def _after_results(said: Sequence[tuple[bytes, bool]]) -> list[bytes]:
    """The blocks of a run, those of system entries moved behind the last tool result that follows them."""
    last = max((at for at, (block, system) in enumerate(said) if not system and _is_result(block)), default=-1)
    head = [block for block, system in said[: last + 1] if not system]
    moved = [block for block, system in said[: last + 1] if system]
    return head + moved + [block for block, _ in said[last + 1 :]]


def _is_result(block: bytes) -> bool:
    return string_at(block, members_at(block, (0, len(block)), "").get("type")) == "tool_result"
