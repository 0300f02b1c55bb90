"""What two gateways know of one fuse, brought together: in whatever order they hear of each other, they come to agree.

    replaced more often     is newer: a late word from before the replacement changes nothing
    blown, warned, intact   among equally often replaced ones the first of these counts: a warning heard late never
                            mends a blown fuse
    baseline                the highest, for a sum: each gateway counts the replacement from what it had counted itself
    wrapped_up              all of them

A sum may have blown a replaced fuse on a gateway that had not heard yet how much of it another one had counted before
the replacement. Against the joined baseline it then does not pass its limit, and the replacement stands.

Pure; who is told is `gateway/boards/fuseboard.py`'s business.
"""

import msgspec

from gateway.core.fuses.fuse import LEVEL_METERS, STREAK_METERS, FuseRecord, is_passed

WRAP_UPS_MAX = 1_000
"""Agents that get a last request under one fuse; those that come later are refused."""


def join(mine: FuseRecord, theirs: FuseRecord) -> FuseRecord:
    """What both know. `mine` keeps the baseline of a level or streak: those are seen anew in every request."""
    if mine.replacements != theirs.replacements:
        return max(mine, theirs, key=lambda record: record.replacements)
    first = max(mine, theirs, key=_rank)
    falls = mine.meter in LEVEL_METERS or mine.meter in STREAK_METERS
    joined = msgspec.structs.replace(
        first,
        value=max(mine.value, theirs.value),
        baseline=mine.baseline if falls else max(mine.baseline, theirs.baseline),
        wrapped_up=tuple(sorted({*mine.wrapped_up, *theirs.wrapped_up}))[:WRAP_UPS_MAX],
    )
    if joined.state != "blown" or falls or is_passed(joined.meter, joined.value - joined.baseline, joined.limit):
        return joined
    other = min(mine, theirs, key=_rank)
    return msgspec.structs.replace(joined, state="intact" if other.state == "blown" else other.state)


def is_news(known: FuseRecord, joined: FuseRecord) -> bool:
    """Would somebody who has `known` do anything else if he had `joined`?"""
    falls = known.meter in LEVEL_METERS or known.meter in STREAK_METERS
    return (
        (known.replacements, known.state, known.wrapped_up) != (joined.replacements, joined.state, joined.wrapped_up)
        or (known.baseline != joined.baseline and not falls)
        or (known.replaced_by, known.replaced_reason) != (joined.replaced_by, joined.replaced_reason)
    )


def _rank(record: FuseRecord) -> tuple[int, int, str, str]:
    """The same order on every gateway. Of two that blew the one that blew first, else the later change."""
    state = ("intact", "warned", "blown").index(record.state)
    moment = -record.at_ms if record.state == "blown" else record.at_ms
    return state, moment, record.replaced_by or "", record.replaced_reason or ""
