"""Who spent what: audit records of requests, added up by any set of keys. Not the ledger, which it is checked against.

A request is counted when money was held for it or it cost something: what was refused before that is not spend. Its
moment is its arrival, in UTC; the ledger's is its settlement, which for a long answer may be the next day. A hold that
expired is counted at what was held, unless the ledger was told after all what its request cost.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from gateway.core.wire.usage import Tokens, Usage

MOMENT_MS_MAX = 253_402_300_799_999
"""The last millisecond of the year 9999."""

Moment = Annotated[int, msgspec.Meta(ge=0, le=MOMENT_MS_MAX)]
Amount = Annotated[int, msgspec.Meta(ge=0)]


class Unreadable(ValueError):
    """A line that is no audit record: torn, or written by something else."""


class Payer(msgspec.Struct, frozen=True):
    """Whom a request acted for."""

    org: str
    user: str
    credential: str
    team: str | None = None


class Place(msgspec.Struct, frozen=True):
    """Where in the tree of agents it stood."""

    session: str
    agent_type: str | None = None


class Held(msgspec.Struct, frozen=True):
    """The hold of a request."""

    id: str = ""


class Record(msgspec.Struct, frozen=True):
    """What the report needs of a `request` record."""

    at_ms: Moment
    cost_nanousd: Amount
    cost_estimated: bool = False
    principal: Payer | None = None
    lineage: Place | None = None
    model: str | None = None
    upstream: str | None = None
    upstream_model: str | None = None
    backend: str | None = None
    priced_as: str | None = None
    """The price table's id of the model it was held for."""
    usage: Usage | None = None
    hold: Held | None = None
    lost_nanousd: Amount = 0
    """The part of the cost that is of attempts before the last one; their holds ended by themselves."""
    kind: Literal["request", "expired", "corrected"] = "request"
    """`expired`: a hold that nobody ended; `corrected`: its request reached the ledger after all."""


class _Named(msgspec.Struct, frozen=True):
    event: str


class _CorrectedHold(msgspec.Struct, frozen=True):
    at_ms: Moment
    hold: str


class _ExpiredHold(msgspec.Struct, frozen=True):
    at_ms: Moment
    hold: str
    accounts: tuple[str, ...]
    cost_nanousd: Amount
    model: str
    backend: str


@dataclass(frozen=True, slots=True)
class Names:
    """What ids in the trail stand for."""

    model: Callable[[str], str | None]
    """The price table's id of a model by any spelling; None when it knows none."""
    backends: Mapping[str, str]
    """Backend by upstream."""
    org: str = ""
    """The organisation, for holds that name only whom they were for."""


Key = Callable[[Record, Names], str | None]
Keys = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Sums:
    """One line of a report. `estimated_nanousd` is the part of the cost whose requests never told their final usage."""

    requests: int = 0
    tokens: Tokens = Tokens()
    cost_nanousd: int = 0
    estimated_nanousd: int = 0

    def plus(self, other: "Sums") -> "Sums":
        """Both together."""
        return Sums(
            self.requests + other.requests,
            _joined(self.tokens, other.tokens),
            self.cost_nanousd + other.cost_nanousd,
            self.estimated_nanousd + other.estimated_nanousd,
        )


_event = msgspec.json.Decoder(_Named)
_request = msgspec.json.Decoder(Record)
_expired = msgspec.json.Decoder(_ExpiredHold)
_corrected = msgspec.json.Decoder(_CorrectedHold)


def parse_record(line: bytes) -> Record | None:
    """The record of a request, or of a hold that expired or was corrected; None for others. Raises `Unreadable`."""
    try:
        event = _event.decode(line).event
        if event == "expired":
            return _of_expired(_expired.decode(line))
        if event == "corrected":
            corrected = _corrected.decode(line)
            return Record(corrected.at_ms, 0, hold=Held(corrected.hold), kind="corrected")
        return _request.decode(line) if event == "request" else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from None


