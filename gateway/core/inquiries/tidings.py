"""What the user of a session should see of limits, fuses and controls: sentences, and which were told already.

For people, in contrast to `money/nearing.py` and `fuses/words.py`. A sentence stays the same until something has
changed, so that telling each once tells each change once.
"""

from collections import OrderedDict
from collections.abc import Iterable

from gateway.core.fuses.fuse import FuseRecord, amount_text
from gateway.core.fuses.fuse import message as blown_text
from gateway.core.money.budgets import LimitView, limit_text

SESSIONS_MAX = 20_000
"""Sessions of which it is remembered what was told."""
TEXTS_MAX = 64
"""Sentences remembered of each, the latest."""


def limit_texts(views: Iterable[LimitView]) -> list[str]:
    """One sentence for each limit whose use has reached one of its marks: of the highest."""
    return [text for view in views if (text := _limit_text(view)) is not None]


def fuse_texts(records: Iterable[FuseRecord]) -> list[str]:
    """One sentence for each fuse that is blown, or has warned."""
    told = {"blown": blown_text, "warned": _warned_text}
    return [told[record.state](record) for record in records if record.state in told]


class Told:
    """What each session's user has been told."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()

    def news(self, session: str, texts: Iterable[str]) -> list[str]:
        """Those that were not told yet; they are from now on."""
        told = self._sessions.setdefault(session, OrderedDict())
        self._sessions.move_to_end(session)
        while len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        new = [text for text in dict.fromkeys(texts) if text not in told]
        told.update(dict.fromkeys(new))
        while len(told) > TEXTS_MAX:
            told.popitem(last=False)
        return new

    def forget(self, session: str) -> None:
        """It has ended; should it be resumed, its user is told anew."""
        self._sessions.pop(session, None)


def _limit_text(view: LimitView) -> str | None:
    row = view.row
    if row is None or not row.max or row.meter == "active_requests":
        return None
    reached = max((percent for percent in row.warn_at if view.used * 100 >= percent * row.max), default=None)
    if reached is None:
        return None
    return f"{reached} % of {limit_text(row)} of {view.series.account} is used"


def _warned_text(record: FuseRecord) -> str:
    limit = amount_text(record.meter, record.limit)
    return (
        f"fuse {record.id} of {record.scope} {record.holder} is near its limit of {limit} {record.meter}; "
        f"should it blow, an operator can replace it: ringfence fuses replace {record.id} --reason '...'"
    )
