"""The packaged price table and what is refused of another."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

import gateway
from gateway.core.money.prices import UNIT, PricesInvalid, PriceTable, display_name, merge_prices, parse_prices

PACKAGED: dict[str, Any] = yaml.safe_load((Path(gateway.__file__).parent / "prices.yaml").read_text(encoding="utf-8"))
TABLE = parse_prices(PACKAGED)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


NOW = ms("2026-11-22")


def document(**model: Any) -> dict[str, Any]:
    row = {"input": 4, "output": 20, "cache_write_5m": 5, "cache_write_1h": 8, "cache_read": 0.2}
    base = {"id": "m", "context_window": 1000, "max_output": 100, "prices": [{"effective_from": None, **row}]}
    return {
        "schema": 1,
        "modifiers": {
            "inference_geo_us": {"multiplier": 1.1},
            "regional_endpoint": {"multiplier": 1.1},
            "bedrock_govcloud": {"multiplier": 1.2},
        },
        "server_tools": {"web_search": {"usd_per_1000_requests": 10}},
        "models": [base | model],
    }


def test_packaged_table_names_every_row_with_a_source() -> None:
    assert len(TABLE.models()) == len(PACKAGED["models"]) >= 22
    assert all(row["source"] for model in PACKAGED["models"] for row in model["prices"])


@pytest.mark.parametrize(
    "spelling",
    [
        "claude-haiku-4-5-20251001",
        "claude-haiku-4-5",
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "global.anthropic.claude-haiku-4-5-20251001-v1:0",
        "claude-haiku-4-5@20251001",
        "claude-haiku-4-5-latest",
    ],
)
def test_every_spelling_of_a_model_finds_its_price(spelling: str) -> None:
    price = TABLE.find(spelling, NOW)
    assert price is not None
    assert (price.id, price.rates.input, price.rates.output) == ("claude-haiku-4-5-20251001", 1_000_000, 5_000_000)


@pytest.mark.parametrize("model", ["gpt-9", "", "claude", "claude-opus", "anthropic.", "claude-opus-5-5-fast"])
def test_unknown_model_has_no_price(model: str) -> None:
    assert TABLE.find(model, NOW) is None


def test_price_changes_on_its_date() -> None:
    before, after = (TABLE.find("claude-sonnet-5-5", at) for at in (ms("2026-10-07") - 1, ms("2026-10-07")))
    assert before is not None and before.rates.cache_read == 200_000
    assert after is not None and after.rates.cache_read == 100_000


def test_time_before_the_first_row_gets_the_first_row() -> None:
    price = TABLE.find("claude-sonnet-5-5", ms("2020-01-01"))
    assert price is not None and price.rates.cache_read == 200_000


def test_row_that_has_ended_without_a_next_one_is_no_price() -> None:
    ended = document()
    ended["models"][0]["prices"][0]["effective_to"] = date(2026, 11, 21)
    table = parse_prices(ended)
    assert table.find("m", ms("2026-11-22") - 1) is not None
    assert table.find("m", ms("2026-11-22")) is None


def test_fast_rates_keep_the_cache_ratios() -> None:
    price = TABLE.find("claude-opus-5-5", NOW)
    assert price is not None and price.fast is not None
    assert (price.fast.input, price.fast.output) == (8_000_000, 40_000_000)
    assert (price.fast.cache_write_5m, price.fast.cache_write_1h, price.fast.cache_read) == (10**7, 16 * 10**6, 400_000)


def test_override_replaces_one_model_and_keeps_the_others() -> None:
    own = document()["models"][0] | {"id": "claude-opus-5-5", "max_output": 7}
    table = parse_prices(merge_prices(PACKAGED, {"models": [own]}))
    price = table.find("claude-opus-5-5", NOW)
    assert price is not None and price.max_output == 7
    assert len(table.models()) == len(TABLE.models())


def test_override_of_prices_keeps_ids_and_premium() -> None:
    negotiated = document()["models"][0]["prices"]
    table = parse_prices(
        merge_prices(PACKAGED, {"models": [{"id": "claude-haiku-4-5-20251001", "prices": negotiated}]})
    )
    price = table.find("us.anthropic.claude-haiku-4-5-20251001-v1:0", NOW)
    assert price is not None and (price.rates.input, price.regional) == (4_000_000, 11_000)
    assert table.catalogue.wire("claude-haiku-4-5", backend="vertex", profile=None) == "claude-haiku-4-5@20251001"


def test_override_of_one_modifier_keeps_the_others() -> None:
    table = parse_prices(merge_prices(PACKAGED, {"modifiers": {"bedrock_govcloud": {"multiplier": 1.3}}}))
    price = table.find("claude-opus-5-5", NOW)
    assert price is not None and (price.geo_us, price.regional, price.govcloud) == (11_000, 11_000, 13_000)


def test_premium_is_only_of_models_that_the_table_marks() -> None:
    old, new = TABLE.find("claude-opus-4-1", NOW), TABLE.find("claude-haiku-4-5", NOW)
    assert old is not None and (old.geo_us, old.regional) == (UNIT, UNIT)
    assert new is not None and (new.geo_us, new.regional) == (UNIT, 11_000)


def test_snapshot_that_no_row_names_costs_what_its_model_does() -> None:
    spellings = ["claude-opus-5-5-20261201", "claude-opus-5-5@20261201", "us.anthropic.claude-opus-5-5-20261201-v1:0"]
    prices = [TABLE.find(spelling, NOW) for spelling in spellings]
    assert prices == [TABLE.find("claude-opus-5-5", NOW)] * 3
    assert prices[0] is not None


def test_override_adds_a_model() -> None:
    table = parse_prices(merge_prices(PACKAGED, {"models": document()["models"]}))
    assert table.find("m", NOW) is not None
    assert TABLE.find("m", NOW) is None


def test_bad_document_lists_every_problem_with_its_place() -> None:
    bad = document(
        context_window=0, prices=[{"effective_from": "soon", "input": "x", "output": -1, "cache_read": True}]
    )
    bad["schema"] = 9
    with pytest.raises(PricesInvalid) as caught:
        parse_prices(bad)
    places = {problem.split(": ")[0] for problem in caught.value.problems}
    assert {"schema", "models[0] (m).context_window"} <= places
    assert {f"models[0] (m).prices[0].{key}" for key in ("effective_from", "input", "output", "cache_read")} <= places


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({}, "models: is missing"),
        (document(id=None), "models[0].id"),
        (document(prices=[]), "prices: is missing"),
        (merge_prices(document(), {"models": [document(id="n", alias="m")["models"][0]]}), "already belongs to 'm'"),
        (document(prices=[document()["models"][0]["prices"][0] | {"input": 0.0000001}]), "input"),
        (document(prices=document()["models"][0]["prices"] * 2), "order the rows"),
    ],
)
def test_bad_document_is_refused(bad: dict[str, Any], word: str) -> None:
    with pytest.raises(PricesInvalid) as caught:
        parse_prices(bad)
    assert word in str(caught.value)


def test_fast_with_a_prompt_tier_is_refused_because_no_price_is_defined() -> None:
    rates = {"input": 4, "output": 20, "cache_write_5m": 5, "cache_write_1h": 8, "cache_read": 0.2}
    row = rates | {"fast": {"input": 8, "output": 40}, "above_prompt_tokens": rates | {"threshold": 10}}
    with pytest.raises(PricesInvalid, match="no defined price"):
        parse_prices(document(prices=[row]))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("claude-opus-5-5", "Claude Opus 5.5"),
        ("claude-opus-5", "Claude Opus 5"),
        ("claude-opus-4-5-20251101", "Claude Opus 4.5"),
        ("claude-3-5-haiku-20241022", "Claude Haiku 3.5"),
    ],
)
def test_display_name_of_a_model(model: str, name: str) -> None:
    assert display_name(model) == name


def test_catalogue_rows_carry_the_limits() -> None:
    rows = {row.id: row for row in TABLE.models()}
    assert isinstance(TABLE, PriceTable)
    assert (rows["claude-opus-5-5"].context_window, rows["claude-opus-5-5"].max_output) == (1_000_000, 128_000)
    assert rows["claude-opus-5-5"].released == "2026-09-22"
