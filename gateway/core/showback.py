"""Who spent what: audit records of requests, added up by any set of keys. Not the ledger, which it is checked against.

A request is counted when money was held for it or it cost something: what was refused before that is not spend. Its
moment is its arrival, in UTC; the ledger's is its settlement, which for a long answer may be the next day.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from gateway.core.usage import Tokens, Usage

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
    usage: Usage | None = None
    hold: dict[str, Any] | None = None


class _Named(msgspec.Struct, frozen=True):
    event: str


@dataclass(frozen=True, slots=True)
class Names:
    """What ids in the trail stand for."""

    model: Callable[[str], str | None]
    """The price table's id of a model by any spelling; None when it knows none."""
    backends: Mapping[str, str]
    """Backend by upstream."""


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


def parse_record(line: bytes) -> Record | None:
    """The record of a request; None for a record of something else. Raises `Unreadable`."""
    try:
        return _request.decode(line) if _event.decode(line).event == "request" else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from None


def add_up(records: Iterable[Record], by: Sequence[str], names: Names) -> dict[Keys, Sums]:
    """Sums by the values of the keys `by` (names of `GROUPS`), in order of these values; what has no value is first."""
    keys = [GROUPS[name] for name in by]
    sums: dict[Keys, Sums] = {}
    for record in records:
        if record.hold is None and record.cost_nanousd == 0:
            continue
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
    """The model it was billed as: what answered, else what was asked for there, else as the client spelled it."""
    answered = None if record.usage is None else record.usage.model
    for spelling in (answered, record.upstream_model, record.model):
        known = None if spelling is None else names.model(spelling)
        if known is not None:
            return known
    return record.model


def _of_payer(field: str) -> Key:
    return lambda record, _: None if record.principal is None else getattr(record.principal, field)


def _of_place(field: str) -> Key:
    return lambda record, _: None if record.lineage is None else getattr(record.lineage, field)


GROUPS: Mapping[str, Key] = {
    "org": _of_payer("org"),
    "team": _of_payer("team"),
    "user": _of_payer("user"),
    "credential": _of_payer("credential"),
    "session": _of_place("session"),
    "agent-type": _of_place("agent_type"),
    "model": _model,
    "upstream": lambda record, _: record.upstream,
    "backend": lambda record, names: None if record.upstream is None else names.backends.get(record.upstream),
    "day": lambda record, _: datetime.fromtimestamp(record.at_ms // 1000, UTC).date().isoformat(),
}
"""What spend can be grouped by."""
