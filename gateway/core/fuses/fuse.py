"""Fuses: latching limits on one agent, session, run or user. A blown fuse stays blown until a named person replaces it.

    intact --neared--> warned --passed--> blown --replaced--> intact
    intact --passed--> blown
    warned --neared--> warned

An illegal transition is a missing key of `TRANSITIONS`. When a fuse blows depends on what its meter counts:

    requests, tool_calls, denials, agents,  whoever asks passes the count with the one asked for: with a limit of 300
    agents_per_minute, sessions_per_hour,   the 300th passes and the 301st blows the fuse
    output_tokens, total_tokens
    active_agents, depth, context_growth    the level with the one asked for: at depth 4 an agent of depth 5 blows it
    the streaks of `loops.py`               the length of the streak with the one asked for
    cost, seconds, stream_seconds           what was used so far: blown once it is at the limit

After a replacement a meter counts from where it stood, without the one that was refused. A level that has fallen since
counts from where it fell to, a streak that has broken from zero.

Not a breaker (`routes/breaker.py` resets itself), and not a budget: money limits per window are the ledger's. What
several gateways know of one fuse is brought together in `join.py`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Literal, get_args

import msgspec

from gateway.core.fuses.evidence import Evidence, few_words
from gateway.core.fuses.loops import STREAK_METERS as STREAK_METERS
from gateway.core.money.pricing import format_usd

Scope = Literal["agent", "session", "run", "user"]
State = Literal["intact", "warned", "blown"]
Event = Literal["neared", "passed", "replaced"]
OnBlow = Literal["refuse", "end_turn", "wrap_up"]
"""What becomes of requests: refused, ended in words of ours, or one last one to sum up. The strictest is the first."""

TRANSITIONS: Mapping[tuple[State, Event], State] = {
    ("intact", "neared"): "warned",
    ("intact", "passed"): "blown",
    ("warned", "neared"): "warned",
    ("warned", "passed"): "blown",
    ("blown", "replaced"): "intact",
}

USED_METERS = frozenset({"cost", "seconds", "stream_seconds"})
"""Amounts that grow while nobody asks: blown when they reach the limit."""
LEVEL_METERS = frozenset({"active_agents", "depth", "context_growth", "agents_per_minute", "sessions_per_hour"})
"""What goes up and down."""
_SUMS = ("requests", "tool_calls", "denials", "output_tokens", "total_tokens", "cost", "seconds", "stream_seconds")
_TREE = ("depth", "agents", "active_agents", "agents_per_minute")
METERS: Mapping[Scope, tuple[str, ...]] = {
    "agent": (*_SUMS, "depth", "context_growth", *STREAK_METERS),
    "session": (*_SUMS, *_TREE),
    "run": (*_SUMS, *_TREE),
    "user": ("sessions_per_hour", "active_agents", "agents_per_minute"),
}
"""What there can be a fuse for."""
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
    on_blow: OnBlow = "refuse"
    replacements: int = 0
    """How often it was replaced."""
    wrapped_up: tuple[str, ...] = ()
    """Marks of the agents that had their last request since it blew (`wrap_up_mark`)."""
    evidence: Evidence | None = None
    """What a loop repeats."""


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
class Rating:
    """What one fuse bears, when it warns, and what it does when it blows."""

    limit: int
    warn_percent: int = WARN_PERCENT
    on_blow: OnBlow = "refuse"
    warn_at: int = field(init=False, repr=False, compare=False)
    """The first value that warns."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "warn_at", -(-self.limit * self.warn_percent // 100))


Ratings = Mapping[str, Rating | int]
"""By meter; a plain number is a limit. `cost` is in nano-dollars."""


@dataclass(frozen=True, slots=True)
class FuseLimits:
    """The ratings of each scope."""

    agent: Ratings = field(default_factory=lambda: MappingProxyType({}))
    session: Ratings = field(default_factory=lambda: MappingProxyType({}))
    run: Ratings = field(default_factory=lambda: MappingProxyType({}))
    user: Ratings = field(default_factory=lambda: MappingProxyType({}))

    def of(self, scope: Scope) -> dict[str, Rating]:
        """The ratings of one scope."""
        ratings = {"agent": self.agent, "session": self.session, "run": self.run, "user": self.user}[scope]
        return {meter: each if isinstance(each, Rating) else Rating(each) for meter, each in ratings.items()}


