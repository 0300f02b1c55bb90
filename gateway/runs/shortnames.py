"""The short names of models that scripts and agent files use (`haiku`), and what they stand for here."""

from collections.abc import Mapping

from gateway.core.money.prices import PriceTable

FAMILIES = ("haiku", "sonnet", "opus", "fable", "mythos")


def short_names(prices: PriceTable, aliases: Mapping[str, str]) -> dict[str, str]:
    """Each family's newest model of the price table; a name that the configuration gives a meaning keeps it."""
    ids = [row.id for row in prices.models()]
    found: dict[str, str] = {}
    for family in FAMILIES:
        newest = next((id for id in ids if id.startswith(f"claude-{family}-")), None)
        if newest is not None and family not in aliases:
            found[family] = newest
    return found
