"""Fuses: latching limits on one agent, session or run. A blown fuse stays blown until a named person replaces it.

    intact --neared--> warned --passed--> blown --replaced--> intact
    intact --passed--> blown
    warned --neared--> warned

An illegal transition is a missing key of `TRANSITIONS`. When a fuse blows depends on what its meter counts:

    requests, tool_calls, agents,       whoever asks passes the count with the one asked for: with a limit of 300 the
    output_tokens, total_tokens         300th passes and the 301st blows the fuse
    active_agents, depth                the level with the one asked for: at depth 4 an agent of depth 5 blows it
    identical_tool_calls,               the length of the streak with the one asked for
    consecutive_errors
    cost, seconds                       what was used so far: blown once it is at the limit

After a replacement a meter counts from where it stood, without the one that was refused. A streak that has broken
since counts from zero again.

Not a breaker (`core/breaker.py` resets itself), and not a budget: money limits per window are the ledger's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

import msgspec

from gateway.core.pricing import format_usd

Scope = Literal["agent", "session", "run"]
State = Literal["intact", "warned", "blown"]
Event = Literal["neared", "passed", "replaced"]

TRANSITIONS: Mapping[tuple[State, Event], State] = {
    ("intact", "neared"): "warned",
    ("intact", "passed"): "blown",
    ("warned", "neared"): "warned",
    ("warned", "passed"): "blown",
    ("blown", "replaced"): "intact",
}

USED_METERS = frozenset({"cost", "seconds"})
"""Amounts that grow while nobody asks: blown when they reach the limit."""
STREAK_METERS = frozenset({"identical_tool_calls", "consecutive_errors"})
WARN_PERCENT = 80
RECORDS_MAX = 20_000
"""Fuses remembered. Past it the oldest that is not blown is forgotten; blown ones never are."""
ID_HEX_CHARS = 12
REASON_CHARS_MAX = 500


class FuseRecord(msgspec.Struct, frozen=True):
    """A fuse that has left its first state. `limit` and `value` are in the meter's unit, cost in nano-dollars."""

    id: str
    scope: Scope
    holder: str
    meter: str
    state: State
    limit: int
    value: int
    at_ms: int
    replaced_by: str | None = None
    replaced_reason: str | None = None
    baseline: int = 0
    """What the meter stood at when the fuse was replaced."""


class FuseReading(msgspec.Struct, frozen=True):
    """One fuse of one holder as it stands, whatever its state. Amounts as in `FuseRecord`."""

    id: str
    scope: Scope
    holder: str
    meter: str
    state: State
    limit: int
    value: int | None
    """Counted since the fuse is in; None: only the conversation of a request can tell."""


class FuseUnknown(LookupError):
    """No fuse has this id."""


class FuseNotBlown(ValueError):
    """Only a blown fuse can be replaced."""


@dataclass(frozen=True, slots=True)
class FuseLimits:
    """Rated limits by scope and meter; `cost` in nano-dollars."""

    agent: Mapping[str, int] = field(default_factory=dict[str, int])
    session: Mapping[str, int] = field(default_factory=dict[str, int])
    run: Mapping[str, int] = field(default_factory=dict[str, int])

    def of(self, scope: Scope) -> Mapping[str, int]:
        """The limits of one scope."""
        return {"agent": self.agent, "session": self.session, "run": self.run}[scope]


def fuse_id(scope: Scope, holder: str, meter: str) -> str:
    """A short id that is always the same for one fuse."""
    digest = sha256("\0".join((scope, holder, meter)).encode("utf-8", "surrogatepass")).hexdigest()
    return f"fuse_{digest[:ID_HEX_CHARS]}"


def message(record: FuseRecord) -> str:
    """One sentence for the client: which fuse, its limit, how it is replaced."""
    value, limit = (amount_text(record.meter, amount) for amount in (record.value - record.baseline, record.limit))
    return (
        f"fuse {record.id} of {record.scope} {record.holder} has blown: {record.meter} came to {value}, "
        f"its limit is {limit}; it stays blown until a named person replaces it: "
        f"ringfence fuses replace {record.id} --reason '...'"
    )