def fuse_id(scope: Scope, holder: str, meter: str) -> str:
    """A short id that is always the same for one fuse."""
    digest = sha256("\0".join((scope, holder, meter)).encode("utf-8", "surrogatepass")).hexdigest()
    return f"fuse_{digest[:ID_HEX_CHARS]}"


def wrap_up_mark(agent_key: str) -> str:
    """How a fuse notes that an agent had its last request: a session may have a thousand agents."""
    return sha256(agent_key.encode("utf-8", "surrogatepass")).hexdigest()[:ID_HEX_CHARS]


def message(record: FuseRecord) -> str:
    """One sentence for the client: which fuse, its limit, what repeats, how it is replaced."""
    value, limit = (amount_text(record.meter, amount) for amount in (record.value - record.baseline, record.limit))
    repeats = f" ({few_words(record.evidence)})" if record.evidence is not None else ""
    return (
        f"fuse {record.id} of {record.scope} {record.holder} has blown: {record.meter} came to {value}{repeats}, "
        f"its limit is {limit}; it stays blown until a named person replaces it: "
        f"ringfence fuses replace {record.id} --reason '...'"
    )


def amount_text(meter: str, value: int) -> str:
    """An amount of a meter with its unit."""
    if meter == "cost":
        return format_usd(value)
    return f"{value} s" if meter in USED_METERS else str(value)


def is_passed(meter: str, counted: int, limit: int) -> bool:
    """Does what was counted blow the fuse?"""
    return counted >= limit if meter in USED_METERS else counted > limit


