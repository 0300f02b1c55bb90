"""Spend as rows of FOCUS 1.2, the FinOps Open Cost and Usage Specification. Not an invoice: what the gateway settled.

One row per UTC day, organisation, team, model and upstream, and whatever else was asked for, which goes to `Tags`. All
mandatory columns are there, and of the others those that the gateway knows. It knows no price list of the account, so
unit prices are left out and list, contracted and effective cost are the billed one, as the specification has it then.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from gateway.core.money.pricing import format_usd
from gateway.core.money.showback import Keys, Sums

COLUMNS = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
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
    "ServiceSubcategory",
    "SubAccountId",
    "Tags",
    "x_Model",
    "x_Upstream",
    "x_RequestCount",
    "x_InputTokens",
    "x_OutputTokens",
    "x_CacheReadTokens",
    "x_CacheWriteFiveMinuteTokens",
    "x_CacheWriteOneHourTokens",
    "x_EstimatedCost",
)
ALWAYS_BY = ("day", "org", "team", "model", "upstream", "backend")
"""Keys that columns are made of; every row needs them."""

UNKNOWN = "Unknown"
"""For a name that may not be empty: an upstream that the configuration no longer has."""
SELLERS = {
    "anthropic": ("Anthropic", "Anthropic", "Claude API"),
    "aws": ("Anthropic", "AWS", "Claude Platform on AWS"),
    "bedrock": ("AWS", "AWS", "Amazon Bedrock"),
    "vertex": ("Google Cloud", "Google Cloud", "Vertex AI"),
    "foundry": ("Microsoft", "Microsoft", "Microsoft Foundry"),
    "simulated": ("Simulated", "Simulated", "Simulated backend"),
}
"""Provider, invoice issuer and service by backend."""


def focus_keys(by: Sequence[str]) -> tuple[str, ...]:
    """The keys to group by so that `focus_rows` can write what was asked for."""
    return (*ALWAYS_BY, *(name for name in by if name not in ALWAYS_BY))


def focus_rows(sums: Mapping[Keys, Sums], by: Sequence[str]) -> Iterator[dict[str, str]]:
    """A row per line of the report grouped by `by`, which `focus_keys` made. "" is null.

    A line without tokens and cost is left out: the specification wants a quantity for usage.
    """
    for values, each in sums.items():
        if each.cost_nanousd or each.tokens.total:
            keys = dict(zip(by, values, strict=True))
            yield dict.fromkeys(COLUMNS, "") | _who_and_when(keys) | _amounts(each)


def _who_and_when(keys: Mapping[str, str | None]) -> dict[str, str]:
    day = datetime.fromisoformat(keys["day"] or "").replace(tzinfo=UTC)
    month = day.replace(day=1)
    provider, issuer, service = SELLERS.get(keys["backend"] or "", (UNKNOWN, UNKNOWN, "Claude"))
    tags = {name: value for name, value in keys.items() if value is not None and name not in ALWAYS_BY}
    return {
        "BillingAccountId": keys["org"] or UNKNOWN,
        "BillingPeriodStart": _moment(month),
        "BillingPeriodEnd": _moment((month + timedelta(days=31)).replace(day=1)),
        "ChargePeriodStart": _moment(day),
        "ChargePeriodEnd": _moment(day + timedelta(days=1)),
        "ChargeDescription": f"Tokens of {keys['model'] or UNKNOWN}",
        "InvoiceIssuerName": issuer,
        "ProviderName": provider,
        "PublisherName": "Anthropic",
        "ServiceName": service,
        "SubAccountId": keys["team"] or "",
        "Tags": json.dumps(tags, ensure_ascii=False) if tags else "",
        "x_Model": keys["model"] or "",
        "x_Upstream": keys["upstream"] or "",
    }


def _amounts(sums: Sums) -> dict[str, str]:
    cost, tokens = _decimal(sums.cost_nanousd), sums.tokens
    return {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        **dict.fromkeys(("ConsumedQuantity", "PricingQuantity"), str(tokens.total)),
        **dict.fromkeys(("ConsumedUnit", "PricingUnit"), "Tokens"),
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargeFrequency": "Usage-Based",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceSubcategory": "Generative AI",
        "x_RequestCount": str(sums.requests),
        "x_InputTokens": str(tokens.input),
        "x_OutputTokens": str(tokens.output),
        "x_CacheReadTokens": str(tokens.cache_read),
        "x_CacheWriteFiveMinuteTokens": str(tokens.cache_write_5m),
        "x_CacheWriteOneHourTokens": str(tokens.cache_write_1h),
        "x_EstimatedCost": _decimal(sums.estimated_nanousd),
    }


def _decimal(nanousd: int) -> str:
    return format_usd(nanousd).removeprefix("$")


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
