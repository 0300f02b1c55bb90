"""The `fuses` section: which fuses there are, when each warns, and what it does when it blows."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import get_args

import yaml

from gateway.config.document import Entry
from gateway.config.model import LOOP_FUSES
from gateway.config.values import Table, closest, read_integer, read_usd
from gateway.core.fuses.fuse import METERS, WARN_PERCENT, FuseLimits, OnBlow, Rating, Scope

METER_MAX = 1_000_000_000_000
LIMITS_OF_ZERO = frozenset({"depth"})
"""Meters whose limit may be zero: no agent but main."""


def read_fuses(table: Table | None) -> FuseLimits:
    """`{agent, session, run, user, on_blow}`: each scope a mapping of meters to ratings.

    Without `agent` loops are ended all the same.
    """
    if table is None:
        return FuseLimits(agent=LOOP_FUSES)
    on_blow: OnBlow = table.choice("on_blow", get_args(OnBlow), "refuse")
    read: dict[Scope, Mapping[str, Rating | int]] = {
        scope: _read_scope(table, scope, on_blow) for scope in get_args(Scope)
    }
    if table.find("agent") is None:
        read["agent"] = {meter: Rating(limit, on_blow=on_blow) for meter, limit in LOOP_FUSES.items()}
    table.done()
    return FuseLimits(**{scope: MappingProxyType(ratings) for scope, ratings in read.items()})


def _read_scope(table: Table, scope: Scope, on_blow: OnBlow) -> dict[str, Rating | int]:
    known = ["cost_usd" if meter == "cost" else meter for meter in METERS[scope]]
    ratings: dict[str, Rating | int] = {}
    for meter, entry in table.mapping(scope).items():
        if meter in known:
            ratings["cost" if meter == "cost_usd" else meter] = _read_rating(meter, entry, on_blow)
        else:
            entry.key_problem(f"unknown meter {entry.name}", closest(meter, known))
    return ratings


def _read_rating(meter: str, entry: Entry, on_blow: OnBlow) -> Rating:
    """A plain number is the limit."""
    if not isinstance(entry.node, yaml.MappingNode):
        return Rating(_read_limit(meter, entry), on_blow=on_blow)
    table = Table(entry)
    limit = table.find("limit")
    if limit is None:
        entry.problem(f"{entry.name} has no limit", "add limit: ...")
    rating = Rating(
        limit=1 if limit is None else _read_limit(meter, limit),
        warn_percent=table.integer("warn_at", WARN_PERCENT, low=1, high=100),
        on_blow=table.choice("on_blow", get_args(OnBlow), on_blow),
    )
    table.done()
    return rating


def _read_limit(meter: str, entry: Entry) -> int:
    if meter == "cost_usd":
        return read_usd(entry)
    return read_integer(entry, low=0 if meter in LIMITS_OF_ZERO else 1, high=METER_MAX)