class FuseBox:
    """All fuses of one process. Fuses that never left `intact` take no memory."""

    def __init__(self, limits: FuseLimits) -> None:
        self._rated = {scope: limits.of(scope) for scope in get_args(Scope)}
        self._records: dict[str, FuseRecord] = {}
        self._by_holder: dict[tuple[Scope, str], dict[str, FuseRecord]] = {}

    def guards(self, scope: Scope, holder: str) -> bool:
        """Has `holder` a fuse at all? Otherwise its meters need not be read."""
        return bool(self._rated[scope]) or self.remembers(scope, holder)

    def remembers(self, scope: Scope, holder: str) -> bool:
        """Has any fuse of `holder` left its first state?"""
        return (scope, holder) in self._by_holder

    def check(self, scope: Scope, holder: str, meters: Mapping[str, int], now_ms: int) -> list[FuseRecord]:
        """Step every fuse of `holder` whose meter is given; returns those that changed state.

        The values are as the module's docstring says. A blown fuse changes no more, but remembers its highest value.
        """
        known = self._by_holder.get((scope, holder))
        changed: list[FuseRecord] = []
        for meter, rating in self._rated[scope].items():
            value = meters.get(meter)
            if value is None or (known is None and value < rating.warn_at):
                continue
            record = known.get(meter) if known else None
            stepped = _step(record or _new(scope, holder, meter, rating.limit), value, rating, now_ms)
            if stepped is not None:
                self.keep(stepped)
                known = self._by_holder[(scope, holder)]
                if stepped.state != (record.state if record else "intact"):
                    changed.append(stepped)
        return changed

    def blown(self, scope: Scope, holder: str) -> FuseRecord | None:
        """The strictest blown fuse of `holder`, if one is."""
        known = self._by_holder.get((scope, holder))
        return strictest(record for record in known.values() if record.state == "blown") if known else None

    def near(self, scope: Scope, holder: str, meters: Mapping[str, int]) -> Iterator[tuple[FuseRecord, int]]:
        """The fuses of `holder` that have warned and still would, each with the part of its limit that warns."""
        for record in self._by_holder.get((scope, holder), {}).values():
            rating = self._rated[scope].get(record.meter)
            if record.state == "warned" and rating is not None and record.meter in meters:
                if meters[record.meter] - record.baseline >= rating.warn_at:
                    yield record, rating.warn_percent

    def readings(self, scope: Scope, holder: str, meters: Mapping[str, int]) -> list[FuseReading]:
        """Every fuse of `holder` as `meters` would find it, also one that blew under a limit now gone. Steps none."""
        known = self._by_holder.get((scope, holder), {})
        limits = {meter: rating.limit for meter, rating in self._rated[scope].items()}
        limits |= {meter: record.limit for meter, record in known.items() if record.state == "blown"}
        return [
            _reading(known.get(meter) or _new(scope, holder, meter, limit), limit, meters.get(meter))
            for meter, limit in limits.items()
        ]

    def replace(self, id: str, by: str, reason: str, now_ms: int, *, value: int = 0) -> FuseRecord:
        """Put a new fuse in, in the name of `by`; returns its record. `value`: what the meter stands at, if known.

        Raises:
            FuseUnknown: no fuse has this id.
            FuseNotBlown: it is not blown.
            ValueError: nobody is named, or no reason or too long a one is given.
        """
        record = self.record(id)
        if (record.state, "replaced") not in TRANSITIONS:
            raise FuseNotBlown(f"fuse {id} is {record.state}; only a blown fuse can be replaced")
        if not by.strip() or not reason.strip() or len(reason) > REASON_CHARS_MAX:
            raise ValueError(f"a replacement needs a name and a reason of 1 to {REASON_CHARS_MAX} characters")
        replaced = msgspec.structs.replace(
            record,
            state=TRANSITIONS[record.state, "replaced"],
            at_ms=now_ms,
            replaced_by=by,
            replaced_reason=reason,
            baseline=baseline_at(record.meter, max(record.value, value)),
            replacements=record.replacements + 1,
            wrapped_up=(),
        )
        self.keep(replaced)
        return replaced

    def of(self, scope: Scope, holder: str) -> list[FuseRecord]:
        """Fuses of one holder that have left their first state."""
        return list(self._by_holder.get((scope, holder), {}).values())

    def record(self, id: str) -> FuseRecord:
        """The fuse with this id. Raises `FuseUnknown` for one that never left its first state, too."""
        record = self._records.get(id)
        if record is None:
            raise FuseUnknown(f"no fuse has the id {id!r}: ringfence fuses list shows them")
        return record

    def records(self) -> list[FuseRecord]:
        """Fuses that have left their first state, the latest change last."""
        return sorted(self._records.values(), key=lambda record: record.at_ms)

    def restore(self, records: Iterable[FuseRecord]) -> None:
        """Put stored fuses back."""
        for record in records:
            self.keep(record)

    def keep(self, record: FuseRecord) -> None:
        """Put a record in the place of the one with its id."""
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


def strictest(blown: Iterable[FuseRecord]) -> FuseRecord | None:
    """Whose `on_blow` counts when several fuses are blown; of equals the first."""
    return min(blown, key=lambda record: get_args(OnBlow).index(record.on_blow), default=None)


def baseline_at(meter: str, value: int) -> int:
    """From where a meter that stands at `value` counts when its fuse is replaced: without the one that was refused."""
    return max(0, value - (0 if meter in USED_METERS else 1))


def _step(record: FuseRecord, value: int, rating: Rating, now_ms: int) -> FuseRecord | None:
    """The record after seeing `value`; None when nothing is to be remembered."""
    if record.state == "blown":
        return msgspec.structs.replace(record, value=value) if value > record.value else None
    baseline = _fallen(record, value)
    counted = value - baseline
    event: Event | None = "neared" if counted >= rating.warn_at else None
    if is_passed(record.meter, counted, rating.limit):
        event = "passed"
    state = TRANSITIONS[record.state, event] if event else record.state
    if state == record.state and baseline == record.baseline:
        return None
    return msgspec.structs.replace(
        record,
        state=state,
        limit=rating.limit,
        value=value,
        at_ms=record.at_ms if state == record.state else now_ms,
        baseline=baseline,
        on_blow=rating.on_blow,
        evidence=record.evidence if state == record.state else None,
    )


def _fallen(record: FuseRecord, value: int) -> int:
    """The baseline of a streak that has broken, or of a level that has fallen below it."""
    if value >= record.baseline:
        return record.baseline
    if record.meter in STREAK_METERS:
        return 0
    return value if record.meter in LEVEL_METERS else record.baseline


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
