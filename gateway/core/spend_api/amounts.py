"""Amounts of limits as the spend-limits API writes them: text of whole cents, or of a count. No floats."""

from gateway.core.money.limits import Meter

NANOUSD_PER_CENT = 10_000_000
CENTS_MAX = 10**11
"""A billion dollars: with what is used and held beside it, it stays within 64 bits of nano-dollars."""
COUNT_MAX = 10**15
AMOUNT_CHARS_MAX = 18
CURRENCY = "USD"

_units = {"cost": "cents", "active_requests": "requests"}


class AmountInvalid(ValueError):
    """It is not an amount; the text says what one is."""


def parse_amount(text: str, meter: Meter) -> int:
    """Nano-dollars of cents, or a count. Raises AmountInvalid."""
    unit = _units.get(meter, meter)
    if not (text.isascii() and text.isdigit() and len(text) <= AMOUNT_CHARS_MAX):
        raise AmountInvalid(f"must be a whole-number decimal string of {unit}")
    amount, most = int(text), CENTS_MAX if meter == "cost" else COUNT_MAX
    if amount > most:
        raise AmountInvalid(f"must be at most {most} {unit}")
    return amount * NANOUSD_PER_CENT if meter == "cost" else amount


def format_amount(amount: int | None, meter: Meter) -> str | None:
    """As `parse_amount` reads it; with a fraction for a limit of the configuration that is not of whole cents."""
    if amount is None:
        return None
    return format_cents(amount, decimals=0) if meter == "cost" else str(amount)


def format_cents(nanousd: int, *, decimals: int = 2) -> str:
    """Cents, exactly, with at least so many decimals: `31.05`, `0.00`, `12.0000001`."""
    sign = "-" if nanousd < 0 else ""
    cents, rest = divmod(abs(nanousd), NANOUSD_PER_CENT)
    fraction = f"{rest:07d}".rstrip("0").ljust(decimals, "0")
    return f"{sign}{cents}.{fraction}" if fraction else f"{sign}{cents}"
