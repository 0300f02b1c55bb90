"""Cents to nano-dollars and back, exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.spend_api.amounts import (
    CENTS_MAX,
    COUNT_MAX,
    NANOUSD_PER_CENT,
    AmountInvalid,
    format_amount,
    format_cents,
    parse_amount,
)

NO_CENTS = ["", "-1", "+1", "1.0", "1e3", " 1", "1 ", "0x1", "1_000", "١", "²", "9" * 19]


@given(st.integers(0, CENTS_MAX))
def test_cents_come_back_as_they_were_written(cents: int) -> None:
    assert parse_amount(str(cents), "cost") == cents * NANOUSD_PER_CENT
    assert format_amount(cents * NANOUSD_PER_CENT, "cost") == str(cents)


@pytest.mark.parametrize("text", NO_CENTS)
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(AmountInvalid, match="^must be a whole-number decimal string of cents$"):
        parse_amount(text, "cost")
    with pytest.raises(AmountInvalid, match="string of output_tokens$"):
        parse_amount(text, "output_tokens")


def test_amounts_have_an_upper_bound() -> None:
    assert parse_amount(str(CENTS_MAX), "cost") < 2**62
    with pytest.raises(AmountInvalid, match=f"at most {CENTS_MAX} cents"):
        parse_amount(str(CENTS_MAX + 1), "cost")
    assert parse_amount(str(COUNT_MAX), "requests") == COUNT_MAX
    with pytest.raises(AmountInvalid, match=f"at most {COUNT_MAX} requests"):
        parse_amount(str(COUNT_MAX + 1), "active_requests")


@pytest.mark.parametrize(
    ("nanousd", "text"),
    [
        (0, "0.00"),
        (1, "0.0000001"),
        (310_500_000, "31.05"),
        (310_000_000, "31.00"),
        (315_000_000, "31.50"),
        (300_510_000_001, "30051.0000001"),
        (-5_000_000, "-0.50"),
    ],
)
def test_spend_is_written_exactly_with_two_decimals_at_least(nanousd: int, text: str) -> None:
    assert format_cents(nanousd) == text


def test_limit_of_a_fraction_of_a_cent_keeps_it() -> None:
    assert format_amount(1_000, "cost") == "0.0001"
    assert format_amount(7, "requests") == "7"
    assert format_amount(None, "cost") is None
