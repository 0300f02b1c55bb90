"""Limits that operators set while the gateway runs, and the record of each change. How they are written: `web/`."""

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.core.money.limits import LimitRow, Limits


class StoredLimit(msgspec.Struct, frozen=True):
    """One limit as it is kept. `slot` names what there is one limit of: a second one for it replaces the first."""

    id: str
    """`spl_<32 hex>`; kept when it is replaced."""
    slot: str
    created_ms: int
    updated_ms: int
    document: dict[str, Any]
    """As operators see it."""
    rows: tuple[LimitRow, ...]
    """What the ledger makes of it; their `id` is this one, their `source` is `api`."""


class Author(msgspec.Struct, frozen=True):
    """Who changes a limit, when and why."""

    actor: str
    at_ms: int
    action: str
    """`spend_limit.upsert` or `spend_limit.delete`."""
    reason: str | None = None


class AuditedChange(msgspec.Struct, frozen=True):
    """One change. `before` None: it is new; `after` None: it was deleted."""

    number: int
    """Counts up from 1, with no gap that says nothing: a change that failed has none."""
    author: Author
    target: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


LimitChange = Callable[[StoredLimit | None], StoredLimit | None]
"""From the limit that is there to the one that is to be; None: there is none."""


def together(configured: Limits, stored: list[StoredLimit]) -> Limits:
    """What holds: the configuration's limits and the operators'."""
    return Limits((*configured.rows, *(row for limit in stored for row in limit.rows)))