def _of_expired(expired: _ExpiredHold) -> Record:
    ids: dict[str, str] = {}
    for account in expired.accounts:
        kind, _, id = account.partition(":")
        ids.setdefault(kind, id)
    return Record(
        at_ms=expired.at_ms,
        cost_nanousd=expired.cost_nanousd,
        cost_estimated=True,
        principal=Payer("", ids.get("user", ""), ids.get("credential", ""), ids.get("team")),
        lineage=Place(ids.get("session", "")),
        model=expired.model,
        backend=expired.backend,
        hold=Held(expired.hold),
        kind="expired",
    )


def unsettled(records: Iterable[Record]) -> frozenset[str]:
    """Holds that expired and whose true cost never reached the ledger: there they are spend at what was held."""
    expired: set[str] = set()
    corrected: set[str] = set()
    for record in records:
        if record.hold is not None and record.kind != "request":
            (expired if record.kind == "expired" else corrected).add(record.hold.id)
    return frozenset(expired - corrected)


def spent(records: Iterable[Record], unsettled: Collection[str] = ()) -> Iterator[Record]:
    """The records that are spend, each once: an expired hold, or the request it was for, as the ledger counts it."""
    for record in records:
        is_unsettled = record.hold is not None and record.hold.id in unsettled
        if record.kind == "expired" and is_unsettled:
            yield record
        elif record.kind == "request" and is_unsettled:
            yield msgspec.structs.replace(record, cost_nanousd=record.lost_nanousd, usage=None)
        elif record.kind == "request" and (record.hold is not None or record.cost_nanousd):
            yield record


def add_up(records: Iterable[Record], by: Sequence[str], names: Names) -> dict[Keys, Sums]:
    """Sums by the values of the keys `by` (names of `GROUPS`), in order of these values; what has no value is first."""
    keys = [GROUPS[name] for name in by]
    sums: dict[Keys, Sums] = {}
    for record in records:
        values = tuple(key(record, names) for key in keys)
        sums[values] = sums.get(values, Sums()).plus(_sums_of(record))
    return dict(sorted(sums.items(), key=lambda item: tuple(value or "" for value in item[0])))


def total_of(sums: Iterable[Sums]) -> Sums:
    """All of them together."""
    total = Sums()
    for each in sums:
        total = total.plus(each)
    return total


def _sums_of(record: Record) -> Sums:
    estimated = record.cost_nanousd if record.cost_estimated else 0
    return Sums(1, _tokens_of(record.usage), record.cost_nanousd, estimated)


def _tokens_of(usage: Usage | None) -> Tokens:
    """What was billed: the passes where the answer lists them, for they include what its total leaves out."""
    if usage is None:
        return Tokens()
    tokens = Tokens()
    for billed in [each.tokens for each in usage.iterations] or [usage.tokens]:
        tokens = _joined(tokens, billed)
    return tokens


def _joined(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(
        input=one.input + other.input,
        output=one.output + other.output,
        cache_read=one.cache_read + other.cache_read,
        cache_write_5m=one.cache_write_5m + other.cache_write_5m,
        cache_write_1h=one.cache_write_1h + other.cache_write_1h,
    )


def _model(record: Record, names: Names) -> str | None:
    """The model it was billed as: what answered, else what it was held for, else as it was spelled."""
    answered = None if record.usage is None else record.usage.model
    for spelling in (answered, record.priced_as, record.upstream_model, record.model):
        known = None if spelling is None else names.model(spelling)
        if known is not None:
            return known
    return record.model


def _of_payer(field: str) -> Key:
    return lambda record, _: None if record.principal is None else getattr(record.principal, field)


def _of_place(field: str) -> Key:
    return lambda record, _: None if record.lineage is None else getattr(record.lineage, field)


GROUPS: Mapping[str, Key] = {
    "org": lambda record, names: None if record.principal is None else record.principal.org or names.org,
    "team": _of_payer("team"),
    "user": _of_payer("user"),
    "credential": _of_payer("credential"),
    "session": _of_place("session"),
    "agent-type": _of_place("agent_type"),
    "model": _model,
    "upstream": lambda record, _: record.upstream,
    "backend": lambda record, names: record.backend or names.backends.get(record.upstream or ""),
    "day": lambda record, _: datetime.fromtimestamp(record.at_ms // 1000, UTC).date().isoformat(),
}
"""What spend can be grouped by."""
