"""Which agent a conversation belongs to, for clients that send no ids: told by digests of its messages.

A client sends its whole conversation every time, and only ever adds to it; what it writes otherwise from one request to
the next (cache breakpoints, a text as a string or as a block) is made alike first. So a request goes on with the
conversation that ended where a beginning of this one ends. Two conversations that begin with the same words are one
until they part. Nothing of the text is kept. A guess all the same: whoever uses it marks it as inferred.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, cast

import msgspec

from gateway.core.agents.spawns import Opening
from gateway.core.wire.body import Message
from gateway.core.wire.parts import elements_at
from gateway.core.wire.spans import Span, typed

CONVERSATIONS_MAX = 100_000
"""Ends of conversations remembered, those of the same one included; the one unused for longest is forgotten first."""
MESSAGES_MEMO_MAX = 20_000
"""Messages whose digest is remembered, so that only new ones are taken apart."""
DIGEST_BYTES = 16

_SCRIPTED = b"You are a subagent spawned by a workflow orchestration script"
"""How Claude Code begins the system prompt of a workflow's agent, unless the script asks for a type."""
_encoder = msgspec.json.Encoder(order="deterministic")


class Holder(NamedTuple):
    """Whose conversation it is."""

    session: str
    agent: str


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""
    tool_use_id: str = ""


class Conversations:
    """Where known conversations end, and whose they are."""

    def __init__(self) -> None:
        self._ends: OrderedDict[bytes, Holder] = OrderedDict()
        self._memo: OrderedDict[bytes, bytes] = OrderedDict()

    def digests(self, owner: str, body: bytes, span: Span, most: int | None = None) -> list[bytes]:
        """Of the first message of the array at `span`, of the first two, and so on; for this owner alone.

        Raises:
            Malformed: the messages cannot be read.
        """
        chain = blake2b(owner.encode("utf-8", "surrogatepass") + b"\0", digest_size=DIGEST_BYTES)
        digests: list[bytes] = []
        for each in elements_at(body, span, "messages")[:most]:
            chain.update(self._digest(body[slice(*each)]))
            digests.append(chain.digest())
        return digests

    def find(self, digests: Sequence[bytes]) -> Holder | None:
        """Whose conversation begins so, the longest beginning first."""
        for digest in reversed(digests):
            holder = self._ends.get(digest)
            if holder is not None:
                self._ends.move_to_end(digest)
                return holder
        return None

    def learn(self, digest: bytes, holder: Holder) -> None:
        """A conversation of `holder` has come to this end."""
        self._ends[digest] = holder
        self._ends.move_to_end(digest)
        while len(self._ends) > CONVERSATIONS_MAX:
            self._ends.popitem(last=False)

    def _digest(self, raw: bytes) -> bytes:
        written = blake2b(raw, digest_size=DIGEST_BYTES).digest()
        known = self._memo.get(written)
        if known is None:
            known = self._memo[written] = blake2b(_alike(raw), digest_size=DIGEST_BYTES).digest()
            while len(self._memo) > MESSAGES_MEMO_MAX:
                self._memo.popitem(last=False)
        return known


def read_opening(body: bytes, spans: Mapping[str, Span]) -> Opening:
    """What a request says for itself: the texts of its first user message, the calls its last one answers.

    `spans`: of the members of the body.

    Raises:
        Malformed: the messages cannot be read.
    """
    found = elements_at(body, spans["messages"], "messages")
    messages = [typed(body[slice(*each)], Message, "messages") for each in found]
    users = [message for message in messages if message.role == "user"]
    if not users:
        return Opening()
    texts = tuple(part.text for part in _parts(users[0]) if part.type == "text")
    answered = frozenset(part.tool_use_id for part in _parts(users[-1]) if part.type == "tool_result")
    return Opening(texts, answered, from_script="system" in spans and body.find(_SCRIPTED, *spans["system"]) >= 0)


def last_words(body: bytes, span: Span) -> str:
    """All text of the last user message."""
    spans = elements_at(body, span, "messages")
    for each in reversed(spans):
        message = typed(body[slice(*each)], Message, "messages")
        if message.role == "user":
            return "\n".join(part.text for part in _parts(message))
    return ""


def _parts(message: Message) -> list[_Part]:
    try:
        content = msgspec.json.decode(message.content, type=str | list[_Part])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return []
    return [_Part("text", content)] if isinstance(content, str) else content


def _alike(raw: bytes) -> bytes:
    """A message as every request of a conversation would have it; as it stands when it cannot be taken apart."""
    try:
        message: Any = msgspec.json.decode(raw)
        if not isinstance(message, dict):
            return raw
        entry = cast("dict[str, Any]", message)
        entry.pop("cache_control", None)
        entry["content"] = _plain(entry.get("content"))
        return _encoder.encode(entry)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError):
        return raw


def _plain(content: Any) -> Any:
    """Content as a list of blocks without cache breakpoints, in tool results too."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        return content
    blocks = cast("list[Any]", content)
    for block in blocks:
        if isinstance(block, dict):
            fields = cast("dict[str, Any]", block)
            fields.pop("cache_control", None)
            if fields.get("type") == "tool_result" and "content" in fields:
                fields["content"] = _plain(fields["content"])
    return blocks
