"""Sums as rows of FOCUS."""

import json
from decimal import Decimal

from gateway.config.backends import BACKENDS
from gateway.core.money.focus import COLUMNS, SELLERS, focus_keys, focus_rows
from gateway.core.money.showback import Keys, Sums
from gateway.core.wire.usage import Tokens

MANDATORY = {
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
}
"""Of FOCUS 1.2."""
MAY_BE_NULL = {"BillingAccountName", "ChargeClass"}
BY = focus_keys(("team", "user", "agent-type"))
SPENT = Sums(3, Tokens(input=10, output=5, cache_read=4), 1_936_001, 1)


def row(sums: Sums = SPENT, **keys: str | None) -> dict[str, str]:
    told: dict[str, str | None] = dict.fromkeys(BY) | {
        "day": "2026-12-31",
        "org": "acme",
        "team": "platform",
        "model": "claude-opus-5-5",
        "upstream": "bedrock-us",
        "backend": "bedrock",
        "user": "alice",
    }
    values: Keys = tuple((told | keys)[name] for name in BY)
    (only,) = focus_rows({values: sums}, BY)
    return only


def test_every_mandatory_column_is_there_and_filled_where_it_must_be() -> None:
    for each in (row(), row(team=None, model=None, upstream=None, backend=None, org=None, user=None)):
        assert tuple(each) == COLUMNS and set(COLUMNS) >= MANDATORY
        assert {name for name in MANDATORY if each[name] == ""} == MAY_BE_NULL


def test_own_columns_come_last_and_are_marked() -> None:
    own = [name.startswith("x_") for name in COLUMNS]
    assert own == sorted(own) and any(own)
    assert len(set(COLUMNS)) == len(COLUMNS)


def test_periods_are_the_day_and_the_month_around_the_turn_of_the_year() -> None:
    told = row()
    assert (told["ChargePeriodStart"], told["ChargePeriodEnd"]) == ("2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z")
    assert (told["BillingPeriodStart"], told["BillingPeriodEnd"]) == ("2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
    february = row(day="2028-02-29")
    assert february["BillingPeriodEnd"] == "2028-03-01T00:00:00Z" == february["ChargePeriodEnd"]


def test_cost_is_exact_and_each_cost_is_the_billed_one() -> None:
    told = row()
    assert Decimal(told["BilledCost"]) == Decimal(SPENT.cost_nanousd) / 10**9
    assert told["BilledCost"] == told["ListCost"] == told["ContractedCost"] == told["EffectiveCost"] == "0.001936001"
    assert (told["ConsumedQuantity"], told["ConsumedUnit"], told["x_EstimatedCost"]) == ("19", "Tokens", "0.000000001")


def test_who_sold_it_is_told_by_the_backend() -> None:
    told = row()
    assert (told["ProviderName"], told["PublisherName"], told["ServiceName"]) == ("AWS", "Anthropic", "Amazon Bedrock")
    assert row(backend=None)["ProviderName"] == "Unknown"
    assert set(SELLERS) == set(BACKENDS)


def test_other_keys_are_tags() -> None:
    assert json.loads(row()["Tags"]) == {"user": "alice"}
    assert row(user=None)["Tags"] == ""
    assert json.loads(row(user='a"b')["Tags"])["user"] == 'a"b'


def test_line_of_requests_that_used_nothing_is_left_out() -> None:
    assert list(focus_rows({("2026-12-31",): Sums(requests=2)}, ("day",))) == []
