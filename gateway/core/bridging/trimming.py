"""A request's fields, tools and content blocks without what its upstream lacks: as edits, each of one place.

Looks only where the API has a feature, never into a tool's input or schema, nor into text. Who speaks in which turn is
`turns.py`.
"""

from gateway.core.bridging.features import Feature
from gateway.core.bridging.losses import Losses
from gateway.core.bridging.support import Lacks
from gateway.core.wire.parts import cut_elements, cut_members, elements_at, found_between, members_at, string_at
from gateway.core.wire.spans import Edit, Span, splice

CONTENT_DEPTH_MAX = 4
"""Content inside content that is looked at: an image in a document in a tool result is the deepest that the API has."""
_NESTING = frozenset({"tool_result", "mcp_tool_result", "search_result"})
_EMPTY = frozenset({b"null", b"[]", b"{}"})
_TOOL_CHANGES = {
    "tool_addition": (b"The tool ", b" can be used from here on."),
    "tool_removal": (b"The tool ", b" can no longer be used; do not call it."),
}


class Trimmer:
    """Finds in one body what `lacks` names. `losses` is told of everything found, and may refuse the request."""

    def __init__(self, body: bytes, lacks: Lacks, losses: Losses) -> None:
        self.body = body
        self.lacks = lacks
        self.losses = losses
        self._tool_members = {place.name: feature for place, feature in lacks.at("tool_member")}
        self._cache_members = {place.name: feature for place, feature in lacks.at("cache_member")}
        self._sources = {place.value: feature for place, feature in lacks.at("source")}
        self._blocks = {place.value: feature for place, feature in lacks.at("block")}
        self._added: set[str] = set()

    def fields(self, spans: dict[str, Span]) -> list[Edit]:
        """Edits of the top level and of the objects right below it."""
        edits: list[Edit] = []
        gone: set[str] = set()
        for place, feature in self.lacks.at("field"):
            if (span := spans.get(place.name)) is not None:
                self.losses.note(feature, empty=self.body[slice(*span)] in _EMPTY)
                gone.add(place.name)
        parents = {place.name for kind in ("member", "element") for place, _ in self.lacks.at(kind)}
        for name in sorted(parents & spans.keys() - gone):
            inner = self._object(name, spans[name])
            if inner is None:
                gone.add(name)
            else:
                edits += inner
        return edits + cut_members(self.body, self.body.index(b"{") + 1, spans, gone) if gone else edits

    def _object(self, name: str, span: Span) -> list[Edit] | None:
        """Edits inside one top-level object; None: nothing of it may stay."""
        found = members_at(self.body, span, name)
        gone: set[str] = set()
        for place, feature in self.lacks.at("member"):
            if place.name != name or place.member not in found:
                continue
            if place.value in ("", string_at(self.body, found[place.member])):
                self.losses.note(feature)
                gone |= found.keys() if place.member == "type" else {place.member}
        edits: list[Edit] = []
        for member in sorted({place.member for place, _ in self.lacks.at("element") if place.name == name} - gone):
            if member in found:
                spans = elements_at(self.body, found[member], f"{name}.{member}")
                cut = self._elements(name, member, spans)
                if cut and len(cut) == len(spans):
                    gone.add(member)
                else:
                    edits += cut_elements(self.body, found[member][0] + 1, spans, cut)
        if gone and gone == found.keys():
            return None
        return edits + cut_members(self.body, span[0] + 1, found, gone)

    def _elements(self, name: str, member: str, spans: list[Span]) -> set[int]:
        """Which elements of a list may not stay."""
        cut: set[int] = set()
        for place, feature in self.lacks.at("element"):
            if (place.name, place.member) == (name, member):
                found = {at for at, span in enumerate(spans) if place.matches(self._type(span))}
                cut |= found
                if found:
                    self.losses.note(feature)
        return cut

    def _type(self, span: Span) -> str:
        return string_at(self.body, members_at(self.body, span, "").get("type"))

    def tools(self, span: Span) -> list[Edit]:
        """Edits of the `tools` array. To be asked after the messages, which may have added deferred tools."""
        if not self._added and not found_between(self.body, span, self.lacks.tool_marks):
            return []
        edits: list[Edit] = []
        gone: set[int] = set()
        spans = elements_at(self.body, span, "tools")
        for index, tool in enumerate(spans):
            inner = self._tool(tool, f"tools[{index}]")
            if inner is None:
                gone.add(index)
            else:
                edits += inner
        return edits + cut_elements(self.body, span[0] + 1, spans, gone)

    def _tool(self, span: Span, place: str) -> list[Edit] | None:
        """Edits of one tool; None: it may not stay."""
        found = members_at(self.body, span, place)
        kind = string_at(self.body, found.get("type"))
        for where, feature in self.lacks.at("tool"):
            if kind and where.matches(kind):
                self.losses.note(feature)
                return None
        gone = self._tool_members.keys() & found.keys()
        for name in sorted(gone):
            self.losses.note(self._tool_members[name])
        if "defer_loading" in found and string_at(self.body, found.get("name")) in self._added:
            gone = gone | {"defer_loading"}
        return self._cache(found, place) + cut_members(self.body, span[0] + 1, found, gone)

    def system(self, span: Span) -> list[Edit]:
        """Edits of the top-level `system`, a string or blocks."""
        return self._inner(span, "system", 0) if found_between(self.body, span, self.lacks.block_marks) else []

    def content(self, span: Span, place: str, depth: int = 1) -> list[Edit] | None:
        """Edits of an array of content blocks, none of a string; None: no block may stay."""
        edits: list[Edit] = []
        gone: set[int] = set()
        spans = elements_at(self.body, span, place)
        for index, block in enumerate(spans):
            inner = self.block(block, f"{place}[{index}]", depth)
            if inner is None:
                gone.add(index)
            else:
                edits += inner
        if gone and len(gone) == len(spans):
            return None
        return edits + cut_elements(self.body, span[0] + 1, spans, gone)

    def _inner(self, span: Span, place: str, depth: int) -> list[Edit]:
        """Edits of content that may be empty."""
        edits = self.content(span, place, depth + 1)
        return [(*span, b"[]")] if edits is None else edits

    def block(self, span: Span, place: str, depth: int = 1) -> list[Edit] | None:
        """Edits of one content block; None: it may not stay."""
        found = members_at(self.body, span, place)
        kind = string_at(self.body, found.get("type"))
        feature = self._blocks.get(kind)
        if feature is not None:
            self.losses.note(feature)
            return [(*span, self._told(found, kind, feature, place))] if feature.without == "rewrite" else None
        edits = self._cache(found, place)
        if depth < CONTENT_DEPTH_MAX:
            if "source" in found:
                edits += self._source(found["source"], f"{place}.source", depth)
            if kind in _NESTING and "content" in found:
                edits += self._inner(found["content"], f"{place}.content", depth)
        return edits

    def _source(self, span: Span, place: str, depth: int) -> list[Edit]:
        found = members_at(self.body, span, place)
        feature = self._sources.get(string_at(self.body, found.get("type")))
        if feature is not None:
            self.losses.note(feature)
        return self._inner(found["content"], f"{place}.content", depth) if "content" in found else []

    def _cache(self, holder: dict[str, Span], place: str) -> list[Edit]:
        """Edits of the `cache_control` of a tool or block."""
        span = holder.get("cache_control")
        if span is None or not self._cache_members:
            return []
        found = members_at(self.body, span, f"{place}.cache_control")
        gone = self._cache_members.keys() & found.keys()
        for name in sorted(gone):
            self.losses.note(self._cache_members[name])
        return cut_members(self.body, span[0] + 1, found, gone)

    def _told(self, block: dict[str, Span], kind: str, feature: Feature, place: str) -> bytes:
        """A block that adds or removes a tool as text; the tool it adds is no longer deferred, for want of a loader."""
        tool = members_at(self.body, block["tool"], f"{place}.tool") if "tool" in block else {}
        name = string_at(self.body, tool.get("name"))
        if string_at(self.body, tool.get("type")) != "tool_reference" or not name:
            raise self.losses.refusal(feature, "declare the tool in tools")
        if kind == "tool_addition":
            self._added.add(name)
        before, after = _TOOL_CHANGES[kind]
        text = b'{"type":"text","text":"' + before + name.encode() + after + b'"'
        if (cache := block.get("cache_control")) is not None:
            shift = cache[0]
            edits = [(start - shift, end - shift, to) for start, end, to in self._cache(block, place)]
            text += b',"cache_control":' + splice(self.body[slice(*cache)], edits)
        return text + b"}"
