"""Members and elements where they stand in a whole body, and the edits that take some of them out. Reads no meaning."""

from collections.abc import Mapping, Sequence, Set

from gateway.core.wire.spans import Edit, Span, elements, members


def members_at(body: bytes, span: Span, place: str) -> dict[str, Span]:
    """Members of the object at `span`, as spans into `body`; none when something else stands there.

    Raises:
        Malformed: a key occurs twice, or it is nested too deep.
    """
    start, end = span
    if body[start : start + 1] != b"{":
        return {}
    return {name: (start + first, start + last) for name, (first, last) in members(body[start:end], place).items()}


def elements_at(body: bytes, span: Span, place: str) -> list[Span]:
    """Elements of the array at `span`, as spans into `body`; none when something else stands there."""
    start, end = span
    if body[start : start + 1] != b"[":
        return []
    return [(start + first, start + last) for first, last in elements(body[start:end], place)]


def string_at(body: bytes, span: Span | None) -> str:
    """A string as it is written, without its quotes; empty when something else stands there."""
    if span is None or body[span[0] : span[0] + 1] != b'"':
        return ""
    return body[span[0] + 1 : span[1] - 1].decode(errors="replace")


def found_between(body: bytes, span: Span, marks: Sequence[bytes]) -> bool:
    """Does one of the marks stand inside the span?"""
    return any(body.find(mark, *span) >= 0 for mark in marks)


def cut_members(body: bytes, inside: int, spans: Mapping[str, Span], names: Set[str]) -> list[Edit]:
    """The edits that take members out of the object that opens just before `inside`. What stays is still JSON."""
    ordered = sorted(spans.items(), key=lambda member: member[1])
    return _cut(
        body, inside, [span for _, span in ordered], {at for at, (name, _) in enumerate(ordered) if name in names}
    )


def cut_elements(body: bytes, inside: int, spans: Sequence[Span], indexes: Set[int]) -> list[Edit]:
    """The same for elements of an array, by their index."""
    return _cut(body, inside, spans, indexes)


def _cut(body: bytes, inside: int, spans: Sequence[Span], indexes: Set[int]) -> list[Edit]:
    """Each cut takes the comma before it; one at the beginning has none, and takes the one after it instead."""
    edits: list[Edit] = []
    kept_end: int | None = None
    at = 0
    while at < len(spans):
        if at not in indexes:
            kept_end = spans[at][1]
            at += 1
            continue
        while at + 1 < len(spans) and at + 1 in indexes:
            at += 1
        end = spans[at][1]
        if kept_end is None and at + 1 < len(spans):
            edits.append((inside, body.index(b",", end) + 1, b""))
        else:
            edits.append((inside if kept_end is None else kept_end, end, b""))
        at += 1
    return edits
