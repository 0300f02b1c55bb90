"""`ringfence report spend`: who spent what, from the audit trail. Needs no running gateway and changes nothing.

The sums are `core/money/showback`'s, the FOCUS columns `core/money/focus`'s; here they are asked for, read and printed.
"""

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gateway.commands.audit_files import audit_paths
from gateway.commands.days import Days, parse_days
from gateway.commands.output import EXIT_USAGE, CommandFailed, moment, plain, print_json, print_rich, table
from gateway.commands.trail import Trail
from gateway.config import Config
from gateway.core.money.focus import COLUMNS, focus_keys, focus_rows
from gateway.core.money.pricing import format_usd
from gateway.core.money.showback import GROUPS, Keys, Names, Record, Sums, add_up, spent, total_of, unsettled
from gateway.core.wire.usage import Tokens
from gateway.ground import load_prices

Format = Literal["table", "csv", "json", "focus"]

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would compute. Models and agent types are what clients say."""
_TOKEN_KINDS = Tokens.__struct_fields__


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for."""

    by: tuple[str, ...]
    days: Days
    format: Format
    audit: tuple[Path, ...]
    """Instead of the configured trail; of several gateways, one each."""


def parse_wanted(by: str, days: tuple[str | None, str | None], format: Format, *, audit: Sequence[Path]) -> Wanted:
    """The options as given. Raises `CommandFailed` for a key or a day that is none."""
    keys = tuple(dict.fromkeys(key.strip() for key in by.split(",")))
    unknown = [key for key in keys if key not in GROUPS]
    if unknown:
        raise CommandFailed(f"--by: no key {unknown[0]!r}; keys are {', '.join(GROUPS)}", EXIT_USAGE)
    return Wanted(keys, parse_days(*days), format, tuple(audit))


def report_spend(config: Config, wanted: Wanted) -> None:
    """Print the report; lines of the trail that are no records are told on stderr. Raises `CommandFailed`."""
    paths = audit_paths(config, wanted.audit)
    trail, expired = Trail(paths), unsettled(Trail(paths).requests())
    by = focus_keys(wanted.by) if wanted.format == "focus" else wanted.by
    sums = add_up(_within(spent(trail.requests(), expired), wanted), by, _names(config))
    match wanted.format:
        case "table":
            _print_table(wanted, trail, sums)
        case "json":
            print_json(_document(wanted, trail, sums))
        case "csv":
            _print_csv((*by, *_amounts(Sums())), (_csv_row(by, keys, each) for keys, each in sums.items()))
        case "focus":
            _print_csv(COLUMNS, focus_rows(sums, by))
    if trail.unreadable:
        _warn(trail)


def _names(config: Config) -> Names:
    prices = load_prices(config)

    def model(spelling: str) -> str | None:
        price = prices.find(spelling, 0)
        return None if price is None else price.id

    return Names(model, {upstream.id: upstream.backend for upstream in config.upstreams}, config.org.id)


def _within(requests: Iterable[Record], wanted: Wanted) -> Iterable[Record]:
    return (each for each in requests if each.at_ms in wanted.days)


def _print_table(wanted: Wanted, trail: Trail, sums: Mapping[Keys, Sums]) -> None:
    title = f"Spend, {wanted.days.since or 'the beginning'} to {wanted.days.until or 'now'}, UTC"
    if trail.oldest_ms is not None:
        title += f"; the trail begins {moment(trail.oldest_ms)}"
    kinds = (f">{kind.replace('_', ' ')}" for kind in _TOKEN_KINDS)
    rows = table(title, *wanted.by, ">requests", *kinds, ">cost", ">of it estimated")
    for keys, each in [*sums.items(), (("total", *("",) * (len(wanted.by) - 1)), total_of(sums.values()))]:
        counts = (each.requests, *(getattr(each.tokens, kind) for kind in _TOKEN_KINDS))
        texts = (*("-" if key is None else key for key in keys), *counts)
        rows.add_row(*map(plain, texts), format_usd(each.cost_nanousd), format_usd(each.estimated_nanousd))
    print_rich(rows)


def _document(wanted: Wanted, trail: Trail, sums: Mapping[Keys, Sums]) -> dict[str, Any]:
    return {
        "from": wanted.days.since and wanted.days.since.isoformat(),
        "to": wanted.days.until and wanted.days.until.isoformat(),
        "by": wanted.by,
        "rows": [dict(zip(wanted.by, keys, strict=True)) | _exact(each) for keys, each in sums.items()],
        "total": _exact(total_of(sums.values())),
        "trail": {
            "oldest_ms": trail.oldest_ms,
            "unreadable_lines": trail.unreadable,
            "unreadable_first": trail.places,
        },
    }


def _exact(sums: Sums) -> dict[str, Any]:
    return _amounts(sums) | {"cost_nanousd": sums.cost_nanousd, "estimated_nanousd": sums.estimated_nanousd}


def _amounts(sums: Sums) -> dict[str, Any]:
    return {
        "requests": sums.requests,
        **{f"{kind}_tokens": getattr(sums.tokens, kind) for kind in _TOKEN_KINDS},
        "cost_usd": format_usd(sums.cost_nanousd).removeprefix("$"),
        "estimated_usd": format_usd(sums.estimated_nanousd).removeprefix("$"),
    }


def _csv_row(by: tuple[str, ...], keys: Keys, sums: Sums) -> dict[str, Any]:
    return dict(zip(by, ("" if key is None else key for key in keys), strict=True)) | _amounts(sums)


def _print_csv(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, tuple(columns), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})


def _cell(value: object) -> str:
    """Its text; one that a spreadsheet would compute is quoted for it."""
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _warn(trail: Trail) -> None:
    more = ", ..." if trail.unreadable > len(trail.places) else ""
    message = f"{trail.unreadable} line(s) of the trail are no audit records and were left out"
    print(f"ringfence: warning: {message}: {', '.join(trail.places)}{more}", file=sys.stderr)