class FuseBox:
    """All fuses of one process. Fuses that never left `intact` take no memory."""

    def __init__(self, limits: FuseLimits) -> None:
        self._rated: dict[Scope, list[tuple[str, int, int]]] = {
            scope: [(meter, limit, _warn_at(limit)) for meter, limit in limits.of(scope).items()]
            for scope in ("agent", "session", "run")
        }
        self._records: dict[str, FuseRecord] = {}
        self._by_holder: dict[tuple[Scope, str], dict[str, FuseRecord]] = {}

    def check(self, scope: Scope, holder: str, meters: Mapping[str, int], now_ms: int) -> list[FuseRecord]:
        """Step every fuse of `holder` whose meter is given; returns those that changed state.

        The values are as the module's docstring says. A blown fuse changes no more, but remembers its highest value.
        """
        known = self._by_holder.get((scope, holder))
        changed: list[FuseRecord] = []
        for meter, limit, warn_at in self._rated[scope]:
            value = meters.get(meter)
            if value is None or (value < warn_at and known is None):
                continue
            record = known.get(meter) if known else None
            stepped = _step(record or _new(scope, holder, meter, limit), value, limit, now_ms)
            if stepped is not None:
                self._keep(stepped)
                known = self._by_holder[(scope, holder)]
                if stepped.state != (record.state if record else "intact"):
                    changed.append(stepped)
        return changed

    def blown(self, scope: Scope, holder: str) -> FuseRecord | None:
        """The first blown fuse of `holder`, if one is."""
        known = self._by_holder.get((scope, holder))
        return next((record for record in known.values() if record.state == "blown"), None) if known else None

    def readings(self, scope: Scope, holder: str, meters: Mapping[str, int]) -> list[FuseReading]:
        """Every fuse of `holder` as `meters` would find it, also one that blew under a limit now gone. Steps none."""
        known = self._by_holder.get((scope, holder), {})
        limits = {meter: limit for meter, limit, _ in self._rated[scope]}
        limits |= {meter: record.limit for meter, record in known.items() if record.state == "blown"}
        return [
            _reading(known.get(meter) or _new(scope, holder, meter, limit), limit, meters.get(meter))
            for meter, limit in limits.items()
        ]

    def replace(self, id: str, by: str, reason: str, now_ms: int) -> FuseRecord:
        """Put a new fuse in, in the name of `by`; returns its record.

        Raises:
            FuseUnknown: no fuse has this id.
            FuseNotBlown: it is not blown.
            ValueError: nobody is named, or no reason or too long a one is given.
        """
        record = self._records.get(id)
        if record is None:
            raise FuseUnknown(f"no fuse has the id {id!r}: ringfence fuses list shows them")
        if (record.state, "replaced") not in TRANSITIONS:
            raise FuseNotBlown(f"fuse {id} is {record.state}; only a blown fuse can be replaced")
        if not by.strip() or not reason.strip() or len(reason) > REASON_CHARS_MAX:
            raise ValueError(f"a replacement needs a name and a reason of 1 to {REASON_CHARS_MAX} characters")
        refused = 0 if record.meter in USED_METERS else 1
        replaced = msgspec.structs.replace(
            record,
            state=TRANSITIONS[record.state, "replaced"],
            at_ms=now_ms,
            replaced_by=by,
            replaced_reason=reason,
            baseline=max(0, record.value - refused),
        )
        self._keep(replaced)
        return replaced

    def records(self) -> list[FuseRecord]:
        """Fuses that have left their first state, the latest change last."""
        return sorted(self._records.values(), key=lambda record: record.at_ms)

    def restore(self, records: Iterable[FuseRecord]) -> None:
        """Put stored fuses back."""
        for record in records:
            self._keep(record)

    def _keep(self, record: FuseRecord) -> None:
        self._records[record.id] = record
        self._by_holder.setdefault((record.scope, record.holder), {})[record.meter] = record
        if len(self._records) > RECORDS_MAX:
            self._forget_oldest(record.id)

    def _forget_oldest(self, kept: str) -> None:
        oldest = next((each for each in self._records.values() if each.state != "blown" and each.id != kept), None)
        if oldest is None:
            return
        del self._records[oldest.id]
        siblings = self._by_holder[(oldest.scope, oldest.holder)]
        del siblings[oldest.meter]
        if not siblings:
            del self._by_holder[(oldest.scope, oldest.holder)]


def _step(record: FuseRecord, value: int, limit: int, now_ms: int) -> FuseRecord | None:
    """The record after seeing `value`; None when nothing is to be remembered."""
    if record.state == "blown":
        return msgspec.structs.replace(record, value=value) if value > record.value else None
    baseline = 0 if record.meter in STREAK_METERS and value < record.baseline else record.baseline
    counted = value - baseline
    passed = counted >= limit if record.meter in USED_METERS else counted > limit
    event: Event | None = "passed" if passed else "neared" if counted >= _warn_at(limit) else None
    state = TRANSITIONS[record.state, event] if event else record.state
    if state == record.state and baseline == record.baseline:
        return None
    at_ms = record.at_ms if state == record.state else now_ms
    return msgspec.structs.replace(record, state=state, limit=limit, value=value, at_ms=at_ms, baseline=baseline)


def _reading(record: FuseRecord, limit: int, value: int | None) -> FuseReading:
    """What a blown fuse came to stays to be seen when its meter has fallen since."""
    if record.state == "blown":
        value = max(record.value, value or 0)
    elif value is None and record.meter not in STREAK_METERS:
        value = 0
    counted = None if value is None else max(0, value - record.baseline)
    return FuseReading(record.id, record.scope, record.holder, record.meter, record.state, limit, counted)


def _new(scope: Scope, holder: str, meter: str, limit: int) -> FuseRecord:
    return FuseRecord(fuse_id(scope, holder, meter), scope, holder, meter, "intact", limit, 0, 0)


def _warn_at(limit: int) -> int:
    return -(-limit * WARN_PERCENT // 100)


def amount_text(meter: str, value: int) -> str:
    """An amount of a meter with its unit."""
    if meter == "cost":
        return format_usd(value)
    return f"{value} s" if meter == "seconds" else str(value)
