"""All approvals that are known here: those that wait, those that are remembered, and the last of the others.

Takes over what other gateways wrote; waits for nobody. What a word on an item does is `approvals.py`.
"""

import json

import msgspec

from gateway.core.decisions.decision import Lineage
from gateway.core.oversight.approvals import Item, State, covers

WAITING_PER_SESSION_MAX = 50
"""Above the most streams that one session was seen to have at once."""
WAITING_PER_USER_MAX = 150
"""So that the sessions of one cannot take the room of all."""
WAITING_MAX = 500
"""In all, on all gateways of a store: more than people could ever answer."""
REMEMBERED_MAX = 2_000
ENDED_KEPT_MAX = 500
"""Decided items that answer nothing any more; the oldest are forgotten first."""
SESSION_REMEMBERED_MS = 7 * 24 * 3600 * 1000
"""A session may be resumed for about as long."""


class ApprovalBook:
    """Items by id."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._waiting: dict[str, Item] = {}
        self._granting: dict[str, dict[str, Item]] = {}
        """By what they are bound to."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> bool:
        """Take over an item, unless more is known of it here. Each word on it adds one, so more words are newer."""
        known = self._items.get(item.id)
        if known is not None and len(known.decisions) > len(item.decisions):
            return False
        if known is not None:
            self.drop(item.id)
        self._items[item.id] = item
        if item.state == "waiting":
            self._waiting[item.id] = item
        if item.granted is not None and item.binding is not None:
            self._granting.setdefault(item.binding, {})[item.id] = item
        return True

    def drop(self, id: str) -> None:
        """Forget an item."""
        item = self._items.pop(id, None)
        self._waiting.pop(id, None)
        granting = None if item is None or item.binding is None else self._granting.get(item.binding)
        if item is not None and item.binding is not None and granting is not None:
            granting.pop(id, None)
            if not granting:
                del self._granting[item.binding]

    def find(self, id: str) -> Item | None:
        """The item with this id."""
        return self._items.get(id)

    def waiting(self) -> list[Item]:
        """Those that wait, the oldest first."""
        return sorted(self._waiting.values(), key=_age)

    def listed(self, state: State | None, most: int) -> list[Item]:
        """The latest `most` of a state, or of all."""
        found = (item for item in self._items.values() if state is None or item.state == state)
        return sorted(found, key=_age, reverse=True)[:most]

    def covering(self, asked: Item) -> Item | None:
        """A remembered approval that answers `asked`."""
        granting = self._granting.get(asked.binding or "", {})
        return next((grant for grant in granting.values() if covers(grant, asked)), None)

    def full(self, lineage: Lineage, user: str | None = None) -> str | None:
        """Why no more can wait; None when there is room."""
        if len(self._waiting) >= WAITING_MAX:
            return f"{WAITING_MAX} approvals wait already, which is the most there can be"
        of_session = sum(item.lineage.session == lineage.session for item in self._waiting.values())
        if of_session >= WAITING_PER_SESSION_MAX:
            return f"{of_session} approvals of this session wait already, which is the most there can be"
        of_user = sum(item.principal.user == user for item in self._waiting.values())
        if of_user >= WAITING_PER_USER_MAX:
            return f"{of_user} approvals for {user} wait already, which is the most there can be"
        return None

    def remembers_most(self) -> bool:
        """Whether no further approval can be remembered."""
        return sum(map(len, self._granting.values())) >= REMEMBERED_MAX

    def surplus(self, now_ms: int) -> list[str]:
        """Ids of those to be forgotten."""
        old = [item.id for item in self._items.values() if _has_lapsed(item, now_ms)]
        ended = [item for item in self._items.values() if item.state != "waiting" and item.granted is None]
        ended.sort(key=_age, reverse=True)
        return [*old, *(item.id for item in ended[ENDED_KEPT_MAX:])]


def encode_item(item: Item) -> bytes:
    """As the store keeps it. What is no Unicode (a header may hold it) is written as `?`."""
    try:
        return msgspec.json.encode(item)
    except UnicodeEncodeError:
        plain = msgspec.to_builtins(item)
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def decode_item(text: bytes) -> Item:
    """Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(text, type=Item)


def _has_lapsed(item: Item, now_ms: int) -> bool:
    return item.granted == "session" and now_ms - item.asked_at_ms > SESSION_REMEMBERED_MS


def _age(item: Item) -> tuple[int, str]:
    return (item.asked_at_ms, item.id)
