"""Records in, sums out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.money.showback import (
    GROUPS,
    Names,
    Record,
    Sums,
    Unreadable,
    add_up,
    parse_record,
    spent,
    total_of,
    unsettled,
)
from gateway.core.wire.usage import Tokens

NEW_YEAR_MS = 1_767_225_600_000
NAMES = Names({"opus": "claude-opus-5-5", "claude-opus-5-5": "claude-opus-5-5"}.get, {"main": "anthropic"})


def line(**fields: Any) -> bytes:
    """A `request` record as the trail has it."""
    record: dict[str, Any] = {
        "event": "request",
        "at_ms": NEW_YEAR_MS,
        "principal": {"org": "acme", "team": "platform", "user": "alice", "credential": "alice-laptop", "groups": []},
        "lineage": {"session": "s1", "agent": "main", "agent_type": None},
        "model": "opus",
        "upstream": "main",
        "upstream_model": "claude-opus-5-5",
        "usage": {"model": None, "tokens": {"input": 100, "output": 20}},
        "hold": {"id": "dec_1"},
        "cost_nanousd": 7,
        "cost_estimated": False,
    }
    return json.dumps(record | fields).encode()


def parsed(**fields: Any) -> Record:
    record = parse_record(line(**fields))
    assert record is not None
    return record


def added(*records: Record, by: tuple[str, ...] = ("user",)) -> dict[tuple[str | None, ...], Sums]:
    return add_up(spent(records, unsettled(records)), by, NAMES)


def test_record_of_something_else_is_none() -> None:
    assert parse_record(b'{"event": "decision", "at_ms": "whenever", "usage": 3}\n') is None
    assert parse_record(b'{"event": "of a later version"}') is None


@pytest.mark.parametrize(
    "foreign",
    [
        b"not json",
        b"{}",
        b"[1]",
        b'"request"',
        b'{"event": 3}',
        line()[:-20],
        line() + line(),
        line(cost_nanousd=-1),
        line(cost_nanousd=0.5),
        line(at_ms=10**18),
        b'{"event": "request"}',
        b'{"event": "\xff"}',
        b'{"a": ' + b"[" * 100_000,
    ],
    ids=repr,
)
def test_line_that_is_no_record_is_unreadable(foreign: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_record(foreign)


def test_spend_is_added_up_by_keys_in_their_order() -> None:
    bob = {"org": "acme", "team": None, "user": "bob", "credential": "b"}
    sums = added(parsed(principal=bob), parsed(), parsed(cost_nanousd=5), by=("team", "user"))
    assert list(sums) == [(None, "bob"), ("platform", "alice")]
    assert sums["platform", "alice"] == Sums(2, Tokens(input=200, output=40), 12, 0)


def test_estimated_cost_is_told_apart() -> None:
    sums = added(parsed(cost_nanousd=5, cost_estimated=True), parsed())
    assert (sums["alice",].cost_nanousd, sums["alice",].estimated_nanousd) == (12, 5)


def test_request_refused_before_money_was_held_is_not_counted() -> None:
    assert added(parsed(hold=None, cost_nanousd=0, principal=None, lineage=None)) == {}
    released, lost = parsed(cost_nanousd=0, usage=None), parsed(hold=None, cost_nanousd=3)
    assert added(released, lost)["alice",].requests == 2


def test_passes_are_counted_instead_of_the_total_that_leaves_some_out() -> None:
    passes = [{"tokens": {"input": 1, "output": 2}}, {"tokens": {"cache_read": 3, "cache_write_1h": 4}, "model": "x"}]
    sums = added(parsed(usage={"tokens": {"input": 50}, "iterations": passes}))
    assert sums["alice",].tokens == Tokens(input=1, output=2, cache_read=3, cache_write_1h=4)


@pytest.mark.parametrize(
    ("fields", "model"),
    [
        ({"usage": {"model": "opus"}, "upstream_model": "deployment-7"}, "claude-opus-5-5"),
        ({"usage": {"model": "unheard-of"}, "upstream_model": "claude-opus-5-5", "model": "x"}, "claude-opus-5-5"),
        ({"usage": None, "upstream_model": None, "model": "opus"}, "claude-opus-5-5"),
        ({"usage": None, "upstream_model": "deployment-7", "model": "house-model"}, "house-model"),
    ],
)
def test_model_is_the_one_that_was_billed_by_the_name_of_the_price_table(fields: Any, model: str) -> None:
    assert list(added(parsed(**fields), by=("model",))) == [(model,)]


def test_every_key_has_its_value() -> None:
    lineage = {"session": "s1", "agent": "a", "agent_type": "Explore"}
    (values,) = added(parsed(lineage=lineage, at_ms=NEW_YEAR_MS - 1), by=tuple(GROUPS))
    told = dict(zip(GROUPS, values, strict=True))
    assert told == {
        "org": "acme",
        "team": "platform",
        "user": "alice",
        "credential": "alice-laptop",
        "session": "s1",
        "agent-type": "Explore",
        "model": "claude-opus-5-5",
        "upstream": "main",
        "backend": "anthropic",
        "day": "2025-12-31",
    }


records = st.builds(
    parsed,
    cost_nanousd=st.integers(0, 10**15),
    cost_estimated=st.booleans(),
    upstream=st.sampled_from(["main", "other", None]),
    at_ms=st.integers(0, 2 * NEW_YEAR_MS),
)


@given(st.lists(records, max_size=20), st.lists(st.sampled_from(list(GROUPS)), min_size=1, unique=True))
def test_however_it_is_grouped_the_total_is_the_sum_of_the_records(listed: list[Record], by: list[str]) -> None:
    total = total_of(add_up(listed, by, NAMES).values())
    assert total.requests == len(listed)
    assert total.cost_nanousd == sum(each.cost_nanousd for each in listed)
    assert total.estimated_nanousd == sum(each.cost_nanousd for each in listed if each.cost_estimated)


def ended(event: str, hold: str = "dec_1", **fields: Any) -> Record:
    accounts = ("org", "team:platform", "user:bob", "credential:ci", "session:s")
    more = {"accounts": accounts, "model": "opus", "backend": "bedrock", "cost_nanousd": 30} | fields
    record = parse_record(json.dumps({"event": event, "at_ms": 5, "hold": hold} | more).encode())
    assert record is not None
    return record


def test_expired_hold_is_spend_in_place_of_its_request_whichever_is_read_first() -> None:
    request, expired = parsed(cost_nanousd=20), ended("expired")
    for records in ((request, expired), (expired, request)):
        sums = added(*records, by=("user", "model", "backend"))
        assert sums[("bob", "claude-opus-5-5", "bedrock")].estimated_nanousd == 30
        assert total_of(sums.values()).cost_nanousd == 30


def test_corrected_hold_is_spend_at_what_its_request_cost() -> None:
    records = (ended("corrected"), parsed(cost_nanousd=20), ended("expired"))
    assert total_of(added(*records).values()).cost_nanousd == 20


def test_attempts_before_the_one_that_expired_are_spend_too() -> None:
    records = (parsed(cost_nanousd=20, lost_nanousd=6), ended("expired"))
    assert total_of(added(*records).values()).cost_nanousd == 36


def test_expired_hold_of_another_request_leaves_this_one_alone() -> None:
    records = (parsed(cost_nanousd=20), ended("expired", "dec_2"))
    assert total_of(added(*records).values()).cost_nanousd == 50
